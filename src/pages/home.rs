use leptos::prelude::*;
use leptos_meta::Title;

use super::{about::About, live::LiveChannels, words::words};
use crate::hooks::use_locale;

/// How many channels are listed: as many as one stream takes.
const MOST: usize = 50;

/// `/`: what is live now, and the way to any other channel. Who reads it is no viewer.
#[component]
pub fn HomePage() -> impl IntoView {
    let locale = use_locale();
    let words = words(locale);
    view! {
        <Title text="Aforo" />
        <About title="Aforo".to_owned() description=words.tagline.to_owned() path="/".to_owned() />
        <main class="home">
            <h1 class="home__name">"Aforo"</h1>
            <p class="home__tagline">{words.tagline}</p>
            <form class="home__form" action="/">
                <label for="channel">{words.channel_name}</label>
                <input id="channel" name="channel" required maxlength="64" pattern="[A-Za-z0-9._\\-]+" autocapitalize="none" />
                <button type="submit">{words.open}</button>
            </form>
            <section class="live" aria-labelledby="live">
                <h2 class="live__title" id="live">{words.live_now}</h2>
                <live-channels>
                    <LiveChannels locale most=MOST />
                </live-channels>
            </section>
        </main>
        <script type="module" src="/live-channels.js"></script>
    }
}
