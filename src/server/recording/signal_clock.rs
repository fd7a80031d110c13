//! The two clocks of a recording with live signals: the database dates the signals, and the store dates the counts.
//!
//! Promises:
//! - A broadcast keeps its start, although a clock is set while the channel is on air.
//! - Clocks that agree within a second are taken for the same.
//! - **Memory**: one entry for each channel on air.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use dashmap::DashMap;

use crate::domain::{ChannelId, Timestamp};

/// How far apart (ms) the clocks may be, or may move, before times are converted differently. Reading a clock takes a
/// moment, so smaller differences are not known exactly.
const TOLERANCE: i64 = 1_000;

/// Converts times of live signals to the store's clock.
#[derive(Debug, Default)]
pub(super) struct SignalClock {
    /// How far (ms) the database's clock is ahead of the store's.
    ahead: AtomicI64,
    /// The starts of the present broadcasts, by the database's clock and by the store's.
    starts: DashMap<ChannelId, (Timestamp, Timestamp)>,
}

impl SignalClock {
    /// Records the present times of both clocks.
    pub(super) fn observe(&self, database: Timestamp, store: Timestamp) {
        let ahead = millis(database) - millis(store);
        if (ahead - self.ahead.load(Relaxed)).abs() > TOLERANCE {
            self.ahead.store(if ahead.abs() <= TOLERANCE { 0 } else { ahead }, Relaxed);
        }
    }

    /// Converts a time of the database's clock.
    pub(super) fn convert(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().saturating_add_signed(-self.ahead.load(Relaxed)))
    }

    /// Records that a broadcast began at `since` by the database's clock. Returns its start by the store's clock.
    pub(super) fn begin(&self, channel: &ChannelId, since: Timestamp) -> Timestamp {
        let start = self.convert(since);
        self.starts.insert(channel.clone(), (since, start));
        start
    }

    /// The start by the store's clock of the broadcast that began at `since`.
    pub(super) fn start(&self, channel: &ChannelId, since: Timestamp) -> Timestamp {
        let known = self.starts.get(channel).filter(|start| start.0 == since);
        known.map_or_else(|| self.convert(since), |start| start.1)
    }

    /// Records that the broadcast has ended.
    pub(super) fn end(&self, channel: &ChannelId) {
        self.starts.remove(channel);
    }
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn times_are_converted_if_the_clocks_differ() {
        let clock = SignalClock::default();
        let convert = |database, store| {
            clock.observe(database, store);
            clock.convert(at(100))
        };
        assert_eq!(convert(at(110), at(111)), at(100), "the clocks agree");
        assert_eq!(convert(at(200), at(110)), at(10));
        assert_eq!(convert(at(201), at(110)), at(10), "within the error of a reading");
        assert_eq!(convert(at(201), at(291)), at(190), "a clock was set");
        assert_eq!(convert(at(201), at(202)), at(100));
    }

    #[test]
    fn a_broadcast_keeps_its_start_when_a_clock_is_set() {
        let (clock, ana) = (SignalClock::default(), ChannelId::parse("ana").unwrap());
        clock.observe(at(200), at(110));
        assert_eq!(clock.begin(&ana, at(200)), at(110));
        clock.observe(at(210), at(210));
        assert_eq!((clock.start(&ana, at(200)), clock.convert(at(210))), (at(110), at(210)));
        assert_eq!(clock.start(&ana, at(205)), at(205), "another broadcast");
        clock.end(&ana);
        assert!(clock.starts.is_empty());
    }
}
