//! One minute of a channel: what was known of its count, second by second.
//!
//! Each node writes what it has seen as its own row. [`Minute::merge`] joins the rows of all nodes, in any order and
//! however often.

mod codec;
mod second;

pub use codec::VERSION;
pub use second::Second;

use super::{DecodeError, NodeArrivals, Place, Span};
use crate::domain::Timestamp;

/// The length of a minute in milliseconds. Minutes start at multiples of it.
pub const MINUTE_MS: u64 = 60_000;

/// The highest count of a span and its earliest instant, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// The count.
    pub count: u32,
    /// When it was first reached.
    pub at: Timestamp,
}

impl Peak {
    /// The higher of two; of equal ones the earlier.
    #[must_use]
    pub fn highest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if (b.count, a.at) > (a.count, b.at) { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// The count that the owner of a channel has seen last in a minute. It holds for as long as the owner goes on to observe
/// the part of the channel in that minute, unless a later row says otherwise: an owner observes all channels of a part, and
/// writes the rows of all of them after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The count.
    pub count: u32,
    /// When it was seen.
    pub at: Timestamp,
}

/// One minute of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    pub(super) seconds: [Second; 60],
    pub(super) peak: Option<Peak>,
    pub(super) arrivals: NodeArrivals,
}

impl Default for Minute {
    fn default() -> Self {
        Self { seconds: [Second::default(); 60], peak: None, arrivals: NodeArrivals::default() }
    }
}

impl Minute {
    /// The start of the minute that contains an instant.
    #[must_use]
    pub const fn start_of(at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis() / MINUTE_MS * MINUTE_MS)
    }

    /// The index of the second that contains an instant, 0–59.
    #[must_use]
    pub const fn second_of(at: Timestamp) -> usize {
        (at.as_millis() % MINUTE_MS / 1000) as usize
    }

    /// Records that a count was seen at an instant of this minute, by anyone: for the lowest and highest count and
    /// the peak. Returns whether that is new.
    pub fn note(&mut self, count: u32, at: Timestamp) -> bool {
        let second = &mut self.seconds[Self::second_of(at)];
        let before = (self.peak, second.counts);
        second.note(count);
        let counts = second.counts;
        self.peak = Peak::highest(self.peak, Some(Peak { count, at }));
        (self.peak, counts) != before
    }

    /// Records that the count was known to be `count` for `millis` milliseconds from `from` on. These must lie within
    /// one second of this minute, and only the owner of the channel may add them, each millisecond once.
    pub fn watch(&mut self, from: Timestamp, millis: u16, count: u32) {
        self.note(count, from);
        self.seconds[Self::second_of(from)].watch(millis, count);
    }

    /// Records that the count was known to be `count` from an instant of this minute until another one, or its end.
    #[expect(clippy::cast_possible_truncation, reason = "at most 1,000 milliseconds")]
    pub fn watch_until(&mut self, from: Timestamp, until: Timestamp, count: u32) {
        let (mut from, until) = (from.as_millis(), until.as_millis());
        while from < until {
            let next = (from / 1000 * 1000 + 1000).min(until);
            self.watch(Timestamp::from_millis(from), (next - from) as u16, count);
            from = next;
        }
    }

    /// Counts a new viewer that a node has seen.
    pub fn arrive(&mut self, node: u64, place: Place<'_>) {
        self.arrivals.arrive(node, place);
    }

    /// Merges another row of the same minute and channel. Commutative, associative and idempotent.
    pub fn merge(&mut self, other: &Self) {
        for (second, other) in self.seconds.iter_mut().zip(&other.seconds) {
            second.merge(other);
        }
        self.peak = Peak::highest(self.peak, other.peak);
        self.arrivals.merge(&other.arrivals);
    }

    /// This minute with the knowledge that a channel which is not in a complete list of live channels has the count
    /// 0.
    ///
    /// `part` is the minute of the part of all channels to which this channel belongs: its owner has recorded with
    /// [`Minute::watch`] and the count 0 when it knew the complete list. Time that was observed of the part, but not
    /// of the channel, has the count 0.
    #[must_use]
    pub fn with_idle(&self, part: &Self) -> Self {
        let mut minute = self.clone();
        for (second, part) in minute.seconds.iter_mut().zip(&part.seconds) {
            second.add_idle(part);
        }
        minute.peak = minute.peak.or(part.peak.map(|peak| Peak { count: 0, ..peak }));
        minute
    }

    /// This minute, which starts at `start`, without the observed time of the seconds in which a range starts and ends that
    /// lies outside of the range.
    ///
    /// A broadcast starts and ends within a second. What was watched in such a second counts for the range, up to its
    /// highest count at all times: before the first viewer and after the last one nothing was watched, and a count that
    /// holds is watched as long as the range lasts.
    #[must_use]
    pub fn within(&self, start: Timestamp, range: Span) -> Self {
        let mut minute = self.clone();
        for bound in [range.from, range.to].into_iter().filter(|bound| Self::start_of(*bound) == start) {
            let index = Self::second_of(bound);
            let second = bound.as_millis() / 1000 * 1000;
            let (from, to) = (range.from.as_millis().max(second), range.to.as_millis().min(second + 1000));
            minute.seconds[index].limit(u16::try_from(to.saturating_sub(from)).unwrap_or(1000));
        }
        minute
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peak.is_none() && self.arrivals.is_empty() && self.seconds.iter().all(Second::is_empty)
    }

    /// The 60 seconds.
    #[must_use]
    pub const fn seconds(&self) -> &[Second; 60] {
        &self.seconds
    }

    /// The highest count of the minute with its earliest instant.
    #[must_use]
    pub const fn peak(&self) -> Option<Peak> {
        self.peak
    }

    /// The new viewers by node and place.
    #[must_use]
    pub const fn arrivals(&self) -> &NodeArrivals {
        &self.arrivals
    }

    /// The stored form: some 15 bytes for a minute of one constant count, 300 for one that changes every second.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When the bytes are truncated, damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
pub(in crate::server::history) mod tests;
