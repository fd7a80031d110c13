use leptos::prelude::*;

use crate::i18n::stats_text::StatsText;

/// What the figures mean.
#[component]
pub(super) fn Meaning(text: &'static StatsText) -> impl IntoView {
    let figures = &text.figures;
    let rows = [
        (figures.peak, figures.peak_meaning),
        (figures.average, figures.average_meaning),
        (figures.uniques, figures.uniques_meaning),
        (figures.watch_time, figures.watch_time_meaning),
        (figures.observed, figures.observed_meaning),
        (figures.new_viewers, figures.new_viewers_meaning),
    ];
    let rows = rows.map(|(name, meaning)| {
        view! {
            <div>
                <dt>{name}</dt>
                <dd>{meaning}</dd>
            </div>
        }
    });
    view! {
        <details class="meaning">
            <summary>{text.meaning}</summary>
            <dl class="meaning__list">{rows.collect_view()}</dl>
        </details>
    }
    .into_any()
}
