//! Tests of losses, outages, repeated leaves and sweeps.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{Roster, policy::LEAVE_MEMORY};

const LEASE: Duration = Duration::from_secs(60);
const RULES: LeaseRules = LeaseRules { longest_lease: Duration::from_secs(150), leave_memory: LEAVE_MEMORY };
const JOIN: Act = Act::Join { lease: LEASE };
const BEAT: Act = Act::Heartbeat { lease: LEASE };

fn op(n: u128, act: Act) -> Op {
    let uuid = Uuid::from_u128(n);
    Op { viewer: ViewerId::new(uuid).unwrap(), session: SessionId::new(uuid).unwrap(), act }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn accept(ledger: &mut Ledger, op: &Op, now: Timestamp) -> bool {
    ledger.accept(op, now, now, &RULES)
}

/// Replays all pending sessions to a store, in pieces of two, as after a loss.
fn write_all(ledger: &mut Ledger, store: &mut Roster, now: Timestamp) -> usize {
    let mut written = 0;
    while ledger.is_unwritten() {
        let sessions = ledger.pending(2, now, &RULES);
        for pending in &sessions {
            let op =
                Op { viewer: pending.viewer, session: pending.session, act: Act::Restore(pending.state) };
            store.apply(&op, now, &RULES);
        }
        written += sessions.len();
        ledger.written(&sessions);
    }
    written
}

fn count(store: &mut Roster, now: Timestamp) -> u32 {
    while !store.expire(now, 100, &RULES) {}
    store.count()
}

#[test]
fn a_loss_replays_all_sessions_with_the_rest_of_their_leases() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    accept(&mut ledger, &op(1, JOIN), at(0));
    accept(&mut ledger, &op(2, JOIN), at(30));
    accept(&mut ledger, &op(3, JOIN), at(30));
    accept(&mut ledger, &op(3, Act::Leave), at(31));
    assert!(!ledger.is_unwritten(), "without a loss, no session is pending");
    ledger.lost();
    assert_eq!(write_all(&mut ledger, &mut store, at(40)), 3);
    assert_eq!((count(&mut store, at(59)), count(&mut store, at(60)), count(&mut store, at(90))), (2, 1, 0));
}

#[test]
fn after_an_outage_only_the_operations_during_it_are_replayed() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    accept(&mut ledger, &op(1, JOIN), at(0));
    for (n, act) in [(2, JOIN), (3, BEAT), (4, Act::Leave)] {
        accept(&mut ledger, &op(n, act), at(10));
        ledger.mark_unwritten(&op(n, act));
    }
    assert_eq!(
        write_all(&mut ledger, &mut store, at(30)),
        3,
        "the leave is replayed even after the leave memory"
    );
    assert_eq!(count(&mut store, at(30)), 2);
}

#[test]
fn the_order_in_which_nodes_replay_does_not_change_the_count() {
    // Joins reach node 0, leaves reach node 1. The viewer counts if the last event is a join.
    for (events, expected) in [
        (&[(0, JOIN, 0), (1, Act::Leave, 20), (0, JOIN, 30)][..], 1),
        (&[(0, JOIN, 0), (0, JOIN, 20), (1, Act::Leave, 30)][..], 0),
    ] {
        for order in [[0, 1], [1, 0]] {
            let mut ledgers = [Ledger::default(), Ledger::default()];
            for (node, act, second) in events {
                accept(&mut ledgers[*node], &op(1, *act), at(*second));
            }
            let mut store = Roster::default();
            for node in order {
                ledgers[node].lost();
                write_all(&mut ledgers[node], &mut store, at(35));
            }
            assert_eq!(count(&mut store, at(35)), expected, "{order:?}");
        }
    }
}

/// Accepts an operation, and returns what the ledger knew of the session then.
fn accept_seen(ledger: &mut Ledger, op: &Op, now: Timestamp) -> Option<Seen> {
    accept(ledger, op, now);
    ledger.seen(op)
}

/// Accepts an operation that the store takes at the same time.
fn accept_taken(ledger: &mut Ledger, op: &Op, now: Timestamp, is_active: bool) {
    let seen = accept_seen(ledger, op, now);
    ledger.confirm(op, seen, (now, now), is_active, &RULES);
}

/// The count in a store that gets all sessions of these ledgers after a loss.
fn restored(ledgers: &mut [&mut Ledger], now: Timestamp) -> u32 {
    let mut store = Roster::default();
    for ledger in ledgers {
        ledger.lost();
        write_all(ledger, &mut store, now);
    }
    count(&mut store, now)
}

#[test]
fn a_session_that_the_store_reports_as_left_is_not_restored() {
    for act in [BEAT, Act::Renew { lease: LEASE }] {
        let mut ledger = Ledger::default();
        accept_taken(&mut ledger, &op(1, JOIN), at(0), true);
        accept_taken(&mut ledger, &op(1, act), at(22), false);
        assert_eq!(restored(&mut [&mut ledger], at(23)), 0);
    }
}

#[test]
fn a_join_is_replayed_as_of_its_own_time_if_the_clock_is_behind_that_of_the_store() {
    let (mut ledger, mut elsewhere) = (Ledger::default(), Ledger::default());
    let join = |ledger: &mut Ledger, now: u64, happened: u64| {
        let seen = accept_seen(ledger, &op(1, JOIN), at(now));
        ledger.confirm(&op(1, JOIN), seen, (at(now), at(happened)), true, &RULES);
    };
    // The node takes the times of the store for later than they are, by three seconds.
    join(&mut ledger, 10, 13);
    accept(&mut elsewhere, &op(1, Act::Leave), at(14));
    join(&mut ledger, 12, 15);
    assert_eq!(restored(&mut [&mut elsewhere, &mut ledger], at(16)), 1);
}

/// The store knows when the session left, and the ledger only when it was told.
#[test]
fn a_heartbeat_counts_as_soon_as_the_store_says_so() {
    for act in [BEAT, Act::Renew { lease: LEASE }] {
        let mut ledger = Ledger::default();
        accept_taken(&mut ledger, &op(1, JOIN), at(0), true);
        accept_taken(&mut ledger, &op(1, act), at(22), false);
        let seen = accept_seen(&mut ledger, &op(1, BEAT), at(25)).unwrap();
        ledger.rejoin(&op(1, BEAT), seen, at(25), &RULES);
        assert_eq!(restored(&mut [&mut ledger], at(26)), 1, "{act:?}");
    }
}

#[test]
fn a_late_report_that_a_session_has_left_does_not_end_a_later_join() {
    let mut ledger = Ledger::default();
    accept_taken(&mut ledger, &op(1, JOIN), at(0), true);
    let seen = accept_seen(&mut ledger, &op(1, BEAT), at(22));
    accept(&mut ledger, &op(1, JOIN), at(23));
    ledger.confirm(&op(1, BEAT), seen, (at(22), at(22)), false, &RULES);
    assert_eq!(restored(&mut [&mut ledger], at(24)), 1);
}

/// This node knows the leave but not the join after it, which another node has taken with a lease that is over.
#[test]
fn a_session_that_has_joined_elsewhere_is_restored_with_its_heartbeat() {
    for beat in [BEAT, Act::Renew { lease: LEASE }] {
        let (mut ledger, mut other, beat) = (Ledger::default(), Ledger::default(), op(1, beat));
        accept_taken(&mut ledger, &op(1, Act::Leave), at(16), false);
        accept(&mut other, &op(1, JOIN), at(18));
        let seen = accept_seen(&mut ledger, &beat, at(24));
        assert!(ledger.rejoin(&beat, seen.unwrap(), at(24), &RULES));
        assert_eq!(restored(&mut [&mut other, &mut ledger], at(83)), 1, "{beat:?}");
        assert_eq!(restored(&mut [&mut other, &mut ledger], at(84)), 0, "{beat:?}");
    }
}

#[test]
fn a_leave_that_the_store_may_lack_is_not_taken_back() {
    type Change = fn(&mut Ledger);
    let (leave, beat) = (op(1, Act::Leave), op(1, BEAT));
    let write: Change = |ledger| {
        let piece = ledger.pending(10, at(17), &RULES);
        ledger.written(&piece);
    };
    let cases: [(&str, Change, Change, bool); 8] = [
        ("taken", |ledger| accept_taken(ledger, &op(1, Act::Leave), at(16), false), |_| {}, true),
        ("not taken yet", |_| {}, |_| {}, false),
        (
            "taken after the beat",
            |_| {},
            |ledger| {
                let seen = ledger.seen(&op(1, Act::Leave));
                ledger.confirm(&op(1, Act::Leave), seen, (at(16), at(16)), false, &RULES);
            },
            false,
        ),
        ("failed", |ledger| assert!(ledger.mark_unwritten(&op(1, Act::Leave))), |_| {}, false),
        (
            "repeated, then failed",
            |ledger| {
                ledger.repeat_leaves();
                ledger.mark_unwritten(&op(1, Act::Leave));
            },
            write,
            false,
        ),
        (
            "failed after the beat",
            |ledger| accept_taken(ledger, &op(1, Act::Leave), at(16), false),
            |ledger| {
                ledger.mark_unwritten(&op(1, Act::Leave));
            },
            false,
        ),
        ("lost", |ledger| accept_taken(ledger, &op(1, Act::Leave), at(16), false), Ledger::lost, false),
        (
            "left again",
            |ledger| accept_taken(ledger, &op(1, Act::Leave), at(16), false),
            |ledger| {
                accept_taken(ledger, &op(1, Act::Leave), at(23), false);
            },
            false,
        ),
    ];
    for (case, before, after, has_rejoined) in cases {
        let mut ledger = Ledger::default();
        accept(&mut ledger, &leave, at(16));
        before(&mut ledger);
        let seen = accept_seen(&mut ledger, &beat, at(22));
        after(&mut ledger);
        assert_eq!(ledger.rejoin(&beat, seen.unwrap(), at(24), &RULES), has_rejoined, "{case}");
        assert_eq!(restored(&mut [&mut ledger], at(25)), u32::from(has_rejoined), "{case}");
    }
}

#[test]
fn a_failed_leave_is_more_than_a_repeated_one() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &op(1, Act::Leave), at(0));
    ledger.repeat_leaves();
    assert!(!ledger.is_lacking());
    ledger.mark_unwritten(&op(1, Act::Leave));
    assert!(ledger.is_lacking());
    let piece = ledger.pending(10, at(1), &RULES);
    assert_eq!(piece[0].why, Why::Late);
    ledger.written(&piece);
    assert!(!ledger.is_unwritten() && !ledger.is_lacking());
}

#[test]
fn a_written_piece_is_not_returned_again() {
    let mut ledger = Ledger::default();
    for n in 1..=1_000 {
        accept(&mut ledger, &op(n, JOIN), at(0));
    }
    ledger.lost();
    let (mut returned, mut failed) = (0, 0);
    while ledger.is_unwritten() {
        let piece = ledger.pending(250, at(1), &RULES);
        returned += piece.len();
        // The second piece fails once.
        if returned == 500 && failed == 0 {
            failed = piece.len();
        } else {
            ledger.written(&piece);
        }
    }
    assert_eq!((returned, failed), (1_250, 250));
}

#[test]
fn a_session_that_changes_or_is_lost_during_a_write_stays_pending() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &op(1, JOIN), at(0));
    ledger.lost();
    let piece = ledger.pending(10, at(1), &RULES);
    accept(&mut ledger, &op(1, BEAT), at(1));
    ledger.written(&piece);
    assert!(ledger.is_unwritten());
    let _end = ledger.pending(10, at(1), &RULES);
    let piece = ledger.pending(10, at(1), &RULES);
    ledger.lost();
    ledger.written(&piece);
    assert!(ledger.is_unwritten());
}

#[test]
fn heartbeats_after_a_leave_have_the_same_result_as_in_the_store() {
    let mut ledger = Ledger::default();
    assert!(accept(&mut ledger, &op(1, JOIN), at(0)));
    assert!(!accept(&mut ledger, &op(1, Act::Leave), at(1)));
    assert!(!accept(&mut ledger, &op(1, BEAT), at(10)));
    assert!(accept(&mut ledger, &op(1, BEAT), at(11)));
    accept(&mut ledger, &op(2, Act::Leave), at(1));
    assert!(accept(&mut ledger, &op(2, JOIN), at(2)));
    assert!(accept(&mut ledger, &op(2, BEAT), at(3)));
    assert!(!accept(&mut ledger, &op(3, Act::Renew { lease: LEASE }), at(3)));
    assert!(!accept(&mut ledger, &op(3, Act::LeaveKnown), at(3)));
    assert_eq!(ledger.len(), 2, "an operation that creates no session takes no memory");
}

#[test]
fn sweeps_remove_expired_sessions_in_small_steps() {
    let mut ledger = Ledger::default();
    for n in 1..=100 {
        accept(&mut ledger, &op(n, JOIN), at(0));
    }
    accept(&mut ledger, &op(101, Act::Leave), at(0));
    accept(&mut ledger, &op(1, Act::Leave), at(0));
    ledger.lost();
    let sweep = |ledger: &mut Ledger, now| (0..20).any(|_| ledger.sweep(now, 10, &RULES));
    assert!(sweep(&mut ledger, at(149)));
    assert_eq!(
        ledger.len(),
        101,
        "leaves and expired sessions outweigh older beats that other nodes may replay"
    );
    assert!(sweep(&mut ledger, at(150)));
    assert!(ledger.is_empty() && !ledger.is_unwritten());
}

#[test]
fn a_replay_of_expired_sessions_ends() {
    let mut ledger = Ledger::default();
    for n in 1..=100 {
        accept(&mut ledger, &op(n, JOIN), at(0));
    }
    ledger.lost();
    assert_eq!(ledger.pending(2, at(150), &RULES), Vec::new());
    assert!((0..100).any(|_| ledger.pending(2, at(150), &RULES).is_empty() && ledger.is_at_end()));
    assert!(!ledger.is_unwritten());
}

/// Writes the pending sessions with the operation for each reason. Returns the reasons.
fn write_pending(ledger: &mut Ledger, store: &mut Roster, now: Timestamp) -> Vec<Why> {
    let sessions = ledger.pending(100, now, &RULES);
    for pending in &sessions {
        let act = match pending.why {
            Why::Lost => Act::Restore,
            Why::Late => Act::Late,
            Why::Repeated => Act::Withdraw,
        };
        let op = Op { viewer: pending.viewer, session: pending.session, act: act(pending.state) };
        store.apply(&op, now, &RULES);
    }
    ledger.written(&sessions);
    sessions.iter().map(|pending| pending.why).collect()
}

#[test]
fn a_repeated_leave_ends_a_session_whose_join_was_written_late() {
    let (mut disconnected, mut other, mut store) = (Ledger::default(), Ledger::default(), Roster::default());
    accept(&mut disconnected, &op(1, JOIN), at(0));
    disconnected.mark_unwritten(&op(1, JOIN));
    accept(&mut other, &op(1, Act::Leave), at(2));
    store.apply(&op(1, Act::Leave), at(2), &RULES);
    // The store has forgotten the leave by then.
    assert_eq!(write_pending(&mut disconnected, &mut store, at(20)), [Why::Late]);
    assert_eq!(count(&mut store, at(20)), 1);
    other.repeat_leaves();
    other.repeat_leaves();
    assert!(other.is_unwritten() && !other.is_lacking());
    assert_eq!(write_pending(&mut other, &mut store, at(21)), [Why::Repeated]);
    assert_eq!(count(&mut store, at(21)), 0);
    assert!(!other.is_unwritten());
}

#[test]
fn a_repeated_leave_creates_no_session_and_does_not_end_a_later_join() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    for n in [1, 2] {
        accept(&mut ledger, &op(n, Act::Leave), at(2));
    }
    store.apply(&op(2, JOIN), at(5), &RULES);
    ledger.repeat_leaves();
    assert_eq!(write_pending(&mut ledger, &mut store, at(30)), [Why::Repeated; 2]);
    assert_eq!(count(&mut store, at(30)), 1);
    assert_eq!(count(&mut store, at(100)), 0);
    assert!(store.is_empty(), "the unknown session was not created");
}

#[test]
fn a_repeated_leave_ends_no_beat_after_a_join_whose_short_lease_is_over() {
    let short = Duration::from_secs(1);
    let (mut ledger, mut other, mut store) = (Ledger::default(), Ledger::default(), Roster::default());
    accept(&mut other, &op(1, Act::Leave), at(2));
    for (act, seconds) in [(Act::Join { lease: short }, 3), (Act::Heartbeat { lease: short * 60 }, 5)] {
        accept(&mut ledger, &op(1, act), at(seconds));
    }
    ledger.lost();
    other.repeat_leaves();
    assert_eq!(write_pending(&mut ledger, &mut store, at(6)), [Why::Lost]);
    assert_eq!(write_pending(&mut other, &mut store, at(7)), [Why::Repeated]);
    assert_eq!(count(&mut store, at(7)), 1);
}

#[test]
fn the_number_of_repeated_leaves_is_bounded() {
    let mut ledger = Ledger::default();
    for n in 1..=5_000 {
        accept(&mut ledger, &op(n, Act::Leave), at(1));
    }
    ledger.repeat_leaves();
    assert_eq!(ledger.numbers.pending, MAX_REPEATED_LEAVES);
    // A new operation replaces the repeated leave, and a loss replaces all repeated leaves.
    accept(&mut ledger, &op(5_000, JOIN), at(2));
    assert_eq!(
        (ledger.numbers.pending, ledger.numbers.repeated),
        (MAX_REPEATED_LEAVES - 1, MAX_REPEATED_LEAVES - 1)
    );
    ledger.lost();
    assert_eq!((ledger.numbers.pending, ledger.numbers.repeated), (5_000, 0));
    ledger.repeat_leaves();
    assert_eq!((ledger.numbers.pending, ledger.numbers.repeated), (5_000, 0));
    while !ledger.sweep(at(200), 500, &RULES) {}
    assert!(ledger.is_empty() && ledger.unknown_leaves.is_empty() && !ledger.is_unwritten());
}

#[test]
fn a_repeated_leave_beyond_the_limit_is_no_longer_pending() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &op(1, Act::Leave), at(1));
    ledger.repeat_leaves();
    for n in 2..=5_000 {
        accept(&mut ledger, &op(n, Act::Leave), at(1));
    }
    assert_eq!((ledger.numbers.pending, ledger.numbers.repeated), (0, 0));
    ledger.lost();
    let mut store = Roster::default();
    assert_eq!(write_all(&mut ledger, &mut store, at(2)), 5_000);
    assert_eq!((ledger.numbers.pending, ledger.numbers.repeated), (0, 0));
    assert!(!ledger.is_lacking());
}

#[test]
fn an_operation_that_changes_nothing_does_not_replace_a_repeated_leave() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &op(1, Act::Leave), at(100));
    ledger.repeat_leaves();
    accept(&mut ledger, &op(1, Act::Renew { lease: RULES.longest_lease }), at(101));
    assert_eq!(ledger.numbers.repeated, 1, "a renewal does not bring back a session");
    accept(&mut ledger, &op(1, JOIN), at(102));
    assert_eq!((ledger.numbers.pending, ledger.numbers.repeated), (0, 0));
}

#[test]
fn a_join_that_its_leave_overtook_does_not_count() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    assert!(!accept(&mut ledger, &op(1, Act::Leave), at(3)));
    assert!(!ledger.accept(&op(1, JOIN), at(1), at(5), &RULES), "the leave is later than the join");
    assert!(ledger.accept(&op(1, JOIN), at(4), at(5), &RULES), "the join is later than the leave");
    accept(&mut ledger, &op(2, JOIN), at(1));
    accept(&mut ledger, &op(2, Act::Leave), at(3));
    assert!(!ledger.accept(&op(2, BEAT), at(2), at(5), &RULES));
    ledger.lost();
    write_all(&mut ledger, &mut store, at(6));
    assert_eq!((count(&mut store, at(63)), count(&mut store, at(64))), (1, 0));
}

#[test]
fn an_expired_session_is_not_revived_by_an_older_beat_with_a_longer_lease() {
    let hidden = Act::Heartbeat { lease: RULES.longest_lease };
    let (mut one, mut two) = (Ledger::default(), Ledger::default());
    // Hidden at one node, then visible at another node; then the page vanishes.
    accept(&mut one, &op(1, hidden), at(0));
    accept(&mut two, &op(1, BEAT), at(10));
    for order in [[0, 1], [1, 0]] {
        let mut store = Roster::default();
        let mut ledgers = [&mut one, &mut two];
        ledgers.iter_mut().for_each(|ledger| ledger.lost());
        for nth in order {
            write_all(ledgers[nth], &mut store, at(100));
        }
        assert_eq!(count(&mut store, at(101)), 0, "{order:?}");
    }
    // Later beats count, also soon after the last beat that the second node knows.
    for later in [11, 105] {
        let mut one = Ledger::default();
        accept(&mut one, &op(1, hidden), at(later));
        for order in [[0, 1], [1, 0]] {
            let mut store = Roster::default();
            let mut ledgers = [&mut one, &mut two];
            ledgers.iter_mut().for_each(|ledger| ledger.lost());
            for nth in order {
                write_all(ledgers[nth], &mut store, at(110));
            }
            assert_eq!(count(&mut store, at(111)), 1, "a beat at {later} s, {order:?}");
        }
    }
    while !two.sweep(at(160), 10, &RULES) {}
    assert!(two.is_empty());
}

fn note_left(ledger: &mut Ledger, n: u128, at: Timestamp, rules: &LeaseRules) {
    let Op { viewer, session, .. } = op(n, BEAT);
    ledger.note_left(viewer, session, at, rules);
}

#[test]
fn a_session_that_a_renewal_finds_left_is_left_unless_it_has_beaten_since() {
    let joined = || {
        let mut ledger = Ledger::default();
        accept_taken(&mut ledger, &op(1, JOIN), at(0), true);
        accept_taken(&mut ledger, &op(1, BEAT), at(30), true);
        ledger
    };
    let is_live = |mut ledger: Ledger| accept(&mut ledger, &op(1, BEAT), at(31));
    assert!(is_live(joined()));
    let mut ledger = joined();
    accept(&mut ledger, &op(1, JOIN), at(30));
    note_left(&mut ledger, 1, at(30), &RULES);
    assert!(is_live(ledger), "it joins again");
    let mut ledger = joined();
    ledger.lost();
    note_left(&mut ledger, 1, at(30), &RULES);
    assert!(is_live(ledger), "the store has lost it");
    let mut ledger = joined();
    note_left(&mut ledger, 1, at(29), &RULES);
    note_left(&mut ledger, 2, at(30), &RULES);
    assert!(is_live(ledger));
    let mut ledger = joined();
    note_left(&mut ledger, 1, at(30), &RULES);
    assert!(!ledger.is_unwritten(), "the store knows it");
    assert!(!is_live(ledger));
}

#[test]
fn who_has_left_through_another_node_is_not_restored_unless_this_node_knows_of_a_later_event() {
    let id = |n| op(n, BEAT).viewer;
    let left = |ledger: &mut Ledger, n: u128, seconds: u64| {
        let session = op(n, BEAT).session;
        let found = ledger.find_stored(&(id(2)..=id(5)), |_, other| other == session, at(seconds));
        if let Some((viewer, session)) = found {
            ledger.note_left(viewer, session, at(seconds), &RULES);
        }
    };
    let joined = || {
        let mut ledger = Ledger::default();
        (1..=6).for_each(|n| accept_taken(&mut ledger, &op(n, JOIN), at(30), true));
        ledger
    };
    let mut ledger = joined();
    (1..=6).for_each(|n| left(&mut ledger, n, if n == 4 { 29 } else { 30 }));
    accept(&mut ledger, &op(5, JOIN), at(31));
    ledger.lost();
    let restored: Vec<_> = (1..=6).filter(|n| accept(&mut ledger, &op(*n, BEAT), at(32))).collect();
    assert_eq!(
        restored,
        [1, 4, 5, 6],
        "2 and 3 have left, 4 before it came, 5 has come back, and the others are others"
    );
    // What the store has not taken, it does not know.
    let mut ledger = joined();
    accept(&mut ledger, &op(2, BEAT), at(33));
    left(&mut ledger, 2, 34);
    assert!(accept(&mut ledger, &op(2, BEAT), at(35)));
    // Many ids that are chosen to be alike are not searched.
    let mut ledger = Ledger::default();
    let many = MAX_SEARCHED as u128;
    (1..=many + 1).for_each(|n| accept_taken(&mut ledger, &op(n, JOIN), at(30), true));
    for (n, is_live) in [(many, false), (many + 1, true)] {
        let all = id(1)..=id(u128::MAX);
        if let Some((viewer, session)) = ledger.find_stored(&all, |viewer, _| viewer == id(n), at(30)) {
            ledger.note_left(viewer, session, at(30), &RULES);
        }
        assert_eq!(accept(&mut ledger, &op(n, BEAT), at(31)), is_live, "{n}");
    }
}

#[test]
fn a_renewal_is_a_heartbeat_that_only_prolongs_a_lease_in_the_store() {
    let is_renewal = |ledger: &Ledger, act: Act, now: u64| {
        ledger.is_renewal(&op(1, act), at(now.saturating_sub(45)), at(now))
    };
    let mut ledger = Ledger::default();
    assert!(!is_renewal(&ledger, BEAT, 0), "an unknown session");
    let seen = accept_seen(&mut ledger, &op(1, JOIN), at(0));
    assert!(!is_renewal(&ledger, BEAT, 1), "a join on its way to the store");
    ledger.confirm(&op(1, JOIN), seen, (at(0), at(0)), true, &RULES);
    assert!(is_renewal(&ledger, BEAT, 1) && is_renewal(&ledger, BEAT, 45));
    assert!(!is_renewal(&ledger, BEAT, 46), "the lease may end before the renewal reaches the channel");
    assert!(!is_renewal(&ledger, JOIN, 1) && !is_renewal(&ledger, Act::Renew { lease: LEASE }, 1));
    let short = Act::Heartbeat { lease: Duration::from_secs(30) };
    assert!(!is_renewal(&ledger, short, 29) && is_renewal(&ledger, short, 30), "it never shortens a lease");

    accept(&mut ledger, &op(1, BEAT), at(30));
    assert!(!is_renewal(&ledger, BEAT, 31), "a heartbeat on its way");
    ledger.mark_unwritten(&op(1, BEAT));
    assert!(!is_renewal(&ledger, BEAT, 31), "the store lacks a heartbeat");
    write_all(&mut ledger, &mut Roster::default(), at(31));
    assert!(is_renewal(&ledger, BEAT, 31));
    ledger.lost();
    assert!(!is_renewal(&ledger, BEAT, 31), "the store has lost the session");
    write_all(&mut ledger, &mut Roster::default(), at(31));
    accept_taken(&mut ledger, &op(1, Act::Leave), at(32), false);
    assert!(!is_renewal(&ledger, BEAT, 33), "a session that has left");
    accept(&mut ledger, &op(1, JOIN), at(34));
    assert!(!is_renewal(&ledger, BEAT, 35), "a new join on its way");
}

#[test]
fn a_heartbeat_after_a_long_lease_is_no_renewal_when_another_node_may_have_shortened_it() {
    let mut ledger = Ledger::default();
    accept_taken(&mut ledger, &op(1, Act::Join { lease: RULES.longest_lease }), at(0), true);
    let long = op(1, Act::Heartbeat { lease: RULES.longest_lease });
    assert!(ledger.is_renewal(&long, at(0), at(45)) && !ledger.is_renewal(&long, at(1), at(46)));
    assert!(!ledger.is_renewal(&op(1, BEAT), at(0), at(45)), "it would end sooner");
}
