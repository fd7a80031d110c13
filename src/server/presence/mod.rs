//! The presence service: records joins, heartbeats and leaves, and reads the counts of channels.
//!
//! Promises:
//! - An acknowledged beat or leave survives a store outage: the node keeps the operation in its journal and replays it
//!   when the store is back.
//! - A reported count is the store's current count, or the last good count marked as stale, or unknown. It is never a
//!   fresh count that is known to be incomplete.

#[cfg(test)]
mod fake_store;
mod gathered;
mod group_commit;
mod journal;
mod lanes;
mod left_elsewhere;
mod live;
mod orphans;
mod pauses;
mod read_batch;
mod recent;
mod recovery;
mod remote;
mod renewals;
mod roll_call;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use smallvec::smallvec;
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    live::{LiveList, Source},
    pauses::Pauses,
    read_batch::ReadBatcher,
    remote::Remote,
};
use super::{
    clock::Clock,
    fanout::{Counts, Hub, Subscription},
    signals::Signals,
    store::{Batch, Listed, Live, Names, Reading, Store, StoreError},
};
use crate::domain::{Act, ChannelId, Count, CountUpdate, Op, Policy, SessionKey, ViewerId};

/// The presence service of a node, over a store of leases and the streams of the node. Cloning is cheap.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    live: LiveList,
    /// Batches the reads of requests and pages. Streams use the hub's reader.
    reads: ReadBatcher,
    /// The live signals, if they decide which channels are live.
    signals: Option<Signals>,
    /// Used only with a store outside of this process.
    remote: Option<Remote>,
    /// Used only with the embedded store.
    pauses: Pauses,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// Receives the outcome of every write and read of this node.
pub trait Observer: Send + Sync {
    /// A write has returned a count. `viewer`: the viewer of a beat, if its session is counted.
    fn wrote(&self, channel: &ChannelId, viewer: Option<ViewerId>, count: Count);

    /// A read has returned a count.
    fn read(&self, channel: &ChannelId, count: Count);

    /// A beat or leave was accepted. `is_counted`: whether its session is counted now. `arrived`: when the call arrived.
    fn acted(&self, _who: &SessionKey, _act: Act, _is_counted: bool, _arrived: Instant) {}
}

/// Tells both observers.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn wrote(&self, channel: &ChannelId, viewer: Option<ViewerId>, count: Count) {
        self.0.wrote(channel, viewer, count);
        self.1.wrote(channel, viewer, count);
    }

    fn read(&self, channel: &ChannelId, count: Count) {
        self.0.read(channel, count);
        self.1.read(channel, count);
    }

    fn acted(&self, who: &SessionKey, act: Act, is_counted: bool, arrived: Instant) {
        self.0.acted(who, act, is_counted, arrived);
        self.1.acted(who, act, is_counted, arrived);
    }
}

/// The result of a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatOutcome {
    /// The channel's count after the beat.
    pub count: Count,
    /// Whether the session is counted.
    pub active: bool,
}

impl Presence {
    /// Creates the service over a store and the streams of this node. A channel is live while it has viewers.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>, policy: Policy, clock: Arc<dyn Clock>) -> Self {
        Self::with_signals(store, hub, policy, clock, None)
    }

    /// Creates the service over a store and the streams of this node. With `signals`, a channel is live while it is on
    /// air.
    #[must_use]
    pub fn with_signals(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        policy: Policy,
        clock: Arc<dyn Clock>,
        signals: Option<Signals>,
    ) -> Self {
        let remote = store.is_shared().then(|| Remote::new(&store, policy, &clock));
        let presence = Self(Arc::new_cyclic(|inner| {
            let source = Arc::new(LiveSource(Weak::clone(inner)));
            let live = LiveList::new(source, policy.update_interval, signals.clone());
            let (reads, observer) = (ReadBatcher::default(), OnceLock::new());
            let pauses = Pauses::new(&policy);
            Inner { store, hub, policy, clock, live, reads, signals, remote, pauses, observer }
        }));
        if let Some(signals) = &presence.0.signals {
            let inner = Arc::downgrade(&presence.0);
            signals.on_change(move |change, _| {
                if let Some(inner) = inner.upgrade() {
                    inner.live.set_on_air(&change.channel, change.since.is_some());
                    inner.hub.notify_live(&change.channel);
                }
            });
        }
        presence
    }

    /// Tells `observer` of all acts and counts from now on. Further calls have no effect.
    pub fn observe_with(&self, observer: Arc<dyn Observer>) {
        let _already_set = self.0.observer.set(observer);
    }

    /// The names of the channels of some parts that may have viewers now.
    ///
    /// # Errors
    /// When the store can't list them.
    pub async fn names(&self, parts: &[u16]) -> Result<Names, StoreError> {
        self.0.store.listed(parts).await
    }

    /// Whether the store is known to have all viewers of this node and of the others.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.remote.as_ref().map_or_else(|| !self.0.pauses.is_unsettled(), Remote::is_complete)
    }

    /// Runs the recovery of a store outside of this process, or watches for pauses of this process with the embedded store,
    /// until the server ends.
    pub async fn run_recovery(&self) {
        match &self.0.remote {
            Some(remote) => Arc::clone(&remote.recovery).run().await,
            None => self.0.pauses.run().await,
        }
    }

    /// Whether the store is available.
    pub async fn reaches_store(&self) -> bool {
        self.0.store.is_available().await
    }

    /// The number of channels that are watched on this node.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.0.hub.watched()
    }

    /// Writes queued operations at once, from now on. Called at the start of a shutdown.
    pub fn flush(&self) {
        if let Some(remote) = &self.0.remote {
            remote.flush();
        }
    }

    /// Waits until all accepted operations are written, but no longer than `until`. Then takes the node off the roll call, in
    /// half a second at most.
    pub async fn drain(&self, until: Instant) {
        if let Some(remote) = &self.0.remote {
            remote.drain(until).await;
        }
    }

    /// Creates an id for a viewer that has none.
    #[must_use]
    pub fn new_viewer_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Starts a session. `since` is when the request arrived.
    ///
    /// # Errors
    /// When the embedded store fails. Failed writes to a store outside of this process are replayed later.
    pub async fn join(
        &self,
        key: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<BeatOutcome, StoreError> {
        self.write(key, Act::Join { lease: self.lease(hidden) }, since).await
    }

    /// Renews the lease of a session, and creates the session if it is unknown. `since` is when the request arrived.
    ///
    /// # Errors
    /// When the embedded store fails. Failed writes to a store outside of this process are replayed later.
    pub async fn heartbeat(
        &self,
        key: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<BeatOutcome, StoreError> {
        self.write(key, Act::Heartbeat { lease: self.lease(hidden) }, since).await
    }

    /// Renews the lease of a session that is counted. Returns `None` if it is not counted; never creates a session.
    /// `since` is when the request arrived.
    ///
    /// # Errors
    /// When the embedded store fails, or a store outside of this process can't tell whether it counts the session.
    pub async fn renew(
        &self,
        key: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<Option<BeatOutcome>, StoreError> {
        let outcome = self.write(key, Act::Renew { lease: self.lease(hidden) }, since).await?;
        Ok(outcome.active.then_some(outcome))
    }

    /// The lease that a beat of a visible or `hidden` page gives.
    #[must_use]
    pub fn lease(&self, hidden: bool) -> Duration {
        self.0.policy.lease(hidden)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the embedded store fails. Failed writes to a store outside of this process are replayed later.
    pub async fn leave(&self, key: &SessionKey) -> Result<(), StoreError> {
        self.write(key, Act::Leave, Instant::now()).await.map(|_| ())
    }

    /// Ends a session if it is known. Records nothing for an unknown session.
    ///
    /// # Errors
    /// When the embedded store fails. Failed writes to a store outside of this process are replayed later.
    pub async fn leave_known(&self, key: &SessionKey) -> Result<(), StoreError> {
        self.write(key, Act::LeaveKnown, Instant::now()).await.map(|_| ())
    }

    /// The number of sessions in this node's journal, including sessions that have left.
    #[must_use]
    pub fn journaled_sessions(&self) -> usize {
        self.0.remote.as_ref().map_or(0, |remote| remote.journal.len())
    }

    /// The number of channels in this node's journal.
    #[must_use]
    pub fn journaled_channels(&self) -> usize {
        self.0.remote.as_ref().map_or(0, |remote| remote.journal.channel_count())
    }

    /// The count of a channel.
    pub async fn count_of(&self, channel: &ChannelId) -> Count {
        let count = self.batched_counts(std::slice::from_ref(channel)).await.pop();
        count.unwrap_or(Count::unknown(self.0.clock.now()))
    }

    /// The count of a channel, as the API returns it.
    pub async fn count(&self, channel: &ChannelId) -> CountUpdate {
        let count = self.count_of(channel).await;
        CountUpdate::new(channel.clone(), count).on_air(self.is_on_air(channel))
    }

    /// The counts of channels, in the order given, in one round trip.
    pub async fn count_all(&self, channels: &[ChannelId]) -> Vec<CountUpdate> {
        let counts = self.batched_counts(channels).await;
        channels
            .iter()
            .cloned()
            .zip(counts)
            .map(|(channel, count)| {
                let live = self.is_on_air(&channel);
                CountUpdate::new(channel, count).on_air(live)
            })
            .collect()
    }

    /// The counts of channels, in the order given. Concurrent reads of a store outside of this process are batched.
    async fn batched_counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        match &self.0.remote {
            None => self.counts(channels).await,
            Some(_) => self.0.reads.counts(self, channels).await,
        }
    }

    /// The first `limit` live channels, most viewers first, ties by name. The list is at most one update interval old, or
    /// marked as stale. With live signals it has the channels on air, those without viewers included; the counts are
    /// unknown if the store can't list them.
    ///
    /// # Errors
    /// When the store can't list its channels and no recent list exists; with live signals, when they are not known yet.
    pub async fn live(&self, limit: usize) -> Result<Vec<CountUpdate>, StoreError> {
        self.0.live.first(limit, self.0.clock.now()).await
    }

    /// Subscribes to channels: to their current counts and to every change.
    #[must_use]
    pub fn watch(&self, channels: &[ChannelId]) -> Subscription {
        self.0.hub.subscribe(channels)
    }

    /// The interval between a page's heartbeats, in milliseconds.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> u32 {
        u32::try_from(self.0.policy.heartbeat_interval.as_millis()).unwrap_or(u32::MAX)
    }

    /// Frees the memory of expired entries in the store and in this node's journal.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        if let Some(remote) = &self.0.remote {
            remote.journal.sweep(self.0.clock.now()).await;
        }
        self.0.store.sweep().await
    }

    async fn write(&self, key: &SessionKey, act: Act, since: Instant) -> Result<BeatOutcome, StoreError> {
        let op = Op { viewer: key.viewer, session: key.session, act };
        let outcome = match &self.0.remote {
            None => self.write_embedded(&key.channel, op).await?,
            Some(remote) => {
                // Boxed, so that the future of a call to the embedded store stays small: it is moved several times.
                let outcome = Box::pin(remote.write(&key.channel, op, since)).await?;
                if outcome.active || !matches!(act, Act::Renew { .. }) {
                    self.0.reads.note_write(&key.channel, outcome.count);
                }
                outcome
            }
        };
        if let Some(count) = outcome.count.live() {
            self.0.hub.notify_write(&key.channel, count);
            self.0.live.record(&key.channel, count, outcome.count.as_of());
        }
        if let Some(observer) = self.0.observer.get() {
            observer.wrote(&key.channel, outcome.active.then_some(key.viewer), outcome.count);
            observer.acted(key, act, outcome.active, since);
        }
        tracing::debug!(channel = %key.channel, viewer = %key.viewer, count = outcome.count.value(), "[VIEWER] {}", act_name(act));
        Ok(outcome)
    }

    async fn write_embedded(&self, channel: &ChannelId, op: Op) -> Result<BeatOutcome, StoreError> {
        let batch = Batch { channel: channel.clone(), ops: smallvec![op] };
        let written = self.0.store.write(&[batch]).await.pop();
        let written = written.unwrap_or_else(|| Err(StoreError::unexpected()))?;
        let active = written.active.first().copied().unwrap_or_default();
        Ok(BeatOutcome { count: self.embedded(written.reading), active })
    }

    /// The count of a reading of the embedded store.
    fn embedded(&self, reading: Reading) -> Count {
        match self.0.pauses.is_unsettled() {
            // Viewers may be there whose leases have ended.
            true if reading.count == 0 => Count::unknown(reading.as_of),
            is_stale => Count::from(reading).stale_if(is_stale),
        }
    }
}

#[async_trait]
impl Counts for Presence {
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        let counts = self.sample(channels).await;
        if let Some(observer) = self.0.observer.get() {
            channels.iter().zip(&counts).for_each(|(channel, count)| observer.read(channel, *count));
        }
        counts
    }

    fn takes_many_channels(&self) -> bool {
        self.0.store.takes_many_channels()
    }

    fn is_on_air(&self, channel: &ChannelId) -> Option<bool> {
        self.0.signals.as_ref().and_then(|signals| signals.state(channel).is_on_air())
    }
}

impl Presence {
    /// The counts of channels, in the order given. Nobody else sees them, so the observer is not told.
    pub async fn sample(&self, channels: &[ChannelId]) -> Vec<Count> {
        if let Some(remote) = &self.0.remote {
            let began = Instant::now();
            let counts = remote.counts(channels).await;
            self.0.reads.note_read(channels, &counts, began);
            return counts;
        }
        let unknown = Count::unknown(self.0.clock.now());
        let readings = self.0.store.counts(channels).await;
        readings
            .into_iter()
            .map(|reading| reading.map_or(unknown, |reading| self.embedded(reading)))
            .collect()
    }
}

/// The live channels in the store of a [`Presence`].
struct LiveSource(Weak<Inner>);

#[async_trait]
impl Source for LiveSource {
    async fn list(&self) -> Result<Listed, StoreError> {
        let presence = Presence(self.0.upgrade().ok_or_else(StoreError::unexpected)?);
        let listed = presence.0.store.live().await?;
        let observe = |live: &[Live]| {
            let Some(observer) = presence.0.observer.get() else { return };
            for live in live {
                observer.read(&live.channel, Count::fresh(live.count, live.as_of));
            }
        };
        let Some(remote) = &presence.0.remote else {
            if presence.0.pauses.is_unsettled() {
                return Ok(Listed { is_whole: false, ..listed });
            }
            observe(&listed.live);
            return Ok(listed);
        };
        let live = listed.live;
        // A count read after the listing shows whether the store lost data before. Any channel will do.
        let channel = live.first().map(|live| live.channel.clone()).or_else(|| ChannelId::parse("any").ok());
        let count = presence.counts(channel.as_slice()).await.pop();
        let is_fresh = count.is_some_and(|count| count.live().is_some());
        let restored = live.iter().map(|live| live.restored).max().unwrap_or_default();
        let is_complete = remote.roll.last().is_none_or(|roll| roll.is_complete(restored));
        let is_whole = listed.is_whole && is_fresh && is_complete && remote.is_complete();
        if is_whole {
            observe(&live);
        } else {
            remote.recovery.trigger();
        }
        Ok(Listed { live, is_whole })
    }

    fn is_complete(&self) -> bool {
        self.0.upgrade().is_some_and(|inner| Presence(inner).is_complete())
    }
}

const fn act_name(act: Act) -> &'static str {
    match act {
        Act::Join { .. } => "join",
        Act::Heartbeat { .. } => "heartbeat",
        Act::Renew { .. } => "renew",
        Act::Restore(_) | Act::Late(_) | Act::Logged(_) => "restore",
        Act::Leave | Act::LeaveKnown | Act::Withdraw(_) => "leave",
    }
}
