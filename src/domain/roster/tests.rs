//! The rules of counting, one by one, then random histories against a model that is too simple to be wrong.

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

/// A roster with the rules in it.
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
fn a_viewer_counts_until_the_lease_ends_and_not_a_moment_longer() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(100));
    assert_eq!(roster.count(at(100)), 1);
    assert_eq!(roster.count(Timestamp::from_millis(159_999)), 1);
    assert_eq!(roster.count(at(160)), 0);
}

#[test]
fn a_beat_starts_the_lease_anew_and_repeating_it_changes_nothing() {
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
fn a_hidden_page_counts_longer_and_coming_back_shortens_its_lease_again() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, Act::Heartbeat { lease: HIDDEN_LEASE }), at(0));
    assert_eq!(roster.count(at(149)), 1);
    roster.apply(&op(1, 1, BEAT), at(10));
    assert_eq!(roster.count(at(70)), 0);
}

#[test]
fn a_heartbeat_of_the_unknown_creates_it() {
    let mut roster = Counter::default();
    assert!(roster.apply(&op(1, 1, BEAT), at(0)));
    assert_eq!(roster.count(at(0)), 1);
}

#[test]
fn many_pages_of_one_browser_are_one_viewer_who_leaves_with_the_last() {
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
fn renewing_keeps_who_is_counted_and_creates_nobody() {
    let mut roster = Counter::default();
    let renew = op(1, 1, Act::Renew { lease: LEASE });
    assert!(!roster.apply(&renew, at(0)));
    assert_eq!(roster.count(at(0)), 0);
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(roster.apply(&renew, at(59)));
    assert_eq!(roster.count(at(118)), 1);
    assert!(!roster.apply(&renew, at(119)), "its lease has ended");
}

#[test]
fn the_old_page_leaving_late_does_not_end_the_new_one() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(1, 2, JOIN), at(1));
    roster.apply(&op(1, 1, Act::Leave), at(2));
    assert_eq!(roster.count(at(2)), 1);
}

#[test]
fn a_heartbeat_after_its_leave_changes_nothing_for_ten_seconds_unless_it_joins_again() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(!roster.apply(&op(1, 1, Act::Leave), at(1)));
    assert!(!roster.apply(&op(1, 1, BEAT), Timestamp::from_millis(10_999)));
    assert_eq!(roster.count(at(11)), 0);
    assert!(roster.apply(&op(1, 1, BEAT), at(11)), "forgotten after ten seconds");

    roster.apply(&op(2, 1, Act::Leave), at(20));
    assert!(roster.apply(&op(2, 1, JOIN), at(21)));
    assert!(roster.apply(&op(2, 1, BEAT), at(22)), "a join clears the memory");
}

#[test]
fn what_a_node_writes_again_is_merged_by_when_it_happened() {
    let mut roster = Counter::default();
    let restore = |s: u64, is_join| Act::Restore(Session::beating(at(s), LEASE, is_join));
    roster.apply(&op(1, 1, JOIN), at(100));
    assert!(roster.apply(&op(1, 1, restore(80, true)), at(110)), "an older beat shortens no lease");
    assert_eq!((roster.count(at(159)), roster.count(at(160))), (1, 0));
    assert!(roster.apply(&op(2, 1, restore(150, true)), at(170)), "what is lost is restored");
    assert_eq!((roster.count(at(209)), roster.count(at(210))), (1, 0));
    roster.apply(&op(3, 1, JOIN), at(290));
    roster.apply(&op(3, 1, Act::Leave), at(300));
    assert!(!roster.apply(&op(3, 1, restore(299, false)), at(340)), "it left after that beat");
    let left = Act::Restore(Session::left_unknown(at(345)));
    roster.apply(&op(3, 1, JOIN), at(350));
    roster.apply(&op(3, 1, left), at(360));
    assert_eq!(roster.count(at(360)), 1, "it joined after that leave");
}

#[test]
fn leaving_what_is_unknown_changes_no_count() {
    let mut roster = Counter::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(2, 2, Act::Leave), at(0));
    roster.apply(&op(1, 2, Act::Leave), at(0));
    roster.apply(&op(3, 2, Act::LeaveKnown), at(0));
    assert_eq!(roster.count(at(0)), 1);
    assert_eq!(roster.0.viewers.len(), 2, "one is remembered as having left, and one was never known");
}

#[test]
fn what_has_expired_takes_no_memory() {
    let mut roster = Counter::default();
    for v in 0..100 {
        for s in 0..5 {
            roster.apply(&op(v, s, JOIN), at(0));
        }
        roster.apply(&op(v, 0, Act::Leave), at(1));
    }
    roster.apply(&op(200, 0, Act::Leave), at(1));
    assert_eq!(roster.count(at(60)), 0);
    assert_eq!(roster.0.viewers.len(), 100, "other nodes may still know the beats of those that left");
    assert_eq!(roster.count(at(151)), 0);
    assert!(roster.0.is_empty() && roster.0.expiry_queue.is_empty());
}

#[test]
fn a_viewer_has_sixteen_sessions_and_the_oldest_goes() {
    let mut roster = Counter::default();
    let of = |n: u128| SessionId::new(Uuid::from_u128(1 + n)).unwrap();
    let ask = |roster: &mut Counter, n: u128, act: Act, now: Timestamp| {
        roster.apply(&Op { viewer: viewer(1), session: of(n), act }, now)
    };
    for n in 0..10_000 {
        ask(&mut roster, n, JOIN, at(1));
        ask(&mut roster, 20_000 + n, Act::Leave, at(1));
    }
    assert_eq!(roster.count(at(1)), 1);
    assert_eq!(roster.0.viewers[&viewer(1)].sessions.len(), 2 * MAX_SESSIONS);
    assert_eq!(roster.0.expiry_queue.len(), 1);
    let renew = Act::Renew { lease: LEASE };
    let mut mixed = Counter::default();
    for n in 0..20 {
        ask(&mut mixed, n, JOIN, Timestamp::from_millis(1_000 + u64::try_from(n).unwrap()));
    }
    let live: Vec<u128> = (0..20).filter(|n| ask(&mut mixed, *n, renew, at(2))).collect();
    assert_eq!(live, (4..20).collect::<Vec<_>>());
}

#[test]
fn a_browser_that_reloads_all_day_holds_only_what_is_live() {
    let mut roster = Counter::default();
    for second in 0..10_000_u64 {
        let session = SessionId::new(Uuid::from_u128(1 + u128::from(second))).unwrap();
        roster.apply(&Op { viewer: viewer(1), session, act: JOIN }, at(second));
        roster.count(at(second));
    }
    assert!(roster.0.viewers[&viewer(1)].sessions.len() <= MAX_SESSIONS);
    assert_eq!(roster.0.expiry_queue.len(), 1);
}

/// The rules again: everything that happened, gone through in order for every answer.
#[derive(Default)]
struct Model(Vec<(Timestamp, Op)>);

impl Model {
    /// When the lease of a session ends, by all that happened to it in the order in which it happened.
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
                Act::Restore(_) | Act::Late(_) | Act::Withdraw(_) => {}
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
    fn any_history_counts_as_the_model_does(
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
