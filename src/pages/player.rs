use leptos::prelude::*;

use crate::domain::{ChannelId, Locale};

/// Where the stream of a channel plays.
#[component]
pub(super) fn Player(channel: ChannelId, locale: Locale) -> impl IntoView {
    let words = locale.words();
    view! {
        <section class="player" aria-label=format!("{} {channel}", words.player_of)>
            <p class="player__poster">{words.offline}</p>
        </section>
    }
}
