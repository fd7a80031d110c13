use leptos::prelude::*;

use crate::i18n::{Locale, page_text::page_text};

/// Explains a stale or unknown badge in a sentence, because the title of a badge needs a pointer to hover with. The
/// style sheet shows the sentence only while the badge is in that state.
#[component]
pub(super) fn Note(locale: Locale) -> impl IntoView {
    let text = page_text(locale);
    view! {
        <p class="note" data-for="stale">{text.stale}</p>
        <p class="note" data-for="unknown">{text.unknown}</p>
    }
    .into_any()
}
