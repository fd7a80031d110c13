//! Hooks for any Leptos app. Each `use_x` has a variant `use_x_with_options`, documented defaults and a return struct.
//! Each documents its behavior during server-side rendering and cleans up when its component is disposed of. The hooks
//! contain no `cfg` gates: [`crate::platform`] contains the code that depends on the environment.
//!
//! Pass a channel as a [`ChannelId`], which is always valid, or as a reactive value of one: a signal, a memo or
//! `Signal::derive`.

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

/// A source of a channel: a fixed [`ChannelId`], as in an island, which needs no code for changes; or a signal.
pub(crate) trait Channel: Clone {
    /// The name of the current channel.
    fn name(&self) -> String;

    /// Calls back with the name of the new channel whenever the channel changes.
    fn on_change(self, callback: impl Fn(String) + 'static);
}

impl Channel for ChannelId {
    fn name(&self) -> String {
        self.as_str().to_owned()
    }

    fn on_change(self, _callback: impl Fn(String) + 'static) {}
}

impl Channel for Signal<ChannelId> {
    fn name(&self) -> String {
        self.with_untracked(Channel::name)
    }

    fn on_change(self, callback: impl Fn(String) + 'static) {
        let first = self.name();
        Effect::new(move |before: Option<String>| {
            let name = self.with(Channel::name);
            if name != before.unwrap_or_else(|| first.clone()) {
                untrack(|| callback(name.clone()));
            }
            name
        });
    }
}

/// Runs a callback once, in browsers only. The callback is boxed so that all hooks share the code of one effect.
fn after_hydration(run: Box<dyn Fn()>) {
    Effect::new(run);
}
