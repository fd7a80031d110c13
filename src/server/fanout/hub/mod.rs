//! The hub: the watched channels, each with its newest frame and the wakers of its streams.

mod feed;
mod schedule;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use smallvec::SmallVec;
use tokio::{sync::Notify, time::Instant};

use self::{
    feed::{ChannelFeed, FeedState},
    schedule::Schedule,
};
use super::frame;
use crate::domain::{ChannelId, Count};

/// How long after its last event a stream gets a tick. Proxies close connections that are silent for 60 s or more, and
/// a page treats a stream that is silent for 60 s as dead.
pub const TICK_AFTER: Duration = Duration::from_secs(25);

/// All channels that are watched on this node.
///
/// Lock order: a shard of `feeds`, the state of a feed, the schedule. No waker is called while a lock is held.
pub struct Hub {
    feeds: DashMap<ChannelId, Arc<ChannelFeed>>,
    schedule: Schedule,
    /// The id of the next feed.
    next_id: AtomicU64,
    /// The shortest time between two updates of a channel.
    interval: Duration,
    /// Wakes the reader for channels that can't wait for its next round.
    due_now: Notify,
    closed: AtomicBool,
}

impl Hub {
    /// Creates a hub without streams that publishes a channel at most once per `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            feeds: DashMap::new(),
            schedule: Schedule::default(),
            next_id: AtomicU64::new(0),
            interval,
            due_now: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Subscribes to channels. The first count of each channel is sent as soon as it is known.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, channels: &[ChannelId]) -> Subscription {
        let watches = channels.iter().map(|channel| self.watch(channel)).collect();
        Subscription { hub: Arc::clone(self), watches, last_sent: None }
    }

    fn watch(&self, channel: &ChannelId) -> Watch {
        // The entry is locked until the stream is added, so that the channel can't be removed in between.
        let feed = self.feeds.entry(channel.clone()).or_insert_with(|| {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            Arc::new(ChannelFeed::new(channel.clone(), id))
        });
        let mut state = feed.state.lock();
        let is_first = state.streams.is_empty();
        let key = state.streams.insert(None);
        if is_first {
            self.reschedule(&feed, &mut state, Instant::now());
            self.due_now.notify_one();
        }
        Watch { feed: Arc::clone(&feed), key, version: 0, ticks: 0 }
    }

    /// Records the count that a write on this node has returned. If the count may have changed, the channel is read: at
    /// once after a quiet interval, otherwise at the end of its interval.
    ///
    /// The count itself is not published, because writes return in any order. Only the reader publishes, in order.
    pub fn notify_write(&self, channel: &ChannelId, count: u32) {
        let Some(feed) = self.feeds.get(channel) else { return };
        let mut state = feed.state.lock();
        let may_be_news =
            state.read_in_flight || state.published.is_none_or(|published| published.value() != Some(count));
        if may_be_news {
            self.mark_written(&feed, &mut state);
        }
    }

    /// Records that a channel has come on air or gone off air. It is published like a change of the count.
    pub fn notify_live(&self, channel: &ChannelId) {
        if let Some(feed) = self.feeds.get(channel) {
            self.mark_written(&feed, &mut feed.state.lock());
        }
    }

    /// Reads the channel as soon as it may be published again.
    fn mark_written(&self, feed: &Arc<ChannelFeed>, state: &mut FeedState) {
        if state.was_written {
            return;
        }
        state.was_written = true;
        let now = Instant::now();
        self.reschedule(feed, state, now);
        if state.is_read_due(now, self.interval) {
            self.due_now.notify_one();
        }
    }

    /// The number of watched channels.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.feeds.len()
    }

    /// Whether no channel is watched.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Waits until channels have to be read at once. [`Hub::round`] returns them.
    pub async fn wait_until_due(&self) {
        self.due_now.notified().await;
    }

    /// Processes the channels that are due by `now`: sends a tick to channels that were silent for [`TICK_AFTER`], and
    /// returns the channels whose count has to be read. A channel has at most one pending read.
    #[must_use]
    pub fn round(self: &Arc<Self>, now: Instant) -> Vec<PendingRead> {
        let (mut reads, mut wakers) = (Vec::new(), Vec::new());
        for feed in self.schedule.due(now) {
            let mut state = feed.state.lock();
            if state.tick(now) {
                wakers.append(&mut state.take_wakers());
            }
            let is_due = !state.streams.is_empty() && state.is_read_due(now, self.interval);
            if is_due {
                state.start_read();
            }
            self.reschedule(&feed, &mut state, now);
            drop(state);
            if is_due {
                reads.push(PendingRead { hub: Arc::clone(self), feed, is_done: false });
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        reads
    }

    /// Ends all current and future streams.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.feeds.iter().flat_map(|feed| feed.state.lock().take_wakers()).collect();
        wakers.into_iter().for_each(Waker::wake);
        self.due_now.notify_one();
    }

    /// Whether [`Hub::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn reschedule(&self, feed: &Arc<ChannelFeed>, state: &mut FeedState, now: Instant) {
        feed.reschedule(state, &self.schedule, now, self.interval);
    }
}

/// A channel whose count has to be read. A channel has at most one, so readings are published in the order in which
/// they began. If it is dropped without a count, the channel is read again after an interval.
#[must_use]
pub struct PendingRead {
    hub: Arc<Hub>,
    feed: Arc<ChannelFeed>,
    is_done: bool,
}

impl PendingRead {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        &self.feed.channel
    }

    /// Publishes the count, and whether the channel is on air, if either has changed.
    pub fn publish(mut self, count: Count, live: Option<bool>, now: Instant) {
        self.is_done = true;
        self.finish(Some((count, live)), now);
    }

    fn finish(&self, reading: Option<(Count, Option<bool>)>, now: Instant) {
        let mut state = self.feed.state.lock();
        state.end_read(now);
        let is_news =
            reading.is_some_and(|(count, live)| state.set_published(&self.feed.channel, count, live, now));
        let wakers = if is_news { state.take_wakers() } else { Vec::new() };
        self.hub.reschedule(&self.feed, &mut state, now);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        if !self.is_done {
            self.finish(None, Instant::now());
        }
    }
}

/// The subscription of one stream. Dropping it unsubscribes.
pub struct Subscription {
    hub: Arc<Hub>,
    /// The watch whose frame was sent last comes last, so a stream that reads slowly gets all of its channels in turn.
    watches: SmallVec<[Watch; 1]>,
    /// The time of the newest event that was sent.
    last_sent: Option<Instant>,
}

struct Watch {
    feed: Arc<ChannelFeed>,
    key: usize,
    version: u32,
    ticks: u32,
}

impl Subscription {
    /// The next frame to send; `None` when the hub is closed.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        for (at, watch) in self.watches.iter_mut().enumerate() {
            let mut state = watch.feed.state.lock();
            let ticked = watch.version > 0 && watch.ticks != state.ticks;
            watch.ticks = state.ticks;
            if watch.version != state.version {
                watch.version = state.version;
                self.last_sent = self.last_sent.max(Some(state.last_sent));
                let frame = state.frame.clone();
                drop(state);
                self.watches.rotate_left(at + 1);
                return Poll::Ready(Some(frame));
            }
            // Another channel of the same stream may have sent an event in the meantime.
            if ticked && self.last_sent.is_none_or(|at| at + TICK_AFTER <= state.last_sent) {
                self.last_sent = Some(state.last_sent);
                return Poll::Ready(Some(frame::tick()));
            }
            match &mut state.streams[watch.key] {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
        }
        // Checked after the wakers are set, so that a close in between is not missed.
        if self.hub.is_closed() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let now = Instant::now();
        for Watch { feed, key, .. } in &self.watches {
            // The shard is locked, as in `watch`: a channel is in the hub if and only if it has streams.
            self.hub.feeds.remove_if(&feed.channel, |_, _| {
                let mut state = feed.state.lock();
                state.streams.remove(*key);
                let was_last = state.streams.is_empty();
                if was_last {
                    self.hub.reschedule(feed, &mut state, now);
                }
                was_last
            });
        }
    }
}

#[cfg(test)]
mod tests;
