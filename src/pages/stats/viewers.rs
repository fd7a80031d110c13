//! The viewers of a range: its figures, its chart, and the table behind the chart.

use leptos::prelude::*;

use super::{
    Range, Shown,
    chart::{self, Chart, Data, HEIGHT},
    figures::{FigureList, UNKNOWN},
    links::Links,
    table::Table,
    times::Times,
};
use crate::{
    domain::Timestamp,
    i18n::stats_text::{StatsText, stats_text},
    server::history::{Peak, Point},
};

/// The viewers of a range.
#[component]
pub(super) fn Viewers(shown: Shown, times: Times, links: Links) -> impl IntoView {
    let text = stats_text(times.locale);
    let peak = shown.figures.peak.zip(shown.figures.peak_at).map(|(count, at)| Peak { count, at });
    let data = Data { from: shown.from, to: shown.to, points: &shown.points, peak };
    let Chart { scale_width, scale, plot, has_gaps, has_partial } = chart::draw(&data, &times);
    let title = title(&shown, &times, text);
    let label = summary(&title, &shown, &times, text);
    // The figures of the newest broadcast are at the top of the page.
    let figures = (!shown.is_newest).then(|| {
        view! { <FigureList figures=Some(shown.figures.clone()) times=times.clone() is_main=false /> }
    });
    let span = seconds(shown.from, shown.to).to_string();
    let csv = links.csv(&shown);
    let (starts, last) = (starts(shown.from, &shown.points), shown.points.len().saturating_sub(1));
    let step = shown.is_present().then(|| shown.step.to_string());
    let as_of = times.now.as_millis().to_string();
    view! {
        <section
            class="stats__viewers"
            aria-labelledby="viewers"
            data-part="viewers"
            data-span=span
            data-starts=starts
            data-step=step
            data-gap=text.chart.gap
            data-as-of=as_of
        >
            <div class="stats__bar">
                <h2 class="stats__title" id="viewers">{title}</h2>
                <a class="stats__link" id="csv" href=csv>{text.chart.csv}</a>
            </div>
            {figures}
            <p class="chart__readout" data-readout data-hint=text.chart.hint></p>
            <div class="chart" data-chart>
                <svg class="chart__scale" width=scale_width height=HEIGHT aria-hidden="true" inner_html=scale></svg>
                <div class="chart__space">
                    <input
                        class="chart__slider"
                        id="cursor"
                        type="range"
                        min="0"
                        max=last
                        value=last
                        aria-label=text.chart.cursor
                        hidden
                    />
                    <svg class="chart__plot" width="100%" height=HEIGHT role="img" aria-label=label inner_html=plot></svg>
                </div>
            </div>
            <ul class="chart__legend">
                <li data-key="line">{text.chart.average}</li>
                <li data-key="band">{text.chart.band}</li>
                <li data-key="peak">{text.chart.peak}</li>
                {has_gaps.then(|| view! { <li data-key="gap">{text.chart.gap}</li> })}
                {has_partial.then(|| view! { <li data-key="partial">{text.chart.partial}</li> })}
            </ul>
            <Table shown times text=&text.table />
        </section>
    }
    .into_any()
}

fn title(shown: &Shown, times: &Times, text: &StatsText) -> String {
    match shown.range {
        Range::Day => text.last_day.to_owned(),
        Range::Week => text.last_week.to_owned(),
        Range::Month => text.last_month.to_owned(),
        Range::Broadcast if shown.is_newest => text.chart.title.to_owned(),
        Range::Broadcast => {
            let end = shown.figures.ended_at.unwrap_or(shown.to);
            text.broadcast_of.replace("{when}", &times.span(shown.from, end))
        }
    }
}

/// The chart in a sentence: what a picture says at a glance.
fn summary(title: &str, shown: &Shown, times: &Times, text: &StatsText) -> String {
    let locale = times.locale;
    let figures = &shown.figures;
    let lowest = shown.points.iter().filter_map(Point::counts).map(|(min, ..)| min).min();
    let known =
        |name: &str, value: Option<String>| format!("{name}: {}", value.as_deref().unwrap_or(UNKNOWN));
    let peak = figures.peak.zip(figures.peak_at);
    let peak = peak.map(|(peak, at)| format!("{}, {}", locale.number(peak), times.instant(at)));
    [
        known(text.figures.peak, peak),
        known(text.figures.average, figures.average.map(|average| locale.mean(average))),
        known(text.table.min, lowest.map(|lowest| locale.number(lowest))),
        known(text.figures.observed, Some(locale.percent(figures.observed))),
    ]
    .into_iter()
    .fold(format!("{title}, {}.", times.span(shown.from, shown.to)), |sentence, more| {
        format!("{sentence} {more}.")
    })
}

/// When each step starts, in seconds since the start of the range. The script finds the step under the pointer by it.
/// The first step of a broadcast can be shorter than a second.
fn starts(from: Timestamp, points: &[Point]) -> String {
    points.iter().map(|point| seconds(from, point.at).to_string()).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::cast_precision_loss, reason = "a range has fewer than 2^53 milliseconds")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.as_millis().saturating_sub(from.as_millis()) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::history::{Cuts, Points, Zone};

    #[test]
    fn a_first_step_of_less_than_a_second_has_a_start_of_its_own() {
        let at = |millis: u64| Timestamp::from_millis(1_790_000_040_000 + millis);
        let cuts = Cuts::new(at(9_700), at(25_000), Some(10), &Zone::utc()).unwrap();
        assert_eq!(starts(at(9_700), &Points::new(&cuts).finish()), "0 0.3 10.3");
    }
}
