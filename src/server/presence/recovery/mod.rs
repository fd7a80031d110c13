//! Recovery: replays the journal after a store outage or a loss of data, and attends the roll call, by which every node
//! knows whether other nodes still have operations to replay.
//!
//! Promises:
//! - An operation that the store has taken is not replayed again because a later write fails.
//! - Retries use exponential backoff with jitter, so nodes do not retry in step.
//! - A node with an empty journal and no recent readings sends no commands to the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    journal::{Journal, Loss, Piece},
    left_elsewhere::LeftElsewhere,
    orphans::Orphans,
    roll_call::LastRollCall,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        backoff::jittered,
        clock::Clock,
        store::{Attendance, Batch, MAX_OPS, RollCall, Store, StoreError},
    },
};

/// The first and the longest pause before a retry while the store is unavailable.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The pause between two roll calls while a loss is being repaired.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);

/// The shortest pause between two rounds.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// How long after a loss the nodes wait for a silent node, in addition to three roll calls. The silent node may be cut
/// off and have viewers to replay, or it may be dead.
pub(super) const WAIT_FOR_NODES: Duration = Duration::from_secs(7);

/// How long a node that misses its roll calls is remembered, so that the others wait for it after a loss.
const REMEMBER_NODES: Duration = Duration::from_secs(60);

/// How often the epoch may change while a node attends one roll call.
const MAX_EPOCHS: usize = 4;

/// The shortest pause between two requests to check after outages of servers of a cluster. Each makes every node read all
/// of its channels.
const ASK_PAUSE: Duration = Duration::from_secs(3);

/// How long after an outage of a server of a cluster the servers are checked again. By then the node knows who replaced it.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// The most channels that are checked in one call.
const CHECK_BATCH: usize = 1_000;

/// The number of channels that are checked between two roll calls while no loss is known.
const CHECK_PER_ROUND: usize = 250;

/// Keeps a store complete from the journal of a node.
pub(super) struct Recovery {
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    roll: Arc<LastRollCall>,
    clock: Arc<dyn Clock>,
    /// The pause between two roll calls.
    interval: Duration,
    triggered: Notify,
    node: u64,
    state: Mutex<State>,
}

/// The state that is kept between rounds.
#[derive(Default)]
struct State {
    incarnation: Option<Option<String>>,
    /// The time since which the whole journal is known to be in the store, by the store's clock.
    sure_since: Timestamp,
    /// The same, if the next check of the servers finds none of them restarted or replaced.
    unverified_since: Option<Timestamp>,
    /// The request to check for which this node has entered its channels into the list of live channels again, by its time.
    listed_for: Timestamp,
    /// Whether this node has found a loss or replayed operations, so that the other nodes have to check their journals
    /// too.
    has_found_loss: bool,
    /// When this node last attended.
    attended: Option<Instant>,
    /// The other nodes, and when each last attended.
    peers: HashMap<u64, Instant>,
    /// The index of the next channel to check while no loss is known.
    next_check: usize,
    outage: Outage,
    /// When this node last asked the nodes to check after an outage.
    asked: Option<Instant>,
    /// When this node last checked some channels without a known loss.
    checked: Option<Instant>,
    orphans: Orphans,
    left_elsewhere: LeftElsewhere,
}

/// The outage of a server of a cluster, for which the nodes have to check their journals.
#[derive(Default)]
enum Outage {
    #[default]
    None,
    /// The servers of these outages respond again.
    Over(u64),
    /// The nodes were asked to check after these outages, at this time by the store's clock.
    Asked(u64, Timestamp),
}

impl Outage {
    /// Takes note of the newest outage that is over. While the nodes check after earlier ones, it has to wait.
    fn notice(&mut self, newest: Option<u64>) {
        if let (Self::None | Self::Over(_), Some(number)) = (&self, newest) {
            *self = Self::Over(number);
        }
    }

    fn must_ask(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    fn asked(&mut self, at: Timestamp) {
        if let Self::Over(number) = self {
            *self = Self::Asked(*number, at);
        }
    }

    /// The number up to which outages are resolved by a roll call.
    fn resolved_by(&mut self, roll: &RollCall) -> Option<u64> {
        match self {
            // The store's clock may have been set back.
            Self::Asked(number, at) if roll.is_complete((*at).min(roll.now)) => {
                let number = *number;
                *self = Self::None;
                Some(number)
            }
            _ => None,
        }
    }
}

impl Recovery {
    /// Creates the recovery of `store`. A round starts every half `update_interval`, but no sooner than 50 ms and no
    /// later than 1 s, or at the store's own pause between roll calls if that is longer.
    pub(super) fn new(
        store: Arc<dyn Store>,
        journal: Arc<Journal>,
        roll: Arc<LastRollCall>,
        clock: Arc<dyn Clock>,
        update_interval: Duration,
    ) -> Self {
        let pause = (update_interval / 2).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let interval = pause.max(store.roll_call_pause());
        let node = Uuid::new_v4().as_u64_pair().0;
        Self {
            store,
            journal,
            roll,
            clock,
            interval,
            triggered: Notify::new(),
            node,
            state: Mutex::default(),
        }
    }

    /// The random number of this node.
    pub(super) const fn node(&self) -> u64 {
        self.node
    }

    /// Starts a round soon, to replay operations or to check for a loss.
    pub(super) fn trigger(&self) {
        self.triggered.notify_one();
    }

    /// Runs forever. Errors are retried.
    pub(super) async fn run(self: Arc<Self>) {
        let mut pause = PAUSES.0;
        let mut was_triggered = true;
        loop {
            let retry_after = match self.round(was_triggered).await {
                Ok(is_complete) => {
                    pause = PAUSES.0;
                    // Where commands are billed, a repair may take longer.
                    (!is_complete).then_some(REPAIR_PAUSE.max(self.interval / 10))
                }
                Err(error) => {
                    tracing::debug!(%error, "store not recovered yet; retrying");
                    pause = (pause * 2).min(PAUSES.1);
                    Some(pause)
                }
            };
            // Triggers do not shorten this pause: while the store is unavailable, every beat triggers.
            if let Some(pause) = retry_after {
                sleep(jittered(pause)).await;
                was_triggered = true;
                continue;
            }
            // Limits the rate of rounds under many triggers.
            sleep(MIN_PAUSE).await;
            tokio::select! {
                biased;
                () = self.triggered.notified() => was_triggered = true,
                () = sleep(self.interval) => was_triggered = false,
            }
        }
    }

    /// Takes this node off the roll call, before it shuts down.
    pub(super) async fn resign(&self) {
        let mut state = self.state.lock().await;
        if self.roll.last().is_some() {
            let _ignored = self.call_roll(&mut state, Duration::ZERO).await;
        }
    }

    /// One round: checks the servers, attends the roll call, and replays operations. Returns whether the store is
    /// complete.
    async fn round(&self, was_triggered: bool) -> Result<bool, StoreError> {
        let mut state = self.state.lock().await;
        let outage = self.store.unresolved_outage();
        let is_empty = self.journal.is_empty();
        let was_complete = self.roll.last().is_none_or(|roll| roll.is_complete(roll.asked));
        let expected_for = self.interval * 3 + WAIT_FOR_NODES;
        if is_empty && was_complete && !was_triggered && !self.roll.was_used_within(expected_for) {
            // The store keeps a roll call for four times the expected time.
            self.roll.forget_after(expected_for * 3);
            return Ok(true);
        }
        if self.roll.last().is_none() {
            // No node may have attended for a while. What the last ones have logged is written before counts are complete.
            state.orphans.reset();
            state.orphans.write_logs(&*self.store, self.node).await;
        }
        // Parts of the store may be unavailable while others can be repaired, so errors are returned at the end.
        let mut result = self.check_incarnation(&mut state).await;
        // The check may have waited for a server, and viewers may have joined meanwhile.
        let is_empty = self.journal.is_empty();
        if is_empty {
            state.sure_since = Timestamp::default();
        }
        match self.attend(&mut state, expected_for).await {
            Ok(()) => {
                state.orphans.write_logs(&*self.store, self.node).await;
                self.learn_who_left(&mut state, is_empty).await;
            }
            Err(error) => result = Err(error),
        }
        let roll = self.roll.last();
        let must_check = !is_empty && roll.as_ref().is_some_and(|roll| roll.asked > state.sure_since);
        if !must_check && self.journal.unwritten().is_empty() {
            if state.checked.is_none_or(|at| at.elapsed() >= self.interval) {
                state.checked = Some(Instant::now());
                self.check_next(&mut state).await;
            }
            result?;
            let is_complete = roll.is_none_or(|roll| roll.is_complete(roll.asked));
            return Ok(is_complete && self.store.unresolved_outage().is_none());
        }
        if must_check {
            self.journal.repeat_leaves();
        }
        // If one channel was lost, others may be lost too. Their marks show it.
        for channels in self.journal.channels(0, usize::MAX).chunks(CHECK_BATCH) {
            if let Err(error) = self.check(channels).await {
                result = Err(error);
            }
        }
        if let Some(roll) = roll.as_ref().filter(|roll| must_check && roll.asked != state.listed_for) {
            // The list of live channels can be lost without a channel: on a cluster they are on different servers.
            match self.store.enter(&self.journal.channels(0, usize::MAX)).await {
                Ok(()) => state.listed_for = roll.asked,
                Err(error) => result = Err(error),
            }
        }
        match self.replay_all(&mut state, expected_for).await {
            Ok(concerns_others) => state.has_found_loss |= concerns_others,
            Err(error) => result = Err(error),
        }
        result?;
        let Some(roll) = roll else { return Ok(true) };
        if self.store.unresolved_outage() > outage {
            // A server of a cluster may have been restarted or replaced meanwhile.
            state.unverified_since = Some(roll.now);
            drop(state);
            sleep(SETTLE_PAUSE).await;
            return Ok(false);
        }
        state.sure_since = state.sure_since.max(roll.now);
        self.attend(&mut state, expected_for).await?;
        tracing::info!("store recovered; all journaled operations are written");
        Ok(self.roll.last().is_none_or(|roll| roll.is_complete(roll.asked)))
    }

    /// Learns which sessions have left through other nodes, unless something is being repaired. A store that has lost a channel
    /// may say of any session that it has left, so the channels are read after that.
    async fn learn_who_left(&self, state: &mut State, is_empty: bool) {
        let Some(roll) = self.roll.last().filter(|_| !is_empty) else { return state.left_elsewhere.reset() };
        let is_repaired = roll.is_complete(roll.asked) && self.store.unresolved_outage().is_none();
        if !state.left_elsewhere.is_due(&roll) || !is_repaired {
            return;
        }
        let left = state.left_elsewhere.read(&*self.store, &roll).await;
        let mut found: Vec<_> = left.iter().filter_map(|left| self.journal.find_live(left)).collect();
        found.sort_by(|(one, _), (other, _)| one.channel.cmp(&other.channel));
        let by_channel: Vec<_> =
            found.chunk_by(|(one, _), (other, _)| one.channel == other.channel).collect();
        for some in by_channel.chunks(CHECK_BATCH) {
            let channels: Vec<ChannelId> = some.iter().map(|found| found[0].0.channel.clone()).collect();
            for (found, reading) in some.iter().zip(self.store.verify(&channels).await) {
                if let Ok(reading) = reading {
                    found.iter().for_each(|(who, at)| self.journal.note_left_elsewhere(who, *at, &reading));
                }
            }
        }
    }

    /// Checks whether servers of the store were restarted or replaced.
    async fn check_incarnation(&self, state: &mut State) -> Result<(), StoreError> {
        let outage = self.store.unresolved_outage();
        let current = self.store.incarnation().await?;
        // All servers respond now, so the nodes can check.
        if state.asked.is_none_or(|at| at.elapsed() >= ASK_PAUSE) {
            state.outage.notice(outage);
        }
        let unverified_since = state.unverified_since.take().unwrap_or_default();
        if state.incarnation.as_ref().is_none_or(|before| *before == current) {
            state.sure_since = state.sure_since.max(unverified_since);
        } else {
            tracing::warn!("store restarted or replaced; replaying the journal");
            self.journal.mark_all_suspect();
            state.has_found_loss = true;
        }
        state.incarnation = Some(current);
        Ok(())
    }

    /// Attends the roll call and stores the result. A result with a new epoch is used only after a check of the
    /// servers, since later readings are judged by the result.
    async fn attend(&self, state: &mut State, expected_for: Duration) -> Result<(), StoreError> {
        let mut epoch = self.roll.last().map(|roll| roll.epoch);
        for _ in 0..MAX_EPOCHS {
            let Some(roll) = self.call_roll(state, expected_for).await? else { return Ok(()) };
            // On a cluster, readings do not depend on the epoch, and a server that is away must not keep the node from
            // knowing the roll call.
            if epoch.replace(roll.epoch) != Some(roll.epoch) && self.store.takes_many_channels() {
                self.check_incarnation(state).await?;
            }
            if !state.has_found_loss {
                if let Some(outage) = state.outage.resolved_by(&roll) {
                    self.store.resolve_outages(outage);
                }
                self.roll.set(roll);
                return Ok(());
            }
        }
        Err(StoreError::Unreachable("the servers of the store keep changing".to_owned()))
    }

    /// Sends this node's attendance and returns the roll call.
    async fn call_roll(
        &self,
        state: &mut State,
        expected_for: Duration,
    ) -> Result<Option<RollCall>, StoreError> {
        let last = self.roll.last();
        // Nodes are not forgotten while the store is away.
        let attended = state.attended.unwrap_or_else(Instant::now);
        state.peers.retain(|_, seen| attended.saturating_duration_since(*seen) < REMEMBER_NODES);
        state.has_found_loss |= self.journal.take_found_loss();
        // The store may have been away for the others too, and they may have operations to replay.
        let may_have_peers = state.attended.is_none() || !state.peers.is_empty();
        state.has_found_loss |= self.roll.is_missed() && may_have_peers;
        state.has_found_loss |= state.outage.must_ask();
        let attendance = Attendance {
            node: self.node,
            expected_for,
            sure_since: Some(state.sure_since).filter(|since| *since > Timestamp::default()),
            known: last.as_ref().map(|roll| roll.number),
            has_found_loss: state.has_found_loss,
            is_locked_out: self.journal.take_locked_out(),
            peers: state.peers.keys().copied().collect(),
        };
        let sent = self.clock.now();
        let roll = match self.store.attend(&attendance).await {
            Ok(Some(roll)) => roll,
            Ok(None) => {
                self.roll.set_not_kept();
                return Ok(None);
            }
            Err(error) => {
                self.roll.miss();
                return Err(error);
            }
        };
        self.journal.learn_time(sent, self.clock.now(), roll.now);
        if state.outage.must_ask() {
            state.outage.asked(roll.asked);
            state.asked = Some(Instant::now());
        }
        state.has_found_loss = false;
        state.attended = Some(Instant::now());
        let others = roll.nodes.iter().filter(|node| **node != self.node);
        state.peers.extend(others.map(|node| (*node, Instant::now())));
        state.orphans.note(&roll.nodes);
        if attendance.sure_since.is_none() {
            state.sure_since = roll.now;
        }
        Ok(Some(roll))
    }

    /// Checks the next few channels, to find the loss of a single channel that has no beats or reads.
    async fn check_next(&self, state: &mut State) {
        let mut next = self.journal.channels(state.next_check, CHECK_PER_ROUND);
        if next.is_empty() {
            state.next_check = 0;
            next = self.journal.channels(0, CHECK_PER_ROUND);
        }
        state.next_check += next.len();
        if !next.is_empty() && self.check(&next).await.is_ok() && !self.journal.unwritten().is_empty() {
            self.trigger();
        }
    }

    /// Reads channels to compare their marks.
    async fn check(&self, channels: &[ChannelId]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut result = Ok(());
        let readings = self.store.verify(channels).await;
        if let Some(reading) = readings.iter().find_map(|reading| reading.as_ref().ok()) {
            self.journal.learn_time(now, self.clock.now(), reading.as_of);
        }
        for (channel, reading) in channels.iter().zip(readings) {
            if self.journal.observe(channel, &reading, now).1 == Loss::Detected {
                tracing::debug!(%channel, "channel lost by the store");
            }
            match reading {
                Ok(_) | Err(StoreError::Damaged) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Replays all pending operations, up to [`MAX_OPS`] per call, and attends meanwhile, so that the others wait for this
    /// node. Returns whether the other nodes have to check their journals. A channel that fails is retried in the next
    /// round.
    async fn replay_all(&self, state: &mut State, expected_for: Duration) -> Result<bool, StoreError> {
        let unwritten = self.journal.unwritten();
        if !unwritten.is_empty() && !self.journal.knows_time() {
            return Err(StoreError::Unreachable("the store's time is not known yet".to_owned()));
        }
        let mut channels = unwritten.into_iter();
        let mut current = channels.next();
        let (mut result, mut concerns_others) = (Ok(()), false);
        let mut attended = Instant::now();
        while current.is_some() {
            // Without a time since which it is sure, this node would say that it has written everything.
            if attended.elapsed() >= self.interval && state.sure_since > Timestamp::default() {
                attended = Instant::now();
                let _retried = self.attend(state, expected_for).await;
            }
            let (mut pieces, mut ops) = (Vec::<Piece>::new(), 0);
            while let Some(channel) = &current
                && ops < MAX_OPS
            {
                match self.journal.next_piece(channel, self.clock.now(), MAX_OPS - ops) {
                    Some(piece) => {
                        ops += piece.batch.ops.len();
                        pieces.push(piece);
                    }
                    None => current = channels.next(),
                }
            }
            // Calls are sequential, so that beats are written between them.
            let batches: Vec<Batch> = pieces.iter().map(|piece| piece.batch.clone()).collect();
            for (piece, written) in pieces.iter().zip(self.store.write(&batches).await) {
                match written {
                    Ok(written) => {
                        concerns_others |= piece.concerns_other_nodes();
                        self.journal.mark_written(piece, &written.reading);
                    }
                    Err(error) => {
                        self.journal.note_error(&error);
                        if current.as_ref() == Some(&piece.batch.channel) {
                            current = channels.next();
                        }
                        result = Err(error);
                    }
                }
            }
        }
        result.map(|()| concerns_others)
    }
}

#[cfg(test)]
mod tests;
