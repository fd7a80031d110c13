use leptos::{context::Provider, prelude::*};

use crate::{
    domain::ChannelId,
    hooks::{UseViewerTrackerOptions, use_handed_over, use_viewer_tracker_with_options},
    platform::Handover,
};

/// The channel watched.
#[derive(Debug, Clone)]
struct Watched(ChannelId);

impl Handover for Watched {
    const CLASS: &str = "embed-viewer-tracker";

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        ChannelId::parse(text).ok().map(Self)
    }
}

/// Counts the page that it is on as a viewer once half of it has been on screen, and shows nothing.
#[component]
pub fn EmbedViewerTracker(
    /// The channel watched.
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
    let (watched, handed_over) = use_handed_over::<Watched>();
    if let Some(Watched(channel)) = watched {
        let options = UseViewerTrackerOptions::default().once_seen(true);
        let _ = use_viewer_tracker_with_options(channel.to_string(), options);
    }
    view! { <span class=Watched::CLASS data-island=handed_over hidden></span> }
}
