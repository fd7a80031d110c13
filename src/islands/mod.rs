//! The islands: the interactive parts of the site's pages. Each wraps a component or a hook that works in any app.
//!
//! The rest of a page is plain HTML. The follow button is a plain form that a small script improves.

#![allow(unreachable_pub, reason = "the macros of components make them public")]

mod counter;
mod tracker;

pub use counter::CounterIsland;
pub use tracker::TrackerIsland;
