use leptos::prelude::*;

use super::{pill::Pill, words::words};
use crate::domain::{Count, Locale, Timestamp};

/// What the badges of the list mean: for everybody, also where there is no pointer to hover with.
#[component]
pub(super) fn Legend(locale: Locale) -> impl IntoView {
    let words = &words(locale).legend;
    let now = Timestamp::default();
    let rows = [
        (Count::fresh(12, now), words.live),
        (Count { stale: true, ..Count::fresh(12, now) }, words.stale),
        (Count::unknown(now), words.unknown),
    ];
    let rows = rows.map(|(count, text)| {
        view! {
            <li class="legend__row">
                <span class="legend__badge" aria-hidden="true">
                    <Pill count locale />
                </span>
                {text}
            </li>
        }
    });
    view! {
        <details class="legend">
            <summary>{words.title}</summary>
            <ul class="legend__list">{rows.collect_view()}</ul>
        </details>
    }
    .into_any()
}
