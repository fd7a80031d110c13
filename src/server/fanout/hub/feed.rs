//! One watched channel: what its streams show, who waits for more, and when it has to be looked at next.

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

/// How long a channel that was written to while it was read is left alone before it is read again: one that is written to
/// all the time is not read all the time.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One watched channel. It is in the hub for exactly as long as it has streams.
pub struct ChannelFeed {
    pub(super) channel: ChannelId,
    number: u64,
    pub(super) state: Mutex<FeedState>,
}

/// What is known of it, and who waits.
pub(super) struct FeedState {
    /// What the streams show.
    pub published: Option<Count>,
    /// `published`, encoded once for all.
    pub frame: Bytes,
    /// Counts the frames, so that a stream knows whether it has sent the newest. 0: there is none yet.
    pub version: u32,
    /// Counts the ticks, likewise.
    pub ticks: u32,
    /// The last time that the store was done with being asked.
    asked: Option<Instant>,
    /// The last time that `published` changed.
    changed: Option<Instant>,
    /// The last time that anything was sent to all.
    pub sent: Instant,
    /// A write on this node may have made what is shown old.
    pub was_written: bool,
    /// The store is being asked; its answer may be from before a write that has been answered meanwhile.
    pub read_in_flight: bool,
    /// It was written to while the store was asked.
    is_overtaken: bool,
    /// Its place in the schedule.
    visit: Option<Visit>,
    /// The streams, and for those that wait their wakers.
    pub streams: Slab<Option<Waker>>,
}

impl ChannelFeed {
    /// A channel of which nothing is known. `number` is no other cell's.
    pub(super) fn new(channel: ChannelId, number: u64) -> Self {
        let state = FeedState {
            published: None,
            frame: Bytes::new(),
            version: 0,
            ticks: 0,
            asked: None,
            changed: None,
            sent: Instant::now(),
            was_written: false,
            read_in_flight: false,
            is_overtaken: false,
            visit: None,
            streams: Slab::new(),
        };
        Self { channel, number, state: Mutex::new(state) }
    }

    /// Gives the cell the place in the schedule that its state asks for; none if nobody watches it any more.
    pub(super) fn plan(
        self: &Arc<Self>,
        state: &mut FeedState,
        schedule: &Schedule,
        now: Instant,
        interval: Duration,
    ) {
        let at = if state.streams.is_empty() { None } else { state.next(now, interval) };
        let next = at.map(|at| (at, self.number));
        schedule.set(state.visit, next, self);
        state.visit = next;
    }
}

impl FeedState {
    /// When the store is to be asked, unless it is being asked: a while ago if it never was.
    fn read_at(&self, now: Instant, interval: Duration) -> Option<Instant> {
        if self.read_in_flight {
            return None;
        }
        let (Some(asked), Some(changed)) = (self.asked, self.changed.or(self.asked)) else {
            return Some(now);
        };
        let regular = asked + interval;
        Some(match (self.was_written, self.is_overtaken) {
            (false, _) => regular,
            (true, false) => regular.min(changed + interval),
            (true, true) => regular.min((changed + interval).max(asked + AGAIN_AFTER)),
        })
    }

    /// When the streams are to hear a tick, once they have heard anything.
    fn tick_at(&self) -> Option<Instant> {
        (self.version > 0).then(|| self.sent + TICK_AFTER)
    }

    /// When there is something to do, as far as is known; `None` while the first answer is awaited.
    fn next(&self, now: Instant, interval: Duration) -> Option<Instant> {
        [self.read_at(now, interval), self.tick_at()].into_iter().flatten().min()
    }

    /// Whether the store is to be asked now.
    pub fn is_to_be_read(&self, now: Instant, interval: Duration) -> bool {
        self.read_at(now, interval).is_some_and(|at| at <= now)
    }

    /// Takes a tick if one is due.
    pub fn tick(&mut self, now: Instant) -> bool {
        let due = self.tick_at().is_some_and(|at| at <= now);
        if due {
            self.ticks = self.ticks.wrapping_add(1);
            self.sent = now;
        }
        due
    }

    /// The store is to be asked.
    pub fn start_read(&mut self) {
        self.read_in_flight = true;
        self.was_written = false;
    }

    /// The store has answered, or nobody waits for its answer any more.
    pub fn end_read(&mut self, now: Instant) {
        self.read_in_flight = false;
        self.asked = Some(now);
        self.is_overtaken = self.was_written;
    }

    /// Takes in what was read. Whether it is news.
    pub fn set_published(&mut self, channel: &ChannelId, count: Count, now: Instant) -> bool {
        if self
            .published
            .is_some_and(|published| (published.value, published.stale) == (count.value, count.stale))
        {
            return false;
        }
        self.published = Some(count);
        self.frame = frame::count(&CountUpdate::new(channel.clone(), count));
        self.version = self.version.wrapping_add(1).max(1);
        self.changed = Some(now);
        self.sent = now;
        true
    }

    /// Those who wait, taken out so that they are woken without any lock.
    pub fn take_waiting(&mut self) -> Vec<Waker> {
        self.streams.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}
