//! Who came in by each address, channel by channel, and until when each counts without another beat.
//!
//! Memory is at most twice what counts, and nothing is looked through for a call that is refused more than once a second.

use std::{collections::HashMap, time::Duration};

use dashmap::DashMap;
use tokio::time::Instant;

use super::{Address, SHARDS};
use crate::domain::{ChannelId, SessionId, ViewerId};

/// One session of one viewer.
pub type Session = (ViewerId, SessionId);

/// How often a full crowd is looked through for sessions whose lease has ended.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Crowds smaller than this are not worth looking through.
const SMALL: usize = 16;

/// The sessions of each address in each channel.
pub struct Crowds {
    /// The most sessions of a crowd; 0 is any number.
    most: usize,
    by_address: DashMap<(Address, ChannelId), Crowd>,
}

struct Crowd {
    until: HashMap<Option<Session>, Instant>,
    /// The latest end of a lease.
    last: Instant,
    pruned: Option<Instant>,
    /// With as many it is looked through again.
    prune_at: usize,
}

impl Crowds {
    /// Crowds of `most` sessions; 0 is any number.
    pub fn of(most: u32) -> Self {
        let by_address = DashMap::with_shard_amount(SHARDS);
        Self { most: usize::try_from(most).unwrap_or(usize::MAX), by_address }
    }

    /// Renews a session that counts; whether it does.
    pub fn renew(
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

    /// Whether one more session has room.
    pub fn has_room(&self, key: &(Address, ChannelId), now: Instant) -> bool {
        if self.most == 0 {
            return true;
        }
        let Some(mut crowd) = self.by_address.get_mut(key) else { return true };
        if crowd.until.len() >= self.most && crowd.pruned.is_none_or(|at| now >= at + PRUNE_EVERY) {
            crowd.prune(now);
        }
        crowd.until.len() < self.most
    }

    /// Whether anybody of the address is in the channel.
    pub fn has_any(&self, key: &(Address, ChannelId)) -> bool {
        self.by_address.contains_key(key)
    }

    /// A session counts from now on.
    pub fn note(&self, key: &(Address, ChannelId), session: Option<Session>, now: Instant, lease: Duration) {
        let mut crowd = self.by_address.entry(key.clone()).or_insert_with(|| Crowd::new(now));
        if crowd.until.len() >= crowd.prune_at {
            crowd.prune(now);
        }
        crowd.until.insert(session, now + lease);
        crowd.last = crowd.last.max(now + lease);
    }

    /// A session has left; whether it was here.
    pub fn remove(&self, key: &(Address, ChannelId), session: Option<Session>) -> bool {
        let was_here =
            self.by_address.get_mut(key).is_some_and(|mut crowd| crowd.until.remove(&session).is_some());
        if was_here {
            self.by_address.remove_if(key, |_, crowd| crowd.until.is_empty());
        }
        was_here
    }

    /// Forgets what has ended. A part of the map is locked for a look at each of its crowds, and then for one crowd at a time.
    pub fn sweep(&self, now: Instant) {
        self.by_address.retain(|_, crowd| crowd.last > now);
        let large = self.by_address.iter().filter(|crowd| crowd.until.len() >= SMALL);
        let large: Vec<_> = large.map(|crowd| crowd.key().clone()).collect();
        for key in large {
            if let Some(mut crowd) = self.by_address.get_mut(&key) {
                crowd.prune(now);
                crowd.until.shrink_to_fit();
            }
        }
    }

    /// How many crowds there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.by_address.iter().map(|crowd| crowd.until.len()).sum()
    }
}

impl Crowd {
    fn new(now: Instant) -> Self {
        Self { until: HashMap::new(), last: now, pruned: None, prune_at: SMALL }
    }

    fn prune(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
        self.pruned = Some(now);
        self.prune_at = (2 * self.until.len()).max(SMALL);
    }
}
