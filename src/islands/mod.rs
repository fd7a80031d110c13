//! The islands: what is alive in our pages. Each is a thin wrapper of a component that works anywhere.
//!
//! Everything else of a page is plain HTML, as is the follow button, which a small script makes quick.

#![warn(missing_docs)]

mod counter;
mod tracker;

pub use counter::CounterIsland;
pub use tracker::TrackerIsland;
