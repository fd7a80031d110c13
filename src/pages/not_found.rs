use leptos::prelude::*;
use leptos_meta::Title;

use super::{live::LiveChannels, words::words};
use crate::hooks::{use_locale, use_not_found};

/// How many live channels are offered instead.
const MOST: usize = 5;

/// What there is instead of a page that doesn't exist; answered with 404. It leads to what does exist.
#[component]
pub fn NotFoundPage() -> impl IntoView {
    use_not_found();
    let locale = use_locale();
    let words = words(locale);
    view! {
        <Title text=words.not_found />
        <main class="home">
            <h1 class="home__name">{words.not_found}</h1>
            <p>{words.not_found_hint}</p>
            <p>
                <a href="/">{words.home}</a>
            </p>
            <section class="live" aria-labelledby="live">
                <h2 class="live__title" id="live">{words.live_now}</h2>
                <LiveChannels locale most=MOST />
            </section>
        </main>
        <script type="module" src="/widget.js"></script>
    }
    .into_any()
}
