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
const RESTORE: Act = Act::Restore { lease: Duration::from_secs(20) };
const LEAVE: Act = Act::Leave { remember: LEAVE_MEMORY };

fn viewer(n: u8) -> ViewerId {
    ViewerId::new(Uuid::from_u128(1 + u128::from(n))).unwrap()
}

fn session(n: u8) -> SessionId {
    SessionId::new(Uuid::from_u128(1000 + u128::from(n))).unwrap()
}

fn op(v: u8, s: u8, act: Act) -> Op {
    Op { viewer: viewer(v), session: session(s), act }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

#[test]
fn a_viewer_counts_until_the_lease_ends_and_not_a_moment_longer() {
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, JOIN), at(100));
    assert_eq!(roster.count(at(100)), 1);
    assert_eq!(roster.count(Timestamp::from_millis(159_999)), 1);
    assert_eq!(roster.count(at(160)), 0);
}

#[test]
fn a_beat_starts_the_lease_anew_and_repeating_it_changes_nothing() {
    let mut roster = Roster::default();
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
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, Act::Heartbeat { lease: HIDDEN_LEASE }), at(0));
    assert_eq!(roster.count(at(149)), 1);
    roster.apply(&op(1, 1, BEAT), at(10));
    assert_eq!(roster.count(at(70)), 0);
}

#[test]
fn a_heartbeat_of_the_unknown_creates_it() {
    let mut roster = Roster::default();
    assert!(roster.apply(&op(1, 1, BEAT), at(0)));
    assert_eq!(roster.count(at(0)), 1);
}

#[test]
fn many_pages_of_one_browser_are_one_viewer_who_leaves_with_the_last() {
    let mut roster = Roster::default();
    for s in 0..3 {
        roster.apply(&op(1, s, JOIN), at(0));
    }
    assert_eq!(roster.count(at(0)), 1);
    roster.apply(&op(1, 0, LEAVE), at(1));
    roster.apply(&op(1, 2, LEAVE), at(1));
    assert_eq!(roster.count(at(1)), 1);
    roster.apply(&op(1, 1, LEAVE), at(1));
    assert_eq!(roster.count(at(1)), 0);
}

#[test]
fn renewing_keeps_who_is_counted_and_creates_nobody() {
    let mut roster = Roster::default();
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
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(1, 2, JOIN), at(1));
    roster.apply(&op(1, 1, LEAVE), at(2));
    assert_eq!(roster.count(at(2)), 1);
}

#[test]
fn a_heartbeat_after_its_leave_changes_nothing_for_ten_seconds_unless_it_joins_again() {
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(!roster.apply(&op(1, 1, LEAVE), at(1)));
    assert!(!roster.apply(&op(1, 1, BEAT), Timestamp::from_millis(10_999)));
    assert_eq!(roster.count(at(11)), 0);
    assert!(roster.apply(&op(1, 1, BEAT), at(11)), "forgotten after ten seconds");

    roster.apply(&op(2, 1, LEAVE), at(20));
    assert!(roster.apply(&op(2, 1, JOIN), at(21)));
    assert!(roster.apply(&op(2, 1, BEAT), at(22)), "a join clears the memory");
}

#[test]
fn what_a_node_remembers_never_shortens_a_lease_and_brings_nobody_back() {
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    assert!(roster.apply(&op(1, 1, RESTORE), at(10)));
    assert_eq!(roster.count(at(59)), 1);
    assert_eq!(roster.count(at(60)), 0);
    assert!(roster.apply(&op(2, 1, RESTORE), at(100)), "what is lost is restored");
    assert_eq!((roster.count(at(119)), roster.count(at(120))), (1, 0));
    roster.apply(&op(3, 1, Act::Leave { remember: HIDDEN_LEASE }), at(200));
    assert!(!roster.apply(&op(3, 1, RESTORE), at(349)));
    assert_eq!(roster.count(at(349)), 0);
}

#[test]
fn leaving_what_is_unknown_changes_no_count() {
    let mut roster = Roster::default();
    roster.apply(&op(1, 1, JOIN), at(0));
    roster.apply(&op(2, 2, LEAVE), at(0));
    roster.apply(&op(1, 2, LEAVE), at(0));
    assert_eq!(roster.count(at(0)), 1);
}

#[test]
fn a_sweep_frees_everything_that_has_expired() {
    let mut roster = Roster::default();
    for v in 0..100 {
        for s in 0..5 {
            roster.apply(&op(v, s, JOIN), at(0));
        }
        roster.apply(&op(v, 0, LEAVE), at(1));
    }
    assert!(!roster.sweep(at(59)));
    assert!(roster.sweep(at(60)));
    assert_eq!((roster.viewers.capacity(), roster.departed.capacity(), roster.agenda.len()), (0, 0, 0));
}

#[test]
fn a_browser_that_reloads_all_day_holds_only_what_is_live() {
    let mut roster = Roster::default();
    for second in 0..10_000_u64 {
        let session = SessionId::new(Uuid::from_u128(1 + u128::from(second))).unwrap();
        roster.apply(&Op { viewer: viewer(1), session, act: JOIN }, at(second));
        roster.count(at(second));
    }
    assert!(roster.viewers[&viewer(1)].sessions.len() <= 60);
    assert!(roster.agenda.len() <= 2);
}

/// The rules again, as a list that is searched.
#[derive(Default)]
struct Model {
    leases: Vec<(ViewerId, SessionId, Timestamp)>,
    left: Vec<(ViewerId, SessionId, Timestamp)>,
}

impl Model {
    fn apply(&mut self, op: &Op, now: Timestamp) -> bool {
        let this = |entry: &(ViewerId, SessionId, Timestamp)| (entry.0, entry.1) == (op.viewer, op.session);
        match op.act {
            Act::Leave { remember } => {
                self.left.retain(|entry| !this(entry));
                self.left.push((op.viewer, op.session, now + remember));
            }
            Act::Join { .. } => self.left.retain(|entry| !this(entry)),
            _ if self.left.iter().any(|entry| this(entry) && entry.2 > now) => return false,
            _ => {}
        }
        if let Act::Renew { .. } = op.act
            && !self.leases.iter().any(|entry| this(entry) && entry.2 > now)
        {
            return false;
        }
        let before = self.leases.iter().find(|entry| this(entry)).map_or(now, |entry| entry.2);
        self.leases.retain(|entry| !this(entry));
        let end = match op.act {
            Act::Join { lease } | Act::Heartbeat { lease } | Act::Renew { lease } => now + lease,
            Act::Restore { lease } => before.max(now + lease),
            Act::Leave { .. } => return false,
        };
        self.leases.push((op.viewer, op.session, end));
        true
    }

    fn count(&self, now: Timestamp) -> usize {
        let mut live: Vec<_> =
            self.leases.iter().filter(|entry| entry.2 > now).map(|entry| entry.0).collect();
        live.sort();
        live.dedup();
        live.len()
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(JOIN),
        Just(BEAT),
        Just(Act::Heartbeat { lease: HIDDEN_LEASE }),
        Just(Act::Renew { lease: LEASE }),
        Just(Act::Join { lease: HIDDEN_LEASE }),
        Just(RESTORE),
        Just(LEAVE),
    ]
}

proptest! {
    #[test]
    fn any_history_counts_as_the_model_does(
        history in prop::collection::vec((0..4_u8, 0..3_u8, acts(), 0..40_000_u64, any::<bool>()), 1..200)
    ) {
        let (mut roster, mut model, mut now) = (Roster::default(), Model::default(), at(1_000));
        for (v, s, act, wait, sweep) in history {
            now = now + Duration::from_millis(wait);
            if sweep {
                roster.sweep(now);
            }
            prop_assert_eq!(roster.apply(&op(v, s, act), now), model.apply(&op(v, s, act), now));
            prop_assert_eq!(roster.count(now) as usize, model.count(now));
        }
        prop_assert!(roster.sweep(now + HIDDEN_LEASE));
    }
}
