//! The components. They work in client-rendered and hydrated pages, in islands, and on a server, where they render but
//! send no requests.

pub mod embed_viewer_tracker;
pub mod follow_button;
pub mod viewer_counter;

pub use embed_viewer_tracker::EmbedViewerTracker;
pub use follow_button::FollowButton;
pub use viewer_counter::{PageRole, ViewerCounter};
