//! The channels that someone watches, each with its newest frame and those who wait for the next.

mod cell;
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
    cell::{Cell, CellState},
    schedule::Schedule,
};
use super::frame;
use crate::domain::{ChannelId, Count};

/// A stream gets a tick after this long without an event: proxies cut what is silent for 60 s or more, and a page takes
/// a stream that is silent for 60 s for dead.
pub const TICK_AFTER: Duration = Duration::from_secs(25);

/// All channels that are watched on this node.
///
/// Locks are taken in this order: a shard of `cells`, the state of a cell, the schedule. No waker is called under one.
pub struct Hub {
    cells: DashMap<ChannelId, Arc<Cell>>,
    schedule: Schedule,
    /// How many cells there have been.
    numbers: AtomicU64,
    /// One update per channel per this interval.
    interval: Duration,
    /// Calls the reader to what can't wait for its next round.
    hurry: Notify,
    closed: AtomicBool,
}

impl Hub {
    /// A hub without streams that publishes a channel once per `interval`, at most.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            cells: DashMap::new(),
            schedule: Schedule::default(),
            numbers: AtomicU64::new(0),
            interval,
            hurry: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Starts watching channels. The first count of each comes as soon as it is known.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, channels: &[ChannelId]) -> Subscription {
        let watches = channels.iter().map(|channel| self.watch(channel)).collect();
        Subscription { hub: Arc::clone(self), watches, spoke: None }
    }

    fn watch(&self, channel: &ChannelId) -> Watch {
        // The entry's lock is held until the stream is in, so that the channel isn't dropped in between.
        let cell = self.cells.entry(channel.clone()).or_insert_with(|| {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            Arc::new(Cell::new(channel.clone(), number))
        });
        let mut state = cell.state.lock();
        let is_first = state.streams.is_empty();
        let key = state.streams.insert(None);
        if is_first {
            self.plan(&cell, &mut state, Instant::now());
            self.hurry.notify_one();
        }
        Watch { cell: Arc::clone(&cell), key, edition: 0, ticks: 0 }
    }

    /// Takes note of a count that a write on this node has given. If it may be news, the channel is read: at once if it
    /// was quiet, else when its interval is over.
    ///
    /// The count itself is not published: writes are answered in any order, and the reader alone keeps them straight.
    pub fn touch(&self, channel: &ChannelId, count: u32) {
        let Some(cell) = self.cells.get(channel) else { return };
        let mut state = cell.state.lock();
        let news = state.asking || state.shown.is_none_or(|shown| shown.value != Some(count));
        if state.touched || !news {
            return;
        }
        state.touched = true;
        let now = Instant::now();
        self.plan(&cell, &mut state, now);
        if state.is_to_be_read(now, self.interval) {
            self.hurry.notify_one();
        }
    }

    /// How many channels are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.cells.len()
    }

    /// Whether anybody watches anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.cells.is_empty()
    }

    /// Waits until there are channels that have to be read at once; [`Hub::round`] has them.
    pub async fn called(&self) {
        self.hurry.notified().await;
    }

    /// Looks at what is due by `now` and at nothing else: sends a tick to channels that have been silent for
    /// [`TICK_AFTER`], and hands out those whose count is to be read. A channel is handed out once at a time.
    #[must_use]
    pub fn round(self: &Arc<Self>, now: Instant) -> Vec<Ask> {
        let (mut asks, mut waiting) = (Vec::new(), Vec::new());
        for cell in self.schedule.due(now) {
            let mut state = cell.state.lock();
            if state.tick(now) {
                waiting.append(&mut state.take_waiting());
            }
            let is_asked = !state.streams.is_empty() && state.is_to_be_read(now, self.interval);
            if is_asked {
                state.start_asking();
            }
            self.plan(&cell, &mut state, now);
            drop(state);
            if is_asked {
                asks.push(Ask { hub: Arc::clone(self), cell, is_answered: false });
            }
        }
        waiting.into_iter().for_each(Waker::wake);
        asks
    }

    /// Ends every stream, now and from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let waiting: Vec<Waker> =
            self.cells.iter().flat_map(|cell| cell.state.lock().take_waiting()).collect();
        waiting.into_iter().for_each(Waker::wake);
        self.hurry.notify_one();
    }

    /// Whether [`Hub::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn plan(&self, cell: &Arc<Cell>, state: &mut CellState, now: Instant) {
        cell.plan(state, &self.schedule, now, self.interval);
    }
}

/// A channel whose count is to be read. There is one of it at a time, so that readings are published in the order in
/// which they were begun. Dropped without an answer, it has the channel read again after an interval.
#[must_use]
pub struct Ask {
    hub: Arc<Hub>,
    cell: Arc<Cell>,
    is_answered: bool,
}

impl Ask {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        &self.cell.channel
    }

    /// Takes in the count as it was read. Streams hear of it if it is news.
    pub fn publish(mut self, count: Count, now: Instant) {
        self.is_answered = true;
        self.end(Some(count), now);
    }

    fn end(&self, count: Option<Count>, now: Instant) {
        let mut state = self.cell.state.lock();
        state.stop_asking(now);
        let is_news = count.is_some_and(|count| state.show(&self.cell.channel, count, now));
        let waiting = if is_news { state.take_waiting() } else { Vec::new() };
        self.hub.plan(&self.cell, &mut state, now);
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
    spoke: Option<Instant>,
}

struct Watch {
    cell: Arc<Cell>,
    key: usize,
    edition: u32,
    ticks: u32,
}

impl Subscription {
    /// The next frame to send; `None` when the hub is closed.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        for watch in &mut self.watches {
            let mut state = watch.cell.state.lock();
            let ticked = watch.edition > 0 && watch.ticks != state.ticks;
            watch.ticks = state.ticks;
            if watch.edition != state.edition {
                watch.edition = state.edition;
                self.spoke = self.spoke.max(Some(state.sent));
                return Poll::Ready(Some(state.frame.clone()));
            }
            // Where there are many channels, another may have spoken meanwhile.
            if ticked && self.spoke.is_none_or(|at| at + TICK_AFTER <= state.sent) {
                self.spoke = Some(state.sent);
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
        for Watch { cell, key, .. } in &self.watches {
            // Under the shard's lock, as when it came: a channel is there if and only if it has streams.
            self.hub.cells.remove_if(&cell.channel, |_, _| {
                let mut state = cell.state.lock();
                state.streams.remove(*key);
                let was_last = state.streams.is_empty();
                if was_last {
                    self.hub.plan(cell, &mut state, now);
                }
                was_last
            });
        }
    }
}

#[cfg(test)]
mod tests;
