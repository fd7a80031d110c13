//! The viewers of one channel: the rules of counting as a data structure.
//!
//! Promises:
//! - The count at an instant is the number of viewers with a lease that ends after the instant. The leases alone decide
//!   whether a viewer counts, so repeated operations do not change the count.
//! - The later event wins, in whatever order events become known ([`Session`]).
//! - A beat or a leave costs O(log viewers). [`Roster::expire`] removes expired sessions in steps of the caller's size.
//! - A viewer has at most [`MAX_SESSIONS`] live sessions, and as many remembered leaves. Beyond that, the oldest is
//!   removed.
//! - Memory use follows the content: the trees free the memory of removed entries and are never copied as a whole.
//!
//! The memory store keeps one roster per channel. The roster is the reference for the other stores.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::{
    Act, Op, Session, SessionId, Timestamp, ViewerId,
    session::{LeaseRules, Phase},
};

/// The maximum number of live sessions of a viewer in a channel, and of its remembered leaves. More sessions would not
/// change the count.
pub const MAX_SESSIONS: usize = 16;

/// The sessions of one channel and their leases.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    viewers: BTreeMap<ViewerId, Viewer>,
    /// When to check each viewer next, one entry per viewer. A beat that only extends a lease does not move the entry:
    /// the entry is moved when it is due.
    expiry_queue: BTreeSet<(Timestamp, ViewerId)>,
    /// The number of viewers with `is_counted`.
    counted: u32,
}

#[derive(Debug, Clone)]
struct Viewer {
    /// Usually a single session, so one is stored inline.
    sessions: SmallVec<[(SessionId, Session); 1]>,
    /// The viewer's time in the expiry queue, never later than [`Viewer::next_change`].
    next_check: Timestamp,
    /// Whether the viewer had a live lease at the last check.
    is_counted: bool,
}

impl Viewer {
    fn lease_end(&self) -> Timestamp {
        self.sessions.iter().map(|(_, session)| session.lease_end()).max().unwrap_or_default()
    }

    /// When the viewer's last lease ends, or when the viewer can be removed if none is live.
    fn next_change(&self, now: Timestamp, rules: &LeaseRules) -> Timestamp {
        let lease_end = self.lease_end();
        if lease_end > now {
            return lease_end;
        }
        self.sessions.iter().map(|(_, session)| session.known_until(rules)).max().unwrap_or_default()
    }

    /// Removes the sessions that are no longer known and, beyond the limit, the one with the oldest last event, an expired
    /// one first, but not the one that was just changed. Sessions that have left are limited separately.
    fn limit_sessions(&mut self, changed: SessionId, now: Timestamp, rules: &LeaseRules) {
        self.sessions.retain(|(_, session)| session.known_until(rules) > now);
        let has_left = |session: &Session| session.parts().phase != Phase::Beating;
        let Some((_, own)) = self.sessions.iter().find(|(id, _)| *id == changed) else { return };
        let own_kind = has_left(own);
        let of_this_kind =
            self.sessions.iter().enumerate().filter(|(_, (_, session))| has_left(session) == own_kind);
        if of_this_kind.clone().count() > MAX_SESSIONS {
            let others = of_this_kind.filter(|(_, (id, _))| *id != changed);
            let oldest = others.min_by_key(|(_, (_, session))| (session.is_live(now), session.at()));
            if let Some((oldest, _)) = oldest {
                self.sessions.remove(oldest);
            }
        }
    }
}

impl Roster {
    /// Applies an operation at `now`. Returns whether the session is live afterwards.
    pub fn apply(&mut self, op: &Op, now: Timestamp, rules: &LeaseRules) -> bool {
        let known = self.viewers.get_mut(&op.viewer);
        let session = known.and_then(|viewer| viewer.sessions.iter_mut().find(|(id, _)| *id == op.session));
        let (created, is_live) = match session {
            Some((_, session)) if session.known_until(rules) > now => {
                update(session, op.act, now, rules);
                (None, session.is_live(now))
            }
            _ => {
                let Some(session) = create(op.act, now) else { return false };
                (Some(session), session.is_live(now))
            }
        };
        if let Some(session) = created {
            self.insert(op, session, rules);
        }
        if let Some(viewer) = self.viewers.get_mut(&op.viewer)
            && viewer.sessions.len() > MAX_SESSIONS
        {
            viewer.limit_sessions(op.session, now, rules);
        }
        self.reschedule(op.viewer, now, rules);
        is_live
    }

    /// The number of viewers with a live lease. It is exact once [`Roster::expire`] has returned `true`.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.counted
    }

    /// Removes expired sessions, checking at most `max_viewers` viewers. Returns whether all have been removed.
    pub fn expire(&mut self, now: Timestamp, max_viewers: usize, rules: &LeaseRules) -> bool {
        for _ in 0..max_viewers {
            let Some(&(at, id)) = self.expiry_queue.first() else { return true };
            if at > now {
                return true;
            }
            self.reschedule(id, now, rules);
        }
        self.expiry_queue.first().is_none_or(|(at, _)| *at > now)
    }

    /// Whether the roster has no sessions, including those that have left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    fn insert(&mut self, op: &Op, session: Session, rules: &LeaseRules) {
        let expiry_queue = &mut self.expiry_queue;
        let viewer = self.viewers.entry(op.viewer).or_insert_with(|| {
            let next_check = session.useless_from(rules);
            expiry_queue.insert((next_check, op.viewer));
            Viewer { sessions: SmallVec::new(), next_check, is_counted: false }
        });
        viewer.sessions.retain(|(id, _)| *id != op.session);
        viewer.sessions.push((op.session, session));
    }

    /// Updates a viewer's entry in the expiry queue and its part in the count. Removes expired sessions if the entry is
    /// due.
    fn reschedule(&mut self, id: ViewerId, now: Timestamp, rules: &LeaseRules) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        if viewer.next_check <= now {
            viewer.sessions.retain(|(_, session)| session.known_until(rules) > now);
        }
        let is_counted = viewer.lease_end() > now;
        if is_counted != viewer.is_counted {
            viewer.is_counted = is_counted;
            self.counted = if is_counted { self.counted + 1 } else { self.counted - 1 };
        }
        let next = viewer.next_change(now, rules);
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

/// The session that an operation creates if the session is unknown; `None` if the operation ignores unknown sessions.
fn create(act: Act, now: Timestamp) -> Option<Session> {
    match act {
        Act::Join { lease } => Some(Session::beating(now, lease, true)),
        Act::Heartbeat { lease } => Some(Session::beating(now, lease, false)),
        Act::Leave => Some(Session::left_unknown(now)),
        Act::Restore(session) | Act::Late(session) | Act::Logged(session) => Some(session.moved(0, now)),
        Act::Renew { .. } | Act::LeaveKnown | Act::Withdraw(_) => None,
    }
}

/// Applies an operation to a known session.
fn update(session: &mut Session, act: Act, now: Timestamp, rules: &LeaseRules) {
    match act {
        Act::Join { lease } => session.beat(session.not_before(now, true), lease, true, rules),
        Act::Renew { .. } if !session.is_live(now) => {}
        Act::Heartbeat { lease } | Act::Renew { lease } => {
            session.beat(session.not_before(now, false), lease, false, rules);
        }
        Act::Leave | Act::LeaveKnown => session.leave(session.not_before(now, false), rules),
        Act::Restore(other) | Act::Late(other) | Act::Logged(other) | Act::Withdraw(other) => {
            session.merge(&other.moved(0, now), rules);
        }
    }
}

#[cfg(test)]
mod tests;
