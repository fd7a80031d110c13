//! The service behind every call: who joins, beats and leaves, and how many are there.
//!
//! Promises:
//! - A beat or leave that was answered is not lost, whatever happens to the store: the node remembers it and writes it
//!   (again) when the store is back.
//! - What is told of a channel is the store's count, or the last good one, marked as stale, or that it is unknown. It is
//!   never a count that is known to be incomplete.

mod group_commit;
mod journal;
mod live;
mod read_batch;
mod recovery;
mod roll_call;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use smallvec::smallvec;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use self::{
    group_commit::{Committed, GroupCommit, PROMPT},
    journal::{Journal, Loss},
    live::{LiveList, Source},
    read_batch::Reads,
    recovery::Recovery,
    roll_call::Roll,
};
use super::{
    clock::Clock,
    fanout::{Counts, Hub, Subscription},
    store::{Batch, Listed, Reading, RollCall, Store, StoreError},
};
use crate::domain::{Act, ChannelId, Count, CountUpdate, Op, Policy, SessionKey, Timestamp};

/// How long an ending server tries to write what the store has not taken yet.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// How long an ending server tries to say that it goes.
const LAST_WORD: Duration = Duration::from_millis(500);

/// How long an answer waits until the node knows whether the store is still what it was.
const VERIFY_LIMIT: Duration = Duration::from_millis(400);

/// Counts viewers: the store's leases, and the streams that show them. Cloning is cheap.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    live: LiveList,
    /// The reads of calls and pages; streams have the hub's reader.
    reads: Reads,
    /// What it takes to keep the promises over a store that is outside of this process.
    remote: Option<Remote>,
}

struct Remote {
    commit: Arc<GroupCommit>,
    journal: Arc<Journal>,
    recovery: Arc<Recovery>,
    roll: Arc<Roll>,
}

/// What a beat led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatOutcome {
    /// The channel's count after it.
    pub count: Count,
    /// Whether the session is counted.
    pub active: bool,
}

impl Presence {
    /// The service over a store and the streams of this node.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>, policy: Policy, clock: Arc<dyn Clock>) -> Self {
        let remote = store.is_shared().then(|| {
            let roll = Arc::new(Roll::default());
            let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll));
            let journal = Arc::new(journal);
            let (own, clock) = (Arc::clone(&journal), Arc::clone(&clock));
            let interval = policy.update_interval;
            let (skewed, now) = (Arc::clone(&journal), Arc::clone(&clock));
            let backdate = move |op, waited: Duration| skewed.backdated(op, waited, now.now());
            Remote {
                commit: Arc::new(GroupCommit::new(Arc::clone(&store), policy.write_interval, backdate)),
                recovery: Arc::new(Recovery::new(
                    Arc::clone(&store),
                    own,
                    Arc::clone(&roll),
                    clock,
                    interval,
                )),
                journal,
                roll,
            }
        });
        Self(Arc::new_cyclic(|inner| {
            let live = LiveList::new(Arc::new(Everywhere(Weak::clone(inner))), policy.update_interval);
            Inner { store, hub, policy, clock, live, reads: Reads::default(), remote }
        }))
    }

    /// Looks after a store outside of this process, for as long as the server runs. Without one there is nothing to do.
    pub async fn run_recovery(&self) {
        if let Some(remote) = &self.0.remote {
            Arc::clone(&remote.recovery).run().await;
        }
    }

    /// Whether the store answers.
    pub async fn reaches_store(&self) -> bool {
        self.0.store.is_available().await
    }

    /// How many channels are watched on this node.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.0.hub.watched()
    }

    /// The server is about to end: what waits for its turn to be written goes at once.
    pub fn flush(&self) {
        if let Some(remote) = &self.0.remote {
            remote.commit.flush();
        }
    }

    /// Waits until all that was accepted is written, or as long as an ending server may.
    pub async fn drain(&self) {
        let Some(remote) = &self.0.remote else { return };
        let written = async {
            while !remote.commit.is_idle() || !remote.journal.unwritten().is_empty() {
                remote.recovery.trigger();
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LAST_WRITES, written).await.is_err() {
            let channels = remote.journal.unwritten().len();
            tracing::warn!(channels, "the store is away: their viewers count again with their next beats");
        }
        // The others need not wait for this node any more.
        let _away = timeout(LAST_WORD, remote.recovery.resign()).await;
    }

    /// An id for a viewer that came without one.
    #[must_use]
    pub fn new_viewer_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Starts a session, by a call that arrived at `since`.
    ///
    /// # Errors
    /// When a store that nothing stands in for can't take it.
    pub async fn join(
        &self,
        who: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<BeatOutcome, StoreError> {
        self.write(who, Act::Join { lease: self.lease(hidden) }, since).await
    }

    /// Keeps a session counted, by a call that arrived at `since`.
    ///
    /// # Errors
    /// When a store that nothing stands in for can't take it.
    pub async fn heartbeat(
        &self,
        who: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<BeatOutcome, StoreError> {
        self.write(who, Act::Heartbeat { lease: self.lease(hidden) }, since).await
    }

    /// Keeps a session counted if it is, by a call that arrived at `since`; nothing comes into being. `None` if it is not.
    ///
    /// # Errors
    /// When a store that nothing stands in for can't take it.
    pub async fn renew(
        &self,
        who: &SessionKey,
        hidden: bool,
        since: Instant,
    ) -> Result<Option<BeatOutcome>, StoreError> {
        let beaten = self.write(who, Act::Renew { lease: self.lease(hidden) }, since).await?;
        Ok(beaten.active.then_some(beaten))
    }

    /// For how long a beat counts.
    #[must_use]
    pub fn lease(&self, hidden: bool) -> Duration {
        self.0.policy.lease(hidden)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When a store that nothing stands in for can't take it.
    pub async fn leave(&self, who: &SessionKey) -> Result<(), StoreError> {
        self.write(who, Act::Leave, Instant::now()).await.map(|_| ())
    }

    /// Ends a session if it is known; nothing comes into being.
    ///
    /// # Errors
    /// When a store that nothing stands in for can't take it.
    pub async fn leave_known(&self, who: &SessionKey) -> Result<(), StoreError> {
        self.write(who, Act::LeaveKnown, Instant::now()).await.map(|_| ())
    }

    /// How many sessions this node remembers, those that have left included, in case the store loses them.
    #[must_use]
    pub fn journaled_sessions(&self) -> usize {
        self.0.remote.as_ref().map_or(0, |remote| remote.journal.len())
    }

    /// Of how many channels this node remembers anything.
    #[must_use]
    pub fn journaled_channels(&self) -> usize {
        self.0.remote.as_ref().map_or(0, |remote| remote.journal.known())
    }

    /// The count of a channel.
    pub async fn count_of(&self, channel: &ChannelId) -> Count {
        let count = self.gathered(std::slice::from_ref(channel)).await.pop();
        count.unwrap_or(Count::unknown(self.0.clock.now()))
    }

    /// The count of a channel, as callers get it.
    pub async fn count(&self, channel: &ChannelId) -> CountUpdate {
        CountUpdate::new(channel.clone(), self.count_of(channel).await)
    }

    /// The counts of channels, in the order given, in one round trip.
    pub async fn count_all(&self, channels: &[ChannelId]) -> Vec<CountUpdate> {
        let counts = self.gathered(channels).await;
        channels
            .iter()
            .cloned()
            .zip(counts)
            .map(|(channel, count)| CountUpdate::new(channel, count))
            .collect()
    }

    /// The counts of channels, in the order given. What many ask for at once is one read of a store outside of this
    /// process.
    async fn gathered(&self, channels: &[ChannelId]) -> Vec<Count> {
        match &self.0.remote {
            None => self.counts(channels).await,
            Some(_) => self.0.reads.counts(self, channels).await,
        }
    }

    /// The channels that have viewers now, most first, those with as many by name: `most` of them. The list is an update
    /// interval old at most, or says that it is stale.
    ///
    /// # Errors
    /// When the store can't tell, and could not lately.
    pub async fn live(&self, most: usize) -> Result<Vec<CountUpdate>, StoreError> {
        self.0.live.first(most).await
    }

    /// Watches channels: their counts now, and every change.
    #[must_use]
    pub fn watch(&self, channels: &[ChannelId]) -> Subscription {
        self.0.hub.subscribe(channels)
    }

    /// How often a page is to beat, at most, in milliseconds.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> u32 {
        u32::try_from(self.0.policy.heartbeat_interval.as_millis()).unwrap_or(u32::MAX)
    }

    /// Frees memory of what has expired, in the store and in this node.
    ///
    /// # Errors
    /// When the store can't do it now.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        if let Some(remote) = &self.0.remote {
            remote.journal.sweep(self.0.clock.now()).await;
        }
        self.0.store.sweep().await
    }

    async fn write(&self, who: &SessionKey, act: Act, since: Instant) -> Result<BeatOutcome, StoreError> {
        let op = Op { viewer: who.viewer, session: who.session, act };
        let beaten = match &self.0.remote {
            None => self.write_here(&who.channel, op).await?,
            Some(remote) => self.write_there(remote, &who.channel, op, since).await,
        };
        if let Some(count) = beaten.count.value.filter(|_| !beaten.count.stale) {
            self.0.hub.notify_write(&who.channel, count);
            self.0.live.note(&who.channel, count, beaten.count.as_of);
        }
        tracing::debug!(channel = %who.channel, viewer = %who.viewer, count = ?beaten.count.value, "[VIEWER] {}", verb(act));
        Ok(beaten)
    }

    async fn write_here(&self, channel: &ChannelId, op: Op) -> Result<BeatOutcome, StoreError> {
        let batch = Batch { channel: channel.clone(), ops: smallvec![op] };
        let written = self.0.store.write(&[batch]).await.pop();
        let written = written.unwrap_or_else(|| Err(StoreError::unexpected()))?;
        let active = written.active.first().copied().unwrap_or_default();
        Ok(BeatOutcome { count: written.reading.into(), active })
    }

    /// Writes to a store that may be away. Once the node remembers the operation it is accepted. A limit may have had to ask
    /// the store about it before, and a leave may have overtaken it meanwhile.
    async fn write_there(&self, remote: &Remote, channel: &ChannelId, op: Op, since: Instant) -> BeatOutcome {
        let now = self.0.clock.now();
        let happened = match since.elapsed() {
            waited if waited > PROMPT => now - waited,
            _ => now,
        };
        let accepted = remote.journal.accept(channel, &op, happened, now);
        match remote.commit.write(channel, op, since).await {
            Ok(Committed { active, is_backdated, reading }) => {
                let heard = self.0.clock.now();
                let written = if is_backdated { None } else { Some(reading.as_of) };
                remote.journal.confirm(channel, &op, (happened, heard), written, active);
                if let (Act::Renew { lease }, true, false) = (op.act, active, accepted) {
                    // Another node has known the session until now.
                    remote.journal.accept(
                        channel,
                        &Op { act: Act::Heartbeat { lease }, ..op },
                        happened,
                        now,
                    );
                }
                let count = self.verified(remote, channel, Ok(reading), now).await;
                BeatOutcome { count, active }
            }
            Err(error) => {
                tracing::debug!(%error, %channel, "[VIEWER] not written yet");
                remote.journal.note_error(&error);
                let count = remote.journal.mark_unwritten(channel, &op);
                remote.recovery.trigger();
                BeatOutcome { count, active: accepted }
            }
        }
    }

    /// What to show, given what the store has said to a call that began at `asked`. Where the store may not be what it was,
    /// that is found out first.
    async fn verified(
        &self,
        remote: &Remote,
        channel: &ChannelId,
        reading: Result<Reading, StoreError>,
        asked: Timestamp,
    ) -> Count {
        let (count, loss) = remote.journal.observe(channel, &reading, asked);
        match loss {
            Loss::None => return count,
            Loss::Detected | Loss::Recovering => {
                remote.recovery.trigger();
                return count;
            }
            Loss::Unverified => {}
        }
        let is_first = remote.roll.last().is_none();
        let mut verified = remote.roll.next();
        remote.recovery.trigger();
        if timeout(VERIFY_LIMIT, verified.changed()).await.is_err() {
            return count;
        }
        let asked = if is_first { asked } else { self.0.clock.now() };
        let again = match (reading, remote.roll.last()) {
            // There was no roll call to know before.
            (Ok(reading), Some(roll)) if is_first => Ok(Reading { epoch: roll.epoch, ..reading }),
            _ => {
                let again = self.0.store.counts(std::slice::from_ref(channel)).await.pop();
                again.unwrap_or_else(|| Err(StoreError::unexpected()))
            }
        };
        let (count, loss) = remote.journal.observe(channel, &again, asked);
        if loss != Loss::None {
            remote.recovery.trigger();
        }
        count
    }
}

#[async_trait]
impl Counts for Presence {
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        let now = self.0.clock.now();
        let readings = self.0.store.counts(channels).await;
        let unknown = Count::unknown(now);
        let Some(remote) = &self.0.remote else {
            return readings.into_iter().map(|reading| reading.map_or(unknown, Count::from)).collect();
        };
        // Whether the store is what it was is found out once, by the first channel, for all of them. What was read of the
        // others before that is read again.
        let (Some(first), Some(reading)) = (channels.first(), readings.first().cloned()) else {
            return Vec::new();
        };
        let epoch = reading.as_ref().ok().and_then(|reading| reading.epoch);
        let mut counts = vec![self.verified(remote, first, reading, now).await];
        let rest = &channels[1..];
        let is_other = |roll: RollCall| epoch.is_some() && roll.epoch != epoch;
        let (now, readings) = if !rest.is_empty() && remote.roll.last().is_some_and(is_other) {
            (self.0.clock.now(), self.0.store.counts(rest).await)
        } else {
            (now, readings.into_iter().skip(1).collect())
        };
        for (channel, reading) in rest.iter().zip(readings) {
            let (count, loss) = remote.journal.observe(channel, &reading, now);
            if loss != Loss::None {
                remote.recovery.trigger();
            }
            counts.push(count);
        }
        counts
    }

    fn takes_many_channels(&self) -> bool {
        self.0.store.takes_many_channels()
    }
}

/// What is live in the store of a service.
struct Everywhere(Weak<Inner>);

#[async_trait]
impl Source for Everywhere {
    async fn list(&self) -> Result<Listed, StoreError> {
        let presence = Presence(self.0.upgrade().ok_or_else(StoreError::unexpected)?);
        let listed = presence.0.store.live().await?;
        let Some(remote) = &presence.0.remote else { return Ok(listed) };
        let live = listed.live;
        // A count that is read after the listing tells whether anything was lost before; that of any channel does.
        let channel = live.first().map(|live| live.channel.clone()).or_else(|| ChannelId::parse("any").ok());
        let count = presence.counts(channel.as_slice()).await.pop();
        let is_fresh = count.is_some_and(|count| count.value.is_some() && !count.stale);
        let restored = live.iter().map(|live| live.restored).max().unwrap_or_default();
        let is_complete = remote.roll.last().is_none_or(|roll| roll.is_complete(restored));
        let is_whole = listed.is_whole && is_fresh && is_complete && remote.journal.is_written();
        if !is_whole {
            remote.recovery.trigger();
        }
        Ok(Listed { live, is_whole })
    }
}

const fn verb(act: Act) -> &'static str {
    match act {
        Act::Join { .. } => "join",
        Act::Heartbeat { .. } => "heartbeat",
        Act::Renew { .. } => "renew",
        Act::Restore(_) | Act::Late(_) => "restore",
        Act::Leave | Act::LeaveKnown | Act::Withdraw(_) => "leave",
    }
}
