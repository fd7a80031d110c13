use leptos::prelude::*;

use super::words::words;
use crate::domain::{ChannelId, Locale, StreamTemplate};

/// An empty image. Without one, browsers paint over what lies behind a video that has no picture.
const SEE_THROUGH: &str = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E";

/// Where the stream of a channel plays: natively, in browsers that know HLS. Without sound at first, since browsers let
/// nothing else begin by itself.
///
/// The poster lies behind the video, which is see-through until it has a picture. So it says what is the matter also in a
/// browser that can't play the stream, without a script that would have to find that out.
#[component]
pub(super) fn Player(channel: ChannelId, locale: Locale) -> impl IntoView {
    let words = words(locale);
    let label = format!("{} {channel}", words.player_of);
    let stream = use_context::<StreamTemplate>().map(|template| template.url(&channel));
    let poster = if stream.is_some() { words.starting } else { words.offline };
    let video = stream.map(|stream| {
        view! {
            <video class="player__video" controls playsinline autoplay muted poster=SEE_THROUGH src=stream aria-label=label.clone()></video>
        }
    });
    view! {
        <section class="player" aria-label=label>
            <p class="player__poster">{poster}</p>
            {video}
        </section>
    }
    .into_any()
}
