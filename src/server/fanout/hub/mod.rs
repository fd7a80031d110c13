//! The channels that someone watches, each with its newest frame and those who wait for the next.

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

/// A stream gets a tick after this long without an event: proxies cut what is silent for 60 s or more, and a page takes
/// a stream that is silent for 60 s for dead.
pub const TICK_AFTER: Duration = Duration::from_secs(25);

/// All channels that are watched on this node.
///
/// Locks are taken in this order: a shard of `feeds`, the state of a cell, the schedule. No waker is called under one.
pub struct Hub {
    feeds: DashMap<ChannelId, Arc<ChannelFeed>>,
    schedule: Schedule,
    /// How many cells there have been.
    numbers: AtomicU64,
    /// One update per channel per this interval.
    interval: Duration,
    /// Calls the reader to what can't wait for its next round.
    due_now: Notify,
    closed: AtomicBool,
}

impl Hub {
    /// A hub without streams that publishes a channel once per `interval`, at most.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            feeds: DashMap::new(),
            schedule: Schedule::default(),
            numbers: AtomicU64::new(0),
            interval,
            due_now: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Starts watching channels. The first count of each comes as soon as it is known.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, channels: &[ChannelId]) -> Subscription {
        let watches = channels.iter().map(|channel| self.watch(channel)).collect();
        Subscription { hub: Arc::clone(self), watches, last_sent: None }
    }

    fn watch(&self, channel: &ChannelId) -> Watch {
        // The entry's lock is held until the stream is in, so that the channel isn't dropped in between.
        let feed = self.feeds.entry(channel.clone()).or_insert_with(|| {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            Arc::new(ChannelFeed::new(channel.clone(), number))
        });
        let mut state = feed.state.lock();
        let is_first = state.streams.is_empty();
        let key = state.streams.insert(None);
        if is_first {
            self.plan(&feed, &mut state, Instant::now());
            self.due_now.notify_one();
        }
        Watch { feed: Arc::clone(&feed), key, version: 0, ticks: 0 }
    }

    /// Takes note of a count that a write on this node has given. If it may be news, the channel is read: at once if it
    /// was quiet, else when its interval is over.
    ///
    /// The count itself is not published: writes are answered in any order, and the reader alone keeps them straight.
    pub fn notify_write(&self, channel: &ChannelId, count: u32) {
        let Some(feed) = self.feeds.get(channel) else { return };
        let mut state = feed.state.lock();
        let news =
            state.read_in_flight || state.published.is_none_or(|published| published.value != Some(count));
        if state.was_written || !news {
            return;
        }
        state.was_written = true;
        let now = Instant::now();
        self.plan(&feed, &mut state, now);
        if state.is_to_be_read(now, self.interval) {
            self.due_now.notify_one();
        }
    }

    /// How many channels are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.feeds.len()
    }

    /// Whether anybody watches anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Waits until there are channels that have to be read at once; [`Hub::round`] has them.
    pub async fn called(&self) {
        self.due_now.notified().await;
    }

    /// Looks at what is due by `now` and at nothing else: sends a tick to channels that have been silent for
    /// [`TICK_AFTER`], and hands out those whose count is to be read. A channel is handed out once at a time.
    #[must_use]
    pub fn round(self: &Arc<Self>, now: Instant) -> Vec<Ask> {
        let (mut asks, mut waiting) = (Vec::new(), Vec::new());
        for feed in self.schedule.due(now) {
            let mut state = feed.state.lock();
            if state.tick(now) {
                waiting.append(&mut state.take_waiting());
            }
            let is_due = !state.streams.is_empty() && state.is_to_be_read(now, self.interval);
            if is_due {
                state.start_read();
            }
            self.plan(&feed, &mut state, now);
            drop(state);
            if is_due {
                asks.push(Ask { hub: Arc::clone(self), feed, is_answered: false });
            }
        }
        waiting.into_iter().for_each(Waker::wake);
        asks
    }

    /// Ends every stream, now and from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let waiting: Vec<Waker> =
            self.feeds.iter().flat_map(|feed| feed.state.lock().take_waiting()).collect();
        waiting.into_iter().for_each(Waker::wake);
        self.due_now.notify_one();
    }

    /// Whether [`Hub::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn plan(&self, feed: &Arc<ChannelFeed>, state: &mut FeedState, now: Instant) {
        feed.plan(state, &self.schedule, now, self.interval);
    }
}

/// A channel whose count is to be read. There is one of it at a time, so that readings are published in the order in
/// which they were begun. Dropped without an answer, it has the channel read again after an interval.
#[must_use]
pub struct Ask {
    hub: Arc<Hub>,
    feed: Arc<ChannelFeed>,
    is_answered: bool,
}

impl Ask {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        &self.feed.channel
    }

    /// Takes in the count as it was read. Streams hear of it if it is news.
    pub fn publish(mut self, count: Count, now: Instant) {
        self.is_answered = true;
        self.end(Some(count), now);
    }

    fn end(&self, count: Option<Count>, now: Instant) {
        let mut state = self.feed.state.lock();
        state.end_read(now);
        let is_news = count.is_some_and(|count| state.set_published(&self.feed.channel, count, now));
        let waiting = if is_news { state.take_waiting() } else { Vec::new() };
        self.hub.plan(&self.feed, &mut state, now);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.is_answered {
            self.end(None, Instant::now());
        }
    }
}

/// One stream's view of its channels. Dropping it, on whatever path, frees its place.
pub struct Subscription {
    hub: Arc<Hub>,
    watches: SmallVec<[Watch; 1]>,
    /// When the channel spoke that has spoken last.
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
        for watch in &mut self.watches {
            let mut state = watch.feed.state.lock();
            let ticked = watch.version > 0 && watch.ticks != state.ticks;
            watch.ticks = state.ticks;
            if watch.version != state.version {
                watch.version = state.version;
                self.last_sent = self.last_sent.max(Some(state.sent));
                return Poll::Ready(Some(state.frame.clone()));
            }
            // Where there are many channels, another may have spoken meanwhile.
            if ticked && self.last_sent.is_none_or(|at| at + TICK_AFTER <= state.sent) {
                self.last_sent = Some(state.sent);
                return Poll::Ready(Some(frame::tick()));
            }
            match &mut state.streams[watch.key] {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        // Looked at after the wakers are in place, so that a close in between is not missed.
        if self.hub.is_closed() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let now = Instant::now();
        for Watch { feed, key, .. } in &self.watches {
            // Under the shard's lock, as when it came: a channel is there if and only if it has streams.
            self.hub.feeds.remove_if(&feed.channel, |_, _| {
                let mut state = feed.state.lock();
                state.streams.remove(*key);
                let was_last = state.streams.is_empty();
                if was_last {
                    self.hub.plan(feed, &mut state, now);
                }
                was_last
            });
        }
    }
}

#[cfg(test)]
mod tests;
