//! The sessions that wait for the live signal of a channel: those that are counted while it is off air, with the ends of
//! their leases. When the signal begins, they are viewers of the broadcast.
//!
//! The memory is bounded: [`MAX_WAITING`] sessions of a channel, and about twice as many as have a lease. Beyond the limit,
//! a viewer counts for the broadcast from the next beat on.

use std::collections::HashMap;

use super::distinct::Distinct;
use crate::{
    domain::{SessionId, Timestamp, ViewerId},
    server::history::HashKey,
};

/// The most sessions of a channel that are remembered.
const MAX_WAITING: usize = 100_000;

/// The fewest renewals between two sweeps, which remove the sessions without a lease.
const SWEEP_FROM: usize = 256;

/// How long after a sweep a full memory is swept again, in milliseconds.
const FULL_SWEEP_MS: u32 = 1_000;

/// The sessions that wait for the signal of a channel.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    leases: HashMap<(ViewerId, SessionId), Timestamp>,
    /// The number of sessions that had a lease at the last sweep, and its time.
    swept: (usize, Timestamp),
    /// The number of renewals since then.
    renewals: usize,
}

impl Waiting {
    /// Records that a session is counted until `until`.
    pub(super) fn renew(&mut self, viewer: ViewerId, session: SessionId, now: Timestamp, until: Timestamp) {
        self.renewals += 1;
        let (number, at) = self.swept;
        let is_full = self.leases.len() >= MAX_WAITING;
        // A sweep looks at all sessions, so a renewal must not cause one each time.
        if self.renewals >= number.max(SWEEP_FROM) || is_full && now >= at.plus_millis(FULL_SWEEP_MS) {
            self.leases.retain(|_, until| *until > now);
            self.swept = (self.leases.len(), now);
            self.renewals = 0;
        }
        let has_space = self.leases.len() < MAX_WAITING;
        let known = self.leases.get_mut(&(viewer, session));
        match known {
            Some(known) => *known = until,
            None if has_space => _ = self.leases.insert((viewer, session), until),
            None => {}
        }
    }

    /// Records that a session has left.
    pub(super) fn remove(&mut self, viewer: ViewerId, session: SessionId) {
        self.leases.remove(&(viewer, session));
    }

    /// The viewers that have a lease.
    pub(super) fn viewers(&self, key: Option<&HashKey>, now: Timestamp) -> Distinct {
        let mut viewers = Distinct::default();
        for ((viewer, _), _) in self.leases.iter().filter(|(_, until)| **until > now) {
            viewers.insert(*viewer, key);
        }
        viewers
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ids(viewer: u128, session: u128) -> (ViewerId, SessionId) {
        (ViewerId::new(Uuid::from_u128(viewer)).unwrap(), SessionId::new(Uuid::from_u128(session)).unwrap())
    }

    fn renew(waiting: &mut Waiting, viewer: u128, session: u128, now: u64) {
        let (viewer, session) = ids(viewer, session);
        waiting.renew(viewer, session, at(now), at(now + 60_000));
    }

    #[test]
    fn those_with_a_lease_wait_each_viewer_once() {
        let (mut waiting, key) = (Waiting::default(), HashKey::new([7; 16]));
        renew(&mut waiting, 1, 1, 0);
        renew(&mut waiting, 1, 2, 0);
        renew(&mut waiting, 2, 3, 10_000);
        renew(&mut waiting, 3, 4, 10_000);
        let count = |waiting: &Waiting, now: u64| waiting.viewers(Some(&key), at(now)).count();
        assert_eq!(count(&waiting, 20_000), 3);
        let (viewer, session) = ids(3, 4);
        waiting.remove(viewer, session);
        let (viewer, session) = ids(1, 1);
        waiting.remove(viewer, session);
        assert_eq!(count(&waiting, 20_000), 2, "another tab is there");
        assert_eq!(count(&waiting, 60_000), 1);
        renew(&mut waiting, 1, 2, 60_000);
        assert_eq!(count(&waiting, 60_000), 2);
        assert_eq!(count(&waiting, 120_000), 0);
    }

    #[test]
    fn the_sessions_that_are_remembered_are_bounded() {
        let mut waiting = Waiting::default();
        // A crowd that goes on coming and never beats again.
        for nth in 0..50_000_u64 {
            renew(&mut waiting, u128::from(nth) + 1, 1, nth * 100);
        }
        assert!(waiting.leases.len() <= 2 * 600 + 1, "{}", waiting.leases.len());
        for nth in 0..MAX_WAITING as u128 + 500 {
            renew(&mut waiting, nth + 1, 2, 6_000_000);
        }
        assert_eq!(waiting.leases.len(), MAX_WAITING);
        assert!(waiting.renewals >= 500, "a full memory is not swept by each renewal");
        renew(&mut waiting, MAX_WAITING as u128 + 400, 2, 6_060_000);
        assert_eq!(waiting.leases.len(), 1, "there is space again");
    }
}
