//! The components. They work wherever Leptos renders: in a page that is client-rendered or hydrated, in an island, and on a
//! server, where nothing is requested.

pub mod embed_viewer_tracker;
pub mod follow_button;
pub mod viewer_counter;

pub use embed_viewer_tracker::EmbedViewerTracker;
pub use follow_button::FollowButton;
pub use viewer_counter::{PageRole, ViewerCounter};
