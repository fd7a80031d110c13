use leptos::prelude::*;

use crate::i18n::{Locale, page_text::page_text};

/// What it means that the page's badge is stale or unknown, in a sentence that the style sheet shows while it is: a badge's
/// own title is for those who can hover.
#[component]
pub(super) fn Note(locale: Locale) -> impl IntoView {
    let text = page_text(locale);
    view! {
        <p class="note" data-for="stale">{text.stale}</p>
        <p class="note" data-for="unknown">{text.unknown}</p>
    }
    .into_any()
}
