//! Waves of joins that look invented: many sessions that join within seconds and then end in the same second, or stay
//! equally long to the second. People do neither; programs that invent viewers do both.
//!
//! A node watches the joins, beats and leaves that it accepts itself. What it finds is told to the operator. No count
//! depends on it.
//!
//! Promises:
//! - A beat costs well below a microsecond and no call to the store.
//! - Memory has a limit per channel and for all channels ([`MAX_CHANNELS`], [`MAX_SESSIONS`]). What was left
//!   out because of a limit is said.
//! - Nothing is kept beyond some hours, or beyond the end of the process, and no id of a session or viewer is kept.

mod crowd;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry, mapref::one::RefMut};
use parking_lot::Mutex;
use tokio::{
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval},
};

use self::watch::{KEEP, Watch};
pub use self::{
    verdict::{Explanation, SameLength, Score, Together, Verdict},
    watch::{ChannelReport, Hour, WaveReport},
};
use super::{clock::Clock, metrics::Metrics, presence::Observer};
use crate::domain::{Act, ChannelId, Count, SessionKey, Timestamp, ViewerId};

/// The most channels that are watched.
pub const MAX_CHANNELS: usize = 4_096;

/// The most sessions that are followed in windows and waves of all channels. Beside them, each channel has a few sessions
/// for comparison.
pub const MAX_SESSIONS: usize = 131_072;

/// Above this number of channels, quiet ones are dropped early.
const MANY_CHANNELS: usize = MAX_CHANNELS / 4 * 3;

/// The pause between two rounds over all channels.
const ROUND: Duration = Duration::from_secs(10);

/// The watch of a node over its channels. Cloning is cheap.
#[derive(Clone)]
pub struct Anomalies(Arc<Inner>);

struct Inner {
    channels: DashMap<ChannelId, Watch>,
    /// The number of channels. It is read at every join, and counting the map's entries would lock all of it.
    watched: AtomicUsize,
    /// The number of sessions in windows and waves.
    followed: AtomicUsize,
    /// When a channel was last not watched because of [`MAX_CHANNELS`].
    missed: Mutex<Option<Timestamp>>,
    /// The key of the hashes of sessions.
    key: RandomState,
    /// Whether no other node takes calls.
    is_only_node: bool,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What this node knows of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// When the watch over the channel began. `None` if there was no join.
    pub since: Option<Timestamp>,
    /// The present time.
    pub as_of: Timestamp,
    /// Whether this node has followed all sessions of the channel since then: no other node takes calls, and no limit was
    /// reached.
    pub is_complete: bool,
    /// The hours with joins, oldest first.
    pub hours: Vec<Hour>,
    /// The waves, oldest first.
    pub waves: Vec<WaveReport>,
}

impl Anomalies {
    /// A watch over nothing yet. `is_only_node`: whether no other node takes calls.
    #[must_use]
    pub fn new(is_only_node: bool, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            channels: DashMap::new(),
            watched: AtomicUsize::new(0),
            followed: AtomicUsize::new(0),
            missed: Mutex::default(),
            key: RandomState::new(),
            is_only_node,
            clock,
            metrics,
        }))
    }

    /// What this node knows of a channel.
    #[must_use]
    pub fn report(&self, channel: &ChannelId) -> Report {
        let as_of = self.0.clock.now();
        let watch = self.0.channels.get_mut(channel).map(|mut watch| {
            self.advance(&mut watch, as_of);
            watch.report()
        });
        match watch {
            Some(ChannelReport { since, is_complete, hours, waves }) => Report {
                since: Some(since),
                as_of,
                is_complete: is_complete && self.0.is_only_node,
                hours,
                waves,
            },
            None => {
                let is_complete = self.0.is_only_node && self.0.missed.lock().is_none();
                Report { since: None, as_of, is_complete, hours: Vec::new(), waves: Vec::new() }
            }
        }
    }

    /// The number of channels that are watched.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.0.watched.load(Relaxed)
    }

    /// The number of sessions that are followed in windows and waves.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.0.followed.load(Relaxed)
    }

    /// Judges all channels at an interval, forever.
    pub async fn run(self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.round().await;
        }
    }

    /// Judges all channels once.
    pub async fn round(&self) {
        let now = self.0.clock.now();
        let channels: Vec<ChannelId> = self.0.channels.iter().map(|watch| watch.key().clone()).collect();
        let is_under_pressure = channels.len() > MANY_CHANNELS;
        for channel in channels {
            if let Some(mut watch) = self.0.channels.get_mut(&channel) {
                self.advance(&mut watch, now);
            }
            let gone = self.0.channels.remove_if(&channel, |_, watch| watch.is_over(now, is_under_pressure));
            if gone.is_some() {
                self.0.watched.fetch_sub(1, Relaxed);
            }
            yield_now().await;
        }
        let mut missed = self.0.missed.lock();
        *missed = missed.filter(|missed| *missed + KEEP > now);
    }

    fn advance(&self, watch: &mut Watch, now: Timestamp) {
        let found = self.count_followed(watch, |watch| watch.advance(now));
        self.0.metrics.likely_invented(found.waves, found.joins);
    }

    fn join(&self, channel: &ChannelId, id: u64, at: Timestamp, lease: Duration) {
        let known = self.0.channels.get_mut(channel);
        let Some(mut watch) = known.or_else(|| self.watch(channel, at)) else { return };
        let has_room = self.0.followed.load(Relaxed) < MAX_SESSIONS;
        self.count_followed(&mut watch, |watch| watch.join(id, at, lease, has_room));
    }

    /// Begins to watch a channel, if the limit allows.
    fn watch(&self, channel: &ChannelId, at: Timestamp) -> Option<RefMut<'_, ChannelId, Watch>> {
        match self.0.channels.entry(channel.clone()) {
            Entry::Occupied(known) => Some(known.into_ref()),
            Entry::Vacant(_) if self.0.watched.fetch_add(1, Relaxed) >= MAX_CHANNELS => {
                self.0.watched.fetch_sub(1, Relaxed);
                *self.0.missed.lock() = Some(at);
                None
            }
            Entry::Vacant(new) => Some(new.insert(Watch::new(at))),
        }
    }

    /// Changes a watch and keeps the number of followed sessions up to date.
    fn count_followed<T>(&self, watch: &mut Watch, change: impl FnOnce(&mut Watch) -> T) -> T {
        let before = watch.followed();
        let result = change(watch);
        let after = watch.followed();
        if after >= before {
            self.0.followed.fetch_add(after - before, Relaxed);
        } else {
            self.0.followed.fetch_sub(before - after, Relaxed);
        }
        result
    }
}

impl Observer for Anomalies {
    fn wrote(&self, _: &ChannelId, _: Option<ViewerId>, _: Count) {}

    fn read(&self, _: &ChannelId, _: Count) {}

    fn acted(&self, who: &SessionKey, act: Act, is_counted: bool, arrived: Instant) {
        let id = self.0.key.hash_one((who.viewer, who.session));
        // The arrival, not the end of the write: a store that answers late must not make events simultaneous.
        let at = self.0.clock.now() - arrived.elapsed();
        match act {
            Act::Join { lease } if is_counted => self.join(&who.channel, id, at, lease),
            Act::Heartbeat { lease } | Act::Renew { lease } if is_counted => {
                if let Some(mut watch) = self.0.channels.get_mut(&who.channel) {
                    watch.beat(id, at, lease);
                }
            }
            Act::Leave | Act::LeaveKnown => {
                if let Some(mut watch) = self.0.channels.get_mut(&who.channel) {
                    watch.leave(id, at);
                }
            }
            _ => {}
        }
    }
}
