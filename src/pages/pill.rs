use leptos::prelude::*;

use crate::{domain::Count, i18n::Locale};

/// A static badge. It looks like the live badge but has no script.
#[component]
pub(super) fn Pill(
    count: Count,
    locale: Locale,
    /// Whether it is the count of no channel.
    #[prop(optional)]
    is_sample: bool,
) -> impl IntoView {
    let class = if is_sample { "viewer-counter-sample" } else { "viewer-counter" };
    let number = count.value().map_or_else(|| "—".to_owned(), |viewers| locale.number(viewers));
    view! {
        <span class=class translate="no" role="img" data-state=count.state().as_str() aria-label=locale.viewers(count.value())>
            <span class="viewer-counter__dot"></span>
            <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
                <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
                <circle cx="12" cy="12" r="3"></circle>
            </svg>
            <span class="viewer-counter__number">{number}</span>
        </span>
    }
    .into_any()
}
