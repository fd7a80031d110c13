//! The live signals of a recording, with times by the store's clock ([`SignalClock`]).

use std::sync::OnceLock;

use super::signal_clock::SignalClock;
use crate::{
    domain::{ChannelId, Live, Timestamp},
    server::signals::Signals,
};

/// The live signals, if they decide what is on air. Otherwise a channel is on air while it has viewers.
#[derive(Default)]
pub(super) struct DatedSignals {
    signals: OnceLock<Signals>,
    clock: SignalClock,
}

impl DatedSignals {
    /// Lets the signals decide from now on. False if some do already.
    pub(super) fn follow(&self, signals: Signals) -> bool {
        self.signals.set(signals).is_ok()
    }

    /// Whether signals decide.
    pub(super) fn decide(&self) -> bool {
        self.signals.get().is_some()
    }

    /// The signal of a channel. Unknown until both clocks are known. `None` if signals do not decide.
    pub(super) fn state(&self, channel: &ChannelId) -> Option<Live> {
        Some(match self.signals.get()?.state(channel) {
            Live::Yes { since } => {
                let start = self.clock.start(channel, since);
                start.map_or(Live::Unknown, |since| Live::Yes { since })
            }
            other => other,
        })
    }

    /// Whether the signal of a channel says that it is off air.
    pub(super) fn is_off_air(&self, channel: &ChannelId) -> bool {
        self.signals.get().is_some_and(|signals| signals.state(channel) == Live::No)
    }

    /// Whether it is known which channels are on air. True if signals do not decide.
    pub(super) fn are_current(&self) -> bool {
        self.signals.get().is_none_or(Signals::are_current)
    }

    /// All channels on air.
    pub(super) fn on_air(&self) -> Vec<ChannelId> {
        self.signals.get().and_then(|signals| signals.on_air(usize::MAX)).unwrap_or_default()
    }

    /// Compares the clock that dates the signals with that of the store, which shows `now`.
    pub(super) fn compare_clocks(&self, now: Timestamp) {
        if let Some(database_time) = self.signals.get().and_then(Signals::database_time) {
            self.clock.observe(database_time, now);
        }
    }

    /// When a broadcast began, by the store's clock. `since` is what its signal says; it is also the answer until both
    /// clocks are known.
    pub(super) fn begin(&self, channel: &ChannelId, since: Timestamp) -> Timestamp {
        self.clock.start(channel, since).unwrap_or(since)
    }

    /// Records that the broadcast of a channel is over.
    pub(super) fn end(&self, channel: &ChannelId) {
        self.clock.end(channel);
    }

    /// A time of a signal by the store's clock. Unchanged until both clocks are known.
    pub(super) fn convert(&self, at: Timestamp) -> Timestamp {
        self.clock.convert(at).unwrap_or(at)
    }

    /// Frees what is left of broadcasts that are over.
    pub(super) fn sweep(&self) {
        if let Some(signals) = self.signals.get() {
            self.clock.retain(|channel| matches!(signals.state(channel), Live::Yes { .. }));
        }
    }
}
