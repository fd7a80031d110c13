//! The store's clock, as a node knows it: the time in the last answer that showed one, and what has passed since. Everything
//! that is kept has its time, so that nodes with wrong clocks do no harm.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::Timestamp;

/// The store's clock. Not known until [`StoreTime::note`].
#[derive(Default)]
pub(super) struct StoreTime(Mutex<Option<(Timestamp, Instant)>>);

impl StoreTime {
    /// Records the time that an answer has shown just now.
    pub(super) fn note(&self, now: Timestamp) {
        *self.0.lock() = Some((now, Instant::now()));
    }

    /// The present time, if it is known.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (at, since) = (*self.0.lock())?;
        Some(at + since.elapsed())
    }

    /// Whether no time was noted within this duration.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.0.lock().is_none_or(|(_, at)| at.elapsed() > age)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_goes_on_from_the_last_answer() {
        let (time, at) = (StoreTime::default(), Timestamp::from_millis(5_000));
        let second = Duration::from_secs(1);
        assert_eq!(time.now(), None);
        assert!(time.is_older_than(second));
        time.note(at);
        advance(second).await;
        assert_eq!(time.now(), Some(at + second));
        assert!(!time.is_older_than(second));
        advance(second).await;
        assert!(time.is_older_than(second));
        // A clock that was set back.
        time.note(at);
        assert_eq!(time.now(), Some(at));
    }
}
