//! The intervals and limits of a world.

use std::time::Duration;

use aforo::{domain::Policy, server::limits::PerAddress};

use super::plan::Millis;

/// Small limits, so that floods reach them soon.
pub const LIMITS: PerAddress = PerAddress {
    joins_burst: 60,
    joins_per_second: 1,
    sessions_per_channel: 40,
    new_channels_per_minute: 10,
};

/// The span for which the durations in plans are chosen.
const USUAL_SPAN: Millis = 240_000;

/// The policy, the limits and the time frame of a world.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub policy: Policy,
    pub limits: PerAddress,
    /// How long crowds, attackers and faults are active.
    pub span: Millis,
    /// How long streams are open. Longer than the span, since leases end after it.
    pub watched: Millis,
    /// When all sessions have ended and all memory of them must be released.
    pub end: Millis,
    /// The number of viewers: lower bound, and upper bound (exclusive).
    pub crowd: (u64, u64),
    /// How much longer than the update interval a change may take to be shown.
    pub slack: Millis,
    /// How long the first change in a quiet channel may take to be shown.
    pub quick: Millis,
    /// By how much the delays of two updates of one stream may differ.
    pub jitter: Millis,
    /// How long a call may wait for a new connection to the store after the old one was lost.
    pub reconnect: Millis,
    /// Whether viewers need tickets. Then only joins show them, and heartbeats that are asked to.
    pub needs_tickets: bool,
}

impl Rules {
    /// The lease that a beat grants, by the settings alone: the oracle does not ask the code under test.
    pub fn lease(&self, hidden: bool) -> Millis {
        millis(if hidden { self.policy.hidden_timeout } else { self.policy.timeout })
    }

    /// The heartbeat interval.
    pub fn heartbeat(&self) -> Millis {
        millis(self.policy.heartbeat_interval)
    }

    /// The update interval.
    pub fn interval(&self) -> Millis {
        millis(self.policy.update_interval)
    }

    /// Scales a duration that was chosen for the usual span to this span.
    pub const fn scaled(&self, usual: Millis) -> Millis {
        usual * self.span / USUAL_SPAN
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap()
}
