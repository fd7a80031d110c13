//! Who watches one channel: the rules of counting as a data structure.
//!
//! Promises:
//! - The count at an instant is the number of viewers with a session whose lease ends after it. It is read off the
//!   leases; nothing is ever added to or subtracted from a number.
//! - A beat, a leave and a read cost O(1) on average, however many viewers there are. What has expired is dropped when
//!   it is next come across (a read, a [`Roster::sweep`]), each viewer once.
//!
//! The memory store keeps one roster per channel, and it is the model that the other stores are held to.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use smallvec::SmallVec;

use super::{Act, Op, SessionId, Timestamp, ViewerId};

/// The sessions of one channel and their leases.
#[derive(Debug, Default)]
pub struct Roster {
    viewers: HashMap<ViewerId, Viewer>,
    /// When to look at which viewer again. Beats that only move a lease's end further away don't touch it: the entry is
    /// moved when its time has come. An entry is good if the viewer's `look_again` says the same; others are leftovers.
    agenda: BinaryHeap<Reverse<(Timestamp, ViewerId)>>,
    /// Sessions that have left, and until when that is remembered.
    departed: HashMap<(ViewerId, SessionId), Timestamp>,
}

#[derive(Debug)]
struct Viewer {
    /// Each session and the end of its lease. Nearly always one, so it is kept in place.
    sessions: SmallVec<[(SessionId, Timestamp); 1]>,
    /// The viewer's entry in the agenda; never after `lease_end`.
    look_again: Timestamp,
}

impl Viewer {
    fn lease_end(&self) -> Timestamp {
        self.sessions.iter().map(|(_, end)| *end).max().unwrap_or_default()
    }
}

impl Roster {
    /// Does one operation at an instant. The answer: whether the session is counted after it.
    pub fn apply(&mut self, op: &Op, now: Timestamp) -> bool {
        let session = (op.viewer, op.session);
        match op.act {
            Act::Join { lease } => {
                self.departed.remove(&session);
                self.extend(op, now, now + lease)
            }
            Act::Heartbeat { lease } => !self.has_left(session, now) && self.extend(op, now, now + lease),
            Act::Renew { lease } => self.lease_end(op) > now && self.extend(op, now, now + lease),
            Act::Restore { lease } => {
                let end = (now + lease).max(self.lease_end(op));
                !self.has_left(session, now) && self.extend(op, now, end)
            }
            Act::Leave { remember } => {
                self.departed.insert(session, now + remember);
                if let Some(viewer) = self.viewers.get_mut(&op.viewer) {
                    viewer.sessions.retain(|(id, _)| *id != op.session);
                    self.replan(op.viewer);
                }
                false
            }
        }
    }

    /// How many viewers have a live lease.
    pub fn count(&mut self, now: Timestamp) -> u32 {
        self.drop_expired(now);
        u32::try_from(self.viewers.len()).unwrap_or(u32::MAX)
    }

    /// Frees the memory of what no longer matters; changes no count. Returns whether nothing is left.
    pub fn sweep(&mut self, now: Timestamp) -> bool {
        self.drop_expired(now);
        self.departed.retain(|_, until| *until > now);
        for viewer in self.viewers.values_mut() {
            viewer.sessions.retain(|(_, end)| *end > now);
        }
        if self.viewers.len() < self.viewers.capacity() / 4 {
            self.viewers.shrink_to_fit();
            self.agenda.shrink_to_fit();
        }
        if self.departed.len() < self.departed.capacity() / 4 {
            self.departed.shrink_to_fit();
        }
        self.viewers.is_empty() && self.departed.is_empty()
    }

    fn has_left(&self, session: (ViewerId, SessionId), now: Timestamp) -> bool {
        self.departed.get(&session).is_some_and(|until| *until > now)
    }

    /// The end of a session's lease; the epoch if there is none.
    fn lease_end(&self, op: &Op) -> Timestamp {
        let sessions =
            self.viewers.get(&op.viewer).map(|viewer| viewer.sessions.as_slice()).unwrap_or_default();
        sessions.iter().find(|(id, _)| *id == op.session).map(|(_, end)| *end).unwrap_or_default()
    }

    /// Sets the session's lease; also drops the viewer's own expired sessions, so that a browser that reloads all day
    /// holds no more than what is live.
    fn extend(&mut self, op: &Op, now: Timestamp, end: Timestamp) -> bool {
        let agenda = &mut self.agenda;
        let viewer = self.viewers.entry(op.viewer).or_insert_with(|| {
            agenda.push(Reverse((end, op.viewer)));
            Viewer { sessions: SmallVec::new(), look_again: end }
        });
        viewer.sessions.retain(|(id, end)| *id != op.session && *end > now);
        viewer.sessions.push((op.session, end));
        self.replan(op.viewer);
        true
    }

    /// Keeps the agenda right after a viewer's sessions have changed: its entry may be early, never late.
    fn replan(&mut self, id: ViewerId) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        let end = viewer.lease_end();
        if viewer.sessions.is_empty() {
            self.viewers.remove(&id);
        } else if end < viewer.look_again {
            viewer.look_again = end;
            self.agenda.push(Reverse((end, id)));
        }
    }

    fn drop_expired(&mut self, now: Timestamp) {
        while let Some(&Reverse((at, id))) = self.agenda.peek()
            && at <= now
        {
            self.agenda.pop();
            let Some(viewer) = self.viewers.get_mut(&id).filter(|viewer| viewer.look_again == at) else {
                continue;
            };
            let end = viewer.lease_end();
            if end <= now {
                self.viewers.remove(&id);
            } else {
                viewer.look_again = end;
                self.agenda.push(Reverse((end, id)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
