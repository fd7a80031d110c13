use crate::i18n::page_text::page_text;
use leptos::prelude::*;
use leptos_meta::Title;

use super::{
    brand::Brand,
    live::LiveChannels,
    request::{use_locale, use_not_found},
};

/// The maximum number of live channels listed.
const MAX_CHANNELS: usize = 5;

/// The page for unknown paths, with status 404 and links to live channels.
#[component]
pub fn NotFoundPage() -> impl IntoView {
    let text = page_text(use_locale());
    view! { <ErrorPage title=text.page_not_found hint=text.page_not_found_hint /> }
}

/// The page for invalid channel names, with status 404.
#[component]
pub fn InvalidNamePage() -> impl IntoView {
    let text = page_text(use_locale());
    view! { <ErrorPage title=text.invalid_name hint=text.name_hint /> }
}

#[component]
fn ErrorPage(title: &'static str, hint: &'static str) -> impl IntoView {
    use_not_found();
    let locale = use_locale();
    let text = page_text(locale);
    view! {
        <Title text=title />
        <Brand />
        <main class="home">
            <h1 class="home__name">{title}</h1>
            <p>{hint}</p>
            <p>
                <a href="/">{text.home}</a>
            </p>
            <section class="live" aria-labelledby="live">
                <h2 class="section-title" id="live">{text.live_now}</h2>
                <LiveChannels locale most=MAX_CHANNELS />
            </section>
        </main>
        <script type="module" src="/widget.js"></script>
    }
    .into_any()
}
