use leptos::prelude::*;

use crate::{
    domain::ChannelId,
    hooks::{UseViewerTrackerOptions, use_viewer_tracker_with_options},
};

/// Counts the page that it is on as a viewer once half of it has been on screen, and shows nothing.
///
/// When the channel changes, the viewer moves on to the new one.
#[component]
pub fn EmbedViewerTracker(
    /// The channel watched.
    #[prop(into)]
    channel: Signal<ChannelId>,
) -> impl IntoView {
    let _ = use_viewer_tracker_with_options(channel, UseViewerTrackerOptions::default().once_seen(true));
}
