//! The intervals that everything runs by, and which combinations of them make sense.

use std::time::Duration;

use super::LeaseRules;

/// How long a leave is remembered, so that a heartbeat which was already on its way does not bring the session back.
pub const LEAVE_MEMORY: Duration = Duration::from_secs(10);

/// The intervals of counting. [`Policy::problems`] tells which combinations would flap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How often a page beats, at most; pages learn it from the answer to a join.
    pub heartbeat_interval: Duration,
    /// The lease that a beat gives.
    pub timeout: Duration,
    /// The lease that a beat of a hidden page gives: browsers hold a hidden page's timers to one a minute
    /// (<https://developer.chrome.com/blog/timer-throttling-in-chrome-88>), so it has to outlive two of those.
    pub hidden_timeout: Duration,
    /// A channel's streams get one new count per this interval, at most.
    pub update_interval: Duration,
    /// The shortest time between two writes to a store outside of this process; for stores that are paid by the command.
    pub write_interval: Duration,
    /// How often memory of what has expired is freed. It changes no count.
    pub cleanup_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
            hidden_timeout: Duration::from_secs(150),
            update_interval: Duration::from_secs(2),
            write_interval: Duration::ZERO,
            cleanup_interval: Duration::from_secs(120),
        }
    }
}

impl Policy {
    /// What stores and nodes have to know of it.
    #[must_use]
    pub const fn lease_rules(&self) -> LeaseRules {
        LeaseRules { longest_lease: self.hidden_timeout, leave_memory: LEAVE_MEMORY }
    }

    /// The lease for a beat of a page that is or isn't hidden.
    #[must_use]
    pub fn lease(&self, hidden: bool) -> Duration {
        if hidden { self.hidden_timeout } else { self.timeout }
    }

    /// Everything that is wrong with the intervals, a sentence each; empty if they fit together.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut hold = |ok: bool, sentence: &str| {
            if !ok {
                problems.push(sentence.to_owned());
            }
        };
        hold(
            self.heartbeat_interval >= Duration::from_millis(100),
            "VIEWER_HEARTBEAT_INTERVAL is under 100 ms: pages would do nothing but beat",
        );
        hold(
            self.timeout >= 2 * self.heartbeat_interval,
            "VIEWER_TIMEOUT is less than two VIEWER_HEARTBEAT_INTERVALs: one lost beat would make viewers blink",
        );
        hold(
            self.hidden_timeout >= self.timeout,
            "VIEWER_HIDDEN_TIMEOUT is less than VIEWER_TIMEOUT: hidden pages beat less often, not more",
        );
        hold(
            self.hidden_timeout <= Duration::from_secs(24 * 60 * 60),
            "VIEWER_HIDDEN_TIMEOUT is over a day: closed pages would count for that long",
        );
        hold(
            self.update_interval >= Duration::from_millis(50),
            "VIEWER_COUNT_UPDATE_INTERVAL is under 50 ms: pages can't show that many updates",
        );
        hold(
            self.update_interval <= self.timeout,
            "VIEWER_COUNT_UPDATE_INTERVAL is over VIEWER_TIMEOUT: counts would be older than who they count",
        );
        hold(
            self.write_interval <= self.timeout / 4,
            "VIEWER_WRITE_INTERVAL is over a quarter of VIEWER_TIMEOUT: beats would wait too long to count",
        );
        hold(self.cleanup_interval >= Duration::from_secs(1), "VIEWER_CLEANUP_INTERVAL is under a second");
        hold(
            self.cleanup_interval <= Duration::from_secs(24 * 60 * 60),
            "VIEWER_CLEANUP_INTERVAL is over a day: memory of who has gone would be kept for that long",
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Policy::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_interval_is_named_at_once() {
        let policy = Policy {
            heartbeat_interval: Duration::from_secs(40),
            hidden_timeout: Duration::from_secs(30),
            update_interval: Duration::ZERO,
            cleanup_interval: Duration::ZERO,
            ..Policy::default()
        };
        let problems = policy.problems();
        for name in [
            "VIEWER_TIMEOUT is less",
            "VIEWER_HIDDEN_TIMEOUT",
            "VIEWER_COUNT_UPDATE_INTERVAL",
            "VIEWER_CLEANUP_INTERVAL",
        ] {
            assert!(problems.iter().any(|p| p.starts_with(name)), "{name} in {problems:?}");
        }
    }

    #[test]
    fn a_hidden_page_gets_the_longer_lease() {
        let policy = Policy::default();
        assert_eq!(policy.lease(false), Duration::from_secs(60));
        assert_eq!(policy.lease(true), Duration::from_secs(150));
    }
}
