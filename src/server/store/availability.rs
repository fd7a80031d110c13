//! Whether a store answers, judged by the outcome of its calls.
//!
//! Promises:
//! - A failed write counts as an outage until a write succeeds or [`WRITE_FAILURE_COUNTS`] has passed, because reads can
//!   go on while a store refuses writes.
//! - A store is asked only when no call has told lately, and by one caller at a time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a failed write counts if no other write follows. A node writes again within this time while anything is
/// unwritten.
const WRITE_FAILURE_COUNTS: Duration = Duration::from_secs(10);

/// What the last calls have shown.
#[derive(Default)]
pub struct Availability {
    outcomes: Mutex<Outcomes>,
    /// Held while the store is asked for this alone.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Outcomes {
    /// The last call: when it ended, and whether it was answered.
    last: Option<(Instant, bool)>,
    write_failed: Option<Instant>,
}

impl Availability {
    /// A call that reads has ended.
    pub fn read(&self, is_answered: bool) {
        self.outcomes.lock().last = Some((Instant::now(), is_answered));
    }

    /// A call that writes has ended.
    pub fn write(&self, is_answered: bool) {
        let now = Instant::now();
        let mut outcomes = self.outcomes.lock();
        outcomes.last = Some((now, is_answered));
        outcomes.write_failed = (!is_answered).then_some(now);
    }

    /// Whether the store answers. An outcome that is older than `max_age` is replaced by asking, with `ask`.
    pub async fn check(&self, max_age: Duration, ask: impl AsyncFnOnce() -> bool) -> bool {
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let _asking = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let is_answered = ask().await;
        self.read(is_answered);
        is_answered
    }

    fn known(&self, max_age: Duration) -> Option<bool> {
        let Outcomes { last, write_failed } = *self.outcomes.lock();
        if write_failed.is_some_and(|at| at.elapsed() < WRITE_FAILURE_COUNTS) {
            return Some(false);
        }
        let (at, is_answered) = last?;
        (at.elapsed() < max_age).then_some(is_answered)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn calls_tell_and_nobody_is_asked() {
        let availability = Availability::default();
        let ask = async || panic!("a call has told");
        availability.read(true);
        assert!(availability.check(LONG, ask).await);
        availability.read(false);
        assert!(!availability.check(LONG, ask).await);
        availability.write(true);
        assert!(availability.check(LONG, ask).await);
    }

    #[tokio::test]
    async fn a_store_that_refuses_writes_is_not_available_though_it_can_be_read() {
        let availability = Availability::default();
        availability.write(false);
        availability.read(true);
        assert!(!availability.check(LONG, async || true).await);
        availability.write(true);
        assert!(availability.check(LONG, async || false).await);
    }

    #[tokio::test]
    async fn many_callers_ask_once() {
        let (availability, asked) = (Availability::default(), AtomicU32::new(0));
        let ask = async || {
            tokio::task::yield_now().await;
            asked.fetch_add(1, SeqCst);
            true
        };
        let all = futures::future::join_all((0..100).map(|_| availability.check(LONG, ask))).await;
        assert!(all.into_iter().all(|is_available| is_available));
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_long_ago_tells_nothing() {
        let availability = Availability::default();
        availability.read(true);
        assert!(!availability.check(Duration::ZERO, async || false).await);
    }
}
