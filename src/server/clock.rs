//! Clocks. The time of day is injected, so that tests can set it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::domain::Timestamp;

/// The clock of this node. Stores without a clock of their own use it too.
pub trait Clock: Send + Sync {
    /// The current time. It never goes back.
    fn now(&self) -> Timestamp;
}

/// The time of day, for what other systems compare with their own clocks. It may go back.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the only place that reads the time of day")]
pub fn time_of_day() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The system clock at the start of the server plus the time since. Later changes of the system clock do not affect
/// leases.
#[derive(Debug)]
pub struct SystemClock {
    start: Timestamp,
    since: Instant,
}

impl SystemClock {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self { start: time_of_day(), since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }
}

/// How far a store's clock is ahead of the node's clock, in milliseconds.
///
/// The value stays the same while responses agree with it, so a time that is converted to the node's clock and back
/// does not change. It is updated when the store's clock jumps, because of another server or a clock that was set.
#[derive(Debug, Default)]
pub struct Skew(Mutex<Option<i64>>);

/// How far (ms) a response may deviate from the known skew before the skew is updated. It allows for clock drift.
const TOLERANCE: i64 = 100;

/// How far a converted time may deviate, besides the time that a call takes.
pub const PRECISION: Duration = Duration::from_millis(TOLERANCE.unsigned_abs());

impl Skew {
    /// Records a response: the store's time was `as_of` at some point between `sent` and `received`, by the node's
    /// clock.
    pub fn observe(&self, sent: Timestamp, received: Timestamp, as_of: Timestamp) {
        let ahead_of = |at: Timestamp| millis(as_of) - millis(at);
        let (least, most) = (ahead_of(received), ahead_of(sent));
        let mut skew = self.0.lock();
        if skew.is_none_or(|skew| skew < least - TOLERANCE || skew > most + TOLERANCE) {
            *skew = Some(least.midpoint(most));
        }
    }

    /// The skew, if it is known.
    #[must_use]
    pub fn millis(&self) -> Option<i64> {
        *self.0.lock()
    }

    /// Converts a time of the node's clock to the store's clock, if the skew is known.
    #[must_use]
    pub fn to_store(&self, at: Timestamp) -> Option<Timestamp> {
        self.millis().map(|skew| Timestamp::from_millis(at.as_millis().saturating_add_signed(skew)))
    }

    /// Converts a time of the store's clock to the node's clock. Returns `at` itself if the skew is not known.
    #[must_use]
    pub fn to_node(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().saturating_add_signed(-self.millis().unwrap_or_default()))
    }
}

/// The skews of servers that each have a clock of their own, by the number of the server.
#[derive(Debug, Default)]
pub struct Skews(Mutex<HashMap<u64, Arc<Skew>>>);

impl Skews {
    /// The skew of a server.
    #[must_use]
    pub fn of(&self, server: u64) -> Arc<Skew> {
        Arc::clone(self.0.lock().entry(server).or_default())
    }
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until a test advances it.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Creates a clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    /// Advances the clock.
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
    fn a_time_survives_conversion_there_and_back_while_responses_agree() {
        let skew = Skew::default();
        assert_eq!(skew.to_store(at(5)), None);
        skew.observe(at(1_000), at(1_010), at(3_601_004));
        let converted = skew.to_node(at(3_601_004));
        for (sent, received) in [(2_000, 2_900), (3_000, 3_001), (4_000, 4_080)] {
            skew.observe(at(sent), at(received), at(sent + 3_600_000));
        }
        assert_eq!(skew.to_store(converted), Some(at(3_601_004)));
    }

    #[test]
    fn the_skew_follows_a_clock_that_jumps_either_way() {
        let skew = Skew::default();
        for jump in [3_600_000, 0, 7_200_000] {
            skew.observe(at(1_000), at(1_002), at(1_001 + jump));
            assert_eq!(skew.to_store(at(2_000)), Some(at(2_000 + jump)));
        }
    }
}
