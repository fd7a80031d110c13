use leptos::{config::LeptosOptions, prelude::*};

/// What brings the islands of a page to life: the browser's half, loaded at once and started when the browser is idle.
///
/// It is a part of the pages that have islands, so that the others load none of it.
#[component]
pub(super) fn Alive() -> impl IntoView {
    use_context::<LeptosOptions>()
        .map(|options| view! { <HydrationScripts options islands=true /> }.into_any())
}
