//! The journal of a node beside a store that can be unavailable or lose data: each channel's ledger of accepted
//! operations, and its last good count.
//!
//! Sweeps and replays lock a channel for a bounded number of sessions at a time.

mod entry;

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::time::Instant;

pub(super) use self::entry::STALE_FOR;
use self::entry::{ChannelEntry, MarkChange, OVERTAKEN_FOR, incomplete};
use super::roll_call::{Completeness, LastRollCall};
use crate::{
    domain::{
        Act, ChannelId, Count, LeaseRules, Op, Session, SessionKey, Timestamp,
        ledger::{Pending, Seen, Why},
    },
    server::{
        clock::{PRECISION, Skew},
        store::{Batch, Left, Mark, Reading, StoreError},
    },
};

/// How long after reading a mark a changed mark counts as a loss on a node that has no session of the channel. Nodes
/// that have sessions of the channel notice a loss within this time: a store may know a count for 20 s.
const MARK_VALID_FOR: Duration = Duration::from_secs(25);

/// How long after its read, at most, a count answers heartbeats that change no count. Their write to the channel, about a second
/// later, reads it again.
const RECENT_FOR: Duration = Duration::from_secs(2);

/// The number of sessions that are swept while the channel is locked.
const SWEEP_STEP: usize = 500;

/// The journal of all channels.
pub(super) struct Journal {
    channels: DashMap<ChannelId, ChannelEntry>,
    rules: LeaseRules,
    /// How old a count on a stream may be. If the store keeps no roll call, counts of a lost channel stay stale for as long.
    update_interval: Duration,
    roll: Arc<LastRollCall>,
    /// The difference between the node's clock and the store's.
    skew: Skew,
    /// Set when the loss of a channel is found; cleared by [`Journal::take_found_loss`].
    has_found_loss: AtomicBool,
    /// Set when a later version keeps a channel; cleared by [`Journal::take_locked_out`].
    is_locked_out: AtomicBool,
    /// The number of times that a channel came to lack operations in the store.
    lacked: AtomicU64,
    /// `lacked` + 1 as of the last scan that found all channels written; 0 before the first.
    written_at: AtomicU64,
}

/// Which heartbeats are renewals.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenewalRule {
    /// How long ago the last beat may have been.
    pub beaten_within: Duration,
    /// How many sessions of the channel this node must know.
    pub least_sessions: usize,
}

/// What the journal knew of a session when it accepted an operation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accepted {
    /// Whether the session is live afterwards, as far as this node knows.
    pub is_live: bool,
    /// Whether the store was known to lack the session.
    is_lacking: bool,
    /// The state of the session, if the node knows it.
    seen: Option<Seen>,
    /// The store's mark of the channel.
    pub mark: Option<Mark>,
}

impl Accepted {
    /// Whether the response to the operation shows that the store has lost the session, or may have.
    pub(super) fn is_lost_by(self, reading: &Reading) -> bool {
        self.is_lacking || self.mark.is_some_and(|mark| reading.mark != Some(mark)) || reading.was_away
    }
}

/// A part of the replay of one channel.
pub(super) struct Piece {
    /// The operations for the store.
    pub batch: Batch,
    sessions: Vec<Pending>,
}

impl Piece {
    /// Whether other nodes have to check their journals after this piece, which contains more than repeated leaves.
    pub(super) fn concerns_other_nodes(&self) -> bool {
        self.sessions.iter().any(|pending| pending.why != Why::Repeated)
    }
}

/// Whether a reading shows that the store has lost the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// No loss is known.
    None,
    /// The reading shows a new loss.
    Detected,
    /// A known loss is being repaired.
    Recovering,
    /// The store may have lost everything. The next roll call decides.
    Unverified,
}

impl Journal {
    /// Creates an empty journal. `update_interval` is the time within which every node notices a loss.
    #[must_use]
    pub(super) fn new(rules: LeaseRules, update_interval: Duration, roll: Arc<LastRollCall>) -> Self {
        Self {
            channels: DashMap::new(),
            rules,
            update_interval,
            roll,
            skew: Skew::default(),
            has_found_loss: AtomicBool::new(false),
            is_locked_out: AtomicBool::new(false),
            lacked: AtomicU64::new(0),
            written_at: AtomicU64::new(0),
        }
    }

    /// Records an operation before it is written; see [`Ledger::accept`](crate::domain::Ledger::accept).
    pub(super) fn accept(
        &self,
        channel: &ChannelId,
        op: &Op,
        happened: Timestamp,
        now: Timestamp,
    ) -> Accepted {
        let accept = |entry: &mut ChannelEntry| {
            let is_live = entry.ledger.accept(op, happened, now, &self.rules);
            let (is_lacking, seen) = (entry.ledger.lacks(op), entry.ledger.seen(op));
            Accepted { is_live, is_lacking, seen, mark: entry.mark }
        };
        if matches!(op.act, Act::Renew { .. } | Act::LeaveKnown) {
            // These operations create no session, so they create no entry either.
            return self.channels.get_mut(channel).map(|mut entry| accept(&mut entry)).unwrap_or_default();
        }
        let mut entry = self.channels.entry(channel.clone()).or_default();
        if entry.ledger.useful_until() <= now {
            // The channel may have expired in the store, which is no loss.
            entry.mark = None;
        }
        accept(&mut entry)
    }

    /// The count with which a heartbeat may be answered that only prolongs a lease by a rule: it is no older than one on a stream
    /// may be, and has all that this node has answered. `None` if the heartbeat has to be written first.
    pub(super) fn count_for_renewal(
        &self,
        channel: &ChannelId,
        op: &Op,
        rule: RenewalRule,
        now: Timestamp,
    ) -> Option<Count> {
        let entry = self.channels.get(channel)?;
        let (count, read) = entry.good?;
        let is_whole = entry.mark.is_some() && entry.lost.is_none() && !entry.ledger.is_lacking();
        let is_recent = read.elapsed() < RECENT_FOR.min(self.update_interval);
        let is_certain = !entry.is_suspect && !entry.is_ambiguous;
        let is_renewal = || {
            entry.ledger.len() >= rule.least_sessions
                && entry.ledger.is_renewal(op, now - rule.beaten_within, now)
        };
        (is_whole && is_recent && is_certain && is_renewal()).then_some(count)
    }

    /// Whether the store is known to lack the session of an operation.
    pub(super) fn lacks(&self, channel: &ChannelId, op: &Op) -> bool {
        self.channels.get(channel).is_some_and(|entry| entry.ledger.lacks(op))
    }

    /// Records that the store has taken an operation. `began` and `received` are when the call began and ended, by the node's
    /// clock. `happened` is the time of the operation by the store's clock; `None` means the time of acceptance.
    pub(super) fn confirm(
        &self,
        channel: &ChannelId,
        op: &Op,
        accepted: Accepted,
        (began, received): (Timestamp, Timestamp),
        happened: Option<Timestamp>,
        is_active: bool,
    ) {
        if let Some(as_of) = happened {
            self.skew.observe(began, received, as_of);
        }
        if let Some(mut entry) = self.channels.get_mut(channel) {
            let happened = happened.map_or(began, |as_of| self.skew.to_node(as_of));
            entry.ledger.confirm(op, accepted.seen, (began, happened), is_active, &self.rules);
        }
    }

    /// Records that the store does not count the session of a heartbeat from a log of renewals, by this reading: the session has
    /// left through another node, unless the store has lost something.
    pub(super) fn note_left(&self, channel: &ChannelId, op: &Op, reading: &Reading) {
        let Act::Logged(beat) = op.act else { return };
        // A later beat has an answer of its own.
        let at = self.skew.to_node(beat.at()) + PRECISION;
        if let Some(mut entry) = self.channels.get_mut(channel) {
            let known = Accepted { mark: entry.mark, ..Accepted::default() };
            if self.is_whole(known, reading) {
                entry.ledger.note_left(op.viewer, op.session, at, &self.rules);
            }
        }
    }

    /// The session that has left, if this node takes it to be live, and the latest time by this node's clock at which it can have
    /// left.
    pub(super) fn find_live(&self, left: &Left) -> Option<(SessionKey, Timestamp)> {
        let at = self.skew.to_node(left.at) + PRECISION;
        let is_it = |viewer, session| left.ids.are_of(viewer, session);
        let entry = self.channels.get(&left.channel)?;
        let mut found = left.ids.viewers().into_iter();
        let (viewer, session) = found.find_map(|viewers| entry.ledger.find_stored(&viewers, is_it, at))?;
        Some((SessionKey { channel: left.channel.clone(), viewer, session }, at))
    }

    /// Records that a session has left by `at` through another node, so that a replay does not restore it. `reading` is from
    /// later. If it shows that the store has lost something, the session may not have left.
    pub(super) fn note_left_elsewhere(&self, who: &SessionKey, at: Timestamp, reading: &Reading) {
        let Some(mut entry) = self.channels.get_mut(&who.channel) else { return };
        let known = Accepted { mark: entry.mark, ..Accepted::default() };
        if known.mark.is_some() && self.is_whole(known, reading) {
            entry.ledger.note_left(who.viewer, who.session, at, &self.rules);
        }
    }

    /// Records that the store counts the session of a heartbeat, although this node did not when it accepted the heartbeat
    /// at `happened`. Only another node knew the session, or its join after the leave that this node knows. `reading` is the
    /// store's answer.
    pub(super) fn learn_session(
        &self,
        channel: &ChannelId,
        op: &Op,
        accepted: Accepted,
        reading: &Reading,
        happened: Timestamp,
        now: Timestamp,
    ) {
        // A store that has lost the leave counts the session without a join.
        let has_rejoined = accepted.mark.is_some()
            && self.is_whole(accepted, reading)
            && accepted.seen.is_some_and(|seen| {
                let entry = self.channels.get_mut(channel);
                entry.is_some_and(|mut entry| entry.ledger.rejoin(op, seen, happened, &self.rules))
            });
        if !has_rejoined && let Act::Renew { lease } = op.act {
            self.accept(channel, &Op { act: Act::Heartbeat { lease }, ..*op }, happened, now);
        }
    }

    /// Whether a reading shows all that the store knew when the operation was accepted.
    pub(super) fn is_whole(&self, accepted: Accepted, reading: &Reading) -> bool {
        !accepted.is_lost_by(reading) && self.roll.judge(reading) == Completeness::Complete
    }

    /// The operation with its time set to `waited` ago, by the store's clock. Unchanged if the store's clock is not
    /// known yet.
    pub(super) fn backdated(&self, op: Op, waited: Duration, now: Timestamp) -> Op {
        let Some(at) = self.skew.to_store(now - waited) else { return op };
        let act = match op.act {
            Act::Join { lease } => Act::Late(Session::beating(at, lease, true)),
            Act::Heartbeat { lease } => Act::Late(Session::beating(at, lease, false)),
            Act::Leave => Act::Late(Session::left_unknown(at)),
            other => other,
        };
        Op { act, ..op }
    }

    /// Records the store's time `as_of` from a call that lasted from `sent` to `received` by the node's clock.
    pub(super) fn learn_time(&self, sent: Timestamp, received: Timestamp, as_of: Timestamp) {
        self.skew.observe(sent, received, as_of);
    }

    /// Records the result of a read or write of a channel. Returns the count to report, and whether the store has lost
    /// the channel. `began` is when the call began, by the node's clock.
    pub(super) fn observe(
        &self,
        channel: &ChannelId,
        reading: &Result<Reading, StoreError>,
        began: Timestamp,
    ) -> (Count, Loss) {
        let now = Instant::now();
        let reading = match reading {
            Ok(reading) => reading,
            Err(StoreError::Damaged) => return (self.mark_damaged(channel, now), Loss::Detected),
            Err(error) => {
                self.note_error(error);
                return (self.last_good(channel, now), Loss::None);
            }
        };
        let completeness = self.roll.judge(reading);
        if completeness == Completeness::Incomplete && !self.roll.was_asked_since(reading.restored) {
            // The channel was restored, but the nodes were not asked to check their journals. This node asks them.
            self.has_found_loss.store(true, Relaxed);
        }
        let Some(mut entry) = self.channels.get_mut(channel) else {
            // The journal has no session of this channel to replay. Only the count and the mark are recorded.
            return match completeness {
                Completeness::Complete if reading.was_away => (incomplete(reading), Loss::Recovering),
                Completeness::Complete => {
                    if reading.count > 0 {
                        let mut entry = self.channels.entry(channel.clone()).or_default();
                        entry.good = Some((Count::from(*reading), now));
                        entry.update_mark(reading, now);
                    }
                    (Count::from(*reading), Loss::None)
                }
                Completeness::Incomplete => (incomplete(reading), Loss::Recovering),
                Completeness::Unverified => (incomplete(reading), Loss::Unverified),
            };
        };
        if completeness == Completeness::Unverified {
            return (entry.uncertain(reading, now), Loss::Unverified);
        }
        let is_recently_read = entry.mark_read.is_some_and(|(at, _)| now < at + MARK_VALID_FOR);
        let change = entry.update_mark(reading, now);
        if change == MarkChange::Outdated {
            let is_certain = completeness == Completeness::Complete && entry.lost.is_none();
            let newer = entry.good.filter(|(good, _)| is_certain && good.as_of() >= reading.as_of);
            return (newer.map_or_else(|| entry.stale(now), |(good, _)| good), Loss::None);
        }
        let is_lost = change == MarkChange::Changed
            && !entry.has_ended(began, now, self.rules.longest_lease)
            && (!entry.ledger.is_empty() || is_recently_read);
        if is_lost {
            self.record_loss(&mut entry, reading.as_of);
        }
        // Each server of a cluster has a clock of its own, so the nodes may have to be asked again.
        if entry.lost.is_some_and(|(at, _)| !self.roll.was_asked_since(at)) {
            self.has_found_loss.store(true, Relaxed);
        }
        let is_written = entry.is_suspect || !entry.ledger.is_lacking();
        let is_repaired = |(at, found): (Timestamp, Instant)| match self.roll.sure_since() {
            Some(sure) => sure >= at,
            None => now >= found + self.update_interval,
        };
        let is_complete = completeness == Completeness::Complete;
        // After an outage, a server of a cluster may lack writes that nodes have to replay. The roll call does not show it, since
        // it is on another server.
        if reading.was_away || !(is_complete && is_written && entry.lost.is_none_or(is_repaired)) {
            let loss = if is_lost { Loss::Detected } else { Loss::Recovering };
            return (entry.uncertain(reading, now), loss);
        }
        entry.lost = None;
        let count = Count::from(*reading);
        let before = entry.good;
        if before.is_none_or(|(good, at)| good.as_of() <= count.as_of() || now >= at + OVERTAKEN_FOR) {
            let is_tied = before.is_some_and(|(good, _)| good.as_of() == count.as_of());
            let differs = before.is_some_and(|(good, _)| good.value() != count.value());
            entry.is_ambiguous = is_tied && (differs || entry.is_ambiguous);
            entry.good = Some((count, now));
        }
        (count, Loss::None)
    }

    /// Records the error of a failed call.
    pub(super) fn note_error(&self, error: &StoreError) {
        if matches!(error, StoreError::Newer) {
            self.is_locked_out.store(true, Relaxed);
        }
    }

    /// Whether a later version was found to keep a channel since the last call of this method.
    pub(super) fn take_locked_out(&self) -> bool {
        self.is_locked_out.swap(false, Relaxed)
    }

    /// Records that the write of an operation failed. Returns the count to report.
    pub(super) fn mark_unwritten(&self, channel: &ChannelId, op: &Op) -> Count {
        let now = Instant::now();
        let Some(mut entry) = self.channels.get_mut(channel) else {
            return Count::unknown(Timestamp::default());
        };
        if entry.ledger.mark_unwritten(op) {
            self.note_lacking();
            entry.is_suspect = false;
        }
        entry.stale(now)
    }

    /// Marks everything for replay, since servers of the store were restarted or replaced and any channel may have
    /// lost sessions. The mark of a channel still decides whether its counts are stale.
    pub(super) fn mark_all_suspect(&self) {
        for mut entry in self.channels.iter_mut() {
            entry.is_suspect |= !entry.ledger.is_lacking();
            entry.ledger.lost();
            self.note_lacking();
        }
    }

    /// Marks leaves for replay that the store may have forgotten; see
    /// [`Ledger::repeat_leaves`](crate::domain::Ledger::repeat_leaves).
    pub(super) fn repeat_leaves(&self) {
        for mut entry in self.channels.iter_mut() {
            entry.ledger.repeat_leaves();
        }
    }

    /// Whether the loss of a channel was found since the last call of this method.
    pub(super) fn take_found_loss(&self) -> bool {
        self.has_found_loss.swap(false, Relaxed)
    }

    /// The channels that have sessions in the journal, `limit` of them after the first `skipped`.
    #[must_use]
    pub(super) fn channels(&self, skipped: usize, limit: usize) -> Vec<ChannelId> {
        let with_sessions = self.channels.iter().filter(|entry| !entry.ledger.is_empty());
        with_sessions.skip(skipped).take(limit).map(|entry| entry.key().clone()).collect()
    }

    /// Whether there are no sessions in the journal.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.channels.iter().all(|entry| entry.ledger.is_empty())
    }

    /// The channels that have operations to replay.
    #[must_use]
    pub(super) fn unwritten(&self) -> Vec<ChannelId> {
        let unwritten = self.channels.iter().filter(|entry| entry.ledger.is_unwritten());
        unwritten.map(|entry| entry.key().clone()).collect()
    }

    /// Whether the store has every accepted operation. Scans the channels only if one came to lack operations since the last
    /// scan that found none.
    #[must_use]
    pub(super) fn is_written(&self) -> bool {
        let lacked = self.lacked.load(SeqCst);
        if self.written_at.load(SeqCst) == lacked + 1 {
            return true;
        }
        let is_written = !self.channels.iter().any(|entry| entry.ledger.is_lacking());
        if is_written {
            self.written_at.store(lacked + 1, SeqCst);
        }
        is_written
    }

    /// Notes that a channel lacks operations in the store. Must be called after the change, so that the result of a scan that
    /// missed the change is not reused.
    fn note_lacking(&self) {
        self.lacked.fetch_add(1, SeqCst);
    }

    /// The number of sessions.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.channels.iter().map(|entry| entry.ledger.len()).sum()
    }

    /// The number of channels, including those that have only a last count.
    #[must_use]
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Whether the store's time is known. Replay needs it to convert times from the node's clock.
    #[must_use]
    pub(super) fn knows_time(&self) -> bool {
        self.skew.millis().is_some()
    }

    /// The next piece of a channel's replay, at most `max_sessions` long. `None` if nothing is left, or everything left
    /// has been returned since the last `None`, or the store's time is not known.
    #[must_use]
    pub(super) fn next_piece(
        &self,
        channel: &ChannelId,
        now: Timestamp,
        max_sessions: usize,
    ) -> Option<Piece> {
        let (skew, store_now) = (self.skew.millis()?, self.skew.to_store(now)?);
        loop {
            let mut entry = self.channels.get_mut(channel)?;
            let sessions = entry.ledger.pending(max_sessions, now, &self.rules);
            if sessions.is_empty() {
                if entry.ledger.is_at_end() {
                    return None;
                }
                continue;
            }
            let replay = |pending: &Pending| Op {
                viewer: pending.viewer,
                session: pending.session,
                act: match pending.why {
                    Why::Lost => Act::Restore,
                    Why::Late => Act::Late,
                    Why::Repeated => Act::Withdraw,
                }(pending.state.moved(skew, store_now)),
            };
            let batch = Batch { channel: channel.clone(), ops: sessions.iter().map(replay).collect() };
            return Some(Piece { batch, sessions });
        }
    }

    /// Records that a piece was replayed. The reading may show that the channel was lost since the last reading.
    pub(super) fn mark_written(&self, piece: &Piece, reading: &Reading) {
        if let Some(mut entry) = self.channels.get_mut(&piece.batch.channel) {
            entry.ledger.written(&piece.sessions);
            entry.is_suspect &= entry.ledger.is_unwritten();
            // A write of repeated leaves alone creates no channel, so it may return no mark.
            if reading.mark.is_some() && entry.update_mark(reading, Instant::now()) == MarkChange::Changed {
                self.record_loss(&mut entry, reading.as_of);
            }
        }
    }

    /// Removes expired sessions and counts, in short steps.
    pub(super) async fn sweep(&self, now: Timestamp) {
        let channels: Vec<_> = self.channels.iter().map(|entry| entry.key().clone()).collect();
        for channel in channels {
            loop {
                let Some(mut entry) = self.channels.get_mut(&channel) else { break };
                let is_end = entry.ledger.sweep(now, SWEEP_STEP, &self.rules);
                drop(entry);
                tokio::task::yield_now().await;
                if is_end {
                    break;
                }
            }
            let is_old = |(_, at): &(Count, Instant)| at.elapsed() >= STALE_FOR;
            self.channels.remove_if(&channel, |_, entry| {
                entry.ledger.is_empty() && entry.good.as_ref().is_none_or(is_old)
            });
        }
    }

    /// Marks a lost channel for replay. Its counts are stale until then.
    fn record_loss(&self, entry: &mut ChannelEntry, as_of: Timestamp) {
        self.has_found_loss.store(true, Relaxed);
        entry.ledger.lost();
        self.note_lacking();
        entry.lost = Some((as_of, Instant::now()));
        entry.is_suspect = false;
    }

    /// Marks a channel with damaged data for replay. Returns the count to report.
    fn mark_damaged(&self, channel: &ChannelId, now: Instant) -> Count {
        let Some(mut entry) = self.channels.get_mut(channel) else {
            return Count::unknown(Timestamp::default());
        };
        self.has_found_loss.store(true, Relaxed);
        entry.ledger.lost();
        self.note_lacking();
        entry.is_suspect = false;
        entry.stale(now)
    }

    /// The last good count of a channel as stale, or unknown.
    fn last_good(&self, channel: &ChannelId, now: Instant) -> Count {
        let entry = self.channels.get(channel);
        entry.map_or(Count::unknown(Timestamp::default()), |entry| entry.stale(now))
    }
}

#[cfg(test)]
mod tests;
