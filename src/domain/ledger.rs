//! What a node remembers of one channel: the beats and leaves that it has accepted, for as long as a lease can last. When
//! the store is away they are not lost, and when the store has lost them they can be written again.
//!
//! Instants are of the node's own clock; what is written again are durations, so that clocks need not agree.

use std::{collections::HashMap, time::Duration};

use super::{Act, Op, SessionId, Timestamp, ViewerId, policy::LEAVE_MEMORY};

/// A node's memory of one channel.
#[derive(Debug, Default)]
pub struct Ledger {
    sessions: HashMap<(ViewerId, SessionId), Lease>,
    /// Sessions that left, and when.
    departed: HashMap<(ViewerId, SessionId), Timestamp>,
    /// What has been accepted since then may not be in the store. `None`: all is.
    unwritten_since: Option<Timestamp>,
    /// Counts the reasons to write again, so that one that comes up meanwhile is not taken for done.
    reasons: u32,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    beaten: Timestamp,
    end: Timestamp,
}

impl Ledger {
    /// Takes in an operation. The answer: whether its session is counted after it, as far as this node knows.
    pub fn accept(&mut self, op: &Op, now: Timestamp) -> bool {
        let session = (op.viewer, op.session);
        match op.act {
            Act::Leave { .. } => {
                self.sessions.remove(&session);
                self.departed.insert(session, now);
                return false;
            }
            Act::Renew { .. } if self.sessions.get(&session).is_none_or(|lease| lease.end <= now) => {
                return false;
            }
            Act::Heartbeat { .. } | Act::Renew { .. } | Act::Restore { .. }
                if self.departed.get(&session).is_some_and(|left| *left + LEAVE_MEMORY > now) =>
            {
                return false;
            }
            Act::Join { .. } | Act::Heartbeat { .. } | Act::Renew { .. } | Act::Restore { .. } => {}
        }
        if let Act::Join { lease }
        | Act::Heartbeat { lease }
        | Act::Renew { lease }
        | Act::Restore { lease } = op.act
        {
            self.departed.remove(&session);
            self.sessions.insert(session, Lease { beaten: now, end: now + lease });
        }
        true
    }

    /// The store did not take what was accepted at `since`, and maybe not what was accepted after it.
    pub fn missed(&mut self, since: Timestamp) {
        self.unwritten_since = Some(self.unwritten_since.map_or(since, |earlier| earlier.min(since)));
        self.reasons = self.reasons.wrapping_add(1);
    }

    /// The store has lost the channel: everything is to be written again.
    pub fn lost(&mut self) {
        self.missed(Timestamp::default());
    }

    /// Whether a session that has beaten before has a lease that has not ended.
    #[must_use]
    pub fn has_live(&self, now: Timestamp) -> bool {
        self.sessions.values().any(|lease| lease.beaten < now && lease.end > now)
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.departed.is_empty()
    }

    /// Whether anything is to be written again.
    #[must_use]
    pub const fn is_unwritten(&self) -> bool {
        self.unwritten_since.is_some()
    }

    /// What to write again, and the number to hand to [`Ledger::rewritten`] once that is done. Sessions that have left
    /// are said to have left for as long as another node may remember their beats (`longest_lease`).
    #[must_use]
    pub fn rewrite(&self, now: Timestamp, longest_lease: Duration) -> (Vec<Op>, u32) {
        let since = self.unwritten_since.unwrap_or(now);
        let live = self.sessions.iter().filter(|(_, lease)| lease.beaten >= since && lease.end > now);
        let restores =
            live.map(|(session, lease)| op(*session, Act::Restore { lease: between(now, lease.end) }));
        let left = self.departed.iter().filter(|(_, at)| **at >= since && **at + longest_lease > now);
        let leaves = left.map(|(session, at)| {
            op(*session, Act::Leave { remember: between(now, *at + longest_lease).max(LEAVE_MEMORY) })
        });
        (leaves.chain(restores).collect(), self.reasons)
    }

    /// The store has taken what [`Ledger::rewrite`] gave with that number.
    pub fn rewritten(&mut self, number: u32) {
        if self.reasons == number {
            self.unwritten_since = None;
        }
    }

    /// Forgets what no longer matters. Returns whether nothing is left.
    pub fn sweep(&mut self, now: Timestamp, longest_lease: Duration) -> bool {
        self.sessions.retain(|_, lease| lease.end > now);
        self.departed.retain(|_, left| *left + longest_lease > now);
        if self.sessions.len() < self.sessions.capacity() / 4 {
            self.sessions.shrink_to_fit();
        }
        if self.departed.len() < self.departed.capacity() / 4 {
            self.departed.shrink_to_fit();
        }
        self.is_empty()
    }
}

const fn op((viewer, session): (ViewerId, SessionId), act: Act) -> Op {
    Op { viewer, session, act }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(to.as_millis().saturating_sub(from.as_millis()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Roster;

    const LEASE: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(150);
    const JOIN: Act = Act::Join { lease: LEASE };
    const BEAT: Act = Act::Heartbeat { lease: LEASE };
    const LEAVE: Act = Act::Leave { remember: LEAVE_MEMORY };

    fn of(n: u128, act: Act) -> Op {
        let uuid = Uuid::from_u128(n);
        op((ViewerId::new(uuid).unwrap(), SessionId::new(uuid).unwrap()), act)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// What a store that had nothing counts after the ledgers have written to it.
    fn count_after(ledgers: &[&Ledger], now: Timestamp) -> u32 {
        let mut store = Roster::default();
        for ledger in ledgers {
            for op in ledger.rewrite(now, LONGEST).0 {
                store.apply(&op, now);
            }
        }
        store.count(now)
    }

    #[test]
    fn an_empty_store_gets_back_everyone_for_what_is_left_of_their_lease() {
        let mut ledger = Ledger::default();
        ledger.accept(&of(1, JOIN), at(0));
        ledger.accept(&of(2, JOIN), at(30));
        ledger.accept(&of(3, JOIN), at(30));
        ledger.accept(&of(3, LEAVE), at(31));
        ledger.lost();
        assert_eq!(count_after(&[&ledger], at(40)), 2);
        assert_eq!(count_after(&[&ledger], at(60)), 1);
        let (ops, _) = ledger.rewrite(at(40), LONGEST);
        assert!(ops.contains(&of(1, Act::Restore { lease: Duration::from_secs(20) })));
        assert!(ops.contains(&of(3, Act::Leave { remember: Duration::from_secs(141) })));
    }

    #[test]
    fn nothing_is_written_again_without_a_reason() {
        let mut ledger = Ledger::default();
        ledger.accept(&of(1, JOIN), at(0));
        assert!(!ledger.is_unwritten());
        assert_eq!(ledger.rewrite(at(1), LONGEST).0, Vec::new());
    }

    #[test]
    fn after_an_outage_only_what_came_since_is_written_again() {
        let mut ledger = Ledger::default();
        ledger.accept(&of(1, JOIN), at(0));
        ledger.accept(&of(2, JOIN), at(10));
        ledger.missed(at(10));
        ledger.accept(&of(3, BEAT), at(12));
        ledger.missed(at(12));
        assert_eq!(count_after(&[&ledger], at(15)), 2);
    }

    #[test]
    fn whoever_left_by_another_node_stays_away_in_whichever_order_the_nodes_write() {
        let (mut one, mut two) = (Ledger::default(), Ledger::default());
        one.accept(&of(1, JOIN), at(0));
        two.accept(&of(1, LEAVE), at(20));
        one.lost();
        two.lost();
        assert_eq!(count_after(&[&one, &two], at(50)), 0);
        assert_eq!(count_after(&[&two, &one], at(50)), 0);
    }

    #[test]
    fn a_reason_that_comes_up_while_writing_is_not_forgotten() {
        let mut ledger = Ledger::default();
        ledger.accept(&of(1, JOIN), at(0));
        ledger.lost();
        let (_, number) = ledger.rewrite(at(1), LONGEST);
        ledger.missed(at(1));
        ledger.rewritten(number);
        assert!(ledger.is_unwritten());
        let (_, number) = ledger.rewrite(at(2), LONGEST);
        ledger.rewritten(number);
        assert!(!ledger.is_unwritten());
    }

    #[test]
    fn it_answers_heartbeats_after_a_leave_as_the_store_does() {
        let mut ledger = Ledger::default();
        assert!(ledger.accept(&of(1, JOIN), at(0)));
        assert!(!ledger.accept(&of(1, LEAVE), at(1)));
        assert!(!ledger.accept(&of(1, BEAT), at(10)));
        assert!(ledger.accept(&of(1, BEAT), at(11)));
        ledger.accept(&of(2, LEAVE), at(1));
        assert!(ledger.accept(&of(2, JOIN), at(2)));
        assert!(ledger.accept(&of(2, BEAT), at(3)));
    }

    #[test]
    fn it_forgets_what_no_lease_can_reach() {
        let mut ledger = Ledger::default();
        ledger.accept(&of(1, JOIN), at(0));
        ledger.accept(&of(2, LEAVE), at(0));
        assert!(!ledger.sweep(at(149), LONGEST));
        assert!(ledger.sweep(at(150), LONGEST));
    }
}
