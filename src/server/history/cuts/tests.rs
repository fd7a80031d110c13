//! Days of 23, 24 and 25 hours, zones off the hour, and the bounds.

use proptest::prelude::*;

use super::*;
use crate::server::history::instant::parse_instant;

const ZONES: &[&str] = &[
    "UTC",
    "Europe/Madrid",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
];

fn at(text: &str) -> Timestamp {
    parse_instant(text).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

/// The lengths of the steps in minutes.
fn lengths(cuts: &Cuts) -> Vec<u64> {
    cuts.bounds.windows(2).map(|ends| (ends[1].as_millis() - ends[0].as_millis()) / 60_000).collect()
}

fn local(cuts: &Cuts, zone: &Zone) -> Vec<String> {
    cuts.bounds.iter().map(|at| zone.format(*at)).collect()
}

#[test]
fn days_have_23_to_25_hours_with_daylight_saving() {
    let madrid = zone("Europe/Madrid");
    let spring =
        Cuts::new(at("2026-03-28T00:00:00+01:00"), at("2026-03-31T00:00:00+02:00"), Some(DAY), &madrid)
            .unwrap();
    assert_eq!(lengths(&spring), [1440, 1380, 1440]);
    let autumn =
        Cuts::new(at("2026-10-24T00:00:00+02:00"), at("2026-10-27T00:00:00+01:00"), Some(DAY), &madrid)
            .unwrap();
    assert_eq!(lengths(&autumn), [1440, 1500, 1440]);
    let lord_howe = zone("Australia/Lord_Howe");
    let half =
        Cuts::new(at("2026-10-03T00:00:00+10:30"), at("2026-10-06T00:00:00+11:00"), Some(DAY), &lord_howe)
            .unwrap();
    assert_eq!(lengths(&half), [1440, 1410, 1440]);
}

#[test]
fn days_start_when_the_zone_has_no_midnight() {
    let zone = zone("America/Sao_Paulo");
    let cuts = Cuts::new(at("2018-11-03T03:00:00Z"), at("2018-11-06T02:00:00Z"), Some(DAY), &zone).unwrap();
    assert_eq!(local(&cuts, &zone)[1], "2018-11-04T01:00:00-02:00");
    assert_eq!(lengths(&cuts), [1440, 1380, 1440]);
}

#[test]
fn a_skipped_day_has_no_step() {
    let zone = zone("Pacific/Apia");
    let cuts = Cuts::new(at("2011-12-29T00:00:00-10:00"), at("2012-01-01T00:00:00+14:00"), Some(DAY), &zone)
        .unwrap();
    assert_eq!(lengths(&cuts), [1440, 1440]);
}

#[test]
fn hours_are_those_of_the_clock_on_the_wall() {
    for (name, first) in [
        ("Asia/Kathmandu", "2026-05-01T01:00:00+05:45"),
        ("Asia/Kolkata", "2026-05-01T01:00:00+05:30"),
        ("America/Lima", "2026-04-30T20:00:00-05:00"),
    ] {
        let zone = zone(name);
        let from = at(first).minus_millis(5 * 60_000);
        let cuts = Cuts::new(from, at(first).plus_millis(150 * 60_000), Some(HOUR), &zone).unwrap();
        assert_eq!(lengths(&cuts), [5, 60, 60, 30], "{name}");
        assert_eq!(local(&cuts, &zone)[1], first);
    }
    let madrid = zone("Europe/Madrid");
    let spring =
        Cuts::new(at("2026-03-29T00:00:00+01:00"), at("2026-03-30T00:00:00+02:00"), Some(HOUR), &madrid)
            .unwrap();
    assert_eq!(lengths(&spring), [60; 23]);
    let autumn =
        Cuts::new(at("2026-10-25T00:00:00+02:00"), at("2026-10-26T00:00:00+01:00"), Some(HOUR), &madrid)
            .unwrap();
    assert_eq!(lengths(&autumn), [60; 25]);
}

#[test]
fn the_automatic_step_fits_the_range() {
    let from = at("2026-01-01T00:00:00Z");
    let step = |millis: u64| automatic_step(from, Timestamp::from_millis(from.as_millis() + millis));
    let (hour, day) = (3_600_000, 86_400_000);
    for (range, expected) in [
        (1, 60),
        (3 * hour, 60),
        (3 * hour + 1, 300),
        (24 * hour, 300),
        (24 * hour + 1, 900),
        (7 * day, 900),
        (7 * day + 1, 3600),
        (31 * day, 3600),
        (31 * day + 1, 86_400),
        (1400 * day, 86_400),
        (1401 * day, 2 * 86_400),
    ] {
        assert_eq!(step(range), expected, "{range}");
    }
}

#[test]
fn invalid_ranges_and_steps_are_refused() {
    let cut = |from: u64, to: u64, step| {
        Cuts::new(Timestamp::from_millis(from), Timestamp::from_millis(to), step, &Zone::utc())
    };
    assert_eq!(cut(5, 5, None), Err(CutError::Empty));
    assert_eq!(cut(6, 5, None), Err(CutError::Empty));
    for step in [0, DAY + 1, u64::MAX] {
        assert_eq!(cut(0, 5, Some(step)), Err(CutError::Step), "{step}");
    }
    assert_eq!(cut(0, 1_500_000, Some(1)).map(|cuts| cuts.len()), Ok(1500));
    assert_eq!(cut(0, 1_500_001, Some(1)), Err(CutError::TooMany));
    assert_eq!(cut(0, 221_876_841_600_000, Some(1)), Err(CutError::TooMany));
    assert_eq!(cut(0, 221_876_841_600_000, Some(DAY)), Err(CutError::TooMany));
    assert_eq!(cut(0, u64::MAX, None), Err(CutError::OutOfBounds));
    assert_eq!(cut(u64::MAX - 1, u64::MAX, None), Err(CutError::OutOfBounds));
    assert!(cut(0, 5, Some(u64::MAX / DAY * DAY)).is_err());
}

proptest! {
    #[test]
    fn the_steps_cover_the_range_without_gaps(
        from in 0..3_000_000_000_000_u64,
        range in prop_oneof![1..10_000_000_u64, 1..4_000_000_000_u64, 1..200_000_000_000_u64],
        step in prop_oneof![
            Just(None),
            (1..90_000_u64).prop_map(Some),
            (1..400_u64).prop_map(|days| Some(days * DAY)),
        ],
        zone in prop::sample::select(ZONES),
    ) {
        let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(from + range));
        match Cuts::new(from, to, step, &Zone::parse(zone).unwrap()) {
            Ok(cuts) => {
                prop_assert!(cuts.bounds.is_sorted_by(|a, b| a < b));
                prop_assert_eq!((cuts.bounds[0], *cuts.bounds.last().unwrap()), (from, to));
                prop_assert!((1..=MAX_POINTS).contains(&cuts.len()));
                prop_assert!(step.is_none_or(|step| step == cuts.step));
            }
            Err(error) => {
                prop_assert!(step.is_some(), "the automatic step always fits");
                prop_assert!(error == CutError::TooMany || error == CutError::Step);
            }
        }
    }
}
