//! Random histories of joins, heartbeats, renewals, leaves and reads through two nodes, compared with a simple model.
//!
//! The test prints its seed; `AFORO_SEED` repeats it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aforo::domain::{Act, Op, Timestamp};
use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use tokio::time::sleep;

use super::{
    Subject,
    rules::{RULES, channel, count, op, write},
};

const STEPS: usize = 300;

/// Sessions with the ends of their leases, and sessions that have left with the times of their leaves.
#[derive(Default)]
struct Model {
    leases: HashMap<(u128, u128), Timestamp>,
    left: HashMap<(u128, u128), Timestamp>,
}

impl Model {
    fn apply(&mut self, op: &Op, now: Timestamp) -> bool {
        let session = (op.viewer.uuid().as_u128(), op.session.uuid().as_u128());
        let has_left = self.left.get(&session).is_some_and(|at| *at + RULES.leave_memory > now);
        let is_live = self.leases.get(&session).is_some_and(|end| *end > now);
        match op.act {
            Act::LeaveKnown if !is_live && !has_left => {}
            Act::Leave | Act::LeaveKnown => {
                self.leases.remove(&session);
                self.left.insert(session, now);
            }
            Act::Heartbeat { .. } | Act::Renew { .. } if has_left => {}
            Act::Renew { .. } if !is_live => {}
            Act::Join { lease } | Act::Heartbeat { lease } | Act::Renew { lease } => {
                self.left.remove(&session);
                self.leases.insert(session, now + lease);
            }
            // `rules` tests these: their effect depends on the times of other operations.
            Act::Restore(_) | Act::Late(_) | Act::Logged(_) | Act::Withdraw(_) => {}
        }
        self.leases.get(&session).is_some_and(|end| *end > now)
    }

    fn count(&self, now: Timestamp) -> usize {
        let mut viewers: Vec<_> =
            self.leases.iter().filter(|(_, end)| **end > now).map(|((viewer, _), _)| *viewer).collect();
        viewers.sort_unstable();
        viewers.dedup();
        viewers.len()
    }
}

/// The longest duration of a call in a valid history. A longer call may be dated to when it was sent.
const PROMPT: Duration = Duration::from_millis(200);

/// The maximum number of histories until one has no long call. Long calls happen on a busy machine.
const ATTEMPTS: u32 = 20;

pub async fn any(subject: &Subject) {
    let seed = std::env::vars().find(|(name, _)| name == "AFORO_SEED").map_or_else(
        || uuid::Uuid::new_v4().as_u64_pair().0,
        |(_, seed)| seed.parse().expect("AFORO_SEED must be a number"),
    );
    println!("AFORO_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    for attempt in 0..ATTEMPTS {
        if run(subject, &format!("history-{attempt}"), &mut random).await {
            return;
        }
    }
    panic!("calls take too long for {ATTEMPTS} histories");
}

/// Runs a history in its own channel. `false`: a call took too long, so its expected effect is unknown.
async fn run(subject: &Subject, name: &str, random: &mut TestRng) -> bool {
    let mut model = Model::default();
    for step in 0..STEPS {
        let ops: Vec<_> = (0..1 + random.next_u32() % 8).map(|_| any_op(random)).collect();
        let store = &subject.nodes[(random.next_u32() % 2) as usize];
        let began = Instant::now();
        let written = write(&**store, name, &ops).await;
        let lasted = began.elapsed();
        if lasted >= PROMPT {
            return false;
        }
        let active = |(nth, op)| model.apply(op, written.applied_at(nth));
        let active: Vec<_> = ops.iter().enumerate().map(active).collect();
        assert_eq!(written.active.as_slice(), active, "step {step}: {ops:?}");
        // The parts of a channel are read at some time during the call. Meanwhile leases only end.
        let now = written.reading.as_of;
        let spread =
            if written.applied.is_empty() { 0 } else { u32::try_from(lasted.as_millis()).unwrap() + 1 };
        let expected = model.count(now)..=model.count(now.minus_millis(spread));
        assert!(expected.contains(&(written.reading.count as usize)), "step {step}: {ops:?}");
        if !read(subject, name, &model, step, random).await {
            return false;
        }
        match random.next_u32() % 20 {
            0 => store.sweep().await.unwrap(),
            1..5 => sleep(Duration::from_millis(u64::from(random.next_u32() % 20))).await,
            _ => {}
        }
    }
    sleep(Duration::from_millis(110)).await;
    assert_eq!(count(&*subject.nodes[0], name).await, 0);
    true
}

/// Reads the channel a few times through any node, beside others, and after pauses in which leases end. `false`: a call took
/// too long.
async fn read(subject: &Subject, name: &str, model: &Model, step: usize, random: &mut TestRng) -> bool {
    let names: Vec<_> = (0..4).map(|nth| channel(&format!("{name}-quiet-{nth}"))).collect();
    let names = [names, vec![channel(name)]].concat();
    for _ in 0..random.next_u32() % 6 {
        let store = &subject.nodes[(random.next_u32() % 2) as usize];
        let began = Instant::now();
        let reading = store.counts(&names).await.pop().unwrap().unwrap();
        let lasted = began.elapsed();
        if lasted >= PROMPT {
            return false;
        }
        // The parts of a channel are read at some time during the call.
        let earliest = reading.as_of.minus_millis(u32::try_from(lasted.as_millis()).unwrap() + 1);
        let (fewest, most) = (model.count(reading.as_of), model.count(earliest));
        let is_right = (fewest..=most).contains(&(reading.count as usize));
        assert!(is_right, "step {step}: {} viewers, not {fewest} to {most}", reading.count);
        if random.next_u32().is_multiple_of(4) {
            sleep(Duration::from_millis(u64::from(random.next_u32() % 20))).await;
        }
    }
    true
}

fn any_op(random: &mut TestRng) -> Op {
    let mut below = |n: u32| random.next_u32() % n;
    let (viewer, session) = (below(4), below(3));
    let duration = Duration::from_millis(u64::from(1 + below(100)));
    let act = match below(9) {
        0..2 => Act::Join { lease: duration },
        2..6 => Act::Heartbeat { lease: duration },
        6 => Act::Renew { lease: duration },
        _ => Act::Leave,
    };
    op(viewer.into(), session.into(), act)
}
