use leptos::prelude::*;

use super::pill::Pill;
use crate::{
    domain::{Count, Timestamp},
    i18n::{Locale, page_text::page_text},
};

/// The legend of the badges, readable without a pointer to hover with.
#[component]
pub(super) fn Legend(locale: Locale) -> impl IntoView {
    let text = &page_text(locale).legend;
    let now = Timestamp::default();
    let rows = [
        (Count::fresh(12, now), text.live),
        (Count::fresh(12, now).into_stale(), text.stale),
        (Count::unknown(now), text.unknown),
    ];
    let rows = rows.map(|(count, text)| {
        view! {
            <li class="legend__row">
                <span class="legend__badge" aria-hidden="true">
                    <Pill count locale is_sample=true />
                </span>
                {text}
            </li>
        }
    });
    view! {
        <details class="legend">
            <summary>{text.title}</summary>
            <ul class="legend__list">{rows.collect_view()}</ul>
        </details>
    }
    .into_any()
}
