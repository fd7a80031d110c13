use leptos::prelude::*;

use super::words::words;
use crate::domain::Locale;

/// What it means that the page's badge is stale or unknown, in a sentence that the style sheet shows while it is: a badge's
/// own title is for those who can hover.
#[component]
pub(super) fn Note(locale: Locale) -> impl IntoView {
    let words = words(locale);
    view! {
        <p class="note" data-for="stale">{words.stale}</p>
        <p class="note" data-for="unknown">{words.unknown}</p>
    }
    .into_any()
}
