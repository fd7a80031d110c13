//! The state of one session, and the rules for applying and merging beats and leaves.
//!
//! Promises:
//! - **The later event wins**, in whatever order events become known. Beats and leaves carry the instant at which they
//!   happened. Applying the same events in another order, or twice, leads to the same state. Of a join and a leave in
//!   the same millisecond, the one applied last wins.
//! - A heartbeat within the leave memory after a leave is ignored, because it may have been sent before the leave. A
//!   join after the leave clears the leave memory.
//! - The state has a fixed size of 16 bytes.

use std::time::Duration;

use super::Timestamp;

/// The largest [`Session::delta`], in milliseconds: this long or longer. It is longer than any leave memory, so a leave
/// before such a join no longer affects the last beat.
const FAR: u16 = u16::MAX;

/// The state of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The instant of the last beat, or of the leave if the session has left.
    at: Timestamp,
    /// The lease of the last beat, in milliseconds.
    lease: u32,
    /// While beating: the milliseconds from the last join to the last beat ([`FAR`]: longer, or unknown).
    /// After a leave: the milliseconds from the leave to the last ignored beat (0 if none was ignored).
    delta: u16,
    phase: Phase,
}

/// Whether a session is beating or has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The session has a lease, which may have ended.
    Beating,
    /// The session was not known before it left. Only the leave memory applies: a heartbeat may still be on its way.
    LeftUnknown,
    /// The session left. Other nodes may still replay its beats.
    Left,
}

/// The fields of a [`Session`], for stores with an encoding of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The instant of the last beat, or of the leave.
    pub at: Timestamp,
    /// The lease of the last beat, in milliseconds.
    pub lease: u32,
    /// The milliseconds from the last join to the last beat, or from the leave to the last ignored beat.
    pub delta: u16,
    /// Whether the session is beating or has left.
    pub phase: Phase,
}

impl Session {
    /// A session whose only known event is a beat.
    #[must_use]
    pub fn beating(at: Timestamp, lease: Duration, is_join: bool) -> Self {
        Self { at, lease: millis(lease), delta: if is_join { 0 } else { FAR }, phase: Phase::Beating }
    }

    /// A session whose only known event is a leave.
    #[must_use]
    pub const fn left_unknown(at: Timestamp) -> Self {
        Self { at, lease: 0, delta: 0, phase: Phase::LeftUnknown }
    }

    /// The fields of the session.
    #[must_use]
    pub const fn parts(&self) -> Parts {
        Parts { at: self.at, lease: self.lease, delta: self.delta, phase: self.phase }
    }

    /// When the lease ends; the Unix epoch if the session has left.
    #[must_use]
    pub fn lease_end(&self) -> Timestamp {
        match self.phase {
            Phase::Beating => self.at.plus_millis(self.lease),
            Phase::Left | Phase::LeftUnknown => Timestamp::default(),
        }
    }

    /// Whether the session counts at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.lease_end() > now
    }

    /// The instant of the last beat, or of the leave.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// When the session has no more effect on counts: its lease has ended, or events that its leave affects can no longer
    /// arrive.
    #[must_use]
    pub fn useless_from(&self, rules: &LeaseRules) -> Timestamp {
        match self.phase {
            Phase::Beating => self.lease_end(),
            Phase::Left => self.at + rules.longest_lease.max(rules.leave_memory),
            Phase::LeftUnknown => self.at + rules.leave_memory,
        }
    }

    /// How long its last join is known. That is at least the leave memory, also for a short lease: until then, another node
    /// may repeat a leave that came before the join, and it must not end a beat after the join.
    #[must_use]
    pub fn known_until(&self, rules: &LeaseRules) -> Timestamp {
        match self.phase {
            Phase::Beating => self.lease_end().max(self.at + rules.leave_memory),
            Phase::Left | Phase::LeftUnknown => self.useless_from(rules),
        }
    }

    /// How long a node keeps it for replays. An expired session still matters: another node may know an older beat of it
    /// with a longer lease.
    #[must_use]
    pub fn kept_until(&self, rules: &LeaseRules) -> Timestamp {
        match self.phase {
            Phase::Beating => self.known_until(rules).max(self.at + rules.longest_lease),
            Phase::Left | Phase::LeftUnknown => self.useless_from(rules),
        }
    }

    /// What a node replays: the session, or, if its lease is over, a leave that outweighs the last beat and older beats that
    /// other nodes replay. The leave is one leave memory before the last beat, so that it outweighs no later beat.
    #[must_use]
    pub fn for_replay(&self, now: Timestamp, rules: &LeaseRules) -> Self {
        if self.phase == Phase::Beating && !self.is_live(now) {
            let at = (self.at - rules.leave_memory).plus_millis(1);
            Self { at, lease: 0, delta: 0, phase: Phase::Left }
        } else {
            *self
        }
    }

    /// Applies a join or heartbeat that happened at `at`.
    pub fn beat(&mut self, at: Timestamp, lease: Duration, is_join: bool, rules: &LeaseRules) {
        let lease = millis(lease);
        if self.phase == Phase::Beating {
            if at >= self.at {
                self.delta = if is_join { 0 } else { self.delta.saturating_add(millis_between(self.at, at)) };
                (self.at, self.lease) = (at, lease);
            } else if is_join {
                self.delta = self.delta.min(millis_between(at, self.at));
            }
            return;
        }
        let ignored_beat = self.last_ignored_beat();
        if is_join {
            if at < self.at {
                return;
            }
            if ignored_beat > at {
                (self.at, self.delta) = (ignored_beat, millis_between(at, ignored_beat));
            } else {
                (self.at, self.lease, self.delta) = (at, lease, 0);
            }
            self.phase = Phase::Beating;
        } else if at >= self.at + rules.leave_memory {
            *self = Self { at, lease, delta: FAR, phase: Phase::Beating };
        } else if at > ignored_beat {
            (self.lease, self.delta) = (lease, millis_between(self.at, at));
        }
    }

    /// Applies a leave that happened at `at`.
    pub fn leave(&mut self, at: Timestamp, rules: &LeaseRules) {
        if self.phase == Phase::Beating {
            let joined_later = self.delta < FAR && self.at.minus_millis(self.delta.into()) > at;
            if joined_later || self.at >= at + rules.leave_memory {
                return;
            }
            self.delta = millis_between(at, self.at);
            (self.at, self.phase) = (at, Phase::Left);
        } else if at > self.at {
            self.delta = millis_between(at, self.last_ignored_beat());
            self.at = at;
        }
    }

    /// The session for a replay: a leave is kept for as long as other nodes may replay the session's beats.
    #[must_use]
    pub fn to_be_told(&self) -> Self {
        let phase = if self.phase == Phase::LeftUnknown { Phase::Left } else { self.phase };
        Self { phase, ..*self }
    }

    /// Merges the state that another node has of the session.
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
                self.beat(other.last_ignored_beat(), lease, false, rules);
            }
        }
    }

    /// The session by another clock, which is `millis` ahead. Instants after `now` are set to `now`.
    #[must_use]
    pub fn moved(&self, millis: i64, now: Timestamp) -> Self {
        let at = Timestamp::from_millis(self.at.as_millis().saturating_add_signed(millis)).min(now);
        Self { at, ..*self }
    }

    /// The session with the instant of its last event corrected to `at`. An earlier join keeps its instant.
    #[must_use]
    pub fn at_instant(&self, at: Timestamp) -> Self {
        let delta = match (self.phase, self.delta) {
            (Phase::Beating, delta) if delta > 0 && delta < FAR => {
                millis_between(self.at.minus_millis(delta.into()), at)
            }
            (_, delta) => delta,
        };
        Self { at, delta, ..*self }
    }

    /// The instant for an operation that happens now. For a join, and while beating, the instant is not before the last
    /// event, even if the clock has gone back.
    #[must_use]
    pub fn not_before(&self, now: Timestamp, is_join: bool) -> Timestamp {
        if is_join || self.phase == Phase::Beating { now.max(self.at) } else { now }
    }

    /// After a leave: the instant of the last ignored beat, or of the leave if no beat was ignored.
    fn last_ignored_beat(&self) -> Timestamp {
        self.at.plus_millis(self.delta.into())
    }
}

/// How long leases last and leaves are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRules {
    /// The longest lease. Older beats no longer count.
    pub longest_lease: Duration,
    /// The leave memory: how long after a leave a heartbeat of the session is ignored. It must be less than a minute.
    pub leave_memory: Duration,
}

/// The milliseconds between two instants: 0 if `to` is not later than `from`, [`FAR`] at most.
fn millis_between(from: Timestamp, to: Timestamp) -> u16 {
    u16::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(FAR)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
