use leptos::prelude::*;

use crate::{
    domain::{ChannelId, StreamTemplate},
    i18n::{Locale, page_text::page_text},
};

/// An empty image. Without one, browsers paint over what lies behind a video that has no picture.
const SEE_THROUGH: &str = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E";

/// Where the stream of a channel plays, without sound at first, since browsers let nothing else begin by itself.
///
/// The element `<stream-player>` (`/player.js`) plays it and sets `data-state`, by which the style sheet shows one of the
/// messages. Without scripts it is a plain video, and what lies behind it says why there may be no picture.
#[component]
pub(super) fn Player(channel: ChannelId, locale: Locale) -> impl IntoView {
    let text = &page_text(locale).player;
    let label = format!("{} {channel}", text.label);
    let Some(stream) = use_context::<StreamTemplate>().map(|template| template.url(&channel)) else {
        return view! {
            <section class="player" aria-label=label>
                <p class="player__poster">{text.none}</p>
            </section>
        }
        .into_any();
    };
    let plain_video = view! {
        <video class="player__video" controls playsinline autoplay muted poster=SEE_THROUGH src=stream.clone() aria-label=label.clone()></video>
    };
    view! {
        <stream-player class="player" role="region" aria-label=label src=stream>
            <noscript>
                <p class="player__poster">{text.plain}</p>
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
