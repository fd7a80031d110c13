//! A sample of sessions with what this node knows of their stays. Its size has a limit.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use crate::domain::Timestamp;

/// A sample of sessions, by ids that are hashes with a key of this process: nobody else can choose which ones are in it.
#[derive(Debug)]
pub(super) struct Crowd {
    stays: HashMap<u64, Stay, BuildHasherDefault<IdHasher>>,
    /// The sample has the sessions whose ids begin with this many zero bits.
    depth: u32,
    /// The largest number of sessions.
    capacity: usize,
}

/// Takes ids as their own hashes. The map uses the lowest and the highest bits of a hash, and the highest bits of a sampled
/// id are zero, so its halves are swapped.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        self.0 = id.rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is known of the stay of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    /// When it joined or, if it joined elsewhere, when it was first seen.
    pub since: Timestamp,
    /// The end of its lease, or when it left.
    until: Timestamp,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It joined, and no other beat of it has come to this node.
    Joined,
    /// It has beaten again.
    Beating,
    Left,
}

/// How a stay has ended, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has not ended.
    Open,
    /// It left, or its lease ended.
    At(Timestamp),
    /// Its first lease ended without another beat. A page may have gone without a leave, or may beat at another node, so
    /// the end of the lease says nothing about the session.
    Unknown,
}

impl Stay {
    /// The stay of a session that joins now.
    pub(super) fn joined(at: Timestamp, lease: Duration) -> Self {
        Self { since: at, until: at + lease, state: State::Joined }
    }

    fn beat(&mut self, at: Timestamp, lease: Duration) {
        if self.state == State::Left && at < self.until {
            return;
        }
        self.state = State::Beating;
        self.until = self.until.max(at + lease);
    }

    fn leave(&mut self, at: Timestamp) {
        // A lease that was over before has ended the stay already.
        if self.state != State::Left && at < self.until {
            (self.until, self.state) = (at.max(self.since), State::Left);
        }
    }

    /// How the stay has ended at `now`.
    pub(super) fn end(&self, now: Timestamp) -> End {
        match self.state {
            State::Left => End::At(self.until),
            _ if self.until > now => End::Open,
            State::Beating => End::At(self.until),
            State::Joined => End::Unknown,
        }
    }
}

impl Crowd {
    /// An empty crowd of at most `capacity` sessions.
    pub(super) fn new(capacity: usize) -> Self {
        Self { stays: HashMap::default(), depth: 0, capacity }
    }

    /// Adds a session, if it belongs to the sample. A crowd that has become too large keeps every second session.
    pub(super) fn admit(&mut self, id: u64, stay: Stay) {
        if !self.samples(id) {
            return;
        }
        self.stays.insert(id, stay);
        while self.stays.len() > self.capacity && self.depth < u64::BITS {
            self.depth += 1;
            let depth = self.depth;
            self.stays.retain(|id, _| id.leading_zeros() >= depth);
        }
    }

    /// Adds the sessions of another crowd.
    pub(super) fn absorb(&mut self, other: Self) {
        if other.depth > self.depth {
            self.depth = other.depth;
            self.stays.retain(|id, _| id.leading_zeros() >= other.depth);
        }
        for (id, stay) in other.stays {
            self.admit(id, stay);
        }
    }

    /// Records a beat. Returns false if the crowd does not have the session.
    pub(super) fn beat(&mut self, id: u64, at: Timestamp, lease: Duration) -> bool {
        if !self.samples(id) {
            return false;
        }
        let Some(stay) = self.stays.get_mut(&id) else { return false };
        stay.beat(at, lease);
        true
    }

    /// Records a leave, if the crowd has the session.
    pub(super) fn leave(&mut self, id: u64, at: Timestamp) {
        if self.samples(id)
            && let Some(stay) = self.stays.get_mut(&id)
        {
            stay.leave(at);
        }
    }

    /// Drops the sessions that ended before an instant, and makes the sample finer if it has become small.
    pub(super) fn forget(&mut self, before: Timestamp, now: Timestamp) {
        self.stays.retain(|_, stay| match stay.end(now) {
            End::Open => true,
            End::At(end) => end >= before,
            End::Unknown => false,
        });
        if self.stays.len() * 4 < self.capacity {
            self.depth = self.depth.saturating_sub(1);
        }
    }

    /// Whether the sample has this id, if the crowd has it.
    const fn samples(&self, id: u64) -> bool {
        id.leading_zeros() >= self.depth
    }

    /// Whether no session was left out.
    pub(super) const fn is_whole(&self) -> bool {
        self.depth == 0
    }

    /// The sessions of the sample.
    pub(super) fn stays(&self) -> impl Iterator<Item = &Stay> {
        self.stays.values()
    }

    /// The number of sessions of the sample.
    pub(super) fn len(&self) -> usize {
        self.stays.len()
    }

    /// An estimate of how many sessions of the crowd there are for some of the sample. Exact until the crowd has been
    /// too large.
    pub(super) fn scaled(&self, sessions: usize) -> u32 {
        u32::try_from((sessions as u128) << self.depth.min(64)).unwrap_or(u32::MAX)
    }

    /// An estimate of the number of different sessions.
    pub(super) fn total(&self) -> u32 {
        self.scaled(self.len())
    }
}
