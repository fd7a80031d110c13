//! The step function of one recorder. Random histories of several nodes are in the tests of the module above.

use super::*;
use crate::server::history::{Peak, Second, Tally};

const START: u64 = 1_790_000_040_000;
const GAP: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Observed and watched milliseconds of all minutes in memory.
fn sums(track: &Track) -> (u64, u64) {
    let tallies = track.minutes.iter().map(|slot| Tally::of_minute(slot.start, &slot.minute));
    tallies.fold((0, 0), |sum, tally| (sum.0 + tally.observed_ms, sum.1 + tally.watched_ms))
}

/// The minute that starts at `start`, if it is in memory.
fn minute_at(track: &Track, start: Timestamp) -> Option<&Minute> {
    track.minutes.iter().find(|slot| slot.start == start).map(|slot| &*slot.minute)
}

#[test]
fn a_count_holds_until_the_next_observation() {
    let mut track = Track::default();
    track.observe(3, at(58_700), true, GAP);
    track.observe(5, at(61_250), true, GAP);
    track.observe(0, at(62_000), true, GAP);
    assert_eq!(sums(&track), (3300, 2550 * 3 + 750 * 5));
    let minute = minute_at(&track, at(0)).unwrap();
    assert_eq!(minute.seconds()[58].observed_ms(), 300);
    assert_eq!(minute.seconds()[59].watched_ms(), 3000);
    let next = minute_at(&track, at(60_000)).unwrap();
    assert_eq!(next.peak(), Some(Peak { count: 5, at: at(61_250) }));
    assert_eq!(next.seconds()[0].highest(), Some(3), "the count of the minute before still held");
}

#[test]
fn the_same_observation_is_one_of_the_same_count_and_owner_shortly_before() {
    let mut track = Track::default();
    track.observe(3, at(1_000), true, GAP);
    let has = |count, millis, owned| track.has_observed(count, at(millis), owned, Duration::from_secs(1));
    assert!(has(3, 1_000, true) && has(3, 1_999, true));
    assert!(!has(4, 1_500, true) && !has(3, 1_500, false) && !has(3, 2_000, true) && !has(3, 999, true));
    track.unknown(at(1_500));
    assert!(!track.has_observed(3, at(1_600), true, Duration::from_secs(1)));
}

#[test]
fn a_gap_is_a_gap_and_never_0() {
    let mut track = Track::default();
    track.observe(3, at(0), true, GAP);
    track.observe(3, at(10_000), true, GAP);
    track.observe(3, at(20_001), true, GAP);
    track.observe(3, at(21_001), true, GAP);
    assert_eq!(sums(&track), (11_000, 33_000));
    let seconds = minute_at(&track, at(0)).unwrap().seconds();
    assert!(seconds[10..20].iter().skip(1).all(Second::is_empty));
}

#[test]
fn unknown_time_and_time_without_ownership_are_not_observed() {
    let mut track = Track::default();
    track.observe(3, at(0), true, GAP);
    track.unknown(at(500));
    track.observe(3, at(1000), true, GAP);
    assert_eq!(sums(&track), (0, 0), "the count of the time before `unknown` may have changed");
    track.observe(4, at(2000), false, GAP);
    track.observe(4, at(3000), true, GAP);
    assert_eq!(sums(&track), (0, 0));
    track.observe(4, at(4000), true, GAP);
    track.unknown(at(3500));
    track.observe(4, at(5000), true, GAP);
    assert_eq!(sums(&track), (2000, 8000), "late news of an older time changes nothing");
    assert_eq!(minute_at(&track, at(0)).unwrap().peak().unwrap().count, 4);
}

#[test]
fn no_time_is_counted_twice_after_a_time_without_knowledge() {
    let mut track = Track::default();
    track.observe(3, at(0), true, GAP);
    track.observe(3, at(2000), true, GAP);
    track.unknown(at(2500));
    track.observe(3, at(1000), true, GAP);
    track.observe(3, at(3000), true, GAP);
    assert_eq!(sums(&track), (2000, 6000));
}

#[test]
fn late_observations_count_for_the_peak_and_not_for_the_integral() {
    let mut track = Track::default();
    track.observe(3, at(0), true, GAP);
    track.observe(3, at(2000), true, GAP);
    track.observe(90, at(1500), true, GAP);
    track.observe(1, at(1200), true, GAP);
    track.observe(3, at(3000), true, GAP);
    assert_eq!(sums(&track), (3000, 9000));
    let minute = minute_at(&track, at(0)).unwrap();
    assert_eq!(minute.peak(), Some(Peak { count: 90, at: at(1500) }));
    assert_eq!((minute.seconds()[1].lowest(), minute.seconds()[1].highest()), (Some(1), Some(90)));
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_recording() {
    let mut track = Track::default();
    track.observe(3, at(7_200_000), true, GAP);
    for second in 0..10 {
        track.observe(3, at(second * 1000), true, GAP);
    }
    assert_eq!(sums(&track), (9000, 27_000));
}

#[test]
fn changed_minutes_are_taken_once_and_leave_the_memory_two_minutes_after_their_end() {
    let mut track = Track::default();
    track.observe(1, at(0), true, GAP);
    track.arrive(9, Place::Site, at(1000));
    let taken = track.take_dirty(at(2000));
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].start, taken[0].minute.arrivals().sum().site), (at(0), 1));
    assert!(track.take_dirty(at(3000)).is_empty());
    track.arrive(9, Place::Site, at(4000));
    assert_eq!(
        track.take_dirty(at(179_999))[0].minute.arrivals().sum().site,
        2,
        "the whole state, not the change"
    );
    assert!(minute_at(&track, at(0)).is_some());
    assert!(track.take_dirty(at(180_000)).is_empty());
    assert!(minute_at(&track, at(0)).is_none());
    assert!(track.minutes.is_empty());
}

#[test]
fn a_count_that_goes_on_is_news_once_a_minute() {
    let mut track = Track::default();
    let news = |track: &mut Track, second: u64| -> Vec<(Timestamp, Option<Held>)> {
        let taken = track.take_news(at(second * 1000)).into_iter();
        taken.map(|taken| (taken.start, taken.held)).collect()
    };
    let held = |count: u32, second: u64| Some(Held { count, at: at(second * 1000) });
    for second in 0..=130 {
        track.observe(3, at(second * 1000), true, GAP);
        let found = news(&mut track, second);
        match second {
            0 | 60 | 120 => assert_eq!(found, [(at(second * 1000), held(3, second))]),
            _ => assert_eq!(found, [], "{second}"),
        }
    }
    assert_eq!(track.take_dirty(at(130_000)).len(), 3, "there is more to say than news");
    let mut observe = |count: u32, second: u64, is_owned: bool| {
        track.observe(count, at(second * 1000), is_owned, GAP);
        news(&mut track, second)
    };
    let minute = at(120_000);
    assert_eq!(observe(4, 131, true), [(minute, held(4, 131))], "another count");
    assert_eq!(observe(4, 132, false), [(minute, None)], "another owner");
    assert_eq!(observe(4, 133, true), [(minute, held(4, 133))]);
    assert_eq!(observe(4, 144, true), [(minute, held(4, 144))], "a gap");
    assert_eq!(observe(4, 133, true), []);
    assert_eq!(observe(9, 143, true), [(minute, held(4, 144))], "a late peak");
    track.arrive(9, Place::Site, at(145_000));
    assert_eq!(news(&mut track, 145), [(minute, held(4, 144))]);
    track.unknown(at(146_000));
    assert_eq!(news(&mut track, 146), [(minute, None)]);
}

#[test]
fn a_gap_at_the_turn_of_a_minute_ends_what_holds_before_it() {
    let mut track = Track::default();
    track.observe(3, at(59_000), true, GAP);
    assert!(track.take_news(at(59_000))[0].held.is_some());
    track.observe(3, at(70_000), true, GAP);
    let news: Vec<_> = track.take_news(at(70_000)).into_iter().map(|taken| taken.held.is_some()).collect();
    assert_eq!(news, [false, true]);
}

#[test]
fn memory_is_bounded_when_nobody_takes_the_minutes() {
    let mut track = Track::default();
    for minute in 0..100 {
        track.observe(1, at(minute * 60_000), true, GAP);
    }
    assert_eq!(track.minutes.len(), MAX_MINUTES);
    assert_eq!(track.take_lost(), 40);
    assert_eq!(track.take_lost(), 0);
    // An old minute has no place when all are newer, and replaces the oldest one.
    track.observe(1, at(0), true, GAP);
    assert_eq!(track.minutes.len(), MAX_MINUTES);
    assert!(track.minutes.iter().is_sorted_by_key(|slot| slot.start));
    assert_eq!(track.take_dirty(at(0)).len(), MAX_MINUTES);
}

#[test]
fn prints_the_cost_of_an_observation() {
    let mut track = Track::default();
    let observations = 200_000_u32;
    let start = std::time::Instant::now();
    for n in 0..observations {
        track.observe(n % 100, at(u64::from(n) * 37), true, GAP);
    }
    println!("{} ns per observation", start.elapsed().as_nanos() / u128::from(observations));
}
