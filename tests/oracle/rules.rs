//! The intervals and limits that a world runs by.

use std::time::Duration;

use aforo::{domain::Policy, server::limits::PerAddress};

use super::plan::Millis;

/// Small limits, so that floods meet them soon.
pub const LIMITS: PerAddress = PerAddress {
    joins_burst: 60,
    joins_per_second: 1,
    sessions_per_channel: 40,
    new_channels_per_minute: 10,
};

/// The durations in plans are given for a world that is busy for as long.
const USUAL_SPAN: Millis = 240_000;

/// What a world runs by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub policy: Policy,
    pub limits: PerAddress,
    /// How long crowds, attackers and faults are at it.
    pub span: Millis,
    /// How long streams are watched in all: leases end after the span.
    pub watched: Millis,
    /// When everyone has gone, and everything about them.
    pub over: Millis,
    /// How many viewers a crowd has: at least, and less than.
    pub crowd: (u64, u64),
    /// How much longer than the update interval a count may take to show, and how long in a quiet channel in all.
    pub slack: Millis,
    pub quick: Millis,
    /// By how much the ways of two counts to a page may differ.
    pub jitter: Millis,
    /// For how long a call may wait for a new connection to the store when the old one was lost.
    pub mend: Millis,
}

impl Rules {
    /// The lease that a beat gives, by the settings alone: the oracle does not ask the code under test.
    pub fn lease(&self, hidden: bool) -> Millis {
        millis(if hidden { self.policy.hidden_timeout } else { self.policy.timeout })
    }

    /// How often a page beats, at most.
    pub fn heartbeat(&self) -> Millis {
        millis(self.policy.heartbeat_interval)
    }

    /// The update interval.
    pub fn interval(&self) -> Millis {
        millis(self.policy.update_interval)
    }

    /// A duration that was chosen for the usual span, for this one.
    pub const fn scaled(&self, usual: Millis) -> Millis {
        usual * self.span / USUAL_SPAN
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap()
}
