use leptos::{context::Provider, prelude::*};

use crate::{
    domain::ChannelId,
    hooks::{UseViewerTrackerOptions, track},
    platform::{self, IslandProps},
};

/// The props of the tracker island: the channel to watch.
#[derive(Debug, Clone)]
struct Watched(ChannelId);

impl IslandProps for Watched {
    const CLASS: &str = "embed-viewer-tracker";

    fn write(&self) -> String {
        self.0.as_str().to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        ChannelId::parse(text).ok().map(Self)
    }
}

/// [`EmbedViewerTracker`](crate::components::EmbedViewerTracker) as an island.
#[component]
pub fn TrackerIsland(
    /// The channel to watch.
    channel: ChannelId,
) -> impl IntoView {
    view! {
        <Provider value=Watched(channel)>
            <Tracker />
        </Provider>
    }
}

#[island]
fn Tracker() -> impl IntoView {
    let (watched, island_props) = platform::island_props::<Watched>();
    if let Some(Watched(channel)) = watched {
        let options = UseViewerTrackerOptions::default().once_seen(true).ticket(platform::page_ticket());
        let _ = track(channel, options);
    }
    view! { <span class=Watched::CLASS data-island=island_props hidden></span> }
}
