//! The time of day, injected so that tests can set it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::domain::Timestamp;

/// Tells the time to a store that has no clock of its own.
pub trait Clock: Send + Sync {
    /// This instant. It never goes back.
    fn now(&self) -> Timestamp;
}

/// The machine's clock: what it showed at the start plus what has passed since, so that setting it moves no lease.
#[derive(Debug)]
pub struct SystemClock {
    start: Timestamp,
    since: Instant,
}

impl SystemClock {
    /// Starts it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the time of day comes in")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Timestamp::default() + since_epoch, since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.store((self.now() + by).as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
