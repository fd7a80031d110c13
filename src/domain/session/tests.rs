//! Tests of the single rules, then of every order of the same random events.

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const RULES: LeaseRules =
    LeaseRules { longest_lease: Duration::from_secs(150), leave_memory: Duration::from_secs(10) };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + seconds * 1000)
}

/// An event of a session, with its time in seconds.
#[derive(Debug, Clone, Copy)]
enum Event {
    Join(u64),
    Heartbeat(u64),
    Leave(u64),
}

fn apply(session: Option<Session>, event: Event) -> Option<Session> {
    let Some(mut session) = session else {
        return Some(match event {
            Event::Join(s) => Session::beating(at(s), LEASE, true),
            Event::Heartbeat(s) => Session::beating(at(s), LEASE, false),
            Event::Leave(s) => Session::left_unknown(at(s)),
        });
    };
    match event {
        Event::Join(s) => session.beat(at(s), LEASE, true, &RULES),
        Event::Heartbeat(s) => session.beat(at(s), LEASE, false, &RULES),
        Event::Leave(s) => session.leave(at(s), &RULES),
    }
    Some(session)
}

fn end_after(events: &[Event]) -> Timestamp {
    events.iter().fold(None, |session, event| apply(session, *event)).unwrap().lease_end()
}

#[test]
fn a_late_leave_does_not_end_a_later_join() {
    for events in [
        [Event::Join(0), Event::Leave(20), Event::Join(30)],
        [Event::Join(0), Event::Join(30), Event::Leave(20)],
        [Event::Join(30), Event::Leave(20), Event::Join(0)],
    ] {
        assert_eq!(end_after(&events), at(90), "{events:?}");
    }
}

#[test]
fn a_late_beat_does_not_restore_a_session_that_left() {
    for beat in [Event::Join(10), Event::Heartbeat(10), Event::Heartbeat(25)] {
        assert_eq!(end_after(&[Event::Join(0), Event::Leave(20), beat]), Timestamp::default(), "{beat:?}");
        assert_eq!(end_after(&[beat, Event::Leave(20)]), Timestamp::default(), "{beat:?}");
    }
    assert_eq!(end_after(&[Event::Leave(20), Event::Heartbeat(30)]), at(90), "the leave memory is over");
}

#[test]
fn a_late_join_makes_the_beats_after_it_count() {
    let events = [Event::Leave(20), Event::Heartbeat(25), Event::Join(23)];
    assert_eq!(end_after(&events), at(85));
}

/// A simple model: the end of the lease after applying the events in the order in which they happened.
fn end_in_order(mut events: Vec<Event>) -> Timestamp {
    let time = |event: &Event| match *event {
        Event::Join(s) | Event::Heartbeat(s) | Event::Leave(s) => s,
    };
    events.sort_by_key(time);
    let (mut end, mut left) = (Timestamp::default(), None::<u64>);
    for event in events {
        match event {
            Event::Join(s) => (end, left) = (at(s) + LEASE, None),
            Event::Heartbeat(s) if left.is_none_or(|left| s >= left + 10) => {
                (end, left) = (at(s) + LEASE, None);
            }
            Event::Heartbeat(_) => {}
            Event::Leave(s) => (end, left) = (Timestamp::default(), Some(s)),
        }
    }
    end
}

proptest! {
    #[test]
    fn every_order_of_events_leads_to_the_same_lease(
        events in prop::collection::vec((0u8..3, any::<u16>()), 1..7),
    ) {
        // No two events happen at the same instant, because their order would be undefined.
        let events: Vec<Event> = events
            .iter()
            .enumerate()
            .map(|(nth, (kind, second))| {
                let second = u64::from(second % 40) * 8 + nth as u64;
                match kind {
                    0 => Event::Join(second),
                    1 => Event::Heartbeat(second),
                    _ => Event::Leave(second),
                }
            })
            .collect();
        let expected = end_in_order(events.clone());
        let mut order: Vec<usize> = (0..events.len()).collect();
        permutations(&mut order, 0, &mut |order| {
            let session = order.iter().fold(None, |session, nth| apply(session, events[*nth])).unwrap();
            assert_eq!(session.lease_end(), expected, "{events:?} as {order:?}");
            // Applying the events twice, or merging the states of two nodes, gives the same lease.
            let mut twice = Some(session);
            for nth in order {
                twice = apply(twice, events[*nth]);
            }
            let twice = twice.unwrap();
            assert_eq!(twice.lease_end(), expected);
            let (first, second) = order.split_at(order.len() / 2);
            let apply_all =
                |order: &[usize]| order.iter().fold(None, |session, nth| apply(session, events[*nth]));
            if let (Some(mut merged), Some(other)) = (apply_all(first), apply_all(second)) {
                merged.merge(&other, &RULES);
                assert_eq!(merged.lease_end(), expected, "merged: {events:?} as {order:?}");
            }
        });
    }
}

fn permutations(order: &mut Vec<usize>, from: usize, each: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return each(order);
    }
    for nth in from..order.len() {
        order.swap(from, nth);
        permutations(order, from + 1, each);
        order.swap(from, nth);
    }
}
