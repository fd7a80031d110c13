use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::{
    InvalidNamePage, badge::Badge, browser_scripts::BrowserScripts, note::Note, player::Player,
    request::use_locale,
};
use crate::{components::PageRole, domain::ChannelId, islands::TrackerIsland};

/// `/embed/{channel}`: the player alone, for frames in other pages. `?counter=1` shows the badge on the player.
/// `?transparent=1` shows the page behind the frame around the picture.
#[component]
pub fn EmbedPage() -> impl IntoView {
    let name = use_params_map().read_untracked().get("channel").unwrap_or_default();
    let Ok(channel) = ChannelId::parse(&name) else {
        return Either::Left(view! { <InvalidNamePage /> });
    };
    let locale = use_locale();
    let query = use_query_map();
    let is_set = |name| query.read_untracked().get(name).is_some_and(|value| value == "1");
    let (shows_counter, is_transparent) = (is_set("counter"), is_set("transparent"));
    let title = channel.to_string();
    let counter = shows_counter.then(|| {
        let channel = channel.clone();
        view! {
            <div class="embed__counter">
                <Badge channel locale role=PageRole::CountedElsewhere />
                <Note locale />
            </div>
        }
    });
    Either::Right(
        view! {
            <Title text=title />
            <BrowserScripts />
            <main class="embed" class:embed--transparent=is_transparent>
                // First, so that the page is counted even if a later part of it fails.
                <TrackerIsland channel=channel.clone() />
                <Player channel locale />
                {counter}
            </main>
        }
        .into_any(),
    )
}
