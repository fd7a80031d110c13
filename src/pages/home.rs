use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use super::{about::About, brand::Mark, legend::Legend, live::LiveChannels, request::use_locale};
use crate::{domain::ChannelId, i18n::page_text::page_text};

/// The maximum number of channels listed: the limit of one stream.
const MAX_CHANNELS: usize = 50;

/// `/`: the live channels, and a form that opens any channel. The page doesn't count as a viewer.
#[component]
pub fn HomePage() -> impl IntoView {
    let locale = use_locale();
    let text = page_text(locale);
    view! {
        <Title text="Aforo" />
        <About title="Aforo".to_owned() description=text.tagline.to_owned() path="/".to_owned() />
        <main class="home">
            <h1 class="home__name">
                <Mark />
                "Aforo"
            </h1>
            <p>{text.tagline}</p>
            <ChannelForm />
            <section class="live" aria-labelledby="live">
                <h2 class="section-title" id="live">{text.live_now}</h2>
                <live-channels>
                    <LiveChannels locale most=MAX_CHANNELS />
                </live-channels>
            </section>
            <Legend locale />
        </main>
        <script type="module" src="/live-channels.js"></script>
    }
    .into_any()
}

/// The form that opens a channel by its name. The page shows its own error messages: the style sheet shows them during
/// input, and the server after submission.
#[component]
fn ChannelForm() -> impl IntoView {
    let text = page_text(use_locale());
    let name = use_query_map().read_untracked().get("channel");
    let name = name.as_deref().map(str::trim).map(str::to_owned);
    let error = match name.as_deref() {
        None => None,
        Some("") => Some(text.name_missing),
        Some(name) => ChannelId::parse(name).is_err().then_some(text.name_invalid),
    };
    let is_invalid = error.map(|_| "true");
    view! {
        // `novalidate` turns off the error messages of the browser.
        <form class="home__form" action="/" novalidate>
            <label for="channel">{text.channel_name}</label>
            <input
                class="field"
                id="channel"
                name="channel"
                value=name
                required
                maxlength="64"
                pattern="\\s*[A-Za-z0-9._\\-]+\\s*"
                placeholder="ana.tv"
                autocapitalize="none"
                autocomplete="off"
                spellcheck="false"
                aria-describedby="channel-hint"
                aria-errormessage="channel-error"
                aria-invalid=is_invalid
                autofocus=is_invalid.is_some()
            />
            <button class="button button--main" type="submit">{text.open}</button>
            <p class="home__hint" id="channel-hint">{text.name_hint}</p>
            <p class="home__error" id="channel-error" role="alert">{error.unwrap_or(text.name_invalid)}</p>
        </form>
    }
    .into_any()
}
