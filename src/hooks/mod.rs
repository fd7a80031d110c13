//! Hooks, free for any Leptos app to use. Each `use_x` has a `use_x_with_options`, options whose defaults are stated, and
//! a return struct with named parts; each says what it does on the server; each cleans up after itself when its component
//! goes away. They contain no gates: what depends on the surroundings is in [`crate::platform`].

#![warn(missing_docs)]

mod shared_stream;
mod use_handed_over;
mod use_locale;
mod use_not_found;
mod use_viewer_count;
mod use_viewer_tracker;

pub use use_handed_over::use_handed_over;
pub use use_locale::use_locale;
pub use use_not_found::use_not_found;
pub use use_viewer_count::{
    UseViewerCountOptions, UseViewerCountReturn, use_viewer_count, use_viewer_count_with_options,
};
pub use use_viewer_tracker::{
    UseViewerTrackerOptions, UseViewerTrackerReturn, use_viewer_tracker, use_viewer_tracker_with_options,
};

/// Runs once, in browsers only. Boxed, so that there is one effect's worth of code for all hooks.
fn after_hydration(run: Box<dyn Fn()>) {
    leptos::prelude::Effect::new(run);
}
