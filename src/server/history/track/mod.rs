//! The recorder of one channel on one node.
//!
//! Promises:
//! - Between two observations by the owner the count is what the first one said, if they are not too far apart. All
//!   other time is unobserved.
//! - Observations may arrive in any order. One that is older than the newest counts for the lowest and highest count
//!   and for the peak, and never for the integral.
//! - An observation allocates only when it is the first one of a minute.
//! - What a stored row says with its [`Held`] count is no news: a count that goes on needs no further row in its minute.
//! - At most [`MAX_MINUTES`] minutes are kept in memory. Beyond that, the oldest is lost and counted.

use std::{collections::VecDeque, time::Duration};

use super::{
    Minute, Place,
    minute::{Held, MINUTE_MS},
};
use crate::domain::Timestamp;

/// The number of minutes that wait in memory at most when nobody takes them.
pub const MAX_MINUTES: usize = 60;

/// How long a minute is kept after its end for observations that arrive late. An observation that is older than the
/// newest by more than this means that the clock was set back.
pub const LATE: Duration = Duration::from_secs(120);

const MINUTE: Duration = Duration::from_millis(MINUTE_MS);

/// The recorder of one channel on one node.
#[derive(Debug, Default, Clone)]
pub struct Track {
    /// The newest observation. If it is the owner's, its count may hold until the next one.
    newest: Option<Observed>,
    /// The minutes in memory, in ascending order. The last one is usually the present one.
    minutes: VecDeque<Slot>,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Observed {
    count: u32,
    at: Timestamp,
    is_owned: bool,
}

#[derive(Debug, Clone)]
struct Slot {
    start: Timestamp,
    minute: Box<Minute>,
    /// The count at the end, if it was observed until then.
    last_count: Option<u32>,
    change: Change,
}

/// How a minute has changed since it was last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    None,
    /// The count has held.
    Time,
    /// More than that.
    News,
}

/// A minute that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenMinute {
    /// The start of the minute.
    pub start: Timestamp,
    /// The whole present state.
    pub minute: Minute,
    /// The last count, if the owner has seen it and it holds.
    pub held: Option<Held>,
}

impl TakenMinute {
    /// Of a part: up to when all its channels were observed. `None` after a gap.
    #[must_use]
    pub fn observed_until(&self) -> Option<Timestamp> {
        self.held.map(|held| held.at)
    }

    /// The minute with the time in which its last count has held. `until` is [`TakenMinute::observed_until`] of the
    /// channel's part, as the same run of the node has recorded it.
    #[must_use]
    pub fn held_until(mut self, until: Option<Timestamp>) -> Minute {
        // A channel without viewers is not observed by itself.
        if let (Some(held), Some(until)) = (self.held.filter(|held| held.count > 0), until) {
            self.minute.watch_until(held.at, until.min(self.start + MINUTE), held.count);
        }
        self.minute
    }
}

impl Track {
    /// Records that the count was `count` at the instant `at`. `owned`: this node owns the channel, so that the time
    /// since the last owned observation was observed if it is not longer than `max_gap`. Returns whether it was.
    ///
    /// The cost grows with `max_gap` by some nanoseconds a second.
    pub fn observe(&mut self, count: u32, at: Timestamp, owned: bool, max_gap: Duration) -> bool {
        let Some(held) = self.newest else {
            self.hold(Observed { count, at, is_owned: owned }, Change::News);
            return false;
        };
        if at < held.at && at + LATE >= held.at {
            let slot = self.slot(at);
            if slot.minute.note(count, at) {
                slot.change = Change::News;
            }
            return false;
        }
        let goes_on = owned && held.is_owned && at >= held.at && at <= held.at + max_gap;
        if goes_on {
            self.watch(held, at);
        }
        let change = if goes_on && held.count == count { Change::Time } else { Change::News };
        self.end(held, change);
        self.hold(Observed { count, at, is_owned: owned }, change);
        goes_on
    }

    /// Whether the same count was observed in the same way within `time` before `at`.
    #[must_use]
    pub fn has_observed(&self, count: u32, at: Timestamp, owned: bool, time: Duration) -> bool {
        self.newest.is_some_and(|held| {
            (held.count, held.is_owned) == (count, owned) && held.at <= at && at < held.at + time
        })
    }

    /// Records that the count is not known from the last observation before `at` on.
    pub fn unknown(&mut self, at: Timestamp) {
        let Some(held) = self.newest.filter(|held| at >= held.at || at + LATE < held.at) else { return };
        self.end(held, Change::News);
        // It still tells late observations from new ones.
        self.newest = Some(Observed { is_owned: false, ..held });
    }

    /// Counts a new viewer that this node has seen. `node` must be unique to this run of the node.
    pub fn arrive(&mut self, node: u64, place: Place<'_>, at: Timestamp) {
        let slot = self.slot(at);
        slot.minute.arrive(node, place);
        slot.change = Change::News;
    }

    /// The minutes that have changed since they were last taken, each in its whole present state. Minutes that have ended
    /// [`LATE`] before `now` leave the memory; a later change of one of them starts from an empty minute. So what is taken
    /// must be merged into what is stored of this node.
    pub fn take_dirty(&mut self, now: Timestamp) -> Vec<TakenMinute> {
        self.take(Change::Time, now)
    }

    /// The minutes that differ from what was last taken of them with its [`Held`] count. The rest as in
    /// [`Track::take_dirty`].
    pub fn take_news(&mut self, now: Timestamp) -> Vec<TakenMinute> {
        self.take(Change::News, now)
    }

    /// The minutes that have changed at least so much.
    pub(super) fn take(&mut self, least: Change, now: Timestamp) -> Vec<TakenMinute> {
        let held = self.newest.filter(|held| held.is_owned);
        let changed = self.minutes.iter_mut().filter(|slot| slot.change >= least);
        let taken = changed.map(|slot| {
            slot.change = Change::None;
            let present = held.filter(|held| Minute::start_of(held.at) == slot.start);
            let present = present.map(|held| Held { count: held.count, at: held.at });
            let held = present.or(slot.last_count.map(|count| Held { count, at: slot.start + MINUTE }));
            TakenMinute { start: slot.start, minute: Minute::clone(&slot.minute), held }
        });
        let taken = taken.collect();
        self.minutes.retain(|slot| slot.start + MINUTE + LATE > now);
        taken
    }

    /// The number of minutes that were lost since the last call because nobody took them.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Notes an observation, whose count holds from here on.
    fn hold(&mut self, observed: Observed, change: Change) {
        let slot = self.slot(observed.at);
        slot.minute.note(observed.count, observed.at);
        slot.change = slot.change.max(change);
        self.newest = Some(observed);
    }

    /// Marks the minute of an observation whose count no longer holds, or holds as before.
    fn end(&mut self, held: Observed, change: Change) {
        let start = Minute::start_of(held.at);
        if let Some(slot) = self.minutes.iter_mut().rev().find(|slot| slot.start == start) {
            slot.change = slot.change.max(change);
        }
    }

    /// Adds the time from an observation to `end` with its count.
    fn watch(&mut self, held: Observed, end: Timestamp) {
        let mut from = held.at;
        while from < end {
            let slot = self.slot(from);
            let until = end.min(slot.start + MINUTE);
            slot.minute.watch_until(from, until, held.count);
            if until == slot.start + MINUTE {
                slot.last_count = Some(held.count);
            }
            from = until;
        }
    }

    /// The minute of an instant, for a change. A minute that is new here is news.
    fn slot(&mut self, at: Timestamp) -> &mut Slot {
        let start = Minute::start_of(at);
        let index = match self.minutes.back() {
            Some(last) if last.start == start => self.minutes.len() - 1,
            _ => self.insert(start),
        };
        &mut self.minutes[index]
    }

    /// The index of a minute that is not the last one, or is not yet in memory.
    #[cold]
    fn insert(&mut self, start: Timestamp) -> usize {
        let mut index = self.minutes.partition_point(|slot| slot.start < start);
        if self.minutes.get(index).is_none_or(|slot| slot.start != start) {
            if self.minutes.len() >= MAX_MINUTES {
                let is_lost = |slot: Slot| slot.change != Change::None;
                self.lost += u64::from(self.minutes.pop_front().is_some_and(is_lost));
                index = index.saturating_sub(1);
            }
            self.minutes.insert(
                index,
                Slot { start, minute: Box::default(), last_count: None, change: Change::News },
            );
        }
        index
    }
}

#[cfg(test)]
mod tests;
