//! Tests of the single rules of counting, then random histories against a simple model.

use proptest::prelude::*;
use uuid::Uuid;

use std::time::Duration;

use super::*;
use crate::domain::policy::LEAVE_MEMORY;

const LEASE: Duration = Duration::from_secs(60);
const HIDDEN_LEASE: Duration = Duration::from_secs(150);
const JOIN: Act = Act::Join { lease: LEASE };
const BEAT: Act = Act::Heartbeat { lease: LEASE };
const RULES: LeaseRules = LeaseRules { longest_lease: HIDDEN_LEASE, leave_memory: LEAVE_MEMORY };

fn viewer(n: u8) -> ViewerId {
    ViewerId::new(Uuid::from_u128(1 + u128::from(n))).unwrap()
}

fn session(n: u8) -> SessionId {
    SessionId::new(Uuid::from_u128(1000 + u128::from(n))).unwrap()
}

fn op(v: u8, s: u8, act: Act) -> Op {
    Op { viewer: viewer(v), session: session(s), act }
}

/// A roster with fixed rules.
#[derive(Default)]
struct Counter(Roster);

impl Counter {
    fn apply(&mut self, op: &Op, now: Timestamp) -> bool {
        self.0.apply(op, now, &RULES)
    }

    fn count(&mut self, now: Timestamp) -> u32 {
        while !self.0.expire(now, 3, &RULES) {}
        self.0.count()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

#[test]
fn a_viewer_counts_until_its_lease_ends() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(100));
    assert_eq!(roster.count(at(100)), 1);
    assert_eq!(roster.count(Timestamp::from_millis(159_999)), 1);
    assert_eq!(roster.count(at(160)), 0);
}

#[test]
fn a_beat_restarts_the_lease_and_repeated_joins_count_once() {
    let mut roster = Counter::default();
    for _ in 0..200 {
        roster.apply(&op(1, 1, JOIN), at(0));
    }
    assert_eq!(roster.count(at(0)), 1);
    roster.apply(&op(1, 1, BEAT), at(50));
    assert_eq!(roster.count(at(109)), 1);
    assert_eq!(roster.count(at(110)), 0);
}

#[test]
fn a_hidden_page_gets_a_longer_lease_until_its_next_visible_beat() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, Act::Heartbeat { lease: HIDDEN_LEASE }), at(0));
    assert_eq!(roster.count(at(149)), 1);
    roster.apply(&op(1, 1, BEAT), at(10));
    assert_eq!(roster.count(at(70)), 0);
}

#[test]
fn a_heartbeat_creates_an_unknown_session() {
    let mut roster = Counter::default();
    assert!(roster.apply(&op(1, 1, BEAT), at(0)));
    assert_eq!(roster.count(at(0)), 1);
}

#[test]
fn a_viewer_with_several_pages_counts_once_until_the_last_leaves() {
    let mut roster = Counter::default();
    for s in 0..3 {
        roster.apply(&op(1, s, JOIN), at(0));
    }
    assert_eq!(roster.count(at(0)), 1);
    roster.apply(&op(1, 0, Act::Leave), at(1));
    roster.apply(&op(1, 2, Act::Leave), at(1));
    assert_eq!(roster.count(at(1)), 1);
    roster.apply(&op(1, 1, Act::Leave), at(1));
    assert_eq!(roster.count(at(1)), 0);
}

#[test]
fn a_renewal_extends_a_live_session_and_creates_none() {
    let mut roster = Counter::default();
    let renew = op(1, 1, Act::Renew { lease: LEASE });
    assert!(!roster.apply(&renew, at(0)));
    assert_eq!(roster.count(at(0)), 0);
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(roster.apply(&renew, at(59)));
    assert_eq!(roster.count(at(118)), 1);
    assert!(!roster.apply(&renew, at(119)), "the lease has ended");
}

#[test]
fn a_late_leave_of_an_old_page_does_not_end_the_new_session() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(1, 2, JOIN), at(1));
    roster.apply(&op(1, 1, Act::Leave), at(2));
    assert_eq!(roster.count(at(2)), 1);
}

#[test]
fn a_heartbeat_is_ignored_for_ten_seconds_after_a_leave_unless_the_session_joins_again() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(!roster.apply(&op(1, 1, Act::Leave), at(1)));
    assert!(!roster.apply(&op(1, 1, BEAT), Timestamp::from_millis(10_999)));
    assert_eq!(roster.count(at(11)), 0);
    assert!(roster.apply(&op(1, 1, BEAT), at(11)), "the leave memory is over");

    roster.apply(&op(2, 1, Act::Leave), at(20));
    assert!(roster.apply(&op(2, 1, JOIN), at(21)));
    assert!(roster.apply(&op(2, 1, BEAT), at(22)), "a join clears the leave memory");
}

#[test]
fn replays_are_merged_by_the_time_of_the_events() {
    let mut roster = Counter::default();
    let restore = |s: u64, is_join| Act::Restore(Session::beating(at(s), LEASE, is_join));
    roster.apply(&op(1, 1, JOIN), at(100));
    assert!(roster.apply(&op(1, 1, restore(80, true)), at(110)), "an older beat does not shorten the lease");
    assert_eq!((roster.count(at(159)), roster.count(at(160))), (1, 0));
    assert!(roster.apply(&op(2, 1, restore(150, true)), at(170)), "a lost session is restored");
    assert_eq!((roster.count(at(209)), roster.count(at(210))), (1, 0));
    roster.apply(&op(3, 1, JOIN), at(290));
    roster.apply(&op(3, 1, Act::Leave), at(300));
    assert!(!roster.apply(&op(3, 1, restore(299, false)), at(340)), "the session left after that beat");
    let left = Act::Restore(Session::left_unknown(at(345)));
    roster.apply(&op(3, 1, JOIN), at(350));
    roster.apply(&op(3, 1, left), at(360));
    assert_eq!(roster.count(at(360)), 1, "the session joined after that leave");
}

#[test]
fn a_leave_of_an_unknown_session_does_not_change_the_count() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(2, 2, Act::Leave), at(0));
    roster.apply(&op(1, 2, Act::Leave), at(0));
    roster.apply(&op(3, 2, Act::LeaveKnown), at(0));
    assert_eq!(roster.count(at(0)), 1);
    assert_eq!(roster.0.viewers.len(), 2, "one leave is remembered, the other is ignored");
}

#[test]
fn expired_sessions_are_removed() {
    let mut roster = Counter::default();
    for v in 0..100 {
        for s in 0..5 {
            roster.apply(&op(v, s, JOIN), at(0));
        }
        roster.apply(&op(v, 0, Act::Leave), at(1));
    }
    roster.apply(&op(200, 0, Act::Leave), at(1));
    assert_eq!(roster.count(at(60)), 0);
    assert_eq!(roster.0.viewers.len(), 100, "leaves are kept, because other nodes may still replay beats");
    assert_eq!(roster.count(at(151)), 0);
    assert!(roster.0.is_empty() && roster.0.expiry_queue.is_empty());
}

#[test]
fn a_viewer_has_at_most_sixteen_sessions_and_the_oldest_is_removed() {
    let mut roster = Counter::default();
    let session = |n: u128| SessionId::new(Uuid::from_u128(1 + n)).unwrap();
    let apply = |roster: &mut Counter, n: u128, act: Act, now: Timestamp| {
        roster.apply(&Op { viewer: viewer(1), session: session(n), act }, now)
    };
    for n in 0..10_000 {
        apply(&mut roster, n, JOIN, at(1));
        apply(&mut roster, 20_000 + n, Act::Leave, at(1));
    }
    assert_eq!(roster.count(at(1)), 1);
    assert_eq!(roster.0.viewers[&viewer(1)].sessions.len(), 2 * MAX_SESSIONS);
    assert_eq!(roster.0.expiry_queue.len(), 1);
    for n in 0..10_000 {
        apply(&mut roster, n, JOIN, at(1));
        apply(&mut roster, n, Act::Leave, at(1));
    }
    assert_eq!(roster.0.viewers[&viewer(1)].sessions.len(), MAX_SESSIONS, "leaves of live sessions");
    let renew = Act::Renew { lease: LEASE };
    let mut mixed = Counter::default();
    for n in 0..20 {
        apply(&mut mixed, n, JOIN, Timestamp::from_millis(1_000 + u64::try_from(n).unwrap()));
    }
    let live: Vec<u128> = (0..20).filter(|n| apply(&mut mixed, *n, renew, at(2))).collect();
    assert_eq!(live, (4..20).collect::<Vec<_>>());
}

#[test]
fn a_browser_that_reloads_often_keeps_a_bounded_number_of_sessions() {
    let mut roster = Counter::default();
    for second in 0..10_000_u64 {
        let session = SessionId::new(Uuid::from_u128(1 + u128::from(second))).unwrap();
        roster.apply(&Op { viewer: viewer(1), session, act: JOIN }, at(second));
        roster.count(at(second));
    }
    assert!(roster.0.viewers[&viewer(1)].sessions.len() <= MAX_SESSIONS);
    assert_eq!(roster.0.expiry_queue.len(), 1);
}

/// The model: a list of all operations, evaluated in order for every result.
#[derive(Default)]
struct Model(Vec<(Timestamp, Op)>);

impl Model {
    /// The end of a session's lease after all its operations.
    fn lease_end(&self, viewer: ViewerId, session: SessionId) -> Timestamp {
        let (mut end, mut left) = (Timestamp::default(), None::<Timestamp>);
        for (now, op) in self.0.iter().filter(|(_, op)| (op.viewer, op.session) == (viewer, session)) {
            let now = *now;
            match op.act {
                Act::Join { lease } => (end, left) = (now + lease, None),
                Act::Renew { .. } if end <= now => {}
                Act::Heartbeat { lease } | Act::Renew { lease } => {
                    if left.is_none_or(|left| left + LEAVE_MEMORY <= now) {
                        (end, left) = (now + lease, None);
                    }
                }
                Act::LeaveKnown | Act::Leave => (end, left) = (Timestamp::default(), Some(now)),
                Act::Restore(_) | Act::Late(_) | Act::Logged(_) | Act::Withdraw(_) => {}
            }
        }
        end
    }

    fn count(&self, now: Timestamp) -> usize {
        let live = self.0.iter().filter(|(_, op)| self.lease_end(op.viewer, op.session) > now);
        live.map(|(_, op)| op.viewer).collect::<BTreeSet<_>>().len()
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(JOIN),
        Just(BEAT),
        Just(Act::Heartbeat { lease: HIDDEN_LEASE }),
        Just(Act::Renew { lease: LEASE }),
        Just(Act::Join { lease: HIDDEN_LEASE }),
        Just(Act::Leave),
    ]
}

proptest! {
    #[test]
    fn counts_any_history_as_the_model_does(
        history in prop::collection::vec((0..4_u8, 0..3_u8, acts(), 0..40_000_u64), 1..100)
    ) {
        let (mut roster, mut model, mut now) = (Counter::default(), Model::default(), at(1_000));
        for (v, s, act, wait) in history {
            now = now + Duration::from_millis(wait);
            let op = op(v, s, act);
            model.0.push((now, op));
            prop_assert_eq!(roster.apply(&op, now), model.lease_end(op.viewer, op.session) > now);
            prop_assert_eq!(roster.count(now) as usize, model.count(now));
        }
        prop_assert_eq!(roster.count(now + HIDDEN_LEASE), 0);
        prop_assert!(roster.0.is_empty());
    }
}
