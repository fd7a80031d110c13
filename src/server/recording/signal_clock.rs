//! The two clocks of a recording with live signals: the database dates the signals, and the store dates the counts.
//!
//! Promises:
//! - Nothing is converted before both clocks are known. No clock of a node matters.
//! - A broadcast keeps its start on a node, although a clock is set while the channel is on air. While no clock is set, the
//!   starts that nodes find differ by a second or two at most, and rarely at all: the difference is rounded to a second.
//! - Clocks that agree within a second are treated as equal.
//! - **Memory**: one entry for each channel on air. [`SignalClock::retain`] frees what is left of others.

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::domain::{ChannelId, Timestamp};

/// How far apart (ms) the clocks may be, or may move, before times are converted differently. Reading a clock takes a
/// moment, so smaller differences are not known exactly.
const TOLERANCE: i64 = 1_000;

/// The difference of the clocks is rounded to this (ms).
const STEP: i64 = 1_000;

/// Converts times of live signals to the store's clock.
#[derive(Debug, Default)]
pub(super) struct SignalClock {
    /// How far (ms) the database's clock is ahead of the store's, if that is known.
    ahead: Mutex<Option<i64>>,
    /// The starts of the present broadcasts, by the database's clock and by the store's.
    starts: DashMap<ChannelId, (Timestamp, Timestamp)>,
}

impl SignalClock {
    /// Records the present times of both clocks.
    pub(super) fn observe(&self, database: Timestamp, store: Timestamp) {
        let now = millis(database) - millis(store);
        let mut ahead = self.ahead.lock();
        if ahead.is_none_or(|ahead| (now - ahead).abs() > TOLERANCE) {
            let rounded = (now + STEP / 2).div_euclid(STEP) * STEP;
            *ahead = Some(if now.abs() <= TOLERANCE { 0 } else { rounded });
        }
    }

    /// Converts a time of the database's clock, if the difference of the clocks is known.
    pub(super) fn convert(&self, at: Timestamp) -> Option<Timestamp> {
        let ahead = *self.ahead.lock();
        ahead.map(|ahead| Timestamp::from_millis(at.as_millis().saturating_add_signed(-ahead)))
    }

    /// The start by the store's clock of the broadcast that began at `since` by the database's, if it is known.
    pub(super) fn start(&self, channel: &ChannelId, since: Timestamp) -> Option<Timestamp> {
        let known = self.starts.get(channel).filter(|start| start.0 == since).map(|start| start.1);
        known.or_else(|| {
            let start = self.convert(since)?;
            self.starts.insert(channel.clone(), (since, start));
            Some(start)
        })
    }

    /// Keeps the starts of these channels only.
    pub(super) fn retain(&self, is_on_air: impl Fn(&ChannelId) -> bool) {
        self.starts.retain(|channel, _| is_on_air(channel));
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

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn times_are_converted_if_the_clocks_differ() {
        let clock = SignalClock::default();
        assert_eq!(clock.convert(at(100_000)), None, "neither clock is known");
        let convert = |database, store| {
            clock.observe(at(database), at(store));
            clock.convert(at(100_000)).unwrap().as_millis()
        };
        assert_eq!(convert(110_000, 111_000), 100_000, "the clocks agree");
        assert_eq!(convert(200_012, 110_000), 10_000, "every node comes to the same difference");
        assert_eq!(convert(201_000, 110_001), 10_000, "within the error of a reading");
        assert_eq!(convert(201_000, 290_995), 190_000, "a clock was set");
        assert_eq!(convert(201_000, 201_010), 100_000);
    }

    #[test]
    fn a_broadcast_keeps_its_start_when_a_clock_is_set() {
        let (clock, ana) = (SignalClock::default(), ChannelId::parse("ana").unwrap());
        assert_eq!(clock.start(&ana, at(200_000)), None);
        clock.observe(at(200_000), at(110_000));
        assert_eq!(clock.start(&ana, at(200_000)), Some(at(110_000)));
        clock.observe(at(210_000), at(210_000));
        assert_eq!(clock.start(&ana, at(200_000)), Some(at(110_000)));
        assert_eq!(clock.convert(at(210_000)), Some(at(210_000)));
        assert_eq!(clock.start(&ana, at(205_000)), Some(at(205_000)), "another broadcast");
        clock.end(&ana);
        assert!(clock.starts.is_empty());
        clock.start(&ana, at(205_000));
        clock.retain(|channel| *channel != ana);
        assert!(clock.starts.is_empty());
    }
}
