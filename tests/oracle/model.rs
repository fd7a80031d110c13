//! The model of counting: computes the count of a channel at an instant from the events of its sessions.
//!
//! The result is a range, because operations in flight may or may not have taken effect. A session is a list of events,
//! of which the last one decides.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Millis;

/// A beat or a leave of a session.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The earliest time at which it took effect.
    pub at: Millis,
    /// The latest time at which it took effect.
    pub latest: Millis,
    /// When every node sees it. Earlier, some nodes may see it. `Millis::MAX`: perhaps no node ever sees it.
    pub settled: Millis,
    /// When it may have been lost for good, in the store and on every node that knew of it.
    pub forgotten: Millis,
    /// Its lease; `None` for a leave.
    pub lease: Option<Millis>,
}

/// The longest time between an event's `at` and `latest`.
const SPREAD: Millis = 60_000;

/// The lowest and highest possible count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub least: u32,
    pub most: u32,
}

/// A channel: its viewers, their sessions, and the events of each session in the order of `at`.
#[derive(Default)]
pub struct Channel(pub BTreeMap<u64, BTreeMap<u64, Vec<Event>>>);

impl Channel {
    pub fn count(&self, now: Millis) -> Range {
        let mut range = Range::default();
        for sessions in self.0.values() {
            let states = sessions.values().map(|events| state(events, now));
            let (may_count, may_not) = states.fold((false, true), |sum, one| (sum.0 | one.0, sum.1 & one.1));
            range.most += u32::from(may_count);
            range.least += u32::from(!may_not);
        }
        range
    }

    /// All instants at which the range may change, beginning with 0.
    pub fn changes(&self) -> BTreeSet<Millis> {
        let events = self.0.values().flat_map(BTreeMap::values).flatten();
        let of_event = |event: &Event| {
            let lease = event.lease.unwrap_or(0);
            [event.at, event.settled, event.forgotten, event.at + lease, event.latest + lease]
        };
        let changes = events.flat_map(of_event).filter(|at| *at < Millis::MAX);
        std::iter::once(0).chain(changes).collect()
    }
}

/// Whether it is possible that a session counts, and whether it is possible that it does not.
pub fn state(events: &[Event], now: Millis) -> (bool, bool) {
    let (mut may_count, mut may_not, mut is_known) = (false, false, false);
    let mut after = 0;
    for event in events[..events.partition_point(|event| event.at <= now)].iter().rev() {
        if event.at + SPREAD < after {
            break;
        }
        // This event may be the last one, unless an event that every node sees was certainly later.
        if event.latest >= after {
            let lease = event.lease.unwrap_or(0);
            may_count |= event.lease.is_some() && now < event.latest + lease;
            may_not |= now >= event.at + lease;
        }
        if event.settled <= now && now < event.forgotten {
            is_known = true;
            after = after.max(event.at);
        }
    }
    (may_count, may_not | !is_known)
}
