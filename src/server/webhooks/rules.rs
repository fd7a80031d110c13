//! Which events follow from a broadcast. Pure: every owner of a channel comes to the same events.
//!
//! - `channel.live` follows from a broadcast that is known.
//! - `channel.peak` follows from a peak above the one that was announced, at least [`FIRST_PEAK_AFTER`] after the start
//!   and [`PEAK_PAUSE`] after the last one.
//! - `channel.milestone` follows from a peak that reaches a milestone above the one that was announced.
//! - `channel.offline` and `broadcast.ended` follow from the end, which is known [`GRACE`](crate::server::history::broadcast::GRACE)
//!   after the channel was last on air.

use std::time::Duration;

use crate::{
    domain::Timestamp,
    server::{
        database::Announced,
        history::{Broadcast, Peak},
    },
};

/// How long after the start the first peak is announced.
pub const FIRST_PEAK_AFTER: Duration = Duration::from_secs(10);

/// The shortest time between two peaks.
pub const PEAK_PAUSE: Duration = Duration::from_secs(60);

/// What happened to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// It went on air.
    Live,
    /// Its broadcast has a new peak.
    Peak(Peak),
    /// Its broadcast has reached a milestone, by this peak.
    Milestone(u32, Peak),
    /// It went off air.
    Offline {
        /// The last instant on air.
        ended_at: Timestamp,
    },
    /// Its broadcast is over.
    Ended {
        /// The last instant on air.
        ended_at: Timestamp,
    },
}

/// What is known of a broadcast.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its bounds.
    pub broadcast: Broadcast,
    /// Its peak so far.
    pub peak: Option<Peak>,
    /// Up to which instant it is known whether the channel was on air. `None`: not known yet.
    pub settled: Option<Timestamp>,
}

/// The events that follow and were not announced yet, in order, and what is announced with them.
#[must_use]
pub fn follow(announced: &Announced, known: &Known, milestones: &[u32]) -> (Vec<Happening>, Announced) {
    let Known { broadcast, peak, settled } = *known;
    let (mut happenings, mut now_announced) = (Vec::new(), *announced);
    if !announced.is_live {
        happenings.push(Happening::Live);
        now_announced.is_live = true;
    }
    if let Some(peak) = peak {
        for milestone in milestones.iter().filter(|one| (announced.milestone + 1..=peak.count).contains(one))
        {
            happenings.push(Happening::Milestone(*milestone, peak));
            now_announced.milestone = *milestone;
        }
        let due = match announced.peak {
            0 => broadcast.started_at + FIRST_PEAK_AFTER,
            _ => announced.peak_announced_at + PEAK_PAUSE,
        };
        if let Some(at) = settled.filter(|settled| *settled >= due && peak.count > announced.peak) {
            happenings.push(Happening::Peak(peak));
            now_announced.peak = peak.count;
            now_announced.peak_announced_at = at;
        }
    }
    if let Some(ended_at) = settled.and_then(|settled| broadcast.ended_at(settled)) {
        happenings.extend([Happening::Offline { ended_at }, Happening::Ended { ended_at }]);
        now_announced.ended_at = Some(ended_at);
    }
    (happenings, now_announced)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::server::history::broadcast::GRACE;

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn known(last_on_air: u64, peak: u32, settled: u64) -> Known {
        let broadcast = Broadcast { started_at: START, last_on_air: at(last_on_air) };
        let peak = (peak > 0).then_some(Peak { count: peak, at: START });
        Known { broadcast, peak, settled: Some(at(settled)) }
    }

    #[test]
    fn a_broadcast_is_live_before_anything_is_settled() {
        let known = Known { settled: None, ..known(0, 0, 0) };
        let (happenings, announced) = follow(&Announced::default(), &known, &[1]);
        assert_eq!(happenings, [Happening::Live]);
        assert_eq!(follow(&announced, &known, &[1]).0, []);
    }

    #[test]
    fn a_jump_reaches_several_milestones_once_each() {
        let (happenings, announced) = follow(&Announced::default(), &known(5, 250, 5), &[100, 200, 300]);
        let peak = Peak { count: 250, at: START };
        assert_eq!(
            happenings,
            [Happening::Live, Happening::Milestone(100, peak), Happening::Milestone(200, peak)]
        );
        assert_eq!(follow(&announced, &known(6, 299, 6), &[100, 200, 300]).0, []);
        let peak = Peak { count: 300, at: START };
        assert_eq!(
            follow(&announced, &known(7, 300, 7), &[100, 200, 300]).0,
            [Happening::Milestone(300, peak)]
        );
    }

    #[test]
    fn peaks_come_once_a_minute_at_most_and_only_if_they_are_higher() {
        let (_, mut announced) = follow(&Announced::default(), &known(0, 1, 0), &[]);
        let mut seen = Vec::new();
        for second in 1..200_u32 {
            let (happenings, next) =
                follow(&announced, &known(second.into(), 10 + second / 50, second.into()), &[]);
            seen.extend(happenings.iter().map(|happening| match happening {
                Happening::Peak(peak) => (second, peak.count),
                other => panic!("{other:?}"),
            }));
            announced = next;
        }
        assert_eq!(seen, [(10, 10), (70, 11), (130, 12), (190, 13)]);
    }

    #[test]
    fn the_end_comes_after_the_grace() {
        let (_, announced) = follow(&Announced::default(), &known(100, 1, 100), &[]);
        let grace = GRACE.as_secs();
        assert!(follow(&announced, &known(100, 1, 100 + grace), &[]).1.ended_at.is_none());
        let (happenings, announced) = follow(&announced, &known(100, 1, 101 + grace), &[]);
        let ended_at = at(100);
        assert_eq!(
            happenings[happenings.len() - 2..],
            [Happening::Offline { ended_at }, Happening::Ended { ended_at }]
        );
        assert_eq!(announced.ended_at, Some(ended_at));
    }

    #[test]
    fn a_broadcast_that_is_over_when_it_becomes_known_has_all_events_in_order() {
        let (happenings, _) = follow(&Announced::default(), &known(100, 7, 9_000), &[5]);
        let (peak, ended_at) = (Peak { count: 7, at: START }, at(100));
        assert_eq!(
            happenings,
            [
                Happening::Live,
                Happening::Milestone(5, peak),
                Happening::Peak(peak),
                Happening::Offline { ended_at },
                Happening::Ended { ended_at },
            ]
        );
    }

    proptest! {
        /// Owners come and go, and look at any time. Each event comes once, whoever looks how often.
        #[test]
        fn each_event_comes_once(looks in vec((0..400_u64, 0..50_u32), 1..100)) {
            let milestones = [1, 5, 20, 45];
            let (mut announced, mut seen, mut now, mut peak) = (Announced::default(), Vec::new(), 0, 0);
            for (pause, count) in looks {
                now += pause;
                peak = peak.max(count);
                let (happenings, next) = follow(&announced, &known(now, peak, now), &milestones);
                seen.extend(happenings);
                announced = next;
            }
            let count = |is_it: fn(&Happening) -> bool| seen.iter().filter(|one| is_it(one)).count();
            prop_assert_eq!(count(|one| matches!(one, Happening::Live)), 1);
            let reached = milestones.iter().filter(|one| **one <= peak).count();
            prop_assert_eq!(count(|one| matches!(one, Happening::Milestone(..))), reached);
            let peaks: Vec<u32> = seen.iter().filter_map(|one| match one {
                Happening::Peak(peak) => Some(peak.count),
                _ => None,
            }).collect();
            prop_assert!(peaks.is_sorted_by(|one, other| one < other));
            prop_assert!(peaks.len() as u64 <= 1 + now / 60);
        }
    }
}
