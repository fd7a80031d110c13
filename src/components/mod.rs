//! The islands: what is alive in a page. Everything else of a page is plain HTML.

pub mod embed_viewer_tracker;
pub mod viewer_counter;

pub use embed_viewer_tracker::EmbedViewerTracker;
pub use viewer_counter::{PageRole, ViewerCounter};
