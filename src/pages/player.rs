use leptos::prelude::*;

use crate::{
    domain::{ChannelId, Live, StreamTemplate},
    i18n::{Locale, page_text::page_text},
};

/// An empty poster image. Without a poster, browsers paint an empty video over the message behind it.
const EMPTY_POSTER: &str = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E";

/// The player of a channel's stream. It starts muted, because browsers autoplay only muted videos.
///
/// The element `<stream-player>` (`/player.js`) plays the stream and sets `data-state`. The style sheet uses
/// `data-state` to show one of the messages. Without scripts the player is a plain video in front of a message that
/// explains a missing picture.
///
/// With live signals the element has the attributes `channel` and `live`. It waits for the signal, and says whether the
/// channel is on air even if this site shows no stream.
#[component]
pub(super) fn Player(channel: ChannelId, locale: Locale) -> impl IntoView {
    let text = &page_text(locale).player;
    let label = format!("{} {channel}", text.label);
    let stream = use_context::<StreamTemplate>().map(|template| template.url(&channel));
    let signal = use_context::<Live>();
    if stream.is_none() && signal.is_none() {
        return view! {
            <section class="player" aria-label=label>
                <p class="player__poster">{text.no_stream}</p>
            </section>
        }
        .into_any();
    }
    let is_on_air = signal.and_then(Live::is_on_air);
    // The state until the script has started, and without scripts.
    let state = match (is_on_air, &stream) {
        (Some(false), _) => Some("off-air"),
        (_, None) => Some("no-stream"),
        (_, Some(_)) => None,
    };
    let plain_video = stream.clone().filter(|_| state.is_none()).map(|stream| {
        view! {
            <noscript>
                <p class="player__poster">{text.no_script}</p>
                <video class="player__video" controls playsinline autoplay muted poster=EMPTY_POSTER src=stream aria-label=label.clone()></video>
            </noscript>
        }
    });
    let channel = signal.map(|_| channel.to_string());
    let live = is_on_air.map(|is_on_air| is_on_air.to_string());
    view! {
        <stream-player class="player" role="region" aria-label=label src=stream channel=channel live=live data-state=state>
            {plain_video}
            <div class="player__messages" role="status">
                <p class="player__poster" data-for="no-stream">{text.no_stream}</p>
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
