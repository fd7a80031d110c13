//! Who watches one channel: the rules of counting as a data structure.
//!
//! Promises:
//! - The count at an instant is the number of viewers with a session whose lease ends after it. It is read off the
//!   leases; nothing is ever added to or subtracted from a number.
//! - What happened later wins, whatever becomes known first ([`Session`]).
//! - A beat and a leave cost O(log viewers). What has expired is dropped by [`Roster::expire`], in steps as small as the
//!   caller wants, each viewer once.
//! - A viewer has [`MAX_SESSIONS`] sessions at most, and as many memories of leaves; the oldest goes.
//! - Memory follows what is in it: trees give back what they no longer need, without ever being copied as a whole.
//!
//! The memory store keeps one roster per channel, and it is the model that the other stores are held to.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::{
    Act, Op, Session, SessionId, Timestamp, ViewerId,
    session::{LeaseRules, Phase},
};

/// The most live sessions of a viewer in a channel, and the most memories of leaves. Tabs beyond it are no more viewers.
pub const MAX_SESSIONS: usize = 16;

/// The sessions of one channel and their leases.
#[derive(Debug, Default)]
pub struct Roster {
    viewers: BTreeMap<ViewerId, Viewer>,
    /// When to look at which viewer again, one entry for each. Beats that only move a lease's end further away don't touch
    /// it: the entry is moved when its time has come.
    expiry_queue: BTreeSet<(Timestamp, ViewerId)>,
    /// How many of the viewers have a lease that has not been found to be over.
    counted: u32,
}

#[derive(Debug)]
struct Viewer {
    /// Nearly always one, so it is kept in place.
    sessions: SmallVec<[(SessionId, Session); 1]>,
    /// The viewer's entry in the agenda: never after the next instant at which anything of it is over.
    next_check: Timestamp,
    is_counted: bool,
}

impl Viewer {
    fn lease_end(&self) -> Timestamp {
        self.sessions.iter().map(|(_, session)| session.lease_end()).max().unwrap_or_default()
    }

    /// The viewer's count can change here, or it can be forgotten.
    fn next_change(&self, rules: &LeaseRules) -> Timestamp {
        let lease_end = self.lease_end();
        if lease_end > Timestamp::default() {
            return lease_end;
        }
        self.sessions.iter().map(|(_, session)| session.useless_from(rules)).max().unwrap_or_default()
    }

    /// Makes room for one more session: the one that was heard of least recently goes.
    fn make_room(&mut self, is_leave: bool, now: Timestamp, rules: &LeaseRules) {
        self.sessions.retain(|(_, session)| session.useless_from(rules) > now);
        let alike = |session: &Session| (session.parts().phase != Phase::Beating) == is_leave;
        if self.sessions.iter().filter(|(_, session)| alike(session)).count() >= MAX_SESSIONS {
            let candidates = self.sessions.iter().enumerate().filter(|(_, (_, session))| alike(session));
            if let Some((oldest, _)) = candidates.min_by_key(|(_, (_, session))| session.at()) {
                self.sessions.remove(oldest);
            }
        }
    }
}

impl Roster {
    /// Does one operation at an instant. The answer: whether the session is counted after it.
    pub fn apply(&mut self, op: &Op, now: Timestamp, rules: &LeaseRules) -> bool {
        let known = self.viewers.get_mut(&op.viewer);
        let session = known.and_then(|viewer| viewer.sessions.iter_mut().find(|(id, _)| *id == op.session));
        let (is_new, is_live) = match session {
            Some((_, session)) if session.useless_from(rules) > now => {
                change(session, op.act, now, rules);
                (None, session.is_live(now))
            }
            _ => {
                let Some(session) = first(op.act, now) else { return false };
                (Some(session), session.is_live(now))
            }
        };
        if let Some(session) = is_new {
            self.insert(op, session, now, rules);
        }
        self.reschedule(op.viewer, now, rules);
        is_live
    }

    /// How many viewers have a live lease. It is exact once [`Roster::expire`] has nothing more to do.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.counted
    }

    /// Drops what is over, `most` viewers at a time. Returns whether that was all.
    pub fn expire(&mut self, now: Timestamp, most: usize, rules: &LeaseRules) -> bool {
        for _ in 0..most {
            let Some(&(at, id)) = self.expiry_queue.first() else { return true };
            if at > now {
                return true;
            }
            self.reschedule(id, now, rules);
        }
        self.expiry_queue.first().is_none_or(|(at, _)| *at > now)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    fn insert(&mut self, op: &Op, session: Session, now: Timestamp, rules: &LeaseRules) {
        let expiry_queue = &mut self.expiry_queue;
        let viewer = self.viewers.entry(op.viewer).or_insert_with(|| {
            let next_check = session.useless_from(rules);
            expiry_queue.insert((next_check, op.viewer));
            Viewer { sessions: SmallVec::new(), next_check, is_counted: false }
        });
        viewer.sessions.retain(|(id, _)| *id != op.session);
        viewer.make_room(session.parts().phase != Phase::Beating, now, rules);
        viewer.sessions.push((op.session, session));
    }

    /// Brings a viewer's place in the agenda, and in the count, up to date.
    fn reschedule(&mut self, id: ViewerId, now: Timestamp, rules: &LeaseRules) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        if viewer.next_check <= now {
            viewer.sessions.retain(|(_, session)| session.useless_from(rules) > now);
        }
        let is_counted = viewer.lease_end() > now;
        if is_counted != viewer.is_counted {
            viewer.is_counted = is_counted;
            self.counted = if is_counted { self.counted + 1 } else { self.counted - 1 };
        }
        let next = viewer.next_change(rules);
        if viewer.sessions.is_empty() {
            self.expiry_queue.remove(&(viewer.next_check, id));
            self.viewers.remove(&id);
        } else if next < viewer.next_check || viewer.next_check <= now {
            self.expiry_queue.remove(&(viewer.next_check, id));
            viewer.next_check = next;
            self.expiry_queue.insert((next, id));
        }
    }
}

/// What an operation makes of a session of which nothing is known; nothing, if it is about known ones only.
fn first(act: Act, now: Timestamp) -> Option<Session> {
    match act {
        Act::Join { lease } => Some(Session::beating(now, lease, true)),
        Act::Heartbeat { lease } => Some(Session::beating(now, lease, false)),
        Act::Leave => Some(Session::left_unknown(now)),
        Act::Restore(session) | Act::Late(session) => Some(session.moved(0, now)),
        Act::Renew { .. } | Act::LeaveKnown | Act::Withdraw(_) => None,
    }
}

/// What an operation makes of a session that is known.
fn change(session: &mut Session, act: Act, now: Timestamp, rules: &LeaseRules) {
    match act {
        Act::Join { lease } => session.beat(session.not_before(now, true), lease, true, rules),
        Act::Renew { .. } if !session.is_live(now) => {}
        Act::Heartbeat { lease } | Act::Renew { lease } => {
            session.beat(session.not_before(now, false), lease, false, rules);
        }
        Act::Leave | Act::LeaveKnown => session.leave(session.not_before(now, false), rules),
        Act::Restore(other) | Act::Late(other) | Act::Withdraw(other) => {
            session.merge(&other.moved(0, now), rules);
        }
    }
}

#[cfg(test)]
mod tests;
