//! The rules of counting, one function each.

use std::time::{Duration, Instant};

use aforo::{
    domain::{Act, ChannelId, LeaseRules, Op, Session, SessionId, Timestamp, ViewerId},
    server::store::{
        Append, Batch, Claim, Difference, LogId, MAX_OPS, Reading, Renewal, Share, Store, StoreError, Written,
    },
};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Subject, attend};

pub const RULES: LeaseRules =
    LeaseRules { longest_lease: Duration::from_secs(30), leave_memory: Duration::from_secs(2) };

const LONG: Duration = RULES.longest_lease;
const SHORT: Duration = Duration::from_millis(200);
const JOIN: Act = Act::Join { lease: LONG };
const HEARTBEAT: Act = Act::Heartbeat { lease: LONG };
const LEAVE: Act = Act::Leave;

/// Checks all rules, each on its own channel.
pub async fn all(subject: &Subject) {
    let [store, other] = &subject.nodes;
    beats_are_idempotent_and_leaves_end_one_session(&**store).await;
    a_lease_ends_on_time(&**store).await;
    a_heartbeat_after_its_leave_is_ignored_until_the_leave_is_forgotten(&**store).await;
    the_later_operation_wins_in_any_order_of_replay(&**store, &**other).await;
    a_restored_lease_keeps_its_end(&**store).await;
    a_repeated_leave_ends_no_beat_after_a_later_join_whose_lease_is_over(&**store).await;
    a_viewer_has_at_most_sixteen_sessions_and_the_oldest_is_dropped(&**store).await;
    operations_on_unknown_sessions_store_nothing(&**store).await;
    the_operations_of_a_batch_are_applied_in_order(&**store).await;
    many_channels_are_answered_in_order(&**store).await;
    a_full_batch_is_accepted(&**store).await;
    sweeping_changes_no_count(&**store).await;
    sweeping_forgets_no_leave_too_early(&**store).await;
    renewing_creates_no_session(&**store).await;
    all_nodes_see_the_same_counts(&**store, &**other).await;
    a_log_keeps_renewals_until_it_is_cleared(&**store, &**other).await;
    the_incarnation_is_stable(&**store).await;
}

pub fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

pub fn op(viewer: u128, session: u128, act: Act) -> Op {
    let uuid = |n: u128| Uuid::from_u128(n + 1);
    Op { viewer: ViewerId::new(uuid(viewer)).unwrap(), session: SessionId::new(uuid(session)).unwrap(), act }
}

pub async fn write(store: &dyn Store, name: &str, ops: &[Op]) -> Written {
    let batch = Batch { channel: channel(name), ops: ops.into() };
    store.write(&[batch]).await.pop().unwrap().unwrap()
}

pub async fn count(store: &dyn Store, name: &str) -> u32 {
    store.counts(&[channel(name)]).await.pop().unwrap().unwrap().count
}

async fn beats_are_idempotent_and_leaves_end_one_session(store: &dyn Store) {
    let name = "idempotent";
    assert_eq!(count(store, name).await, 0, "an unknown channel is empty");
    for act in [JOIN, JOIN, HEARTBEAT] {
        let written = write(store, name, &[op(1, 1, act)]).await;
        assert_eq!((written.active.as_slice(), written.reading.count), (&[true][..], 1));
    }
    write(store, name, &[op(1, 2, HEARTBEAT)]).await;
    assert_eq!(count(store, name).await, 1, "two pages of a viewer are one viewer");
    write(store, name, &[op(1, 1, LEAVE)]).await;
    assert_eq!(count(store, name).await, 1, "the other page still counts");
    write(store, name, &[op(1, 3, LEAVE), op(2, 1, LEAVE)]).await;
    assert_eq!(count(store, name).await, 1, "leaving an unknown session changes nothing");
    assert_eq!(write(store, name, &[op(1, 2, LEAVE)]).await.reading.count, 0);
}

async fn a_lease_ends_on_time(store: &dyn Store) {
    let name = "lease";
    let written = write(store, name, &[op(1, 1, Act::Join { lease: SHORT }), op(2, 2, JOIN)]).await;
    let end = written.applied_at(0) + SHORT;
    loop {
        let (reading, earliest) = timed_reading(store, name, &written).await;
        match reading.count {
            2 => assert!(earliest < end, "the lease ends too late"),
            count => break assert!(count == 1 && reading.as_of >= end, "the lease ends too early"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// A reading, and the earliest time that any part of it can have. `written`, an earlier write of the channel, shows whether
/// the channel has parts. Each part is read at some time between the start and the end of the call.
async fn timed_reading(store: &dyn Store, name: &str, written: &Written) -> (Reading, Timestamp) {
    let began = Instant::now();
    let reading = store.counts(&[channel(name)]).await.pop().unwrap().unwrap();
    let lasted = u32::try_from(began.elapsed().as_millis()).unwrap() + 1;
    (reading, reading.as_of.minus_millis(if written.applied.is_empty() { 0 } else { lasted }))
}

async fn a_heartbeat_after_its_leave_is_ignored_until_the_leave_is_forgotten(store: &dyn Store) {
    let name = "left";
    write(store, name, &[op(1, 1, JOIN)]).await;
    // A call takes effect at some time between its start and its end. A slow call is repeated, because it takes effect at a
    // time that is estimated.
    let timed = async |op| loop {
        let began = Instant::now();
        let written = write(store, name, &[op]).await;
        let (as_of, lasted) = (written.reading.as_of, began.elapsed());
        if lasted < Duration::from_millis(200) || written.active[0] {
            let lasted = u32::try_from(lasted.as_millis()).unwrap() + 1;
            break (written, as_of.minus_millis(lasted), as_of.plus_millis(lasted));
        }
    };
    let (_, earliest_leave, latest_leave) = timed(op(1, 1, LEAVE)).await;
    loop {
        let (written, earliest, latest) = timed(op(1, 1, HEARTBEAT)).await;
        let is_active = written.active[0];
        assert_eq!(written.reading.count, u32::from(is_active));
        assert!(
            !is_active || latest >= earliest_leave + RULES.leave_memory,
            "the leave is forgotten too early"
        );
        assert!(
            is_active || earliest < latest_leave + RULES.leave_memory,
            "the leave is remembered for too long"
        );
        if is_active {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    write(store, name, &[op(2, 2, LEAVE)]).await;
    assert!(write(store, name, &[op(2, 2, JOIN)]).await.active[0], "a join always counts");
    assert!(write(store, name, &[op(2, 2, HEARTBEAT)]).await.active[0]);
}

/// The replay of a beat that happened `ago` before `now`.
fn replayed_beat(now: Timestamp, ago: Duration, is_join: bool) -> Act {
    let at = now.minus_millis(u32::try_from(ago.as_millis()).unwrap());
    Act::Restore(Session::beating(at, LONG, is_join))
}

/// The replay of a leave that happened `ago` before `now`.
fn replayed_leave(now: Timestamp, ago: Duration) -> Act {
    let at = now.minus_millis(u32::try_from(ago.as_millis()).unwrap());
    Act::Restore(Session::left_unknown(at).to_be_told())
}

async fn the_later_operation_wins_in_any_order_of_replay(store: &dyn Store, other: &dyn Store) {
    let name = "restore";
    let seconds = Duration::from_secs;
    let now = write(store, name, &[op(1, 1, JOIN), op(2, 1, JOIN), op(2, 1, LEAVE)]).await.reading.as_of;
    let older = [
        op(1, 1, replayed_beat(now, seconds(2), true)),
        op(1, 1, replayed_leave(now, seconds(1))),
        op(2, 1, replayed_beat(now, seconds(1), true)),
        op(3, 1, replayed_beat(now, seconds(4), true)),
        op(3, 1, replayed_leave(now, seconds(3))),
        op(4, 1, replayed_leave(now, seconds(3))),
        op(4, 1, replayed_beat(now, seconds(2), true)),
    ];
    let written = write(other, name, &older).await;
    assert_eq!(written.active.as_slice(), [true, true, false, true, false, false, true]);
    assert_eq!(written.reading.count, 2, "viewers 1 and 4 count: their last operation is a join");
    if let Some(reading) = store.counts(&[channel(name)]).await.pop() {
        let reading = reading.unwrap();
        assert!(
            reading.mark.is_none() || reading.restored >= now,
            "the reading contains the time of the restoration"
        );
    }
    // Repeated replays in any order lead to the same result.
    let mut backwards = older;
    backwards.reverse();
    write(store, name, &backwards).await;
    assert_eq!(
        write(other, name, &older).await.active.as_slice()[1..],
        [true, false, false, false, true, true]
    );
    assert_eq!(count(store, name).await, 2);
}

async fn a_restored_lease_keeps_its_end(store: &dyn Store) {
    let name = "restored-lease";
    let written = write(store, name, &[op(1, 1, JOIN)]).await;
    let now = written.reading.as_of;
    write(store, name, &[op(2, 1, replayed_beat(now, LONG - SHORT, true))]).await;
    loop {
        let (reading, earliest) = timed_reading(store, name, &written).await;
        if reading.as_of >= now + LONG {
            break;
        }
        match reading.count {
            2 => assert!(earliest < now + SHORT, "the lease ends too late"),
            count => break assert!(count == 1 && reading.as_of >= now + SHORT, "the lease ends too early"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn a_repeated_leave_ends_no_beat_after_a_later_join_whose_lease_is_over(store: &dyn Store) {
    let name = "short-lease";
    let brief = Act::Join { lease: SHORT };
    // The second viewer has another page, so its entry contains two sessions.
    let ops = [op(1, 1, LEAVE), op(1, 1, brief), op(2, 1, LEAVE), op(2, 1, brief), op(2, 2, brief)];
    let written = write(store, name, &ops).await;
    // The viewers may be on two servers.
    let now = written.applied_at(1).min(written.applied_at(3));
    let withdrawn = |n, join| {
        let before = written.applied_at(join).minus_millis(1);
        op(n, 1, Act::Withdraw(Session::left_unknown(before).to_be_told()))
    };
    loop {
        store.sweep().await.unwrap();
        let reading = store.counts(&[channel(name)]).await.pop().unwrap().unwrap();
        assert!(reading.count == 2 || reading.as_of >= now + SHORT);
        if reading.count == 0 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    store.sweep().await.unwrap();
    write(store, name, &[op(1, 1, HEARTBEAT), op(2, 1, HEARTBEAT)]).await;
    let written = write(store, name, &[withdrawn(1, 1), withdrawn(2, 3)]).await;
    if written.reading.as_of < now + RULES.leave_memory {
        assert_eq!((written.active.as_slice(), written.reading.count), (&[true, true][..], 2));
    }
}

async fn a_viewer_has_at_most_sixteen_sessions_and_the_oldest_is_dropped(store: &dyn Store) {
    let name = "sessions";
    for n in 0..20 {
        assert_eq!(write(store, name, &[op(1, n, JOIN)]).await.reading.count, 1);
        sleep(Duration::from_millis(2)).await;
    }
    let renew = |n| op(1, n, Act::Renew { lease: LONG });
    let ops: Vec<_> = (0..20).map(renew).collect();
    let expected: Vec<_> = (0..20).map(|n| n >= 4).collect();
    assert_eq!(write(store, name, &ops).await.active.as_slice(), expected);
    let leaves: Vec<_> = (100..200).map(|n| op(1, n, LEAVE)).collect();
    write(store, name, &leaves).await;
    assert_eq!(write(store, name, &[renew(19)]).await.active.as_slice(), [true], "leaves drop no session");
}

async fn operations_on_unknown_sessions_store_nothing(store: &dyn Store) {
    let written =
        write(store, "nothing", &[op(1, 1, Act::Renew { lease: LONG }), op(2, 1, Act::LeaveKnown)]).await;
    assert_eq!((written.active.as_slice(), written.reading.count), (&[false, false][..], 0));
    assert_eq!(written.reading.mark, None);
    let written = write(store, "nothing", &[op(1, 1, LEAVE)]).await;
    assert_eq!((written.reading.count, written.reading.mark), (0, None));
}

async fn the_operations_of_a_batch_are_applied_in_order(store: &dyn Store) {
    let ops = [
        op(1, 1, JOIN),
        op(1, 1, LEAVE),
        op(1, 1, HEARTBEAT),
        op(1, 1, JOIN),
        op(1, 2, HEARTBEAT),
        op(1, 1, LEAVE),
    ];
    let written = write(store, "order", &ops).await;
    assert_eq!(written.active.as_slice(), [true, false, false, true, true, false]);
    assert_eq!(written.reading.count, 1);
}

async fn many_channels_are_answered_in_order(store: &dyn Store) {
    let name = |n: u32| format!("many-{n}");
    let batches: Vec<_> = (0..150_u32)
        .map(|n| Batch {
            channel: channel(&name(n)),
            ops: (0..u128::from(n % 7)).map(|v| op(v, v, JOIN)).collect(),
        })
        .filter(|batch| !batch.ops.is_empty())
        .collect();
    for (batch, written) in batches.iter().zip(store.write(&batches).await) {
        assert_eq!(written.unwrap().reading.count as usize, batch.ops.len());
    }
    let channels: Vec<_> = (0..150).map(|n| channel(&name(n))).collect();
    for (n, reading) in store.counts(&channels).await.into_iter().enumerate() {
        assert_eq!(reading.unwrap().count as usize, n % 7);
    }
    let mut live: Vec<_> = store.live().await.unwrap().live;
    live.retain(|live| live.channel.as_str().starts_with("many-"));
    assert_eq!(live.len(), batches.len());
    for live in live {
        let n: u32 = live.channel.as_str().trim_start_matches("many-").parse().unwrap();
        assert_eq!(live.count, n % 7);
    }
}

async fn a_full_batch_is_accepted(store: &dyn Store) {
    let ops: Vec<_> = (0..MAX_OPS as u128).map(|n| op(n, n, JOIN)).collect();
    let written = write(store, "full", &ops).await;
    assert_eq!((written.reading.count as usize, written.active.len()), (MAX_OPS, MAX_OPS));
    assert!(written.active.iter().all(|active| *active));
}

async fn sweeping_changes_no_count(store: &dyn Store) {
    let name = "sweep";
    let brief = Act::Join { lease: Duration::from_millis(1) };
    let ops: Vec<_> = (0..300).map(|n| op(n, n, if n < 100 { JOIN } else { brief })).collect();
    write(store, name, &ops).await;
    sleep(Duration::from_millis(20)).await;
    assert_eq!(count(store, name).await, 100);
    store.sweep().await.unwrap();
    assert_eq!(count(store, name).await, 100);
    write(store, name, &[op(5, 5, LEAVE)]).await;
    assert_eq!(count(store, name).await, 99, "live sessions are still known after a sweep");
}

async fn sweeping_forgets_no_leave_too_early(store: &dyn Store) {
    let name = "sweep-leaves";
    // One page of the viewer has left. The lease of the other page ends before the leave is forgotten.
    let join_shortly = Act::Join { lease: SHORT };
    let ops = [op(1, 1, join_shortly), op(1, 2, JOIN), op(1, 2, LEAVE), op(2, 1, LEAVE)];
    let written = write(store, name, &ops).await;
    // The viewers may be on two servers.
    let start = written.applied_at(2).min(written.applied_at(3));
    while count(store, name).await > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..2 {
        store.sweep().await.unwrap();
        let written = write(store, name, &[op(1, 2, HEARTBEAT), op(2, 1, HEARTBEAT)]).await;
        if written.reading.as_of < start + RULES.leave_memory {
            assert_eq!((written.active.as_slice(), written.reading.count), (&[false, false][..], 0));
        }
    }
    let written = write(store, name, &[op(1, 1, HEARTBEAT), op(2, 1, JOIN)]).await;
    assert_eq!((written.active.as_slice(), written.reading.count), (&[true, true][..], 2));
}

async fn renewing_creates_no_session(store: &dyn Store) {
    let name = "renew";
    let renew = Act::Renew { lease: LONG };
    let active = |written: &Written| written.active.to_vec();
    assert_eq!(active(&write(store, name, &[op(1, 1, renew)]).await), [false], "the session is unknown");
    assert_eq!(active(&write(store, name, &[op(1, 1, JOIN), op(1, 1, renew)]).await), [true, true]);
    assert_eq!(active(&write(store, name, &[op(1, 1, LEAVE), op(1, 1, renew)]).await), [false, false]);
    sleep(RULES.leave_memory).await;
    let renewed = write(store, name, &[op(1, 1, renew)]).await;
    assert_eq!(active(&renewed), [false], "also after its leave is forgotten");
    assert_eq!(count(store, name).await, 0);
}

async fn all_nodes_see_the_same_counts(one: &dyn Store, two: &dyn Store) {
    let name = "nodes";
    write(one, name, &[op(1, 1, JOIN)]).await;
    write(two, name, &[op(1, 2, JOIN), op(2, 3, JOIN)]).await;
    assert_eq!((count(one, name).await, count(two, name).await), (2, 2));
    write(two, name, &[op(1, 1, LEAVE)]).await;
    assert_eq!(count(one, name).await, 2);
    write(one, name, &[op(1, 2, LEAVE)]).await;
    assert_eq!(count(two, name).await, 1);
    assert!(
        two.live().await.unwrap().live.iter().any(|live| live.channel.as_str() == name && live.count == 1)
    );
}

async fn the_incarnation_is_stable(store: &dyn Store) {
    let first = store.incarnation().await.unwrap();
    assert_eq!(store.incarnation().await.unwrap(), first, "the store was not restarted");
}

/// Nodes share the parts evenly. A node that stops renewing its lease, or shuts down, loses its parts to the others. A
/// node with another database gets none.
pub async fn shares(subject: &Subject) {
    let [one, two] = &subject.nodes;
    let all: Vec<u16> = (0..ChannelId::PARTS).collect();
    let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let claim = |node, lease, database| Claim { node, lease, database };
    let parts = |share: Share| match share {
        Share::Parts(mut parts) => {
            parts.sort_unstable();
            parts
        }
        other => panic!("other settings are in use: {other:?}"),
    };
    let long = Duration::from_secs(60);
    let first = async |lease| parts(one.share(&claim(1, lease, Some(here))).await.unwrap());
    let second = async |lease| parts(two.share(&claim(2, lease, Some(here))).await.unwrap());
    assert_eq!(first(long).await, all, "a single node owns everything");
    if !one.is_shared() {
        return;
    }
    assert!(second(long).await.is_empty(), "nothing is taken away from a node");
    let half = first(long).await;
    assert_eq!(half.len(), all.len() / 2, "a node releases more than its share at its next call");
    let other = second(long).await;
    assert_eq!(other.len(), all.len() / 2);
    assert!(half.iter().all(|part| !other.contains(part)), "{half:?} {other:?}");
    assert_eq!((first(long).await, second(long).await), (half.clone(), other.clone()), "shares do not move");

    let stranger = claim(3, long, Some(there));
    assert_eq!(one.share(&stranger).await.unwrap(), Share::Refused(Difference::Database));
    let unknown = parts(one.share(&claim(4, long, None)).await.unwrap());
    assert!(unknown.is_empty(), "a node that does not know its database yet may wait for parts");
    one.share(&claim(4, Duration::ZERO, None)).await.unwrap();

    assert!(second(Duration::ZERO).await.is_empty(), "a node that shuts down releases its parts");
    assert_eq!(first(long).await, all);
    one.share(&claim(1, Duration::ZERO, Some(here))).await.unwrap();
    assert_eq!(parts(one.share(&stranger).await.unwrap()), all, "the last node took its database with it");
    one.share(&claim(3, Duration::ZERO, Some(there))).await.unwrap();

    assert_eq!(first(Duration::from_millis(1)).await, all);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(second(long).await, all, "the lease of the first node is over");
}

async fn a_log_keeps_renewals_until_it_is_cleared(store: &dyn Store, other: &dyn Store) {
    let name = "logged";
    let (Some(logs), Some(others)) = (store.renewal_log(), other.renewal_log()) else { return };
    attend(1, store).await;
    let renewal = |n| {
        let Op { viewer, session, .. } = op(n, n, HEARTBEAT);
        Renewal { channel: channel(name), viewer, session, lease: LONG }
    };
    let log = LogId { node: 7, is_second: false };
    // On a busy machine, a call may arrive late.
    let append = async |renewals: &[Renewal]| {
        for _ in 0..500 {
            match logs.append(log, renewals).await {
                Ok(Append::NotNow) | Err(StoreError::Unreachable(_)) => sleep(SHORT / 10).await,
                result => return result.unwrap(),
            }
        }
        panic!("nothing can be appended");
    };
    write(store, name, &[op(1, 1, JOIN), op(2, 2, JOIN), op(3, 3, JOIN)]).await;
    write(store, "another", &[op(1, 1, JOIN), op(1, 1, LEAVE)]).await;
    write(other, name, &[op(2, 2, LEAVE)]).await;
    let all = [renewal(1), renewal(2), renewal(3)];
    assert_eq!(append(&all).await, Append::Refused(vec![false, true, false]));
    assert_eq!(others.read(log).await.unwrap(), Vec::new(), "all are appended or none");
    let two = [renewal(1), renewal(3)];
    let Append::Done(first) = append(&two).await else { panic!("nobody of them has left") };
    let Append::Done(second) = append(&two[..1]).await else { panic!("nobody has left") };
    let [one, three] = two.clone();
    let logged = vec![(one.clone(), first.at), (three, first.at), (one, second.at)];
    assert_eq!(others.read(log).await.unwrap(), logged);
    assert_eq!(others.read(LogId { is_second: true, ..log }).await.unwrap(), Vec::new());
    assert_eq!(others.owners(Duration::ZERO).await.unwrap(), vec![7]);
    assert!(others.owners(Duration::from_secs(60)).await.unwrap().is_empty(), "its log is new");
    logs.clear(log).await.unwrap();
    assert_eq!(others.read(log).await.unwrap(), Vec::new());
    write(store, name, &[op(2, 2, JOIN)]).await;
    assert!(matches!(append(&all).await, Append::Done(_)), "it has come back");
    others.remove(7).await.unwrap();
    assert!(
        others.owners(Duration::ZERO).await.unwrap().is_empty() && others.read(log).await.unwrap().is_empty()
    );

    // Sixteen newer sessions take the place of an older one.
    let sessions: Vec<_> = (10..26).map(|session| op(1, session, JOIN)).collect();
    write(other, name, &sessions).await;
    assert_eq!(append(&two).await, Append::Refused(vec![true, false]));

    // A heartbeat of a log revives what has ended, and asks no node to check its journal: nothing was lost.
    let beat = |n, at| op(n, n, Act::Logged(Session::beating(at, LONG, false)));
    loop {
        // The store does not know when this session has joined.
        let before = write(store, name, &[op(4, 4, Act::Heartbeat { lease: SHORT })]).await.reading;
        sleep(SHORT).await;
        let after = write(store, name, &[beat(4, before.as_of)]).await;
        assert!(after.active[0]);
        // After the leave memory, a leave may be forgotten.
        if after.reading.as_of < before.as_of + RULES.leave_memory {
            break assert_eq!(after.reading.restored, before.restored);
        }
    }
}
