use leptos::prelude::*;

use crate::hooks::use_viewer_tracker;

/// Counts the page that it is on as a viewer, and shows nothing.
#[island]
pub fn EmbedViewerTracker(
    /// The channel watched.
    channel: String,
) -> impl IntoView {
    let _ = use_viewer_tracker(channel);
}
