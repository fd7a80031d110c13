//! The islands: what is alive in a page. Everything else of a page is plain HTML, as is the follow button, which a small
//! script makes quick.

pub mod embed_viewer_tracker;
pub mod follow_button;
pub mod viewer_counter;

pub use embed_viewer_tracker::EmbedViewerTracker;
pub use follow_button::FollowButton;
pub use viewer_counter::{PageRole, ViewerCounter};
