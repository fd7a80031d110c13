//! The channels that someone watches, each with its newest frame and those who wait for the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use slab::Slab;
use smallvec::SmallVec;
use tokio::{sync::Notify, time::Instant};

use super::frame;
use crate::domain::{ChannelId, Count, CountUpdate};

/// A stream gets a tick after this long without an event: proxies cut what is silent for 60 s or more, and a page takes
/// a stream that is silent for 60 s for dead.
pub const TICK_AFTER: Duration = Duration::from_secs(25);

/// All channels that are watched on this node.
pub struct Hub {
    cells: DashMap<ChannelId, Arc<Cell>>,
    /// One update per channel per this interval.
    interval: Duration,
    /// Channels that have to be read at once, and the call for the reader to do so.
    urgent: Mutex<Vec<Arc<Cell>>>,
    hurry: Notify,
    closed: AtomicBool,
}

/// One watched channel.
pub struct Cell {
    channel: ChannelId,
    state: Mutex<CellState>,
}

struct CellState {
    /// What the streams show.
    shown: Option<Count>,
    /// `shown`, encoded once for all.
    frame: Bytes,
    /// Counts the frames, so that a stream knows whether it has sent the newest. 0: there is none yet.
    edition: u32,
    /// Counts the ticks, likewise.
    ticks: u32,
    /// The last time the store was asked.
    asked: Option<Instant>,
    /// The last time that `shown` changed.
    changed: Option<Instant>,
    /// The last time that anything was sent to all.
    sent: Instant,
    /// A write on this node may have made what is shown old.
    touched: bool,
    /// The store is being asked; its answer may be from before a write that has been answered meanwhile.
    asking: bool,
    /// The streams, and for those that wait their wakers.
    streams: Slab<Option<Waker>>,
}

impl CellState {
    /// Whether the store is to be asked now; says that it is being asked if so.
    fn start_asking(&mut self, now: Instant, interval: Duration) -> bool {
        let past = |at: Option<Instant>| at.is_none_or(|at| now >= at + interval);
        let due = !self.asking && (past(self.asked) || (self.touched && past(self.changed)));
        if due {
            self.asking = true;
            self.touched = false;
        }
        due
    }

    /// Those who wait, taken out so that they are woken without any lock.
    fn take_waiting(&mut self) -> Vec<Waker> {
        self.streams.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}

impl Hub {
    /// A hub without streams that publishes a channel once per `interval`, at most.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            cells: DashMap::new(),
            interval,
            urgent: Mutex::default(),
            hurry: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Starts watching channels. The first count of each comes as soon as it is known.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, channels: &[ChannelId]) -> Subscription {
        let watch = |channel: &ChannelId| {
            // The entry's lock is held until the stream is in, so that the channel isn't dropped in between.
            let cell =
                self.cells.entry(channel.clone()).or_insert_with(|| Arc::new(Cell::new(channel.clone())));
            let mut state = cell.state.lock();
            let key = state.streams.insert(None);
            if state.asked.is_none() {
                self.urgent.lock().push(Arc::clone(&cell));
            }
            Watch { cell: Arc::clone(&cell), key, edition: 0, ticks: 0 }
        };
        let watches: SmallVec<[Watch; 1]> = channels.iter().map(watch).collect();
        self.hurry.notify_one();
        Subscription { hub: Arc::clone(self), watches, spoke: None }
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
        if !state.asking && state.changed.is_none_or(|at| at.elapsed() >= self.interval) {
            self.urgent.lock().push(Arc::clone(&cell));
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

    /// The watched channels whose count is to be read now. Each has to be answered with [`Cell::publish`].
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<Arc<Cell>> {
        self.urgent.lock().clear();
        let is_due = |cell: &Arc<Cell>| cell.state.lock().start_asking(now, self.interval);
        self.cells.iter().filter(|cell| is_due(cell)).map(|cell| Arc::clone(&cell)).collect()
    }

    /// Forgets what was being asked: whoever asked will not answer any more.
    pub fn start_over(&self) {
        for cell in &self.cells {
            cell.state.lock().asking = false;
        }
    }

    /// Waits for channels that have to be read at once, and takes them. Each has to be answered with [`Cell::publish`].
    pub async fn urgent(&self) -> Vec<Arc<Cell>> {
        self.hurry.notified().await;
        let mut urgent = std::mem::take(&mut *self.urgent.lock());
        let now = Instant::now();
        urgent.retain(|cell| cell.state.lock().start_asking(now, self.interval));
        urgent
    }

    /// Sends a tick to every channel that has been silent for [`TICK_AFTER`].
    pub fn tick(&self, now: Instant) {
        let mut waiting = Vec::new();
        for cell in &self.cells {
            let mut state = cell.state.lock();
            if state.edition > 0 && now >= state.sent + TICK_AFTER {
                state.ticks = state.ticks.wrapping_add(1);
                state.sent = now;
                waiting.append(&mut state.take_waiting());
            }
        }
        waiting.into_iter().for_each(Waker::wake);
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
}

impl Cell {
    fn new(channel: ChannelId) -> Self {
        let state = CellState {
            shown: None,
            frame: Bytes::new(),
            edition: 0,
            ticks: 0,
            asked: None,
            changed: None,
            sent: Instant::now(),
            touched: false,
            asking: false,
            streams: Slab::new(),
        };
        Self { channel, state: Mutex::new(state) }
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Takes in the count as it was read at `now`. Streams hear of it if it is news.
    pub fn publish(&self, count: Count, now: Instant) {
        let mut state = self.state.lock();
        state.asked = Some(now);
        state.asking = false;
        if state.shown.is_some_and(|shown| (shown.value, shown.stale) == (count.value, count.stale)) {
            return;
        }
        state.shown = Some(count);
        state.frame = frame::count(&CountUpdate::new(self.channel.clone(), count));
        state.edition = state.edition.wrapping_add(1).max(1);
        state.changed = Some(now);
        state.sent = now;
        let waiting = state.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
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
        for watch in &self.watches {
            watch.cell.state.lock().streams.remove(watch.key);
            self.hub.cells.remove_if(&watch.cell.channel, |_, cell| cell.state.lock().streams.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
