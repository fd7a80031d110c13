//! The availability of a store, from the outcome of its calls.
//!
//! Promises:
//! - A failed write counts as an outage until a write succeeds or [`WRITE_FAILURE_TTL`] has passed, because reads can
//!   go on while a store refuses writes.
//! - The store is pinged only if no recent call shows its availability, and by one caller at a time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a failed write counts as an outage if no other write follows. A node with unwritten operations retries
/// within this time.
const WRITE_FAILURE_TTL: Duration = Duration::from_secs(10);

/// The outcome of the last calls.
#[derive(Default)]
pub(super) struct Availability {
    outcomes: Mutex<Outcomes>,
    /// Held during a ping.
    pinging: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Outcomes {
    /// The last call: when it ended, and whether the store responded.
    last: Option<(Instant, bool)>,
    write_failed: Option<Instant>,
}

impl Availability {
    /// Records the end of a read.
    pub(super) fn read(&self, has_responded: bool) {
        self.outcomes.lock().last = Some((Instant::now(), has_responded));
    }

    /// Records the end of a write.
    pub(super) fn write(&self, has_responded: bool) {
        let now = Instant::now();
        let mut outcomes = self.outcomes.lock();
        outcomes.last = Some((now, has_responded));
        outcomes.write_failed = (!has_responded).then_some(now);
    }

    /// Whether the store is available. If the last outcome is older than `max_age`, the store is checked with `ping`.
    pub(super) async fn check(&self, max_age: Duration, ping: impl AsyncFnOnce() -> bool) -> bool {
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let _pinging = self.pinging.lock().await;
        // Another caller may have pinged the store in the meantime.
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let has_responded = ping().await;
        self.read(has_responded);
        has_responded
    }

    /// Whether the last write failed.
    pub(super) fn refuses_writes(&self) -> bool {
        let write_failed = self.outcomes.lock().write_failed;
        write_failed.is_some_and(|at| at.elapsed() < WRITE_FAILURE_TTL)
    }

    fn known(&self, max_age: Duration) -> Option<bool> {
        if self.refuses_writes() {
            return Some(false);
        }
        let (at, has_responded) = self.outcomes.lock().last?;
        (at.elapsed() < max_age).then_some(has_responded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn recent_calls_show_the_availability_without_a_ping() {
        let availability = Availability::default();
        let ping = async || panic!("the outcome of a call is known");
        availability.read(true);
        assert!(availability.check(LONG, ping).await);
        availability.read(false);
        assert!(!availability.check(LONG, ping).await);
        availability.write(true);
        assert!(availability.check(LONG, ping).await);
    }

    #[tokio::test]
    async fn a_store_that_refuses_writes_is_unavailable_even_if_reads_succeed() {
        let availability = Availability::default();
        availability.write(false);
        availability.read(true);
        assert!(!availability.check(LONG, async || true).await);
        availability.write(true);
        assert!(availability.check(LONG, async || false).await);
    }

    #[tokio::test]
    async fn concurrent_checks_cost_one_ping() {
        let (availability, pings) = (Availability::default(), AtomicU32::new(0));
        let ping = async || {
            tokio::task::yield_now().await;
            pings.fetch_add(1, SeqCst);
            true
        };
        let all = futures::future::join_all((0..100).map(|_| availability.check(LONG, ping))).await;
        assert!(all.into_iter().all(|is_available| is_available));
        assert_eq!(pings.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn an_old_outcome_is_replaced_by_a_ping() {
        let availability = Availability::default();
        availability.read(true);
        assert!(!availability.check(Duration::ZERO, async || false).await);
    }
}
