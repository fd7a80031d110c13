//! What is live now, from one listing of the store per update interval, however many ask for it.
//!
//! Promises:
//! - One listing is under way at a time. Who asks for it and goes away takes it from nobody.
//! - What a write on this node has changed of which channels are live is in the list for who asks after it, unless the
//!   list was read [`READS`] times in this interval.
//! - While the store can't tell all of it, or takes longer than [`WAIT`], the last list is given as stale for up to [`STALE_FOR`];
//!   then the error. An empty list can't be marked as stale, so that the error takes its place at once.

use std::{
    cmp::Reverse,
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout, timeout_at};

use super::memory::STALE_FOR;
use crate::{
    domain::{ChannelId, Count, CountUpdate},
    server::store::{Live, StoreError},
};

/// The most listings in an interval.
const READS: u32 = 4;

/// How long a listing is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// How long a listing may take.
const LONGEST: Duration = Duration::from_secs(10);

/// Lists what is live.
#[async_trait]
pub trait Source: Send + Sync {
    /// The channels that have viewers now, in no order.
    ///
    /// # Errors
    /// When it can't be told, or when some may be missing.
    async fn list(&self) -> Result<Vec<Live>, StoreError>;
}

/// The live channels of a node. Cloning is cheap.
#[derive(Clone)]
pub struct LiveList(Arc<Inner>);

struct Inner {
    source: Arc<dyn Source>,
    interval: Duration,
    state: RwLock<State>,
    /// A write since the last listing was begun has changed which channels are live.
    is_outdated: AtomicBool,
}

/// When a listing was begun, and its end.
type Reading = (Instant, Shared<BoxFuture<'static, ()>>);

#[derive(Default)]
struct State {
    /// The last listing that came to an end well.
    last: Option<Listing>,
    /// How the very last one came to its end otherwise.
    error: Option<StoreError>,
    /// The one that is under way, and when it was begun.
    reading: Option<Reading>,
    /// When the listings of this interval began, and how many there were.
    period: Option<(Instant, u32)>,
}

/// A listing, sorted.
struct Listing {
    begun: Instant,
    updates: Vec<CountUpdate>,
    names: HashSet<ChannelId>,
}

impl LiveList {
    /// Lists what is live by `source`, once per `interval`.
    pub fn new(source: Arc<dyn Source>, interval: Duration) -> Self {
        let (state, is_outdated) = (RwLock::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { source, interval, state, is_outdated }))
    }

    /// Takes note of the count after a write on this node.
    pub fn note(&self, channel: &ChannelId, count: u32) {
        let inner = &self.0;
        if inner.is_outdated.load(Ordering::Relaxed) {
            return;
        }
        let state = inner.state.read();
        let is_news = match &state.last {
            Some(last) => last.names.contains(channel) != (count > 0),
            None => state.reading.is_some(),
        };
        if is_news {
            inner.is_outdated.store(true, Ordering::Relaxed);
        }
    }

    /// The channels that have viewers, most first and those with as many by name: `most` of them.
    ///
    /// # Errors
    /// When the store can't tell, and could not lately.
    pub async fn first(&self, most: usize) -> Result<Vec<CountUpdate>, StoreError> {
        // What was under way when this was asked may be too old; what is begun after it is not.
        let asked = Instant::now();
        while let Some((begun, reading)) = self.reading() {
            if timeout_at(begun + WAIT, reading).await.is_err() || begun >= asked {
                break;
            }
        }
        self.0.state.read().first(most, self.0.interval, Instant::now())
    }

    /// The listing that is under way, or a new one if it is time for one.
    fn reading(&self) -> Option<Reading> {
        let now = Instant::now();
        let mut state = self.0.state.write();
        let is_current = state.last.as_ref().is_some_and(|last| {
            now < last.begun + self.0.interval
                && !last.updates.is_empty()
                && state.error.is_none()
                && !self.0.is_outdated.load(Ordering::Relaxed)
        });
        if is_current {
            return None;
        }
        if state.reading.is_none() {
            let (since, reads) =
                state.period.filter(|(since, _)| now < *since + self.0.interval).unwrap_or((now, 0));
            if reads >= READS {
                return None;
            }
            state.period = Some((since, reads + 1));
            self.0.is_outdated.store(false, Ordering::Relaxed);
            // A task of its own, which goes on whoever goes away.
            let read = tokio::spawn(self.clone().read(now));
            state.reading = Some((now, read.map(|_| ()).boxed().shared()));
        }
        state.reading.clone()
    }

    async fn read(self, begun: Instant) {
        let listed = match timeout(LONGEST, AssertUnwindSafe(self.0.source.list()).catch_unwind()).await {
            Ok(Ok(listed)) => listed.map(|live| Listing::new(begun, live)),
            Ok(Err(_panicked)) => Err(StoreError::Refused("the store panicked".to_owned())),
            Err(_elapsed) => Err(StoreError::Unreachable("the listing takes too long".to_owned())),
        };
        let mut state = self.0.state.write();
        state.reading = None;
        let before = match listed {
            Ok(listing) => {
                state.error = None;
                state.last.replace(listing)
            }
            Err(error) => {
                state.error = Some(error);
                None
            }
        };
        // Freeing a long list takes time, which nobody is to wait for.
        drop(state);
        drop(before);
    }
}

impl Listing {
    fn new(begun: Instant, live: Vec<Live>) -> Self {
        let update = |live: Live| CountUpdate::new(live.channel, Count::fresh(live.count, live.as_of));
        let mut updates: Vec<_> = live.into_iter().map(update).collect();
        updates.sort_by(|a, b| (Reverse(a.count), &a.channel_id).cmp(&(Reverse(b.count), &b.channel_id)));
        let names = updates.iter().map(|update| update.channel_id.clone()).collect();
        Self { begun, updates, names }
    }
}

impl State {
    fn first(&self, most: usize, interval: Duration, now: Instant) -> Result<Vec<CountUpdate>, StoreError> {
        let no_answer = || StoreError::Unreachable("the listing takes too long".to_owned());
        let error = || self.error.clone().unwrap_or_else(no_answer);
        let last = self.last.as_ref().ok_or_else(error)?;
        let age = now.saturating_duration_since(last.begun);
        let is_overdue = self.reading.as_ref().is_some_and(|(begun, _)| now >= *begun + WAIT);
        let is_stale = self.error.is_some() || is_overdue || age >= interval + WAIT;
        if is_stale && (last.updates.is_empty() || age >= STALE_FOR) {
            return Err(error());
        }
        let updates = last.updates.iter().take(most).cloned();
        Ok(updates.map(|update| CountUpdate { stale: update.stale || is_stale, ..update }).collect())
    }
}

#[cfg(test)]
mod tests;
