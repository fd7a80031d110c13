use leptos::prelude::*;

use crate::{
    domain::{ChannelId, StreamTemplate},
    i18n::{Locale, page_text::page_text},
};

/// An empty poster image. Without a poster, browsers paint an empty video over the message behind it.
const EMPTY_POSTER: &str = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E";

/// The player of a channel's stream. It starts muted, because browsers autoplay only muted videos.
///
/// The element `<stream-player>` (`/player.js`) plays the stream and sets `data-state`. The style sheet uses
/// `data-state` to show one of the messages. Without scripts the player is a plain video in front of a message that
/// explains a missing picture.
#[component]
pub(super) fn Player(channel: ChannelId, locale: Locale) -> impl IntoView {
    let text = &page_text(locale).player;
    let label = format!("{} {channel}", text.label);
    let Some(stream) = use_context::<StreamTemplate>().map(|template| template.url(&channel)) else {
        return view! {
            <section class="player" aria-label=label>
                <p class="player__poster">{text.no_stream}</p>
            </section>
        }
        .into_any();
    };
    let plain_video = view! {
        <video class="player__video" controls playsinline autoplay muted poster=EMPTY_POSTER src=stream.clone() aria-label=label.clone()></video>
    };
    view! {
        <stream-player class="player" role="region" aria-label=label src=stream>
            <noscript>
                <p class="player__poster">{text.no_script}</p>
                {plain_video}
            </noscript>
            <div class="player__messages" role="status">
                <p class="player__poster" data-for="loading">{text.loading}</p>
                <p class="player__poster" data-for="ready">{text.ready}</p>
                <p class="player__poster" data-for="off-air">
                    {text.off_air}
                    <span class="player__hint">{text.off_air_hint}</span>
                </p>
                <p class="player__poster" data-for="broken">
                    {text.broken}
                    <span class="player__hint">{text.broken_hint}</span>
                    <button class="button player__retry" type="button">{text.retry}</button>
                </p>
                <p class="player__poster" data-for="unplayable">{text.unplayable}</p>
            </div>
        </stream-player>
        <script type="module" src="/player.js"></script>
    }
    .into_any()
}
