//! Cutting minutes, adding up, and the stored form.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::server::history::{Place, minute::tests::any_minute};

const START: Timestamp = Timestamp::from_millis(1_790_000_040_000);

fn at(millis: u32) -> Timestamp {
    START.plus_millis(millis)
}

proptest! {
    #[test]
    fn the_parts_of_a_minute_add_up(minute in any_minute(), cut in 0..61_usize) {
        let mut sum = Tally::of_seconds(START, &minute, 0..cut);
        sum.add(&Tally::of_seconds(START, &minute, cut..60));
        sum.add_arrivals(minute.arrivals());
        let whole = Tally::of_minute(START, &minute);
        prop_assert_eq!(sum.peak.map(|peak| peak.count), minute.peak().map(|peak| peak.count));
        prop_assert_eq!(whole.peak, minute.peak());
        sum.peak = whole.peak;
        prop_assert_eq!(sum, whole);
    }

    #[test]
    fn the_mean_lies_between_the_lowest_count_and_the_peak(minutes in vec(any_minute(), 1..5)) {
        let mut sum = Tally::default();
        for minute in &minutes {
            sum.add(&Tally::of_minute(START, minute));
        }
        if let Some(average) = sum.average() {
            prop_assert!(f64::from(sum.lowest.unwrap()) <= average && average <= f64::from(sum.peak.unwrap().count));
        } else {
            prop_assert_eq!(sum.watched_ms, 0);
        }
    }

    #[test]
    fn every_tally_is_stored_and_read_unchanged(minute in any_minute()) {
        let tally = Tally::of_minute(START, &minute);
        let bytes = tally.encode();
        prop_assert_eq!(Tally::decode(&bytes), Ok(tally));
        for length in 0..bytes.len() {
            prop_assert!(Tally::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn damaged_bytes_never_panic(minute in any_minute(), index: prop::sample::Index, byte: u8, noise: Vec<u8>) {
        let mut bytes = Tally::of_minute(START, &minute).encode();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        let _ = Tally::decode(&bytes);
        let _ = Tally::decode(&noise);
        let _ = Tally::decode(&[&[VERSION], &noise[..]].concat());
    }
}

#[test]
fn a_part_of_a_minute_has_an_exact_peak_if_it_holds_the_peak_of_the_minute() {
    let mut minute = Minute::default();
    for (count, millis) in [(2, 1500), (9, 20_250), (4, 40_750)] {
        minute.note(count, at(millis));
    }
    let peak = |seconds| Tally::of_seconds(START, &minute, seconds).peak.unwrap();
    assert_eq!(peak(0..60), Peak { count: 9, at: at(20_250) });
    assert_eq!(peak(20..21), Peak { count: 9, at: at(20_250) });
    assert_eq!(peak(0..20), Peak { count: 2, at: at(1000) });
    assert_eq!(peak(21..60), Peak { count: 4, at: at(40_000) });
    assert_eq!(Tally::of_seconds(START, &minute, 2..20).peak, None);
}

#[test]
fn breakdowns_add_up_to_their_total_also_with_very_many_hosts() {
    let mut sum = Tally::default();
    for round in 0..20 {
        let mut minute = Minute::default();
        for node in 0..4 {
            for host in 0..50 {
                minute.arrive(node, Place::Embed(&format!("{round}-{host}.example")));
            }
            minute.arrive(node, Place::Embed("popular.example"));
        }
        sum.add(&Tally::of_minute(START, &minute));
    }
    assert_eq!(sum.arrivals.total(), 20 * 4 * 51);
    assert!(sum.arrivals.embeds.len() <= MAX_TALLY_HOSTS + 1);
    assert!(sum.encode().len() < 2000);
}

#[test]
fn without_observed_time_there_is_no_mean() {
    let mut minute = Minute::default();
    minute.note(5, at(0));
    assert_eq!(Tally::of_minute(START, &minute).average(), None);
    minute.watch(at(1000), 500, 3);
    assert_eq!(Tally::of_minute(START, &minute).average(), Some(3.0));
}
