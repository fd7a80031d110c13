//! The laws of merging, and the stored form.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::server::history::arrivals::MAX_HOSTS;

const START: u64 = 1_790_000_040_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// What one node has recorded in a minute.
pub(in crate::server::history) fn any_minute() -> impl Strategy<Value = Minute> {
    let counts = prop_oneof![0..5_u32, 0..100_000_u32, Just(u32::MAX)];
    let action = (0..4_u8, 0..60_000_u64, 0..1001_u16, counts, 0..3_u64);
    vec(action, 0..60).prop_map(|actions| {
        let mut minute = Minute::default();
        for (kind, millis, length, count, node) in actions {
            match kind {
                0 => _ = minute.note(count, at(millis)),
                1 => minute.watch(at(millis / 1000 * 1000), 1000, count),
                2 => minute.watch(at(millis), length.min(1000 - (millis % 1000) as u16), count),
                _ if count % 3 == 0 => minute.arrive(node, Place::Site),
                _ => minute.arrive(node, Place::Embed(&format!("{}.example", count % 40))),
            }
        }
        minute
    })
}

fn merged(a: &Minute, b: &Minute) -> Minute {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in any_minute(), b in any_minute(), c in any_minute()) {
        let ab = merged(&a, &b);
        prop_assert_eq!(&ab, &merged(&b, &a));
        prop_assert_eq!(merged(&ab, &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&ab, &a), &ab);
        prop_assert_eq!(&merged(&a, &Minute::default()), &a);
    }

    #[test]
    fn every_minute_is_stored_and_read_unchanged(a in any_minute(), b in any_minute()) {
        for minute in [&a, &merged(&a, &b), &a.with_idle(&b)] {
            prop_assert_eq!(Minute::decode(&minute.encode()), Ok(minute.clone()));
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_valid_minute(
        minute in any_minute(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut bytes = minute.encode();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(minute) = Minute::decode(&bytes) {
            prop_assert_eq!(Minute::decode(&minute.encode()), Ok(minute));
        }
        let bytes = minute.encode();
        prop_assert!(Minute::decode(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(Minute::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, has_version: bool) {
        if has_version && !bytes.is_empty() {
            bytes[0] = VERSION;
        }
        let _ = Minute::decode(&bytes);
    }
}

#[test]
fn the_peak_is_exact_and_the_earliest() {
    let mut minute = Minute::default();
    for (count, millis) in [(3, 500), (7, 30_017), (7, 12_345), (5, 1)] {
        minute.note(count, at(millis));
    }
    assert_eq!(minute.peak(), Some(Peak { count: 7, at: at(12_345) }));
    assert_eq!(minute.seconds()[12].highest(), Some(7));
    assert_eq!(minute.seconds()[0].lowest(), Some(3));
    assert_eq!(minute.seconds()[0].observed_ms(), 0, "seen is not observed");
}

#[test]
fn a_second_is_never_observed_for_longer_than_it_lasts() {
    let mut minute = Minute::default();
    minute.watch(at(5000), 800, 2);
    minute.watch(at(5100), 800, 4);
    let second = minute.seconds()[5];
    assert_eq!((second.observed_ms(), second.watched_ms()), (1000, 800 * 2 + 200 * 4));
    assert_eq!((second.lowest(), second.highest()), (Some(2), Some(4)));
}

#[test]
fn a_channel_that_is_not_in_a_complete_list_has_the_count_0() {
    let (mut channel, mut part) = (Minute::default(), Minute::default());
    for second in 0..40 {
        part.watch(at(second * 1000), 1000, 0);
    }
    channel.watch(at(10_600), 400, 3);
    channel.watch(at(11_000), 1000, 3);
    channel.watch(at(50_000), 1000, 3);
    let minute = channel.with_idle(&part);
    let figures = |n: usize| {
        let second = minute.seconds()[n];
        (second.observed_ms(), second.watched_ms(), second.lowest(), second.highest())
    };
    assert_eq!(figures(0), (1000, 0, Some(0), Some(0)), "known to be 0");
    assert_eq!(figures(10), (1000, 1200, Some(0), Some(3)), "partly");
    assert_eq!(figures(11), (1000, 3000, Some(3), Some(3)), "the channel itself was observed");
    assert_eq!(figures(45), (0, 0, None, None), "unknown is not 0");
    assert_eq!(figures(50), (1000, 3000, Some(3), Some(3)));
    assert_eq!(minute.peak(), Some(Peak { count: 3, at: at(10_600) }));
    let idle = Minute::default().with_idle(&part);
    assert_eq!(idle.peak(), Some(Peak { count: 0, at: at(0) }));
    assert_eq!(minute.with_idle(&part), minute, "idempotent");
}

#[test]
fn stored_minutes_are_small() {
    let size = |name: &str, limit: usize, minute: &Minute| {
        let length = minute.encode().len();
        println!("{name}: {length} bytes");
        assert!(length <= limit, "{name}: {length} bytes");
    };
    let watched = |count: &dyn Fn(u64) -> u32| {
        let mut minute = Minute::default();
        for second in 0..60 {
            minute.watch(at(second * 1000), 1000, count(second));
        }
        minute
    };
    size("nothing", 4, &Minute::default());
    size("quiet, 0 viewers", 20, &watched(&|_| 0));
    size("quiet, 1 viewer", 20, &watched(&|_| 1));
    size("quiet, 25,000 viewers", 20, &watched(&|_| 25_000));
    size("one change in the middle of a second", 32, &{
        let mut minute = watched(&|second| if second < 30 { 4 } else { 5 });
        minute.note(4, at(30_000));
        minute
    });
    let mut busy = Minute::default();
    let mut large = Minute::default();
    for second in 0..60_u64 {
        let count = u32::try_from(20 + second * 7 % 5).unwrap();
        busy.watch(at(second * 1000), 370, count);
        busy.watch(at(second * 1000 + 370), 630, count + 2);
        large.watch(at(second * 1000), 370, count * 1000);
        large.watch(at(second * 1000 + 370), 630, count * 1000 + 150);
    }
    size("a change every second, 20 viewers", 300, &busy);
    size("a change every second, 20,000 viewers", 480, &large);
    let mut crowded = busy.clone();
    for node in 0..5 {
        for host in 0..MAX_HOSTS {
            crowded.arrive(node, Place::Embed(&format!("host-{host}.example.com")));
        }
    }
    size("the same with 5 nodes and 32 hosts each", 5000, &crowded);
}
