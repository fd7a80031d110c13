//! The recorder of one channel on one node.
//!
//! Promises:
//! - Between two observations by the owner the count is what the first one said, if they are not too far apart. All
//!   other time is unobserved.
//! - Observations may arrive in any order. One that is older than the newest counts for the lowest and highest count
//!   and for the peak, and never for the integral.
//! - An observation allocates only when it is the first one of a minute.
//! - At most [`MAX_MINUTES`] minutes are kept in memory. Beyond that, the oldest is lost and counted.

use std::{collections::VecDeque, time::Duration};

use super::{Minute, Place};
use crate::domain::Timestamp;

/// The number of minutes that wait in memory at most when nobody takes them.
pub const MAX_MINUTES: usize = 60;

/// How long a minute is kept after its end for observations that arrive late. An observation that is older than the
/// newest by more than this means that the clock was set back.
pub const LATE: Duration = Duration::from_secs(120);

/// The recorder of one channel on one node.
#[derive(Debug, Default)]
pub struct Track {
    /// The newest observation, if its count may hold until the next one.
    held: Option<Held>,
    /// The minutes in memory, in ascending order. The last one is usually the present one.
    minutes: VecDeque<Slot>,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    count: u32,
    at: Timestamp,
    is_owned: bool,
}

#[derive(Debug)]
struct Slot {
    start: Timestamp,
    minute: Box<Minute>,
    is_dirty: bool,
}

impl Track {
    /// Records that the count was `count` at the instant `at`. `owned`: this node owns the channel, so that the time
    /// since the last owned observation was observed if it is not longer than `max_gap`.
    ///
    /// The cost grows with `max_gap` by some nanoseconds a second.
    pub fn observe(&mut self, count: u32, at: Timestamp, owned: bool, max_gap: Duration) {
        self.minute(at).note(count, at);
        if let Some(held) = self.held {
            if at < held.at && at + LATE >= held.at {
                return;
            }
            if owned && held.is_owned && at >= held.at && at <= held.at + max_gap {
                self.watch(held, at);
            }
        }
        self.held = Some(Held { count, at, is_owned: owned });
    }

    /// Records that the count is not known from the last observation before `at` on.
    pub fn unknown(&mut self, at: Timestamp) {
        if self.held.is_some_and(|held| at >= held.at || at + LATE < held.at) {
            self.held = None;
        }
    }

    /// Counts a new viewer that this node has seen. `node` must be unique to this run of the node.
    pub fn arrive(&mut self, node: u64, place: Place<'_>, at: Timestamp) {
        self.minute(at).arrive(node, place);
    }

    /// The minutes that have changed since the last call, with their starts and their whole present state. Minutes
    /// that have ended [`LATE`] before `now` leave the memory; a later change of one of them starts from an empty
    /// minute. So what is taken must be merged into what is stored of this node.
    pub fn take_dirty(&mut self, now: Timestamp) -> Vec<(Timestamp, Minute)> {
        let dirty = self.minutes.iter_mut().filter_map(|slot| {
            std::mem::take(&mut slot.is_dirty).then(|| (slot.start, Minute::clone(&slot.minute)))
        });
        let taken = dirty.collect();
        self.minutes.retain(|slot| slot.start + Duration::from_secs(60) + LATE > now);
        taken
    }

    /// The number of minutes that were lost since the last call because nobody took them.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The present state of the minute that starts at `start`, if it is in memory.
    #[must_use]
    pub fn minute_at(&self, start: Timestamp) -> Option<&Minute> {
        self.minutes.iter().find(|slot| slot.start == start).map(|slot| &*slot.minute)
    }

    /// Whether nothing is in memory, so that the track can be dropped without any loss.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.minutes.is_empty() && self.held.is_none()
    }

    /// Adds the time from an observation to `end` with its count.
    #[expect(clippy::cast_possible_truncation, reason = "at most 1,000 milliseconds")]
    fn watch(&mut self, held: Held, end: Timestamp) {
        let (mut from, end) = (held.at.as_millis(), end.as_millis());
        while from < end {
            let start = Timestamp::from_millis(from);
            let minute = self.minute(start);
            let minute_end = Minute::start_of(start).as_millis() + super::minute::MINUTE_MS;
            while from < end.min(minute_end) {
                let until = (from / 1000 * 1000 + 1000).min(end);
                minute.watch(Timestamp::from_millis(from), (until - from) as u16, held.count);
                from = until;
            }
        }
    }

    /// The minute of an instant, for a change.
    fn minute(&mut self, at: Timestamp) -> &mut Minute {
        let start = Minute::start_of(at);
        let index = match self.minutes.back() {
            Some(last) if last.start == start => self.minutes.len() - 1,
            _ => self.insert(start),
        };
        let slot = &mut self.minutes[index];
        slot.is_dirty = true;
        &mut slot.minute
    }

    /// The index of a minute that is not the last one, or is not yet in memory.
    #[cold]
    fn insert(&mut self, start: Timestamp) -> usize {
        let mut index = self.minutes.partition_point(|slot| slot.start < start);
        if self.minutes.get(index).is_none_or(|slot| slot.start != start) {
            if self.minutes.len() >= MAX_MINUTES {
                self.lost += u64::from(self.minutes.pop_front().is_some_and(|slot| slot.is_dirty));
                index = index.saturating_sub(1);
            }
            self.minutes.insert(index, Slot { start, minute: Box::default(), is_dirty: false });
        }
        index
    }
}

#[cfg(test)]
mod tests;
