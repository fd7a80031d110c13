//! The intervals of counting, and the rules for combining them.

use std::time::Duration;

use super::LeaseRules;

/// How long a leave is remembered, so that a heartbeat that was sent before the leave does not restore the session.
pub const LEAVE_MEMORY: Duration = Duration::from_secs(10);

/// The intervals of counting. [`Policy::problems`] checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The longest time between two beats of a page. Pages get it in the response to a join.
    pub heartbeat_interval: Duration,
    /// The lease of a beat of a visible page.
    pub timeout: Duration,
    /// The lease of a beat of a hidden page. Browsers limit the timers of hidden pages to one run per minute
    /// (<https://developer.chrome.com/blog/timer-throttling-in-chrome-88>), so the lease must exceed two minutes.
    pub hidden_timeout: Duration,
    /// The shortest time between two counts on the streams of a channel.
    pub update_interval: Duration,
    /// The shortest time between two writes to a store outside of this process, for stores that bill each command.
    pub write_interval: Duration,
    /// The time between two sweeps, which free the memory of expired sessions. Sweeps change no count.
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
    /// The rules that stores and nodes need.
    #[must_use]
    pub const fn lease_rules(&self) -> LeaseRules {
        LeaseRules { longest_lease: self.hidden_timeout, leave_memory: LEAVE_MEMORY }
    }

    /// The lease of a beat of a visible or `hidden` page.
    #[must_use]
    pub fn lease(&self, hidden: bool) -> Duration {
        if hidden { self.hidden_timeout } else { self.timeout }
    }

    /// The rules that the intervals violate, in one sentence each; empty if the intervals are valid.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |is_met: bool, rule: &str| {
            if !is_met {
                problems.push(rule.to_owned());
            }
        };
        require(
            self.heartbeat_interval >= Duration::from_millis(100),
            "VIEWER_HEARTBEAT_INTERVAL must be at least 100 ms, or pages would send beats all the time",
        );
        require(
            self.timeout >= 2 * self.heartbeat_interval,
            "VIEWER_TIMEOUT must be at least twice VIEWER_HEARTBEAT_INTERVAL, or one lost beat would end sessions",
        );
        require(
            self.hidden_timeout >= self.timeout,
            "VIEWER_HIDDEN_TIMEOUT must be at least VIEWER_TIMEOUT, because hidden pages beat less often",
        );
        require(
            self.hidden_timeout <= Duration::from_secs(24 * 60 * 60),
            "VIEWER_HIDDEN_TIMEOUT must be at most 24 hours, or closed pages would count for too long",
        );
        require(
            self.update_interval >= Duration::from_millis(50),
            "VIEWER_COUNT_UPDATE_INTERVAL must be at least 50 ms, because pages cannot show updates more often",
        );
        require(
            self.update_interval <= self.timeout,
            "VIEWER_COUNT_UPDATE_INTERVAL must be at most VIEWER_TIMEOUT, or counts would be older than a lease",
        );
        require(
            self.write_interval <= self.timeout / 4,
            "VIEWER_WRITE_INTERVAL must be at most a quarter of VIEWER_TIMEOUT, or beats would be written too late",
        );
        require(
            self.cleanup_interval >= Duration::from_secs(1),
            "VIEWER_CLEANUP_INTERVAL must be at least 1 s",
        );
        require(
            self.cleanup_interval <= Duration::from_secs(24 * 60 * 60),
            "VIEWER_CLEANUP_INTERVAL must be at most 24 hours, or expired sessions would use memory for too long",
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_defaults() {
        assert_eq!(Policy::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn reports_all_problems_at_once() {
        let policy = Policy {
            heartbeat_interval: Duration::from_secs(40),
            hidden_timeout: Duration::from_secs(30),
            update_interval: Duration::ZERO,
            cleanup_interval: Duration::ZERO,
            ..Policy::default()
        };
        let problems = policy.problems();
        for name in [
            "VIEWER_TIMEOUT",
            "VIEWER_HIDDEN_TIMEOUT",
            "VIEWER_COUNT_UPDATE_INTERVAL",
            "VIEWER_CLEANUP_INTERVAL",
        ] {
            assert!(problems.iter().any(|p| p.starts_with(name)), "{name} in {problems:?}");
        }
    }

    #[test]
    fn gives_hidden_pages_the_longer_lease() {
        let policy = Policy::default();
        assert_eq!(policy.lease(false), Duration::from_secs(60));
        assert_eq!(policy.lease(true), Duration::from_secs(150));
    }
}
