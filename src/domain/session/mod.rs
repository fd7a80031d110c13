//! What is known of one session: its last beat or its last leave, and what they mean for each other.
//!
//! Promises:
//! - **What happened later wins**, in whatever order it becomes known. Beats and leaves carry the instant at which they
//!   happened; applying the same ones in another order, or twice, leads to the same state.
//!   Of a join and a leave within the same millisecond the one that is applied last wins.
//! - A heartbeat within the leave memory after a leave changes nothing, since it may have been on its way already. A join
//!   after the leave clears the memory.
//! - The state has a fixed size: 16 bytes.

use std::time::Duration;

use super::Timestamp;

/// Joins that are further away than this from the last beat are no longer told apart: no leave that could still matter is
/// as old. In milliseconds; longer than any leave memory.
const FAR: u16 = u16::MAX;

/// The state of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The instant of the last beat; of the leave, if the session has left.
    at: Timestamp,
    /// The lease that the last beat gave, in milliseconds.
    lease: u32,
    /// While beating: how long before the last beat the last join was ([`FAR`]: long ago, or never).
    /// After a leave: how long after it the last beat was that it made ineffective (0: there was none).
    delta: u16,
    phase: Phase,
}

/// Whether a session beats or has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has a lease.
    Beating,
    /// It left without having been known before. Nothing can bring it back but a heartbeat that was on its way.
    LeftUnknown,
    /// It left. Other nodes may still know its beats.
    Left,
}

/// The fields of a [`Session`], for stores that keep them in a form of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// See [`Session`]: the instant of the last beat, or of the leave.
    pub at: Timestamp,
    /// The lease of the last beat, in milliseconds.
    pub lease: u32,
    /// The distance between the last beat and the last join, or between the leave and a beat after it.
    pub delta: u16,
    /// Whether it beats or has left.
    pub phase: Phase,
}

impl Session {
    /// A session of which the first thing known is a beat.
    #[must_use]
    pub fn beating(at: Timestamp, lease: Duration, is_join: bool) -> Self {
        Self { at, lease: millis(lease), delta: if is_join { 0 } else { FAR }, phase: Phase::Beating }
    }

    /// A session of which nothing is known but that it left.
    #[must_use]
    pub const fn left_unknown(at: Timestamp) -> Self {
        Self { at, lease: 0, delta: 0, phase: Phase::LeftUnknown }
    }

    /// Its fields.
    #[must_use]
    pub const fn parts(&self) -> Parts {
        Parts { at: self.at, lease: self.lease, delta: self.delta, phase: self.phase }
    }

    /// The end of its lease; the epoch if it has left.
    #[must_use]
    pub fn lease_end(&self) -> Timestamp {
        match self.phase {
            Phase::Beating => self.at.plus_millis(self.lease),
            Phase::Left | Phase::LeftUnknown => Timestamp::default(),
        }
    }

    /// Whether it counts at an instant.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.lease_end() > now
    }

    /// When the last thing that is known of it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// From when on it is of no use any more: its lease is over, or nothing can arrive any more that its leave concerns.
    #[must_use]
    pub fn useless_from(&self, rules: &LeaseRules) -> Timestamp {
        match self.phase {
            Phase::Beating => self.lease_end(),
            Phase::Left => self.at + rules.longest_lease.max(rules.leave_memory),
            Phase::LeftUnknown => self.at + rules.leave_memory,
        }
    }

    /// A join or heartbeat that happened at `at`.
    pub fn beat(&mut self, at: Timestamp, lease: Duration, is_join: bool, rules: &LeaseRules) {
        let lease = millis(lease);
        if self.phase == Phase::Beating {
            if at >= self.at {
                self.delta = if is_join { 0 } else { self.delta.saturating_add(apart(self.at, at)) };
                (self.at, self.lease) = (at, lease);
            } else if is_join {
                self.delta = self.delta.min(apart(at, self.at));
            }
            return;
        }
        let beaten = self.beaten_since_leave();
        if is_join {
            if at < self.at {
                return;
            }
            if beaten > at {
                (self.at, self.delta) = (beaten, apart(at, beaten));
            } else {
                (self.at, self.lease, self.delta) = (at, lease, 0);
            }
            self.phase = Phase::Beating;
        } else if at >= self.at + rules.leave_memory {
            *self = Self { at, lease, delta: FAR, phase: Phase::Beating };
        } else if at > beaten {
            (self.lease, self.delta) = (lease, apart(self.at, at));
        }
    }

    /// A leave that happened at `at`.
    pub fn leave(&mut self, at: Timestamp, rules: &LeaseRules) {
        if self.phase == Phase::Beating {
            let joined_later = self.delta < FAR && self.at.minus_millis(self.delta.into()) > at;
            if joined_later || self.at >= at + rules.leave_memory {
                return;
            }
            self.delta = apart(at, self.at);
            (self.at, self.phase) = (at, Phase::Left);
        } else if at > self.at {
            self.delta = apart(at, self.beaten_since_leave());
            self.at = at;
        }
    }

    /// The same, where it has to be told to others: a leave is then remembered for as long as they may know its beats.
    #[must_use]
    pub fn to_be_told(&self) -> Self {
        let phase = if self.phase == Phase::LeftUnknown { Phase::Left } else { self.phase };
        Self { phase, ..*self }
    }

    /// Takes in what another node knows of the session.
    pub fn merge(&mut self, other: &Self, rules: &LeaseRules) {
        let lease = Duration::from_millis(other.lease.into());
        if other.phase == Phase::Beating {
            if other.delta < FAR {
                self.beat(other.at.minus_millis(other.delta.into()), lease, true, rules);
            }
            self.beat(other.at, lease, false, rules);
        } else {
            self.leave(other.at, rules);
            if self.phase == Phase::LeftUnknown && other.phase == Phase::Left {
                self.phase = Phase::Left;
            }
            if other.delta > 0 {
                self.beat(other.beaten_since_leave(), lease, false, rules);
            }
        }
    }

    /// The same with all instants moved: they were taken by a clock that is `millis` behind the one they are wanted by.
    /// Nothing has happened after `now`.
    #[must_use]
    pub fn moved(&self, millis: i64, now: Timestamp) -> Self {
        let at = Timestamp::from_millis(self.at.as_millis().saturating_add_signed(millis)).min(now);
        Self { at, ..*self }
    }

    /// The same, where what happened last happened at another instant than was thought. A join before it stays where it was.
    #[must_use]
    pub fn at_instant(&self, at: Timestamp) -> Self {
        let delta = match (self.phase, self.delta) {
            (Phase::Beating, delta) if delta > 0 && delta < FAR => {
                apart(self.at.minus_millis(delta.into()), at)
            }
            (_, delta) => delta,
        };
        Self { at, delta, ..*self }
    }

    /// The instant for an operation that happens now: not before what is known, also where the clock has gone back.
    #[must_use]
    pub fn not_before(&self, now: Timestamp, is_join: bool) -> Timestamp {
        if is_join || self.phase == Phase::Beating { now.max(self.at) } else { now }
    }

    fn beaten_since_leave(&self) -> Timestamp {
        self.at.plus_millis(self.delta.into())
    }
}

/// How long things are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRules {
    /// No lease is longer. Beats that are older concern nobody.
    pub longest_lease: Duration,
    /// For how long after a leave a heartbeat of its session changes nothing; under a minute.
    pub leave_memory: Duration,
}

/// Milliseconds between two instants; 0 if the second is not later, [`FAR`] at most.
fn apart(from: Timestamp, to: Timestamp) -> u16 {
    u16::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(FAR)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
