//! The feed of one watched channel: its newest frame, the wakers of its streams, and its place in the schedule.

use std::{sync::Arc, task::Waker, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::Instant;

use super::{
    TICK_AFTER,
    schedule::{Schedule, Visit},
};
use crate::{
    domain::{ChannelId, Count, CountUpdate},
    server::fanout::frame,
};

/// The pause before a channel that was written during a read is read again. It limits the reads of a channel with
/// constant writes.
const REREAD_PAUSE: Duration = Duration::from_millis(50);

/// The feed of one watched channel. It is in the hub for exactly as long as it has streams.
pub(super) struct ChannelFeed {
    pub(super) channel: ChannelId,
    id: u64,
    pub(super) state: Mutex<FeedState>,
}

/// The state of a feed.
pub(super) struct FeedState {
    /// The count that was last published.
    pub published: Option<Count>,
    /// Whether the channel was on air then, if that was known.
    live: Option<bool>,
    /// `published` and `live`, encoded once for all streams.
    pub frame: Bytes,
    /// The number of the frame, by which a stream knows whether it has sent it. 0: no frame yet.
    pub version: u32,
    /// The number of ticks, for the same purpose.
    pub ticks: u32,
    /// When the last read ended.
    last_read: Option<Instant>,
    /// When `published` last changed; `None` if it is the first count.
    last_change: Option<Instant>,
    /// When a frame or tick was last sent.
    pub last_sent: Instant,
    /// Whether a write on this node may have changed the count since the start of the last read.
    pub was_written: bool,
    /// Whether a read is in flight. Its result may be older than a write that has ended since.
    pub read_in_flight: bool,
    /// Whether the channel was written during the last read.
    was_written_during_read: bool,
    /// The place of the feed in the schedule.
    visit: Option<Visit>,
    /// The streams, with the wakers of those that wait.
    pub streams: Slab<Option<Waker>>,
}

impl ChannelFeed {
    /// Creates the feed of a channel. `id` must be unique in the hub.
    pub(super) fn new(channel: ChannelId, id: u64) -> Self {
        let state = FeedState {
            published: None,
            live: None,
            frame: Bytes::new(),
            version: 0,
            ticks: 0,
            last_read: None,
            last_change: None,
            last_sent: Instant::now(),
            was_written: false,
            read_in_flight: false,
            was_written_during_read: false,
            visit: None,
            streams: Slab::new(),
        };
        Self { channel, id, state: Mutex::new(state) }
    }

    /// Updates the place of the feed in the schedule from its state. A feed without streams is removed.
    pub(super) fn reschedule(
        self: &Arc<Self>,
        state: &mut FeedState,
        schedule: &Schedule,
        now: Instant,
        interval: Duration,
    ) {
        let at = if state.streams.is_empty() { None } else { state.next_visit(now, interval) };
        let next = at.map(|at| (at, self.id));
        schedule.set(state.visit, next, self);
        state.visit = next;
    }
}

impl FeedState {
    /// When the next read is due: `now` if the channel was never read, `None` while a read is in flight.
    fn read_at(&self, now: Instant, interval: Duration) -> Option<Instant> {
        if self.read_in_flight {
            return None;
        }
        let Some(read) = self.last_read else { return Some(now) };
        let regular = read + interval;
        // The first count of a feed is not a change: its streams show the first change at once.
        let last_change = if self.published.is_some() { self.last_change } else { Some(read) };
        let earliest = last_change.map_or(read, |changed| changed + interval);
        Some(match (self.was_written, self.was_written_during_read) {
            (false, _) => regular,
            (true, false) => regular.min(earliest),
            (true, true) => regular.min(earliest.max(read + REREAD_PAUSE)),
        })
    }

    /// When the next tick is due. `None` before the first frame.
    fn tick_at(&self) -> Option<Instant> {
        (self.version > 0).then(|| self.last_sent + TICK_AFTER)
    }

    /// When the next read or tick is due. `None` during the first read.
    fn next_visit(&self, now: Instant, interval: Duration) -> Option<Instant> {
        [self.read_at(now, interval), self.tick_at()].into_iter().flatten().min()
    }

    /// Whether a read is due.
    pub(super) fn is_read_due(&self, now: Instant, interval: Duration) -> bool {
        self.read_at(now, interval).is_some_and(|at| at <= now)
    }

    /// Counts a tick if one is due, and returns whether it was.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let is_due = self.tick_at().is_some_and(|at| at <= now);
        if is_due {
            self.ticks = self.ticks.wrapping_add(1);
            self.last_sent = now;
        }
        is_due
    }

    /// Records the start of a read.
    pub(super) fn start_read(&mut self) {
        self.read_in_flight = true;
        self.was_written = false;
    }

    /// Records the end of a read, with or without a result.
    pub(super) fn end_read(&mut self, now: Instant) {
        self.read_in_flight = false;
        self.last_read = Some(now);
        self.was_written_during_read = self.was_written;
    }

    /// Publishes a count, and whether the channel is on air, if either differs from the last one. Returns whether one does.
    pub(super) fn set_published(
        &mut self,
        channel: &ChannelId,
        count: Count,
        live: Option<bool>,
        now: Instant,
    ) -> bool {
        if self.published.is_some_and(|published| {
            (published.value(), published.is_stale()) == (count.value(), count.is_stale())
        }) && self.live == live
        {
            return false;
        }
        self.last_change = self.published.map(|_| now);
        self.published = Some(count);
        self.live = live;
        self.frame = frame::count(&CountUpdate::new(channel.clone(), count).on_air(live));
        self.version = self.version.wrapping_add(1).max(1);
        self.last_sent = now;
        true
    }

    /// Takes the wakers of waiting streams, so that the caller can wake them without a lock.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.streams.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}
