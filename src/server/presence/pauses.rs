//! Pauses of this process. While it is stopped, it reads no beats, but the leases in its memory end. The beats that wait
//! in its sockets arrive soon after, others with the next heartbeat of their pages.
//!
//! Promise: after a pause in which leases of visible pages may have ended, counts of the embedded store are incomplete until
//! every such page has had time for a heartbeat.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::domain::Policy;

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(250);

/// The shortest pause that is noticed. A busy process may tick late.
const SHORTEST: Duration = Duration::from_secs(1);

/// How much later than its interval a heartbeat may arrive.
const LATE_BY: Duration = Duration::from_secs(5);

/// Notices pauses of this process.
pub(super) struct Pauses {
    started: Instant,
    /// The longest pause that ends no lease of a page that beats in time.
    harmless: Duration,
    /// How long counts are incomplete after a longer pause.
    settles_in: Duration,
    /// When the process last ticked, in milliseconds since `started`. 0 before the first tick.
    ticked: AtomicU64,
    /// Until when counts are incomplete, likewise.
    until: AtomicU64,
}

impl Pauses {
    /// Nothing is noticed before [`Pauses::run`] runs.
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            started: Instant::now(),
            harmless: policy.timeout.saturating_sub(policy.heartbeat_interval).max(SHORTEST),
            settles_in: policy.heartbeat_interval + LATE_BY,
            ticked: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }

    /// Whether leases of present pages may have ended in a pause, and the pages may not have beaten since.
    pub(super) fn is_unsettled(&self) -> bool {
        let now = self.millis();
        // The first tick after a pause writes `until` before `ticked`, so `until` is read last.
        self.is_too_late(now) || now < self.until.load(Acquire)
    }

    /// Ticks, forever.
    pub(super) async fn run(&self) {
        loop {
            let now = self.millis();
            if self.is_too_late(now) {
                tracing::warn!(
                    "this process was stopped for a while; counts are stale until pages have had time for a heartbeat"
                );
                self.until.store(now + millis(self.settles_in), Release);
            }
            self.ticked.store(now.max(1), Release);
            sleep(TICK).await;
        }
    }

    /// Whether a tick at `now` would come so late that leases may have ended since the last one.
    fn is_too_late(&self, now: u64) -> bool {
        let ticked = self.ticked.load(Acquire);
        ticked > 0 && now > ticked + millis(self.harmless)
    }

    fn millis(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        task::yield_now,
        time::{advance, pause},
    };

    use super::*;

    #[tokio::test]
    async fn counts_are_incomplete_after_a_long_pause_until_every_page_has_beaten() {
        pause();
        let policy = Policy::default();
        let pauses = Arc::new(Pauses::new(&policy));
        advance(Duration::from_secs(100)).await;
        assert!(!pauses.is_unsettled(), "not running");
        let running = Arc::clone(&pauses);
        let task = tokio::spawn(async move { running.run().await });
        sleep(TICK * 10).await;
        // A paused process runs no task, however much time passes.
        advance(Duration::from_secs(29)).await;
        assert!(!pauses.is_unsettled(), "every lease that was renewed in time goes on");
        sleep(TICK * 2).await;
        assert!(!pauses.is_unsettled());
        advance(Duration::from_secs(31)).await;
        assert!(pauses.is_unsettled(), "before the first tick");
        yield_now().await;
        for (seconds, expected) in [(0, true), (34, true), (2, false), (300, false)] {
            sleep(Duration::from_secs(seconds)).await;
            assert_eq!(pauses.is_unsettled(), expected, "{seconds} s later");
        }
        task.abort();
    }
}
