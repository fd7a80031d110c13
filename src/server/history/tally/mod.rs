//! The figures of any span: a part of a minute, 5 or 15 minutes, or a broadcast. Tallies of disjoint spans add up.

use std::ops::Range;

use super::{
    Arrivals, DecodeError, Minute, NodeArrivals, Peak,
    arrivals::MAX_TALLY_HOSTS,
    bytes::{Reader, put},
};
use crate::domain::Timestamp;

/// The version of the stored form.
pub const VERSION: u8 = 1;

const HAS_LOWEST: u8 = 1;
const HAS_PEAK: u8 = 2;
const HAS_ARRIVALS: u8 = 4;

/// What is known of a channel's count in a span.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Milliseconds in which the count was known.
    pub observed_ms: u64,
    /// The integral of the count over them, in viewer-milliseconds.
    pub watched_ms: u64,
    /// The lowest count that was seen.
    pub lowest: Option<u32>,
    /// The highest count that was seen.
    pub peak: Option<Peak>,
    /// The new viewers by place, of all nodes.
    pub arrivals: Arrivals,
}

impl Tally {
    /// The figures of a whole minute that starts at `start`.
    #[must_use]
    pub fn of_minute(start: Timestamp, minute: &Minute) -> Self {
        let mut tally = Self::of_seconds(start, minute, 0..60);
        tally.add_arrivals(minute.arrivals());
        tally
    }

    /// The figures of some seconds of a minute that starts at `start`, without arrivals, which are known only by the
    /// minute. The peak is exact if the minute's peak lies in these seconds, else its instant is the start of a
    /// second.
    #[must_use]
    pub fn of_seconds(start: Timestamp, minute: &Minute, seconds: Range<usize>) -> Self {
        let mut tally = Self::default();
        let exact = minute.peak().filter(|peak| seconds.contains(&Minute::second_of(peak.at)));
        for (index, second) in
            (0_u32..).zip(minute.seconds()).filter(|(n, _)| seconds.contains(&(*n as usize)))
        {
            tally.observed_ms += u64::from(second.observed_ms());
            tally.watched_ms = tally.watched_ms.saturating_add(second.watched_ms());
            tally.lowest = lower(tally.lowest, second.lowest());
            let peak = second.highest().map(|count| Peak { count, at: start.plus_millis(index * 1000) });
            tally.peak = Peak::highest(tally.peak, peak);
        }
        // The second that holds the exact peak starts before it, so `highest` would prefer the second.
        tally.peak = match (tally.peak, exact) {
            (Some(found), Some(exact)) if found.count > exact.count => Some(found),
            (found, exact) => exact.or(found),
        };
        tally
    }

    /// Adds the figures of a span that does not overlap with this one.
    pub fn add(&mut self, other: &Self) {
        self.observed_ms = self.observed_ms.saturating_add(other.observed_ms);
        self.watched_ms = self.watched_ms.saturating_add(other.watched_ms);
        self.lowest = lower(self.lowest, other.lowest);
        self.peak = Peak::highest(self.peak, other.peak);
        self.arrivals.add(&other.arrivals);
        self.arrivals.limit_hosts(MAX_TALLY_HOSTS);
    }

    /// Adds the arrivals of a minute. Of very many hosts, those with the fewest arrivals come under
    /// [`OTHER`](super::arrivals::OTHER).
    pub fn add_arrivals(&mut self, arrivals: &NodeArrivals) {
        self.arrivals.add(&arrivals.sum());
        self.arrivals.limit_hosts(MAX_TALLY_HOSTS);
    }

    /// The share `part ÷ whole` of a span of which no details are kept: the same average, peak and lowest count, and
    /// no arrivals.
    #[must_use]
    pub fn share(&self, part: u64, whole: u64) -> Self {
        let scale = |value: u64| {
            let scaled = u128::from(value) * u128::from(part.min(whole)) / u128::from(whole.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        Self {
            observed_ms: scale(self.observed_ms),
            watched_ms: scale(self.watched_ms),
            lowest: self.lowest,
            peak: self.peak,
            arrivals: Arrivals::default(),
        }
    }

    /// The mean count over the observed time; `None` if nothing was observed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 53 bits")]
    pub fn average(&self) -> Option<f64> {
        (self.observed_ms > 0).then(|| self.watched_ms as f64 / self.observed_ms as f64)
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.lowest.is_some(), HAS_LOWEST)
            | flag(self.peak.is_some(), HAS_PEAK)
            | flag(!self.arrivals.is_empty(), HAS_ARRIVALS);
        let mut bytes = vec![VERSION, flags];
        put(&mut bytes, self.observed_ms);
        put(&mut bytes, self.watched_ms);
        if let Some(lowest) = self.lowest {
            put(&mut bytes, u64::from(lowest));
        }
        if let Some(peak) = self.peak {
            put(&mut bytes, u64::from(peak.count));
            put(&mut bytes, peak.at.as_millis());
        }
        if !self.arrivals.is_empty() {
            self.arrivals.encode(&mut bytes);
        }
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When the bytes are truncated, damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, VERSION)?;
        let flags = reader.byte()?;
        if flags & !(HAS_LOWEST | HAS_PEAK | HAS_ARRIVALS) != 0 {
            return Err(DecodeError::Invalid);
        }
        let mut tally = Self { observed_ms: reader.int()?, watched_ms: reader.int()?, ..Self::default() };
        if flags & HAS_LOWEST != 0 {
            tally.lowest = Some(reader.small()?);
        }
        if flags & HAS_PEAK != 0 {
            tally.peak = Some(Peak { count: reader.small()?, at: Timestamp::from_millis(reader.int()?) });
        }
        if flags & HAS_ARRIVALS != 0 {
            tally.arrivals = Arrivals::decode(&mut reader)?;
        }
        reader.end()?;
        Ok(tally)
    }
}

fn lower(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
