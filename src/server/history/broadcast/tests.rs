//! Reconnects, lulls and nodes that disagree.

use proptest::{collection::vec, prelude::*};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn span(from: u64, to: u64) -> Span {
    Span::new(at(from), at(to))
}

fn broadcast(from: u64, to: u64) -> Broadcast {
    Broadcast { started_at: at(from), last_on_air: at(to) }
}

/// Applies spans as a store does.
fn all(spans: impl IntoIterator<Item = Span>) -> Vec<Broadcast> {
    let mut broadcasts = Vec::<Broadcast>::new();
    for span in spans {
        let merged = merge(&broadcasts, span);
        broadcasts.retain(|known| !merged.replaces.contains(known));
        broadcasts.push(merged.broadcast);
    }
    broadcasts.sort_by_key(|broadcast| broadcast.started_at);
    broadcasts
}

#[test]
fn a_reconnect_within_five_minutes_goes_on_as_the_same_broadcast() {
    assert_eq!(all([span(0, 100), span(400, 500)]), [broadcast(0, 500)]);
    assert_eq!(all([span(0, 100), span(401, 500)]), [broadcast(0, 100), broadcast(401, 500)]);
}

#[test]
fn the_end_is_known_after_five_minutes() {
    let broadcast = broadcast(0, 100);
    assert_eq!(broadcast.ended_at(at(100)), None);
    assert_eq!(broadcast.ended_at(at(400)), None, "a span that starts now would still continue it");
    assert_eq!(broadcast.ended_at(Timestamp::from_millis(400_001)), Some(at(100)));
}

#[test]
fn nodes_with_slightly_different_starts_agree_on_the_earlier_one() {
    assert_eq!(all([span(3, 50), span(2, 60)]), [broadcast(2, 60)]);
    let merged = merge(&[broadcast(3, 50)], span(2, 60));
    assert_eq!(merged, Merged { broadcast: broadcast(2, 60), replaces: vec![broadcast(3, 50)] });
}

#[test]
fn a_late_span_joins_two_broadcasts() {
    let merged = merge(&[broadcast(0, 100), broadcast(2000, 2100), broadcast(650, 700)], span(400, 350));
    assert_eq!(merged.broadcast, broadcast(0, 700));
    assert_eq!(merged.replaces.len(), 2);
}

proptest! {
    #[test]
    fn broadcasts_depend_neither_on_the_order_nor_on_repetition(
        (spans, shuffled) in vec((0..5000_u64, 0..400_u64), 1..12)
            .prop_flat_map(|spans| (Just(spans.clone()), Just([spans.clone(), spans].concat()).prop_shuffle())),
    ) {
        let spans_of = |pairs: Vec<(u64, u64)>| pairs.into_iter().map(|(from, length)| span(from, from + length));
        let broadcasts = all(spans_of(spans.clone()));
        prop_assert_eq!(&broadcasts, &all(spans_of(shuffled)));
        for pair in broadcasts.windows(2) {
            prop_assert!(pair[0].last_on_air + GRACE < pair[1].started_at);
        }
        // Second by second: on air or within a gap of at most five minutes.
        let mut on_air: Vec<_> = spans_of(spans).collect();
        on_air.sort_by_key(|span| span.from);
        prop_assert_eq!(broadcasts[0].started_at, on_air[0].from);
        for span in on_air {
            let holds = |one: &&Broadcast| one.started_at <= span.from && span.to <= one.last_on_air;
            prop_assert_eq!(broadcasts.iter().filter(holds).count(), 1);
        }
    }
}
