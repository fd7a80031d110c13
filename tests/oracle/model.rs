//! The oracle: what the count of a channel is at an instant, by DESIGN's rules of counting, from what has happened.
//!
//! It is a range: what is under way may have happened or not. All that happens to a session is a list; what happened last
//! decides.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Millis;

/// A beat or a leave of a session.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// It did not happen before this.
    pub at: Millis,
    /// It did not happen after this.
    pub latest: Millis,
    /// From when on everybody sees it; before, some may. (`Millis::MAX`: perhaps nobody ever does.)
    pub settled: Millis,
    /// From when on it may have been forgotten for good, with all who knew of it.
    pub forgotten: Millis,
    /// For how long it counts; `None` for a leave.
    pub lease: Option<Millis>,
}

/// How much later than `at` an event's `latest` can be.
const SPREAD: Millis = 60_000;

/// The most and the least that may be counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub least: u32,
    pub most: u32,
}

/// A channel: for each viewer its sessions, for each session its events in the order of `at`.
#[derive(Default)]
pub struct Channel(pub BTreeMap<u64, BTreeMap<u64, Vec<Event>>>);

impl Channel {
    pub fn count(&self, now: Millis) -> Range {
        let mut range = Range::default();
        for sessions in self.0.values() {
            let states = sessions.values().map(|events| state(events, now));
            let (within, without) = states.fold((false, true), |sum, one| (sum.0 | one.0, sum.1 & one.1));
            range.most += u32::from(within);
            range.least += u32::from(!without);
        }
        range
    }

    /// Every instant at which the count may change, in order. The first is the beginning.
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

/// Whether a session may be counted, and whether it may not be.
pub fn state(events: &[Event], now: Millis) -> (bool, bool) {
    let (mut within, mut without, mut is_known) = (false, false, false);
    let mut after = 0;
    for event in events[..events.partition_point(|event| event.at <= now)].iter().rev() {
        if event.at + SPREAD < after {
            break;
        }
        // It may be the last that happened, unless one that everybody sees was later for sure.
        if event.latest >= after {
            let lease = event.lease.unwrap_or(0);
            within |= event.lease.is_some() && now < event.latest + lease;
            without |= now >= event.at + lease;
        }
        if event.settled <= now && now < event.forgotten {
            is_known = true;
            after = after.max(event.at);
        }
    }
    (within, without | !is_known)
}
