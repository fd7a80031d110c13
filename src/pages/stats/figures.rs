//! The figures of a broadcast or another range.

use leptos::prelude::*;

use super::times::Times;
use crate::{
    i18n::{Locale, stats_text::stats_text},
    server::history::{Figures, Joins, sketch::EXACT},
};

/// What is not known.
pub(super) const UNKNOWN: &str = "—";

/// A list of figures. The script updates the main one.
#[component]
pub(super) fn FigureList(figures: Option<Figures>, times: Times, is_main: bool) -> impl IntoView {
    let locale = times.locale;
    let text = &stats_text(locale).figures;
    let figures = figures.as_ref();
    let peak_at = figures.and_then(|figures| figures.peak_at).map(|at| {
        view! { <time datetime=times.machine(at)>{times.instant(at)}</time> }
    });
    let figure = |name: &'static str, label: &'static str, value: String| {
        let note = (name == "peak").then(|| {
            view! {
                <dd class="figure__note" data-figure=is_main.then_some("peakAt")>
                    {peak_at.clone()}
                </dd>
            }
        });
        view! {
            <div class="figure">
                <dt class="figure__name">{label}</dt>
                <dd class="figure__value" data-figure=is_main.then_some(name)>
                    {value}
                </dd>
                {note}
            </div>
        }
    };
    view! {
        <dl class="figures" class:figures--main=is_main>
            {figure("peak", text.peak, peak(figures, locale))}
            {figure("average", text.average, average(figures, locale))}
            {figure("uniques", text.uniques, uniques(figures, locale))}
            {figure("watchSeconds", text.watch_time, watch_time(figures, locale))}
            {figure("observed", text.observed, observed(figures, locale))}
            {figures
                .and_then(|figures| figures.joins)
                .map(|of| figure("joins", text.joins, joins(of, locale)))}
        </dl>
    }
    .into_any()
}

fn peak(figures: Option<&Figures>, locale: Locale) -> String {
    written(figures.and_then(|figures| figures.peak), |peak| locale.number(peak))
}

fn average(figures: Option<&Figures>, locale: Locale) -> String {
    written(figures.and_then(|figures| figures.average), |average| locale.mean(average))
}

/// Large numbers are estimates, and marked as such.
fn uniques(figures: Option<&Figures>, locale: Locale) -> String {
    written(figures, |Figures { uniques, .. }| {
        let is_estimate = *uniques > EXACT as u64;
        let sign = if is_estimate { "≈\u{a0}" } else { "" };
        [sign, &locale.large(*uniques)].concat()
    })
}

/// Where nothing was observed, what was watched is not known either.
fn watch_time(figures: Option<&Figures>, locale: Locale) -> String {
    let known = figures.filter(|figures| figures.average.is_some());
    written(known, |figures| locale.length(figures.watch_seconds))
}

fn observed(figures: Option<&Figures>, locale: Locale) -> String {
    written(figures, |figures| locale.percent(figures.observed))
}

/// With and without a ticket.
fn joins(Joins { with_ticket, without_ticket }: Joins, locale: Locale) -> String {
    [locale.number(with_ticket), locale.number(without_ticket)].join(" / ")
}

fn written<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn unknown_figures_are_dashes_and_estimates_are_marked() {
        let nothing = Figures {
            started_at: Timestamp::from_millis(1),
            ended_at: None,
            peak: None,
            peak_at: None,
            average: None,
            watch_seconds: 0.0,
            uniques: 0,
            observed: 0.0,
            joins: None,
        };
        for figures in [None, Some(&nothing)] {
            assert_eq!(peak(figures, Locale::Es), UNKNOWN);
            assert_eq!(average(figures, Locale::Es), UNKNOWN);
            assert_eq!(watch_time(figures, Locale::Es), UNKNOWN, "unknown is not zero");
        }
        assert_eq!(observed(Some(&nothing), Locale::En), "0%");
        let of = |uniques| Figures { uniques, ..nothing.clone() };
        assert_eq!(uniques(Some(&of(1_024)), Locale::En), "1,024");
        assert_eq!(uniques(Some(&of(1_025)), Locale::En), "≈\u{a0}1,025");
        assert_eq!(joins(Joins { with_ticket: 1_025, without_ticket: 0 }, Locale::En), "1,025 / 0");
    }
}
