//! Hooks, free for any Leptos app to use. Each `use_x` has a `use_x_with_options`, options whose defaults are stated, and
//! a return struct with named parts; each says what it does on the server; each cleans up after itself when its component
//! goes away. They contain no gates: what depends on the surroundings is in [`crate::platform`].
//!
//! A channel is given as a [`ChannelId`], so it can't be a bad name, or as anything that tells one and may change: a
//! signal, a memo, `Signal::derive`.

#![warn(missing_docs)]

mod endpoints;
mod shared_stream;
mod use_viewer_count;
mod use_viewer_tracker;

use leptos::prelude::*;

use crate::domain::ChannelId;

pub use use_viewer_count::{
    UseViewerCountOptions, UseViewerCountReturn, use_viewer_count, use_viewer_count_with_options,
};
pub use use_viewer_tracker::{
    UseViewerTrackerOptions, UseViewerTrackerReturn, use_viewer_tracker, use_viewer_tracker_with_options,
};

pub(crate) use use_viewer_count::count_of;
pub(crate) use use_viewer_tracker::track;

/// What tells which channel is meant: one that stays, as in an island, which comes without the code for changes; or a signal.
pub(crate) trait Channel: Clone {
    /// The name of the channel of now.
    fn name(&self) -> String;

    /// Calls back with the name of another one, whenever it is another.
    fn on_change(self, turn: impl Fn(String) + 'static);
}

impl Channel for ChannelId {
    fn name(&self) -> String {
        self.as_str().to_owned()
    }

    fn on_change(self, _turn: impl Fn(String) + 'static) {}
}

impl Channel for Signal<ChannelId> {
    fn name(&self) -> String {
        self.with_untracked(Channel::name)
    }

    fn on_change(self, turn: impl Fn(String) + 'static) {
        let first = self.name();
        Effect::new(move |before: Option<String>| {
            let name = self.with(Channel::name);
            if name != before.unwrap_or_else(|| first.clone()) {
                untrack(|| turn(name.clone()));
            }
            name
        });
    }
}

/// Runs once, in browsers only. Boxed, so that there is one effect's worth of code for all hooks.
fn after_hydration(run: Box<dyn Fn()>) {
    Effect::new(run);
}
