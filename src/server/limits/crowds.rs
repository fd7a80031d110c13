//! The sessions that each address has in each channel, with the end of their leases.
//!
//! The sessions of an address in a channel form a crowd. A crowd is searched for ended sessions on each sweep, and when
//! its number of entries has doubled since the last search. A crowd at its limit is searched at most once a second, so
//! that refused calls stay cheap.

use std::{collections::HashMap, time::Duration};

use dashmap::DashMap;
use tokio::time::Instant;

use super::{Address, SHARDS};
use crate::domain::{ChannelId, SessionId, ViewerId};

/// A session of a viewer.
pub(super) type Session = (ViewerId, SessionId);

/// The shortest time between two searches of a full crowd for ended sessions.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Crowds with fewer entries are searched for ended sessions only when they are at their limit.
const PRUNE_MIN: usize = 16;

/// The sessions of each address in each channel.
pub(super) struct Crowds {
    /// The most sessions of a crowd. 0: no limit.
    capacity: usize,
    by_address: DashMap<(Address, ChannelId), Crowd>,
}

struct Crowd {
    /// The end of each session's lease.
    until: HashMap<Option<Session>, Instant>,
    /// The latest end of a lease.
    last: Instant,
    /// The last search for ended sessions.
    pruned: Option<Instant>,
    /// The number of entries at which the next search is due.
    prune_at: usize,
}

impl Crowds {
    /// Allows `capacity` sessions in each crowd. 0: no limit.
    pub(super) fn new(capacity: u32) -> Self {
        let by_address = DashMap::with_shard_amount(SHARDS);
        Self { capacity: usize::try_from(capacity).unwrap_or(usize::MAX), by_address }
    }

    /// Extends the lease of a session. Returns false if the session is unknown or its lease has ended.
    pub(super) fn renew(
        &self,
        key: &(Address, ChannelId),
        session: Option<Session>,
        now: Instant,
        lease: Duration,
    ) -> bool {
        let Some(mut crowd) = self.by_address.get_mut(key) else { return false };
        let Some(until) = crowd.until.get_mut(&session).filter(|until| **until > now) else { return false };
        *until = now + lease;
        crowd.last = crowd.last.max(now + lease);
        true
    }

    /// Whether the crowd has room for one more session.
    pub(super) fn has_room(&self, key: &(Address, ChannelId), now: Instant) -> bool {
        if self.capacity == 0 {
            return true;
        }
        let Some(mut crowd) = self.by_address.get_mut(key) else { return true };
        if crowd.until.len() >= self.capacity && crowd.pruned.is_none_or(|at| now >= at + PRUNE_EVERY) {
            crowd.prune(now);
        }
        crowd.until.len() < self.capacity
    }

    /// Whether the address has a session in the channel whose lease has not ended.
    pub(super) fn has_any(&self, key: &(Address, ChannelId), now: Instant) -> bool {
        let Some(mut crowd) = self.by_address.get_mut(key) else { return false };
        if crowd.until.values().next().is_none_or(|until| *until <= now) {
            crowd.prune(now);
        }
        !crowd.until.is_empty()
    }

    /// Adds a session, or extends its lease.
    pub(super) fn insert(
        &self,
        key: &(Address, ChannelId),
        session: Option<Session>,
        now: Instant,
        lease: Duration,
    ) {
        let mut crowd = self.by_address.entry(key.clone()).or_insert_with(|| Crowd::new(now));
        if crowd.until.len() >= crowd.prune_at {
            crowd.prune(now);
        }
        crowd.until.insert(session, now + lease);
        crowd.last = crowd.last.max(now + lease);
    }

    /// Removes a session. Returns whether it was known.
    pub(super) fn remove(&self, key: &(Address, ChannelId), session: Option<Session>) -> bool {
        let was_known =
            self.by_address.get_mut(key).is_some_and(|mut crowd| crowd.until.remove(&session).is_some());
        if was_known {
            self.by_address.remove_if(key, |_, crowd| crowd.until.is_empty());
        }
        was_known
    }

    /// Removes ended sessions. A shard of the map is locked while its crowds are checked, then once for each large
    /// crowd.
    pub(super) fn sweep(&self, now: Instant) {
        self.by_address.retain(|_, crowd| crowd.last > now);
        let large = self.by_address.iter().filter(|crowd| crowd.until.len() >= PRUNE_MIN);
        let large: Vec<_> = large.map(|crowd| crowd.key().clone()).collect();
        for key in large {
            if let Some(mut crowd) = self.by_address.get_mut(&key) {
                crowd.prune(now);
                crowd.until.shrink_to_fit();
            }
        }
    }

    /// The number of crowds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// The number of sessions.
    pub(super) fn sessions(&self) -> usize {
        self.by_address.iter().map(|crowd| crowd.until.len()).sum()
    }
}

impl Crowd {
    fn new(now: Instant) -> Self {
        Self { until: HashMap::new(), last: now, pruned: None, prune_at: PRUNE_MIN }
    }

    fn prune(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
        self.pruned = Some(now);
        self.prune_at = (2 * self.until.len()).max(PRUNE_MIN);
    }
}
