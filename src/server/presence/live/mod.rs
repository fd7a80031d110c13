//! The list of live channels, from one listing of the store per update interval for any number of requests.
//!
//! Promises:
//! - At most one listing is in flight, and at most [`MAX_LISTINGS`] start per interval. A listing that succeeds and is
//!   not empty is the only one of its interval. It continues if the request that started it is canceled.
//! - Writes of this node are in the list at once. Writes of other nodes are in the list within an interval.
//! - A list that may lack viewers is stale: a part of the store is unavailable, or nodes are replaying a loss. So is one from
//!   before the store stopped responding. What it lacks of the last whole list stays in it for up to [`STALE_FOR`].
//! - While a listing fails or takes longer than [`WAIT_LIMIT`], the last list is returned as stale for up to
//!   [`STALE_FOR`], then the error. An empty list can't be marked as stale, so the error is returned instead.
//! - With live signals, the list has exactly the channels on air. A count that may be missing is unknown instead of 0, and
//!   without a recent listing all counts are unknown.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, hash_map::Entry},
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
    server::{
        signals::Signals,
        store::{Listed, StoreError},
    },
};

/// The most listings that start in an interval.
const MAX_LISTINGS: u32 = 4;

/// How long a request waits for a listing.
const WAIT_LIMIT: Duration = Duration::from_secs(1);

/// How long a listing may take before it fails.
const LISTING_LIMIT: Duration = Duration::from_secs(10);

/// A source of live channels.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// Lists the channels that are live now.
    ///
    /// # Errors
    /// When no part of the list is available.
    async fn list(&self) -> Result<Listed, StoreError>;

    /// Whether the store is known to have all viewers, and to respond.
    fn is_complete(&self) -> bool;
}

/// The list of live channels of a node. Cloning is cheap.
#[derive(Clone)]
pub(super) struct LiveList(Arc<Inner>);

struct Inner {
    source: Arc<dyn Source>,
    interval: Duration,
    /// The live signals, if they decide which channels are listed.
    signals: Option<Signals>,
    state: RwLock<State>,
}

/// A listing in flight: when it began, and its completion.
type InFlight = (Instant, Shared<BoxFuture<'static, ()>>);

#[derive(Default)]
struct State {
    /// The last listing that succeeded, updated by the writes of this node since.
    last: Option<Listing>,
    /// The error of the last listing, if it failed.
    error: Option<StoreError>,
    in_flight: Option<InFlight>,
    /// When the first listing of this interval began, and how many have started since.
    window: Option<(Instant, u32)>,
    /// The writes of this node during the listing in flight, which may lack them.
    written: HashMap<ChannelId, (u32, Timestamp)>,
}

/// Channels with their counts, and the live ones among them, ranked.
struct Listing {
    began: Instant,
    is_whole: bool,
    /// When the last whole listing began, of which this one has all channels.
    whole_from: Option<Instant>,
    /// The newest time of the counts, by the store's clock.
    as_of: Timestamp,
    /// The channels that have viewers.
    counts: HashMap<ChannelId, (u32, Timestamp)>,
    /// The live channels: those that have viewers, or those on air.
    ranked: BTreeSet<(Reverse<u32>, ChannelId)>,
}

impl LiveList {
    /// Creates the list of `source`, which is read once per `interval`. With `signals`, the channels on air are listed.
    pub(super) fn new(source: Arc<dyn Source>, interval: Duration, signals: Option<Signals>) -> Self {
        Self(Arc::new(Inner { source, interval, signals, state: RwLock::default() }))
    }

    /// Lists a channel that came on air, or removes one that went off air. Called after the change of its live signal.
    pub(super) fn set_on_air(&self, channel: &ChannelId, is_on_air: bool) {
        if let Some(last) = &mut self.0.state.write().last {
            let rank = (Reverse(last.count(channel)), channel.clone());
            if is_on_air {
                last.ranked.insert(rank);
            } else {
                last.ranked.remove(&rank);
            }
        }
    }

    /// Records a channel's count after a write by this node.
    pub(super) fn record(&self, channel: &ChannelId, count: u32, as_of: Timestamp) {
        let is_known = {
            let state = self.0.state.read();
            let listed = state.last.as_ref().map(|last| last.count(channel));
            state.in_flight.is_none() && listed.is_none_or(|listed| listed == count)
        };
        if is_known {
            return;
        }
        let mut state = self.0.state.write();
        if let Some(last) = &mut state.last {
            last.put(channel, count, as_of, self.0.signals.is_some());
        }
        if state.in_flight.is_some() {
            state.written.insert(channel.clone(), (count, as_of));
        }
    }

    /// The first `limit` live channels, most viewers first, ties by name. `now` is the `asOf` of counts that the store has
    /// not dated.
    ///
    /// # Errors
    /// When the store can't list its channels and no recent list exists; with live signals, when they are not known yet.
    pub(super) async fn first(&self, limit: usize, now: Timestamp) -> Result<Vec<CountUpdate>, StoreError> {
        if let Some((began, listing)) = self.in_flight() {
            let _overdue = timeout_at(began + WAIT_LIMIT, listing).await;
        }
        let is_complete = self.0.source.is_complete();
        let listed = self.0.state.read().first(limit, self.0.interval, Instant::now(), is_complete);
        let listed = listed.map(|mut updates| {
            for update in updates.iter_mut().filter(|update| update.as_of == Timestamp::default()) {
                update.as_of = now;
            }
            updates
        });
        let Some(signals) = &self.0.signals else { return listed };
        let listed =
            listed.map(|updates| updates.into_iter().map(|update| update.on_air(Some(true))).collect());
        let on_air = signals.on_air(limit).ok_or_else(not_known)?;
        let unknown = |channel| CountUpdate::new(channel, Count::unknown(now)).on_air(Some(true));
        listed.or_else(|_| Ok(on_air.into_iter().map(unknown).collect()))
    }

    /// The listing in flight, or a new one if one is due.
    fn in_flight(&self) -> Option<InFlight> {
        let now = Instant::now();
        if self.0.state.read().is_current(now, self.0.interval) {
            return None;
        }
        let mut state = self.0.state.write();
        if state.is_current(now, self.0.interval) {
            return None;
        }
        if state.in_flight.is_none() {
            let interval = self.0.interval;
            let (since, listings) =
                state.window.filter(|(since, _)| now < *since + interval).unwrap_or((now, 0));
            if listings >= MAX_LISTINGS {
                return None;
            }
            state.window = Some((since, listings + 1));
            // The listing runs in its own task, so it continues if the request is canceled.
            let listing = tokio::spawn(self.clone().list(now));
            state.in_flight = Some((now, listing.map(|_| ()).boxed().shared()));
        }
        state.in_flight.clone()
    }

    async fn list(self, began: Instant) {
        let listing = AssertUnwindSafe(self.0.source.list()).catch_unwind();
        let listed = match timeout(LISTING_LIMIT, listing).await {
            Ok(Ok(listed)) => listed.map(|listed| Listing::new(began, listed)),
            Ok(Err(_panicked)) => Err(StoreError::Refused("the store panicked".to_owned())),
            Err(_elapsed) => Err(timed_out()),
        };
        let mut state = self.0.state.write();
        state.in_flight = None;
        let written = std::mem::take(&mut state.written);
        let replaced = match listed {
            Ok(mut listing) => {
                let mut replaced = state.last.take();
                if let Some(last) = &mut replaced {
                    listing.keep(last);
                }
                // The lock is held, so a change of a live signal is either in here or comes after this listing.
                let signals = self.0.signals.as_ref();
                if let Some(on_air) = signals.map(|signals| signals.on_air(usize::MAX).unwrap_or_default()) {
                    listing.rank(on_air);
                }
                for (channel, (count, as_of)) in written {
                    listing.put(&channel, count, as_of, signals.is_some());
                }
                state.error = None;
                state.last = Some(listing);
                replaced
            }
            Err(error) => {
                state.error = Some(error);
                None
            }
        };
        // Freeing a long list takes time, so the lock is released first.
        drop(state);
        drop(replaced);
    }
}

impl Listing {
    fn new(began: Instant, Listed { live, is_whole }: Listed) -> Self {
        let as_of = live.iter().map(|live| live.as_of).max().unwrap_or_default();
        let ranked = live.iter().map(|live| (Reverse(live.count), live.channel.clone())).collect();
        let counts = live.into_iter().map(|live| (live.channel, (live.count, live.as_of))).collect();
        Self { began, is_whole, whole_from: is_whole.then_some(began), as_of, counts, ranked }
    }

    /// Keeps the channels of the last listing that this one lacks if a part of the store is unavailable. Some of them may have
    /// ended meanwhile: it is not known whose part is unavailable.
    fn keep(&mut self, last: &mut Self) {
        if self.is_whole {
            return;
        }
        self.whole_from = last.whole_from.filter(|from| self.began < *from + STALE_FOR);
        if self.whole_from.is_none() {
            return;
        }
        for (channel, (count, as_of)) in std::mem::take(&mut last.counts) {
            if let Entry::Vacant(vacant) = self.counts.entry(channel) {
                self.ranked.insert((Reverse(count), vacant.key().clone()));
                vacant.insert((count, as_of));
            }
        }
    }

    fn count(&self, channel: &ChannelId) -> u32 {
        self.counts.get(channel).map_or(0, |(count, _)| *count)
    }

    /// Ranks these channels, instead of those that have viewers.
    fn rank(&mut self, channels: Vec<ChannelId>) {
        self.ranked = channels.into_iter().map(|channel| (Reverse(self.count(&channel)), channel)).collect();
    }

    /// Sets a channel's count, unless a newer count is known. With `is_on_air` the list has the channels on air, so the
    /// count does not decide whether the channel is listed.
    fn put(&mut self, channel: &ChannelId, count: u32, as_of: Timestamp, is_on_air: bool) {
        let known = self.counts.get(channel).copied();
        if known.map_or(self.as_of, |(_, known_at)| known_at) > as_of {
            return;
        }
        let was_listed = self.ranked.remove(&(Reverse(self.count(channel)), channel.clone()));
        if count > 0 {
            self.counts.insert(channel.clone(), (count, as_of));
        } else {
            self.counts.remove(channel);
        }
        let is_listed = if is_on_air { was_listed } else { count > 0 };
        if is_listed {
            self.ranked.insert((Reverse(count), channel.clone()));
        }
    }
}

impl State {
    /// Whether the last listing is recent enough. An empty or partial listing is always repeated.
    fn is_current(&self, now: Instant, interval: Duration) -> bool {
        let holds = |last: &Listing| now < last.began + interval && last.is_whole && !last.counts.is_empty();
        self.last.as_ref().is_some_and(holds) && self.error.is_none()
    }

    /// The first channels of the last listing. Unless the store `is_complete`, viewers may have come and gone since.
    fn first(
        &self,
        limit: usize,
        interval: Duration,
        now: Instant,
        is_complete: bool,
    ) -> Result<Vec<CountUpdate>, StoreError> {
        let error = |otherwise: fn() -> StoreError| self.error.clone().unwrap_or_else(otherwise);
        let last = self.last.as_ref().ok_or_else(|| error(timed_out))?;
        let age = now.saturating_duration_since(last.began);
        let is_overdue = self.in_flight.as_ref().is_some_and(|(began, _)| now >= *began + WAIT_LIMIT);
        let is_whole = last.is_whole && is_complete;
        let is_stale = self.error.is_some() || !is_whole || is_overdue || age >= interval + WAIT_LIMIT;
        if is_stale && (last.ranked.is_empty() || age >= STALE_FOR) {
            return Err(error(if is_whole { timed_out } else { incomplete }));
        }
        let update = |(Reverse(count), channel): &(Reverse<u32>, ChannelId)| {
            let as_of = last.counts.get(channel).map_or(last.as_of, |(_, as_of)| *as_of);
            let count = match count {
                // The viewers may be in the part that was not listed.
                0 if is_stale => Count::unknown(as_of),
                count => Count::fresh(*count, as_of).stale_if(is_stale),
            };
            CountUpdate::new(channel.clone(), count)
        };
        Ok(last.ranked.iter().take(limit).map(update).collect())
    }
}

fn not_known() -> StoreError {
    StoreError::Unreachable("the live signals are not known yet".to_owned())
}

fn incomplete() -> StoreError {
    StoreError::Unreachable("the list of live channels is incomplete".to_owned())
}

fn timed_out() -> StoreError {
    StoreError::Unreachable("the listing timed out".to_owned())
}

#[cfg(test)]
mod tests;
