//! The channels that are live now, from one listing of the store per update interval, however many callers ask.
//!
//! Promises:
//! - One listing is under way at a time, and [`READS`] are begun per interval at most: one, unless it fails or finds nothing.
//!   A listing goes on when the caller that began it goes away.
//! - What this node writes is in the list at once. What other nodes write is in it within an interval.
//! - A list that may lack viewers is given as stale: a part of the store is away, or nodes are writing again what was lost.
//! - While the store can't tell at all, or takes longer than [`WAIT`], the last list is given as stale for up to
//!   [`STALE_FOR`]; then the error. An empty list can't be marked as stale, so the error takes its place at once.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout, timeout_at};

use super::journal::STALE_FOR;
use crate::{
    domain::{ChannelId, Count, CountUpdate, Timestamp},
    server::store::{Listed, StoreError},
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
    /// What is live now.
    ///
    /// # Errors
    /// When nothing of it can be told.
    async fn list(&self) -> Result<Listed, StoreError>;
}

/// The live channels of a node. Cloning is cheap.
#[derive(Clone)]
pub struct LiveList(Arc<Inner>);

struct Inner {
    source: Arc<dyn Source>,
    interval: Duration,
    state: RwLock<State>,
}

/// A listing that is under way: when it began, and its end.
type Reading = (Instant, Shared<BoxFuture<'static, ()>>);

#[derive(Default)]
struct State {
    /// The last listing that succeeded, with what this node has written since.
    last: Option<Listing>,
    /// The error of the last listing, if it failed.
    error: Option<StoreError>,
    reading: Option<Reading>,
    /// When the first listing of this interval began, and how many there were.
    period: Option<(Instant, u32)>,
    /// What this node has written while the listing was under way: it may not be in it.
    written: HashMap<ChannelId, (u32, Timestamp)>,
}

/// Channels with their counts, ranked.
struct Listing {
    begun: Instant,
    is_whole: bool,
    /// When the store's counts were true.
    as_of: Timestamp,
    counts: HashMap<ChannelId, (u32, Timestamp)>,
    ranked: BTreeSet<(Reverse<u32>, ChannelId)>,
}

impl LiveList {
    /// Lists what is live by `source`, once per `interval`.
    pub fn new(source: Arc<dyn Source>, interval: Duration) -> Self {
        Self(Arc::new(Inner { source, interval, state: RwLock::default() }))
    }

    /// Takes note of a channel's count after a write by this node.
    pub fn note(&self, channel: &ChannelId, count: u32, as_of: Timestamp) {
        let is_known = {
            let state = self.0.state.read();
            let listed = state.last.as_ref().map(|last| last.count(channel));
            state.reading.is_none() && listed.is_none_or(|listed| listed == count)
        };
        if is_known {
            return;
        }
        let mut state = self.0.state.write();
        if let Some(last) = &mut state.last {
            last.put(channel, count, as_of);
        }
        if state.reading.is_some() {
            state.written.insert(channel.clone(), (count, as_of));
        }
    }

    /// The channels that have viewers, most viewers first, those with as many by name: `most` of them.
    ///
    /// # Errors
    /// When the store can't tell, and could not lately.
    pub async fn first(&self, most: usize) -> Result<Vec<CountUpdate>, StoreError> {
        if let Some((begun, reading)) = self.reading() {
            let _overdue = timeout_at(begun + WAIT, reading).await;
        }
        self.0.state.read().first(most, self.0.interval, Instant::now())
    }

    /// The listing that is under way, or a new one if it is time for one.
    fn reading(&self) -> Option<Reading> {
        let now = Instant::now();
        if self.0.state.read().is_current(now, self.0.interval) {
            return None;
        }
        let mut state = self.0.state.write();
        if state.is_current(now, self.0.interval) {
            return None;
        }
        if state.reading.is_none() {
            let interval = self.0.interval;
            let (since, reads) =
                state.period.filter(|(since, _)| now < *since + interval).unwrap_or((now, 0));
            if reads >= READS {
                return None;
            }
            state.period = Some((since, reads + 1));
            // A task of its own, which goes on when the caller goes away.
            let read = tokio::spawn(self.clone().read(now));
            state.reading = Some((now, read.map(|_| ()).boxed().shared()));
        }
        state.reading.clone()
    }

    async fn read(self, begun: Instant) {
        let listed = match timeout(LONGEST, AssertUnwindSafe(self.0.source.list()).catch_unwind()).await {
            Ok(Ok(listed)) => listed.map(|listed| Listing::new(begun, listed)),
            Ok(Err(_panicked)) => Err(StoreError::Refused("the store panicked".to_owned())),
            Err(_elapsed) => Err(StoreError::Unreachable("the listing takes too long".to_owned())),
        };
        let mut state = self.0.state.write();
        state.reading = None;
        let written = std::mem::take(&mut state.written);
        let before = match listed {
            Ok(mut listing) => {
                for (channel, (count, as_of)) in written {
                    listing.put(&channel, count, as_of);
                }
                state.error = None;
                state.last.replace(listing)
            }
            Err(error) => {
                state.error = Some(error);
                None
            }
        };
        // Freeing a long list takes time, so it is done after the lock.
        drop(state);
        drop(before);
    }
}

impl Listing {
    fn new(begun: Instant, Listed { live, is_whole }: Listed) -> Self {
        let as_of = live.iter().map(|live| live.as_of).max().unwrap_or_default();
        let ranked = live.iter().map(|live| (Reverse(live.count), live.channel.clone())).collect();
        let counts = live.into_iter().map(|live| (live.channel, (live.count, live.as_of))).collect();
        Self { begun, is_whole, as_of, counts, ranked }
    }

    fn count(&self, channel: &ChannelId) -> u32 {
        self.counts.get(channel).map_or(0, |(count, _)| *count)
    }

    /// Sets a channel's count, unless a newer one is known.
    fn put(&mut self, channel: &ChannelId, count: u32, as_of: Timestamp) {
        let known = self.counts.get(channel).copied();
        if known.map_or(self.as_of, |(_, known_at)| known_at) > as_of {
            return;
        }
        if let Some((known, _)) = known {
            self.ranked.remove(&(Reverse(known), channel.clone()));
        }
        if count > 0 {
            self.counts.insert(channel.clone(), (count, as_of));
            self.ranked.insert((Reverse(count), channel.clone()));
        } else {
            self.counts.remove(channel);
        }
    }
}

impl State {
    /// Whether the last listing still holds. One that is empty or partial is tried again.
    fn is_current(&self, now: Instant, interval: Duration) -> bool {
        let holds = |last: &Listing| now < last.begun + interval && last.is_whole && !last.ranked.is_empty();
        self.last.as_ref().is_some_and(holds) && self.error.is_none()
    }

    fn first(&self, most: usize, interval: Duration, now: Instant) -> Result<Vec<CountUpdate>, StoreError> {
        let no_answer = || StoreError::Unreachable("the listing takes too long".to_owned());
        let error = || self.error.clone().unwrap_or_else(no_answer);
        let last = self.last.as_ref().ok_or_else(error)?;
        let age = now.saturating_duration_since(last.begun);
        let is_overdue = self.reading.as_ref().is_some_and(|(begun, _)| now >= *begun + WAIT);
        let is_stale = self.error.is_some() || !last.is_whole || is_overdue || age >= interval + WAIT;
        if is_stale && (last.ranked.is_empty() || age >= STALE_FOR) {
            return Err(error());
        }
        let update = |(Reverse(count), channel): &(Reverse<u32>, ChannelId)| {
            let as_of = last.counts.get(channel).map_or(last.as_of, |(_, as_of)| *as_of);
            let count = Count { stale: is_stale, ..Count::fresh(*count, as_of) };
            CountUpdate::new(channel.clone(), count)
        };
        Ok(last.ranked.iter().take(most).map(update).collect())
    }
}

#[cfg(test)]
mod tests;
