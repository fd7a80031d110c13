use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{Roster, policy::LEAVE_MEMORY};

const LEASE: Duration = Duration::from_secs(60);
const RULES: LeaseRules = LeaseRules { longest_lease: Duration::from_secs(150), leave_memory: LEAVE_MEMORY };
const JOIN: Act = Act::Join { lease: LEASE };
const BEAT: Act = Act::Heartbeat { lease: LEASE };

fn of(n: u128, act: Act) -> Op {
    let uuid = Uuid::from_u128(n);
    Op { viewer: ViewerId::new(uuid).unwrap(), session: SessionId::new(uuid).unwrap(), act }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn accept(ledger: &mut Ledger, op: &Op, now: Timestamp) -> bool {
    ledger.accept(op, now, now, &RULES)
}

/// Writes everything that is pending to a store, in pieces of two.
fn write_all(ledger: &mut Ledger, store: &mut Roster, now: Timestamp) -> usize {
    let mut number = 0;
    while ledger.is_unwritten() {
        let pieces = ledger.pending(2, now, &RULES);
        for piece in &pieces {
            let op = Op { viewer: piece.viewer, session: piece.session, act: Act::Restore(piece.state) };
            store.apply(&op, now, &RULES);
        }
        number += pieces.len();
        ledger.written(&pieces);
    }
    number
}

fn count(store: &mut Roster, now: Timestamp) -> u32 {
    while !store.expire(now, 100, &RULES) {}
    store.count()
}

#[test]
fn an_empty_store_gets_back_everyone_for_what_is_left_of_their_lease() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    accept(&mut ledger, &of(1, JOIN), at(0));
    accept(&mut ledger, &of(2, JOIN), at(30));
    accept(&mut ledger, &of(3, JOIN), at(30));
    accept(&mut ledger, &of(3, Act::Leave), at(31));
    assert!(!ledger.is_unwritten(), "nothing is written again without a reason");
    ledger.lost();
    assert_eq!(write_all(&mut ledger, &mut store, at(40)), 3);
    assert_eq!((count(&mut store, at(59)), count(&mut store, at(60)), count(&mut store, at(90))), (2, 1, 0));
}

#[test]
fn after_an_outage_only_what_came_since_is_written_again() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    accept(&mut ledger, &of(1, JOIN), at(0));
    for (n, act) in [(2, JOIN), (3, BEAT), (4, Act::Leave)] {
        accept(&mut ledger, &of(n, act), at(10));
        ledger.mark_unwritten(&of(n, act));
    }
    assert_eq!(write_all(&mut ledger, &mut store, at(30)), 3, "a leave is told however long it takes");
    assert_eq!(count(&mut store, at(30)), 2);
}

#[test]
fn the_same_is_counted_in_whichever_order_nodes_write_again() {
    // Join on one, leave on the other, and once more a join on the one: the viewer is there. Left last: gone.
    for (events, expected) in [
        (&[(0, JOIN, 0), (1, Act::Leave, 20), (0, JOIN, 30)][..], 1),
        (&[(0, JOIN, 0), (0, JOIN, 20), (1, Act::Leave, 30)][..], 0),
    ] {
        for order in [[0, 1], [1, 0]] {
            let mut ledgers = [Ledger::default(), Ledger::default()];
            for (node, act, second) in events {
                accept(&mut ledgers[*node], &of(1, *act), at(*second));
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

#[test]
fn what_the_store_knows_to_have_left_is_not_brought_back() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    accept(&mut ledger, &of(1, JOIN), at(0));
    accept(&mut ledger, &of(1, BEAT), at(22));
    ledger.confirm(&of(1, BEAT), at(22), at(22), false, &RULES);
    ledger.lost();
    write_all(&mut ledger, &mut store, at(23));
    assert_eq!(count(&mut store, at(23)), 0);
}

#[test]
fn pieces_that_were_taken_are_not_handed_out_again() {
    let mut ledger = Ledger::default();
    for n in 1..=1_000 {
        accept(&mut ledger, &of(n, JOIN), at(0));
    }
    ledger.lost();
    let (mut handed_out, mut failed) = (0, 0);
    while ledger.is_unwritten() {
        let piece = ledger.pending(250, at(1), &RULES);
        handed_out += piece.len();
        // The second piece fails once.
        if handed_out == 500 && failed == 0 {
            failed = piece.len();
        } else {
            ledger.written(&piece);
        }
    }
    assert_eq!((handed_out, failed), (1_250, 250));
}

#[test]
fn a_change_or_a_loss_while_a_piece_is_written_is_not_forgotten() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &of(1, JOIN), at(0));
    ledger.lost();
    let piece = ledger.pending(10, at(1), &RULES);
    accept(&mut ledger, &of(1, BEAT), at(1));
    ledger.written(&piece);
    assert!(ledger.is_unwritten());
    let _end = ledger.pending(10, at(1), &RULES);
    let piece = ledger.pending(10, at(1), &RULES);
    ledger.lost();
    ledger.written(&piece);
    assert!(ledger.is_unwritten());
}

#[test]
fn it_answers_heartbeats_after_a_leave_as_the_store_does() {
    let mut ledger = Ledger::default();
    assert!(accept(&mut ledger, &of(1, JOIN), at(0)));
    assert!(!accept(&mut ledger, &of(1, Act::Leave), at(1)));
    assert!(!accept(&mut ledger, &of(1, BEAT), at(10)));
    assert!(accept(&mut ledger, &of(1, BEAT), at(11)));
    accept(&mut ledger, &of(2, Act::Leave), at(1));
    assert!(accept(&mut ledger, &of(2, JOIN), at(2)));
    assert!(accept(&mut ledger, &of(2, BEAT), at(3)));
    assert!(!accept(&mut ledger, &of(3, Act::Renew { lease: LEASE }), at(3)));
    assert!(!accept(&mut ledger, &of(3, Act::LeaveKnown), at(3)));
    assert_eq!(ledger.len(), 2, "what is unknown and not created takes no memory");
}

#[test]
fn it_forgets_in_small_steps_what_no_longer_matters() {
    let mut ledger = Ledger::default();
    for n in 1..=100 {
        accept(&mut ledger, &of(n, JOIN), at(0));
    }
    accept(&mut ledger, &of(101, Act::Leave), at(0));
    accept(&mut ledger, &of(1, Act::Leave), at(0));
    ledger.lost();
    let sweep = |ledger: &mut Ledger, now| (0..20).any(|_| ledger.sweep(now, 10, &RULES));
    assert!(sweep(&mut ledger, at(59)));
    assert_eq!(ledger.len(), 101);
    assert!(sweep(&mut ledger, at(60)));
    assert_eq!(ledger.len(), 2, "other nodes may still know the beats of those that left");
    assert!(sweep(&mut ledger, at(150)));
    assert!(ledger.is_empty() && !ledger.is_unwritten());
}

#[test]
fn handing_out_comes_to_an_end_also_where_all_that_was_pending_is_over() {
    let mut ledger = Ledger::default();
    for n in 1..=100 {
        accept(&mut ledger, &of(n, JOIN), at(0));
    }
    ledger.lost();
    assert_eq!(ledger.pending(2, at(60), &RULES), Vec::new());
    assert!((0..100).any(|_| ledger.pending(2, at(60), &RULES).is_empty() && ledger.is_at_end()));
    assert!(!ledger.is_unwritten());
}

/// What is to be written again, as the store takes it.
fn write_pending(ledger: &mut Ledger, store: &mut Roster, now: Timestamp) -> Vec<Why> {
    let pieces = ledger.pending(100, now, &RULES);
    for piece in &pieces {
        let act = match piece.why {
            Why::Lost => Act::Restore,
            Why::Late => Act::Late,
            Why::Repeated => Act::Withdraw,
        };
        let op = Op { viewer: piece.viewer, session: piece.session, act: act(piece.state) };
        store.apply(&op, now, &RULES);
    }
    ledger.written(&pieces);
    pieces.iter().map(|piece| piece.why).collect()
}

#[test]
fn a_leave_is_repeated_for_a_store_that_learns_of_the_join_long_after_it() {
    let (mut cut_off, mut other, mut store) = (Ledger::default(), Ledger::default(), Roster::default());
    accept(&mut cut_off, &of(1, JOIN), at(0));
    cut_off.mark_unwritten(&of(1, JOIN));
    accept(&mut other, &of(1, Act::Leave), at(2));
    store.apply(&of(1, Act::Leave), at(2), &RULES);
    // The store has forgotten the leave by then.
    assert_eq!(write_pending(&mut cut_off, &mut store, at(20)), [Why::Late]);
    assert_eq!(count(&mut store, at(20)), 1);
    other.repeat_leaves();
    other.repeat_leaves();
    assert!(other.is_unwritten() && !other.is_lacking());
    assert_eq!(write_pending(&mut other, &mut store, at(21)), [Why::Repeated]);
    assert_eq!(count(&mut store, at(21)), 0);
    assert!(!other.is_unwritten());
}

#[test]
fn a_repeated_leave_creates_nothing_and_ends_no_later_join() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    for n in [1, 2] {
        accept(&mut ledger, &of(n, Act::Leave), at(2));
    }
    store.apply(&of(2, JOIN), at(5), &RULES);
    ledger.repeat_leaves();
    assert_eq!(write_pending(&mut ledger, &mut store, at(30)), [Why::Repeated; 2]);
    assert_eq!(count(&mut store, at(30)), 1);
    assert_eq!(count(&mut store, at(100)), 0);
    assert!(store.is_empty(), "nothing of the unknown session is kept");
}

#[test]
fn leaves_are_repeated_while_they_matter_and_no_more_than_a_bounded_number() {
    let mut ledger = Ledger::default();
    for n in 1..=5_000 {
        accept(&mut ledger, &of(n, Act::Leave), at(1));
    }
    ledger.repeat_leaves();
    assert_eq!(ledger.pending, MOST_REPEATED);
    // What happens to such a session takes the place of the repetition, and a loss takes all.
    accept(&mut ledger, &of(5_000, JOIN), at(2));
    assert_eq!((ledger.pending, ledger.repeated), (MOST_REPEATED - 1, MOST_REPEATED - 1));
    ledger.lost();
    assert_eq!((ledger.pending, ledger.repeated), (5_000, 0));
    ledger.repeat_leaves();
    assert_eq!((ledger.pending, ledger.repeated), (5_000, 0));
    while !ledger.sweep(at(200), 500, &RULES) {}
    assert!(ledger.is_empty() && ledger.unknown_leaves.is_empty() && !ledger.is_unwritten());
}

#[test]
fn a_leave_that_gives_way_to_newer_ones_while_it_is_repeated_upsets_no_number() {
    let mut ledger = Ledger::default();
    accept(&mut ledger, &of(1, Act::Leave), at(1));
    ledger.repeat_leaves();
    for n in 2..=5_000 {
        accept(&mut ledger, &of(n, Act::Leave), at(1));
    }
    assert_eq!((ledger.pending, ledger.repeated), (0, 0));
    ledger.lost();
    let mut store = Roster::default();
    assert_eq!(write_all(&mut ledger, &mut store, at(2)), 5_000);
    assert_eq!((ledger.pending, ledger.repeated), (0, 0));
    assert!(!ledger.is_lacking());
}

#[test]
fn a_join_that_waited_while_its_leave_overtook_it_counts_for_nobody() {
    let (mut ledger, mut store) = (Ledger::default(), Roster::default());
    assert!(!accept(&mut ledger, &of(1, Act::Leave), at(3)));
    assert!(!ledger.accept(&of(1, JOIN), at(1), at(5), &RULES), "it left after it came");
    assert!(ledger.accept(&of(1, JOIN), at(4), at(5), &RULES), "it came again after it left");
    accept(&mut ledger, &of(2, JOIN), at(1));
    accept(&mut ledger, &of(2, Act::Leave), at(3));
    assert!(!ledger.accept(&of(2, BEAT), at(2), at(5), &RULES));
    ledger.lost();
    write_all(&mut ledger, &mut store, at(6));
    assert_eq!((count(&mut store, at(63)), count(&mut store, at(64))), (1, 0));
}
