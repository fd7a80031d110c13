//! The time of day, injected so that tests can set it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

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

/// How far a store's clock is ahead of a node's, in milliseconds.
///
/// Once known it stays the same for as long as answers agree with it, so that an instant which is moved to the node's clock
/// and back is the same instant. When the store's clock jumps (another server, a clock that was set), it follows.
#[derive(Debug, Default)]
pub struct Skew(Mutex<Option<i64>>);

/// Answers may contradict what is known by this much (ms) before it is given up: clocks drift.
const TOLERANCE: i64 = 100;

impl Skew {
    /// Takes in what an answer tells: the store's time was `as_of` at some point between asking and hearing.
    pub fn observe(&self, asked: Timestamp, heard: Timestamp, as_of: Timestamp) {
        let ahead_of = |at: Timestamp| millis(as_of) - millis(at);
        let (least, most) = (ahead_of(heard), ahead_of(asked));
        let mut skew = self.0.lock();
        if skew.is_none_or(|skew| skew < least - TOLERANCE || skew > most + TOLERANCE) {
            *skew = Some(least.midpoint(most));
        }
    }

    /// By how many milliseconds the store's clock is ahead, if that is known.
    #[must_use]
    pub fn millis(&self) -> Option<i64> {
        *self.0.lock()
    }

    /// What the store's clock shows at an instant of the node's, if that is known.
    #[must_use]
    pub fn to_store(&self, at: Timestamp) -> Option<Timestamp> {
        self.millis().map(|skew| Timestamp::from_millis(at.as_millis().saturating_add_signed(skew)))
    }

    /// What the node's clock shows at an instant of the store's; the same as long as the difference is not known.
    #[must_use]
    pub fn to_node(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().saturating_add_signed(-self.millis().unwrap_or_default()))
    }
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_instant_that_is_moved_there_and_back_stays_the_same_while_answers_agree() {
        let skew = Skew::default();
        assert_eq!(skew.to_store(at(5)), None);
        skew.observe(at(1_000), at(1_010), at(3_601_004));
        let moved = skew.to_node(at(3_601_004));
        for (asked, heard) in [(2_000, 2_900), (3_000, 3_001), (4_000, 4_080)] {
            skew.observe(at(asked), at(heard), at(asked + 3_600_000));
        }
        assert_eq!(skew.to_store(moved), Some(at(3_601_004)));
    }

    #[test]
    fn it_follows_a_clock_that_jumps_either_way() {
        let skew = Skew::default();
        for jump in [3_600_000, 0, 7_200_000] {
            skew.observe(at(1_000), at(1_002), at(1_001 + jump));
            assert_eq!(skew.to_store(at(2_000)), Some(at(2_000 + jump)));
        }
    }
}
