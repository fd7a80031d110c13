use leptos::prelude::*;

/// The link to the home page, at the top of every page except the home page and the embed pages.
#[component]
pub(super) fn Brand() -> impl IntoView {
    view! {
        <header class="brand">
            <a class="brand__home" href="/">
                <Mark />
                "Aforo"
            </a>
        </header>
    }
    .into_any()
}

/// The logo of the site, as in its icon.
#[component]
pub(super) fn Mark() -> impl IntoView {
    view! {
        <svg class="brand__mark" viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8"></rect>
            <path d="M4.5 16S9 8 16 8s11.5 8 11.5 8S23 24 16 24 4.5 16 4.5 16Z"></path>
            <circle cx="16" cy="16" r="3.6"></circle>
        </svg>
    }
    .into_any()
}
