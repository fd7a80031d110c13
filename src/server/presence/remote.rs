//! Calls to a store outside of this process, which can be away and can lose its data.
//!
//! Promises:
//! - A write is accepted once it is in the journal. If the store fails, the write is replayed later, and its response has
//!   the last good count, marked as stale.
//! - Every reading is judged before it is reported. If the store may have lost data, the response waits for the roll call
//!   that shows it, but no longer than [`VERIFY_LIMIT`].

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    BeatOutcome,
    group_commit::{BACKDATE_AFTER, Committed, GroupCommit},
    journal::{Accepted, Journal, Loss},
    recovery::Recovery,
    renewals::Renewals,
    roll_call::{Completeness, LastRollCall},
};
use crate::{
    domain::{Act, ChannelId, Count, Op, Policy, Timestamp},
    server::{
        clock::Clock,
        store::{Appended, Reading, Renewal, RollCall, Store, StoreError},
    },
};

/// How long a shutdown tries to remove the node from the roll call.
const RESIGN_LIMIT: Duration = Duration::from_millis(500);

/// How long a response waits for the roll call that shows whether the store has lost data.
const VERIFY_LIMIT: Duration = Duration::from_millis(400);

/// A store outside of this process, with what this node keeps so that no accepted operation is lost.
pub(super) struct Remote {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    commit: Arc<GroupCommit>,
    renewals: Arc<Renewals>,
    pub(super) journal: Arc<Journal>,
    pub(super) recovery: Arc<Recovery>,
    pub(super) roll: Arc<LastRollCall>,
}

impl Remote {
    /// Nothing is journaled yet.
    pub(super) fn new(store: &Arc<dyn Store>, policy: Policy, clock: &Arc<dyn Clock>) -> Self {
        let roll = Arc::new(LastRollCall::default());
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll));
        let journal = Arc::new(journal);
        let (own_journal, own_clock) = (Arc::clone(&journal), Arc::clone(clock));
        let backdate = move |op, waited: Duration| own_journal.backdated(op, waited, own_clock.now());
        let recovery = Arc::new(Recovery::new(
            Arc::clone(store),
            Arc::clone(&journal),
            Arc::clone(&roll),
            Arc::clone(clock),
            policy.update_interval,
        ));
        let renewals = Renewals::new(
            Arc::clone(store),
            Arc::clone(&journal),
            Arc::clone(&recovery),
            Arc::clone(clock),
            &policy,
        );
        Self {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            commit: Arc::new(GroupCommit::new(Arc::clone(store), policy.write_interval, backdate)),
            renewals: Arc::new(renewals),
            journal,
            recovery,
            roll,
        }
    }

    /// Whether the store is known to have all viewers of this node and of the others.
    pub(super) fn is_complete(&self) -> bool {
        self.journal.is_written() && self.roll.is_complete() && self.store.unresolved_outage().is_none()
    }

    /// Writes what waits without delay, from now on.
    pub(super) fn flush(&self) {
        self.commit.flush();
        self.renewals.flush();
    }

    /// Waits until all accepted operations are written, but no longer than `until`. Then takes the node off the roll call,
    /// for which it needs [`RESIGN_LIMIT`] at most.
    pub(super) async fn drain(&self, until: Instant) {
        let written = async {
            // In this order: a heartbeat that is not logged is written.
            while !self.renewals.is_idle() || !self.commit.is_idle() || !self.journal.unwritten().is_empty() {
                self.recovery.trigger();
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout_at(until, written).await.is_err() {
            let channels = self.journal.unwritten().len();
            tracing::warn!(
                channels,
                "store unavailable at shutdown; viewers are counted again after their next beat"
            );
        }
        // The other nodes stop waiting for this node.
        let _ignored = timeout(RESIGN_LIMIT, self.recovery.resign()).await;
    }

    /// Writes to a store that may be unavailable. The operation is accepted once it is in the journal. If it has waited
    /// longer than [`BACKDATE_AFTER`], it is recorded as of its arrival: a limit may have waited for the store, and a
    /// leave may have overtaken the operation.
    ///
    /// # Errors
    /// When a session that this node does not count is renewed, and the store can't tell whether it does.
    pub(super) async fn write(
        &self,
        channel: &ChannelId,
        op: Op,
        since: Instant,
    ) -> Result<BeatOutcome, StoreError> {
        let only_renews = matches!(op.act, Act::Renew { .. });
        let now = self.clock.now();
        let happened = match since.elapsed() {
            waited if waited > BACKDATE_AFTER => now - waited,
            _ => now,
        };
        let in_flight = self.renewals.begin();
        let answer = in_flight
            .rule
            .filter(|_| happened == now)
            .and_then(|rule| self.journal.count_for_renewal(channel, &op, rule, now));
        let accepted = self.journal.accept(channel, &op, happened, now);
        if let Some(count) = answer
            && self.renew(channel, &op, since, now, accepted).await
        {
            return Ok(BeatOutcome { count, active: true });
        }
        match self.commit.write(channel, op, since).await {
            Ok(Committed { active, is_backdated, applied, reading }) => {
                let received = self.clock.now();
                if active && !accepted.is_live {
                    self.journal.learn_session(channel, &op, accepted, &reading, happened, now);
                }
                let active =
                    active || accepted.is_live && self.has_lost(channel, &op, accepted, &reading).await;
                if only_renews && !active && !self.is_whole(accepted, reading).await {
                    self.recovery.trigger();
                    return Err(StoreError::Unreachable("it may have lost the session".to_owned()));
                }
                let written = if is_backdated { None } else { Some(applied) };
                self.journal.confirm(channel, &op, accepted, (happened, received), written, active);
                let count = self.verified(channel, Ok(reading), now).await;
                Ok(BeatOutcome { count, active })
            }
            Err(error) => {
                tracing::debug!(%error, %channel, "write failed; replaying later");
                self.journal.note_error(&error);
                let count = self.journal.mark_unwritten(channel, &op);
                self.recovery.trigger();
                if only_renews && !accepted.is_live {
                    return Err(error);
                }
                Ok(BeatOutcome { count, active: accepted.is_live })
            }
        }
    }

    /// Renews a lease by the node's log in the store. Returns whether it did, and the store has lost nothing. Otherwise the
    /// heartbeat has to be written to its channel.
    async fn renew(
        &self,
        channel: &ChannelId,
        op: &Op,
        since: Instant,
        now: Timestamp,
        accepted: Accepted,
    ) -> bool {
        let (true, Act::Heartbeat { lease }) = (accepted.is_live, op.act) else { return false };
        let renewal = Renewal { channel: channel.clone(), viewer: op.viewer, session: op.session, lease };
        let Some(Appended { at, epoch }) = self.renewals.append(renewal, since).await else { return false };
        // The answer of the log shows whether the store may have lost data since the count was read.
        let reading = Reading { mark: accepted.mark, epoch, ..Reading::certain(0, at) };
        if !self.journal.is_whole(accepted, &reading) {
            return false;
        }
        let received = self.clock.now();
        // On a cluster, the log and the channel are on servers with different clocks.
        let at = self.store.takes_many_channels().then_some(at);
        self.journal.confirm(channel, op, accepted, (now, received), at, true);
        true
    }

    /// Whether a reading shows all that the store knew when the operation was accepted. At the start of the node, waits for the
    /// first roll call, which shows it.
    async fn is_whole(&self, accepted: Accepted, mut reading: Reading) -> bool {
        let mut updated = self.roll.subscribe();
        if self.roll.last().is_none() && !self.journal.is_whole(accepted, &reading) {
            self.recovery.trigger();
            let _late = timeout(VERIFY_LIMIT, updated.changed()).await;
            // Before the first roll call no epoch was known, so the reading can be judged by this one.
            reading.epoch = self.roll.last().and_then(|roll| roll.epoch);
        }
        self.journal.is_whole(accepted, &reading)
    }

    /// Whether the store may have lost the session of a beat that it says is not counted. Then another node may have
    /// replayed a leave from before a join that this node has yet to replay, and this node's own knowledge is the answer.
    async fn has_lost(&self, channel: &ChannelId, op: &Op, accepted: Accepted, reading: &Reading) -> bool {
        if accepted.is_lost_by(reading) {
            return true;
        }
        let is_unverified = || self.roll.judge(reading) == Completeness::Unverified;
        let mut updated = self.roll.subscribe();
        if is_unverified() {
            // This is a new connection. The next roll call shows whether the store was restarted or replaced.
            self.recovery.trigger();
            let _in_time = timeout(VERIFY_LIMIT, updated.changed()).await;
        }
        is_unverified() || self.journal.lacks(channel, op)
    }

    /// The counts of channels, in the order given.
    pub(super) async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        let now = self.clock.now();
        let readings = self.store.counts(channels).await;
        // The first channel shows for all channels whether the store may have lost data. If the epoch has changed, the
        // other channels are read again.
        let (Some(first), Some(reading)) = (channels.first(), readings.first().cloned()) else {
            return Vec::new();
        };
        let epoch = reading.as_ref().ok().and_then(|reading| reading.epoch);
        let mut counts = vec![self.verified(first, reading, now).await];
        let rest = &channels[1..];
        let is_new_epoch = |roll: RollCall| epoch.is_some() && roll.epoch != epoch;
        let (now, readings) = if !rest.is_empty() && self.roll.last().is_some_and(is_new_epoch) {
            (self.clock.now(), self.store.counts(rest).await)
        } else {
            (now, readings.into_iter().skip(1).collect())
        };
        for (channel, reading) in rest.iter().zip(readings) {
            let (count, loss) = self.journal.observe(channel, &reading, now);
            if loss != Loss::None {
                self.recovery.trigger();
            }
            counts.push(count);
        }
        counts
    }

    /// The count to report for a reading of a call that began at `began`. If the store may have lost data, waits for
    /// the next roll call first.
    async fn verified(
        &self,
        channel: &ChannelId,
        reading: Result<Reading, StoreError>,
        began: Timestamp,
    ) -> Count {
        let (count, loss) = self.journal.observe(channel, &reading, began);
        match loss {
            Loss::None => count,
            Loss::Detected | Loss::Recovering => {
                self.recovery.trigger();
                count
            }
            Loss::Unverified => Box::pin(self.verify(channel, reading, began, count)).await,
        }
    }

    /// Waits for the next roll call, which shows whether the store has lost data, and judges the reading by it. Returns
    /// `count` if no roll call comes in time.
    async fn verify(
        &self,
        channel: &ChannelId,
        reading: Result<Reading, StoreError>,
        began: Timestamp,
        count: Count,
    ) -> Count {
        let is_first = self.roll.last().is_none();
        let mut verified = self.roll.subscribe();
        self.recovery.trigger();
        if timeout(VERIFY_LIMIT, verified.changed()).await.is_err() {
            return count;
        }
        let began = if is_first { began } else { self.clock.now() };
        let reading = match (reading, self.roll.last()) {
            // Before the first roll call no epoch was known, so the reading can be judged by this one.
            (Ok(reading), Some(roll)) if is_first => Ok(Reading { epoch: roll.epoch, ..reading }),
            _ => {
                let reading = self.store.counts(std::slice::from_ref(channel)).await.pop();
                reading.unwrap_or_else(|| Err(StoreError::unexpected()))
            }
        };
        let (count, loss) = self.journal.observe(channel, &reading, began);
        if loss != Loss::None {
            self.recovery.trigger();
        }
        count
    }
}
