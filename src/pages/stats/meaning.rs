use leptos::prelude::*;

use crate::i18n::stats_text::StatsText;

/// What the figures mean. `has_joins`: whether joins with and without a ticket are among them.
#[component]
pub(super) fn Meaning(text: &'static StatsText, has_joins: bool) -> impl IntoView {
    let figures = &text.figures;
    let rows = [
        (figures.peak, figures.peak_meaning),
        (figures.average, figures.average_meaning),
        (figures.uniques, figures.uniques_meaning),
        (figures.watch_time, figures.watch_time_meaning),
        (figures.observed, figures.observed_meaning),
        (figures.new_viewers, figures.new_viewers_meaning),
    ];
    let joins = has_joins.then_some((figures.joins, figures.joins_meaning));
    let rows = rows.into_iter().chain(joins).map(|(name, meaning)| {
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
