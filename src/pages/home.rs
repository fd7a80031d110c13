use leptos::prelude::*;
use leptos_meta::Title;

use crate::hooks::use_locale;

/// `/`: what this is, and the way to a channel.
#[component]
pub fn HomePage() -> impl IntoView {
    let words = use_locale().words();
    view! {
        <Title text="Aforo" />
        <main class="home">
            <h1 class="home__name">"Aforo"</h1>
            <p>{words.tagline}</p>
            <form class="home__form" action="/">
                <label for="channel">{words.channel_name}</label>
                <input id="channel" name="channel" required maxlength="64" pattern="[A-Za-z0-9._\\-]+" autocapitalize="none" />
                <button type="submit">{words.open}</button>
            </form>
        </main>
    }
}
