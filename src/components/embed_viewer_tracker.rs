//! Counts an embed page as a viewer once it has been on screen.

use leptos::prelude::*;

use crate::{
    domain::ChannelId,
    hooks::{UseViewerTrackerOptions, use_viewer_tracker_with_options},
};

/// Counts the page as a viewer once half of its `<main>` has been on screen, or has covered half of the window. Renders
/// nothing.
///
/// When the channel changes, the page leaves the old channel and joins the new one.
#[component]
pub fn EmbedViewerTracker(
    /// The channel to watch.
    #[prop(into)]
    channel: Signal<ChannelId>,
    /// The ticket of your backend that says who the viewer is.
    #[prop(optional, into)]
    ticket: String,
) -> impl IntoView {
    let options = UseViewerTrackerOptions::default().once_seen(true).ticket(ticket);
    let _ = use_viewer_tracker_with_options(channel, options);
}
