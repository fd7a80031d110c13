//! What a node remembers of one channel: the sessions whose beats and leaves it has accepted, for as long as they can
//! matter. When the store is away they are not lost, and when the store has lost them they can be written again.
//!
//! Promises:
//! - What is to be written again is handed out in pieces, and what the store has taken is not handed out again, however
//!   often other pieces fail.
//! - Every operation costs O(log sessions); sweeping and handing out take as many steps as the caller wants.
//!
//! Instants are of the node's own clock. Whoever writes them to a store moves them to the store's.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use super::{Act, LeaseRules, Op, Session, SessionId, Timestamp, ViewerId, session::Phase};

type Key = (ViewerId, SessionId);

/// The most leaves of unknown sessions that are kept for repeating; of more, the oldest are not repeated. It bounds the
/// work of [`Ledger::repeat_leaves`] to about a millisecond.
const MOST_REPEATED: usize = 4_096;

/// A node's memory of one channel.
#[derive(Debug, Default)]
pub struct Ledger {
    sessions: BTreeMap<Key, Entry>,
    /// How many of them are to be written again: those that were not written since the last loss.
    pending: usize,
    /// How many of those only repeat a leave.
    repeated: usize,
    /// Something of it was lost, and is not all written again.
    is_lost: bool,
    /// Counts the losses, so that a loss costs nothing here, however many sessions there are.
    losses: u16,
    /// Until when something of it is in the store, if nothing was lost.
    useful_until: Timestamp,
    /// The leaves of sessions that were not known here, oldest first.
    unknown_leaves: VecDeque<(Timestamp, Key)>,
    /// Where handing out goes on, and sweeping.
    handed_out: Option<Key>,
    swept: Option<Key>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    session: Session,
    /// After which loss it was written.
    written_after: u16,
    /// Counts the changes, so that one that comes while the entry is being written is not taken for written.
    version: u8,
    /// It is written again only to repeat a leave.
    is_repeated: bool,
}

/// Why a session is to be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The store has lost it, or may have.
    Lost,
    /// The store did not take it when it happened.
    Late,
    /// Its leave is repeated; see [`Ledger::repeat_leaves`].
    Repeated,
}

/// A session that is to be written again, and which state of it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whose it is.
    pub viewer: ViewerId,
    /// Which one.
    pub session: SessionId,
    /// What is known of it, by the node's clock.
    pub state: Session,
    /// Why it is to be written again.
    pub why: Why,
    version: u8,
    losses: u16,
}

impl Ledger {
    /// Takes in an operation that happened at `happened`. The answer: whether its session is counted after it, as far as this
    /// node knows.
    pub fn accept(&mut self, op: &Op, happened: Timestamp, now: Timestamp, rules: &LeaseRules) -> bool {
        let key = (op.viewer, op.session);
        let known = self.sessions.get_mut(&key).filter(|entry| entry.session.useless_from(rules) > now);
        let Some(entry) = known else {
            let session = match op.act {
                Act::Join { lease } => Session::beating(happened, lease, true),
                Act::Heartbeat { lease } => Session::beating(happened, lease, false),
                // It may be known elsewhere, and its beats written again.
                Act::Leave => Session::left_unknown(happened).to_be_told(),
                Act::Renew { .. } | Act::LeaveKnown | Act::Restore(_) | Act::Late(_) | Act::Withdraw(_) => {
                    return false;
                }
            };
            let losses = self.losses;
            let entry = Entry { session, written_after: losses, version: 0, is_repeated: false };
            if op.act == Act::Leave {
                self.unknown_leaves.push_back((happened, key));
                if self.unknown_leaves.len() > MOST_REPEATED {
                    self.forget_oldest_leave();
                }
            }
            if session.parts().phase == Phase::Beating {
                self.useful_until = self.useful_until.max(session.useless_from(rules));
            }
            if let Some(old) = self.sessions.insert(key, entry) {
                self.forget(&old);
            }
            return session.is_live(now);
        };
        if entry.is_repeated {
            // What happens now takes its place.
            entry.is_repeated = false;
            entry.written_after = self.losses;
            self.pending -= 1;
            self.repeated -= 1;
        }
        let session = &mut entry.session;
        // What happens now comes after all that is known. What has waited may have been overtaken.
        let at = |session: &Session, is_join| {
            if happened < now { happened } else { session.not_before(now, is_join) }
        };
        match op.act {
            Act::Join { lease } => session.beat(at(session, true), lease, true, rules),
            Act::Heartbeat { lease } => session.beat(at(session, false), lease, false, rules),
            Act::Renew { lease } if session.is_live(now) => {
                session.beat(at(session, false), lease, false, rules);
            }
            Act::Leave | Act::LeaveKnown => session.leave(at(session, false), rules),
            Act::Renew { .. } | Act::Restore(_) | Act::Late(_) | Act::Withdraw(_) => {}
        }
        entry.version = entry.version.wrapping_add(1);
        self.useful_until = self.useful_until.max(entry.session.useless_from(rules));
        entry.session.is_live(now)
    }

    /// The store has taken an operation that this node accepted at `accepted`. It happened at `happened`: by the store's
    /// clock, moved to the node's. A session that the store does not count after a beat has left by another node; what this
    /// one knows of it must never bring it back.
    pub fn confirm(
        &mut self,
        op: &Op,
        accepted: Timestamp,
        happened: Timestamp,
        is_active: bool,
        rules: &LeaseRules,
    ) {
        let Some(entry) = self.sessions.get_mut(&(op.viewer, op.session)) else { return };
        let is_beat = matches!(op.act, Act::Join { .. } | Act::Heartbeat { .. });
        if is_beat && !is_active {
            entry.session.leave(entry.session.not_before(happened, false), rules);
        } else if entry.session.at() == accepted {
            entry.session = entry.session.at_instant(happened);
        }
    }

    /// The store did not take an operation that this node has accepted.
    pub fn mark_unwritten(&mut self, op: &Op) {
        if let Some(entry) = self.sessions.get_mut(&(op.viewer, op.session))
            && entry.written_after == self.losses
        {
            entry.written_after = self.losses.wrapping_sub(1);
            self.pending += 1;
        }
    }

    /// The store has lost the channel: everything is to be written again.
    pub fn lost(&mut self) {
        for (_, key) in &self.unknown_leaves {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.is_repeated = false;
            }
        }
        self.repeated = 0;
        self.losses = self.losses.wrapping_add(1);
        self.is_lost = true;
        self.pending = self.sessions.len();
        self.handed_out = None;
    }

    /// The leaves of sessions that were not known here are to be written once more. The store remembers such a leave for a
    /// short time only; after that, a node that was cut off may have written a beat from before it.
    pub fn repeat_leaves(&mut self) {
        for (_, key) in &self.unknown_leaves {
            if let Some(entry) = self.sessions.get_mut(key)
                && entry.session.parts().phase == Phase::Left
                && entry.written_after == self.losses
            {
                entry.written_after = self.losses.wrapping_sub(1);
                entry.is_repeated = true;
                self.pending += 1;
                self.repeated += 1;
            }
        }
    }

    /// Until when something of what is remembered is in the store, if nothing was lost.
    #[must_use]
    pub const fn useful_until(&self) -> Timestamp {
        self.useful_until
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether anything is to be written again.
    #[must_use]
    pub const fn is_unwritten(&self) -> bool {
        self.pending > 0
    }

    /// Whether the store lacks something that was accepted here. Leaves that are only repeated are not lacking.
    #[must_use]
    pub const fn is_lacking(&self) -> bool {
        self.pending > self.repeated
    }

    /// The next sessions to write again, `most` at a time, after looking at ten times as many. Empty when the end is
    /// reached; then it begins again from the start.
    pub fn pending(&mut self, most: usize, now: Timestamp, rules: &LeaseRules) -> Vec<Pending> {
        let mut found = Vec::new();
        if self.pending == 0 {
            self.is_lost = false;
            self.handed_out = None;
            return found;
        }
        let from = self.handed_out.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut over = 0;
        for (key, entry) in self.sessions.range_mut((from, Bound::Unbounded)).take(most * 10) {
            last = Some(*key);
            if entry.written_after == self.losses {
                continue;
            }
            if entry.session.useless_from(rules) <= now {
                entry.written_after = self.losses;
                over += 1;
                self.repeated -= usize::from(std::mem::take(&mut entry.is_repeated));
                continue;
            }
            let (viewer, session) = *key;
            let (state, version) = (entry.session, entry.version);
            let why = match (self.is_lost, entry.is_repeated) {
                (true, _) => Why::Lost,
                (false, true) => Why::Repeated,
                (false, false) => Why::Late,
            };
            found.push(Pending { viewer, session, state, why, version, losses: self.losses });
            if found.len() == most {
                break;
            }
        }
        self.pending -= over;
        self.handed_out = last;
        found
    }

    /// Whether handing out has come to the end, and what is still pending was given out before without success.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.handed_out.is_none()
    }

    /// The store has taken what was handed out.
    pub fn written(&mut self, done: &[Pending]) {
        for pending in done {
            if let Some(entry) = self.sessions.get_mut(&(pending.viewer, pending.session))
                && entry.written_after != self.losses
                && (entry.version, self.losses) == (pending.version, pending.losses)
            {
                entry.written_after = self.losses;
                self.pending -= 1;
                self.repeated -= usize::from(std::mem::take(&mut entry.is_repeated));
            }
        }
        self.is_lost &= self.pending > 0;
    }

    /// Forgets what no longer matters, looking at `most` sessions. Returns whether the end was reached; the next call begins
    /// at the start again.
    pub fn sweep(&mut self, now: Timestamp, most: usize, rules: &LeaseRules) -> bool {
        let from = self.swept.map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at: Vec<(Key, bool)> = self
            .sessions
            .range((from, Bound::Unbounded))
            .take(most)
            .map(|(key, entry)| (*key, entry.session.useless_from(rules) <= now))
            .collect();
        for (key, _) in looked_at.iter().filter(|(_, is_over)| *is_over) {
            if let Some(entry) = self.sessions.remove(key) {
                self.forget(&entry);
            }
        }
        while self.unknown_leaves.front().is_some_and(|(at, _)| *at + rules.longest_lease <= now) {
            self.forget_oldest_leave();
        }
        let is_end = looked_at.len() < most;
        self.swept = if is_end { None } else { looked_at.last().map(|(key, _)| *key) };
        is_end
    }

    /// The oldest leave of an unknown session is not repeated any more.
    fn forget_oldest_leave(&mut self) {
        let Some((_, key)) = self.unknown_leaves.pop_front() else { return };
        if let Some(entry) = self.sessions.get_mut(&key)
            && std::mem::take(&mut entry.is_repeated)
        {
            entry.written_after = self.losses;
            self.pending -= 1;
            self.repeated -= 1;
        }
    }

    /// An entry is not there any more.
    fn forget(&mut self, entry: &Entry) {
        self.pending -= usize::from(entry.written_after != self.losses);
        self.repeated -= usize::from(entry.is_repeated);
    }

    /// The sessions that are remembered, those that have left included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests;
