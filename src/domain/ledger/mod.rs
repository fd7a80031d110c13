//! The part of a node's journal for one channel: the sessions whose beats and leaves the node has accepted. The node
//! replays them after an outage of the store or a loss of its data.
//!
//! Promises:
//! - A replay is returned in pieces. A piece that the store has taken is not returned again, even if other pieces fail.
//! - An operation costs O(log sessions). Sweeps and replays check as many sessions per call as the caller wants.
//!
//! Instants are by the node's clock. The caller converts them to the store's clock before it writes them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Bound, RangeInclusive},
};

use super::{Act, LeaseRules, Op, Session, SessionId, Timestamp, ViewerId, session::Phase};

type Key = (ViewerId, SessionId);

/// The maximum number of leaves of unknown sessions that are repeated. Beyond it, the oldest are not repeated.
/// The maximum limits [`Ledger::repeat_leaves`] to about a millisecond.
const MAX_REPEATED_LEAVES: usize = 4_096;

/// The most sessions that are searched for one that has left through another node. Random ids need one or two.
const MAX_SEARCHED: usize = 64;

/// The accepted sessions of one channel.
#[derive(Debug, Default)]
pub struct Ledger {
    sessions: BTreeMap<Key, Entry>,
    numbers: Numbers,
    /// Whether the store has lost the channel and the replay is not complete.
    is_lost: bool,
    /// The number of losses. Increasing it makes all sessions pending without visiting each of them.
    losses: u16,
    /// See [`Ledger::useful_until()`].
    useful_until: Timestamp,
    /// The leaves of sessions that this node did not know, oldest first.
    unknown_leaves: VecDeque<(Timestamp, Key)>,
    /// The last session that [`Ledger::pending()`] checked; `None` at the end.
    replay_cursor: Option<Key>,
    /// The last session that [`Ledger::sweep`] checked; `None` at the end.
    sweep_cursor: Option<Key>,
}

/// How many sessions are pending.
#[derive(Debug, Default)]
struct Numbers {
    /// Those not written since the last loss.
    pending: usize,
    /// Those among them that only repeat a leave.
    repeated: usize,
}

impl Numbers {
    /// Stops repeating the leave of a session, if it is repeated. The session is then no longer pending.
    fn stop_repeating(&mut self, entry: &mut Entry, losses: u16) {
        if std::mem::take(&mut entry.is_repeated) {
            entry.written_after = losses;
            self.pending -= 1;
            self.repeated -= 1;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    session: Session,
    /// The number of losses when the session was last written. The session is pending if [`Ledger::losses`] differs.
    written_after: u16,
    /// Increases with every change, so that a change during a write stays pending.
    version: u8,
    /// Whether the session is pending only to repeat its leave.
    is_repeated: bool,
    /// Whether the store has taken the last beat or leave.
    is_taken: bool,
}

impl Entry {
    /// Whether the store has a beat of the session that was no later than `at`, and this node knows of nothing later.
    fn is_stored_by(&self, at: Timestamp, losses: u16) -> bool {
        let is_stored = self.is_taken && self.written_after == losses;
        is_stored && self.session.parts().phase == Phase::Beating && self.session.at() <= at
    }
}

/// What a ledger knew of a session after it accepted an operation. The answer of the store to the operation says nothing about
/// later operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    version: u8,
    losses: u16,
    is_taken: bool,
}

/// Why a session is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The store has lost the session, or may have lost it.
    Lost,
    /// The store did not take the operation when it happened.
    Late,
    /// The leave is repeated; see [`Ledger::repeat_leaves`].
    Repeated,
}

/// A pending session and the state to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The viewer.
    pub viewer: ViewerId,
    /// The session.
    pub session: SessionId,
    /// The state, by the node's clock.
    pub state: Session,
    /// Why the session is pending.
    pub why: Why,
    version: u8,
    losses: u16,
}

impl Ledger {
    /// Records an operation that happened at `happened`. Returns whether the session is live afterwards, as far as the
    /// node knows.
    pub fn accept(&mut self, op: &Op, happened: Timestamp, now: Timestamp, rules: &LeaseRules) -> bool {
        let key = (op.viewer, op.session);
        let known = self.sessions.get_mut(&key).filter(|entry| entry.session.known_until(rules) > now);
        let Some(entry) = known else {
            let session = match op.act {
                Act::Join { lease } => Session::beating(happened, lease, true),
                Act::Heartbeat { lease } => Session::beating(happened, lease, false),
                // Other nodes may know the session and replay its beats.
                Act::Leave => Session::left_unknown(happened).to_be_told(),
                Act::Renew { .. }
                | Act::LeaveKnown
                | Act::Restore(_)
                | Act::Late(_)
                | Act::Logged(_)
                | Act::Withdraw(_) => return false,
            };
            let losses = self.losses;
            let entry =
                Entry { session, written_after: losses, version: 0, is_repeated: false, is_taken: false };
            if op.act == Act::Leave {
                self.unknown_leaves.push_back((happened, key));
                if self.unknown_leaves.len() > MAX_REPEATED_LEAVES {
                    self.forget_oldest_leave();
                }
            }
            if session.parts().phase == Phase::Beating {
                self.useful_until = self.useful_until.max(session.useless_from(rules));
            }
            if let Some(old) = self.sessions.insert(key, entry) {
                self.uncount(&old);
            }
            return session.is_live(now);
        };
        let session = &mut entry.session;
        // An operation that happens now comes after all known events. An operation that has waited keeps its instant,
        // because later operations may have overtaken it.
        let at = |session: &Session, is_join| {
            if happened < now { happened } else { session.not_before(now, is_join) }
        };
        match op.act {
            Act::Join { lease } => session.beat(at(session, true), lease, true, rules),
            Act::Heartbeat { lease } => session.beat(at(session, false), lease, false, rules),
            Act::Renew { lease } if session.is_live(now) => {
                session.beat(at(session, false), lease, false, rules);
            }
            Act::Leave | Act::LeaveKnown => {
                session.leave(at(session, false), rules);
            }
            Act::Renew { .. } | Act::Restore(_) | Act::Late(_) | Act::Logged(_) | Act::Withdraw(_) => {}
        }
        let is_new_leave = matches!(op.act, Act::Leave | Act::LeaveKnown);
        if is_new_leave || entry.session.parts().phase == Phase::Beating {
            entry.is_taken = false;
            // The new operation replaces the repeated leave.
            self.numbers.stop_repeating(entry, self.losses);
        }
        entry.version = entry.version.wrapping_add(1);
        self.useful_until = self.useful_until.max(entry.session.useless_from(rules));
        entry.session.is_live(now)
    }

    /// Whether a heartbeat that happens at `now` would only prolong the lease of its session: the store has the last
    /// beat that this node knows, it was at `since` or later, and the heartbeat's lease ends no sooner. Another node may know
    /// of later beats, with a shorter lease.
    #[must_use]
    pub fn is_renewal(&self, op: &Op, since: Timestamp, now: Timestamp) -> bool {
        let Act::Heartbeat { lease } = op.act else { return false };
        self.sessions.get(&(op.viewer, op.session)).is_some_and(|entry| {
            let is_stored = entry.is_taken && entry.written_after == self.losses;
            let lease_end = entry.session.lease_end();
            is_stored && entry.session.at() >= since && lease_end > now && lease_end <= now + lease
        })
    }

    /// The state of an operation's session; `None` if it is unknown.
    #[must_use]
    pub fn seen(&self, op: &Op) -> Option<Seen> {
        let entry = self.sessions.get(&(op.viewer, op.session))?;
        let Entry { version, is_taken, .. } = *entry;
        Some(Seen { version, losses: self.losses, is_taken })
    }

    /// Records that the store has taken an operation that this node accepted at `accepted`, with `seen` as the state after
    /// it. `happened` is when the operation happened by the store's clock, converted to the node's. If the store does not
    /// count the session after a beat, the session has left through another node. It is then marked as left, so that a
    /// replay does not restore it. After a renewal it may also have expired, and is forgotten.
    pub fn confirm(
        &mut self,
        op: &Op,
        seen: Option<Seen>,
        (accepted, happened): (Timestamp, Timestamp),
        is_active: bool,
        rules: &LeaseRules,
    ) {
        let Some(entry) = self.sessions.get_mut(&(op.viewer, op.session)) else { return };
        // A later operation has an answer of its own.
        let is_last = seen.is_some_and(|seen| seen.version == entry.version);
        if matches!(op.act, Act::Join { .. } | Act::Heartbeat { .. }) && !is_active {
            if is_last {
                entry.session.leave(entry.session.not_before(happened, false), rules);
                entry.is_taken = true;
            }
            return;
        }
        if matches!(op.act, Act::Renew { .. }) && !is_active {
            if is_last
                && entry.session.is_live(happened)
                && let Some(entry) = self.sessions.remove(&(op.viewer, op.session))
            {
                self.uncount(&entry);
            }
            return;
        }
        // The node's clock may be behind the corrected instant of an earlier operation. Then this one was taken to have
        // happened at that instant too, and a leave between them, through another node, would outweigh it.
        let is_beat = matches!(op.act, Act::Join { .. } | Act::Heartbeat { .. } | Act::Renew { .. });
        let is_beating = entry.session.parts().phase == Phase::Beating;
        let is_its_event = is_last && is_beat == is_beating && happened > entry.session.at();
        if entry.session.at() == accepted || is_its_event {
            entry.session = entry.session.at_instant(happened);
            entry.is_taken |= is_beat == is_beating;
        }
    }

    /// Records that the store, which has taken all that this node knows of a session, did not count it at `at`: it has left
    /// through another node. Does nothing if this node knows of a later event. The session is taken to have left when it was last
    /// seen here, so that what happened at other nodes since outweighs that.
    pub fn note_left(&mut self, viewer: ViewerId, session: SessionId, at: Timestamp, rules: &LeaseRules) {
        let entry = self.sessions.get_mut(&(viewer, session));
        if let Some(entry) = entry.filter(|entry| entry.is_stored_by(at, self.losses)) {
            entry.session.leave(entry.session.at(), rules);
            entry.version = entry.version.wrapping_add(1);
        }
    }

    /// Finds a session of one of these viewers, which `is_it` tells from others, if [`Ledger::note_left`] would take it to have
    /// left. `None` also if there are too many sessions to search.
    #[must_use]
    pub fn find_stored(
        &self,
        viewers: &RangeInclusive<ViewerId>,
        is_it: impl Fn(ViewerId, SessionId) -> bool,
        at: Timestamp,
    ) -> Option<(ViewerId, SessionId)> {
        let from = self.sessions.range((*viewers.start(), SessionId::FIRST)..);
        let mut alike = from.take_while(|(key, _)| key.0 <= *viewers.end()).take(MAX_SEARCHED);
        let found = alike.find(|(key, _)| is_it(key.0, key.1));
        found.filter(|(_, entry)| entry.is_stored_by(at, self.losses)).map(|(key, _)| *key)
    }

    /// Records that the store counts a session after a heartbeat at `happened`, although this node knew that it had left.
    /// The session has joined again through another node. Without this, a replay would repeat only the leave. `seen` is the
    /// state when the heartbeat was accepted.
    ///
    /// Returns `false` and does nothing if the store had not taken the leave by then, if the session has changed since, or
    /// if the channel was lost.
    pub fn rejoin(&mut self, op: &Op, seen: Seen, happened: Timestamp, rules: &LeaseRules) -> bool {
        let (Act::Heartbeat { lease } | Act::Renew { lease }) = op.act else { return false };
        let is_same = seen.is_taken && self.seen(op) == Some(seen);
        let known = self.sessions.get_mut(&(op.viewer, op.session));
        let Some(entry) = known.filter(|_| is_same) else { return false };
        let left = entry.session.at();
        if entry.session.parts().phase == Phase::Beating || happened <= left {
            return false;
        }
        self.numbers.stop_repeating(entry, self.losses);
        // The join was at some time between the leave and the heartbeat. The earliest possible time is taken, so that it
        // outweighs no leave that came after it.
        entry.session.beat(left.plus_millis(1), lease, true, rules);
        entry.session.beat(happened, lease, false, rules);
        entry.version = entry.version.wrapping_add(1);
        self.useful_until = self.useful_until.max(entry.session.useless_from(rules));
        true
    }

    /// Makes the session of an accepted operation pending, because the store did not take the operation. A repeated leave is
    /// then more than repeated. Returns `false` if the session is unknown.
    pub fn mark_unwritten(&mut self, op: &Op) -> bool {
        let Some(entry) = self.sessions.get_mut(&(op.viewer, op.session)) else { return false };
        entry.is_taken = false;
        if std::mem::take(&mut entry.is_repeated) {
            self.numbers.repeated -= 1;
        } else if entry.written_after == self.losses {
            entry.written_after = self.losses.wrapping_sub(1);
            self.numbers.pending += 1;
        }
        true
    }

    /// Makes all sessions pending, because the store has lost the channel or may have lost it.
    pub fn lost(&mut self) {
        for (_, key) in &self.unknown_leaves {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.is_repeated = false;
            }
        }
        self.numbers.repeated = 0;
        self.losses = self.losses.wrapping_add(1);
        self.is_lost = true;
        self.numbers.pending = self.sessions.len();
        self.replay_cursor = None;
    }

    /// Makes the leaves of unknown sessions pending again. The store remembers such a leave only for the leave memory.
    /// After that, a disconnected node may have written a beat from before the leave.
    pub fn repeat_leaves(&mut self) {
        for (_, key) in &self.unknown_leaves {
            if let Some(entry) = self.sessions.get_mut(key)
                && entry.session.parts().phase == Phase::Left
                && entry.written_after == self.losses
            {
                entry.written_after = self.losses.wrapping_sub(1);
                entry.is_repeated = true;
                self.numbers.pending += 1;
                self.numbers.repeated += 1;
            }
        }
    }

    /// The latest expiry of the sessions. From then on, the channel may expire in the store without a loss.
    #[must_use]
    pub const fn useful_until(&self) -> Timestamp {
        self.useful_until
    }

    /// Whether the ledger has no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether any session is pending.
    #[must_use]
    pub const fn is_unwritten(&self) -> bool {
        self.numbers.pending > 0
    }

    /// Whether the store lacks an accepted operation. Repeated leaves do not count, because the store has taken them
    /// before.
    #[must_use]
    pub const fn is_lacking(&self) -> bool {
        self.numbers.pending > self.numbers.repeated
    }

    /// Whether the store is known to lack the session of an operation.
    #[must_use]
    pub fn lacks(&self, op: &Op) -> bool {
        let is_lacking = |entry: &Entry| entry.written_after != self.losses && !entry.is_repeated;
        self.is_lacking() && self.sessions.get(&(op.viewer, op.session)).is_some_and(is_lacking)
    }

    /// The next pending sessions, at most `max_sessions`. Checks at most ten times as many, so the result can be empty
    /// before the end; see [`Ledger::is_at_end`].
    pub fn pending(&mut self, max_sessions: usize, now: Timestamp, rules: &LeaseRules) -> Vec<Pending> {
        let mut found = Vec::new();
        if self.numbers.pending == 0 {
            self.is_lost = false;
            self.replay_cursor = None;
            return found;
        }
        let from = self.replay_cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut expired = 0;
        for (key, entry) in self.sessions.range_mut((from, Bound::Unbounded)).take(max_sessions * 10) {
            last = Some(*key);
            if entry.written_after == self.losses {
                continue;
            }
            if entry.session.kept_until(rules) <= now {
                entry.written_after = self.losses;
                expired += 1;
                self.numbers.repeated -= usize::from(std::mem::take(&mut entry.is_repeated));
                continue;
            }
            let (viewer, session) = *key;
            let (state, version) = (entry.session.for_replay(now, rules), entry.version);
            let why = match (self.is_lost, entry.is_repeated) {
                (true, _) => Why::Lost,
                (false, true) => Why::Repeated,
                (false, false) => Why::Late,
            };
            found.push(Pending { viewer, session, state, why, version, losses: self.losses });
            if found.len() == max_sessions {
                break;
            }
        }
        self.numbers.pending -= expired;
        self.replay_cursor = last;
        found
    }

    /// Whether the next call of [`Ledger::pending()`] starts from the beginning.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.replay_cursor.is_none()
    }

    /// Records that the store has taken these sessions. Sessions that have changed or were lost since stay pending.
    pub fn written(&mut self, done: &[Pending]) {
        for pending in done {
            if let Some(entry) = self.sessions.get_mut(&(pending.viewer, pending.session))
                && entry.written_after != self.losses
                && (entry.version, self.losses) == (pending.version, pending.losses)
            {
                entry.written_after = self.losses;
                entry.is_taken = true;
                self.numbers.pending -= 1;
                self.numbers.repeated -= usize::from(std::mem::take(&mut entry.is_repeated));
            }
        }
        self.is_lost &= self.numbers.pending > 0;
    }

    /// Removes expired sessions, checking at most `max_sessions`. Returns whether the end was reached; the next call
    /// then starts from the beginning.
    pub fn sweep(&mut self, now: Timestamp, max_sessions: usize, rules: &LeaseRules) -> bool {
        let from = self.sweep_cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let checked: Vec<(Key, bool)> = self
            .sessions
            .range((from, Bound::Unbounded))
            .take(max_sessions)
            .map(|(key, entry)| (*key, entry.session.kept_until(rules) <= now))
            .collect();
        for (key, _) in checked.iter().filter(|(_, is_expired)| *is_expired) {
            if let Some(entry) = self.sessions.remove(key) {
                self.uncount(&entry);
            }
        }
        while self.unknown_leaves.front().is_some_and(|(at, _)| *at + rules.longest_lease <= now) {
            self.forget_oldest_leave();
        }
        let is_end = checked.len() < max_sessions;
        self.sweep_cursor = if is_end { None } else { checked.last().map(|(key, _)| *key) };
        is_end
    }

    /// Stops repeating the oldest leave of an unknown session.
    fn forget_oldest_leave(&mut self) {
        let Some((_, key)) = self.unknown_leaves.pop_front() else { return };
        if let Some(entry) = self.sessions.get_mut(&key) {
            self.numbers.stop_repeating(entry, self.losses);
        }
    }

    /// Subtracts a removed entry from the numbers of pending sessions.
    fn uncount(&mut self, entry: &Entry) {
        self.numbers.pending -= usize::from(entry.written_after != self.losses);
        self.numbers.repeated -= usize::from(entry.is_repeated);
    }

    /// The number of sessions, including those that have left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests;
