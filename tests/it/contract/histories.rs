//! Random histories of joins, beats, leaves and replays by two nodes, held to a model that is too simple to be wrong.
//!
//! A failing run prints its seed; `AFORO_SEED` runs it again.

use std::{collections::HashMap, time::Duration};

use aforo::domain::{Act, Op, Timestamp};
use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use tokio::time::sleep;

use super::{
    Subject,
    rules::{count, op, write},
};

const STEPS: usize = 400;

/// Sessions and the ends of their leases; what has left, and until when that counts.
#[derive(Default)]
struct Model {
    leases: HashMap<(u128, u128), Timestamp>,
    left: HashMap<(u128, u128), Timestamp>,
}

impl Model {
    fn apply(&mut self, op: &Op, now: Timestamp) -> bool {
        let session = (op.viewer.uuid().as_u128(), op.session.uuid().as_u128());
        let has_left = self.left.get(&session).is_some_and(|until| *until > now);
        let end = match op.act {
            Act::Leave { remember } => {
                self.leases.remove(&session);
                self.left.insert(session, now + remember);
                return false;
            }
            Act::Join { lease } => {
                self.left.remove(&session);
                now + lease
            }
            _ if has_left => return false,
            Act::Renew { .. } if self.leases.get(&session).is_none_or(|end| *end <= now) => return false,
            Act::Heartbeat { lease } | Act::Renew { lease } => now + lease,
            Act::Restore { lease } => {
                (now + lease).max(self.leases.get(&session).copied().unwrap_or_default())
            }
        };
        self.leases.insert(session, end);
        true
    }

    fn count(&self, now: Timestamp) -> usize {
        let mut viewers: Vec<_> =
            self.leases.iter().filter(|(_, end)| **end > now).map(|((viewer, _), _)| *viewer).collect();
        viewers.sort_unstable();
        viewers.dedup();
        viewers.len()
    }
}

pub async fn any(subject: &Subject) {
    let seed = std::env::vars().find(|(name, _)| name == "AFORO_SEED").map_or_else(
        || uuid::Uuid::new_v4().as_u64_pair().0,
        |(_, seed)| seed.parse().expect("AFORO_SEED is a number"),
    );
    println!("AFORO_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut model = Model::default();
    for step in 0..STEPS {
        let ops: Vec<_> = (0..1 + random.next_u32() % 8).map(|_| any_op(&mut random)).collect();
        let store = &subject.nodes[(random.next_u32() % 2) as usize];
        let written = write(&**store, "history", &ops).await;
        let now = written.reading.as_of;
        let active: Vec<_> = ops.iter().map(|op| model.apply(op, now)).collect();
        assert_eq!(written.active.as_slice(), active, "step {step}: {ops:?}");
        assert_eq!(written.reading.count as usize, model.count(now), "step {step}: {ops:?}");
        match random.next_u32() % 20 {
            0 => store.sweep().await.unwrap(),
            1..5 => sleep(Duration::from_millis(u64::from(random.next_u32() % 20))).await,
            _ => {}
        }
    }
    sleep(Duration::from_millis(110)).await;
    assert_eq!(count(&*subject.nodes[0], "history").await, 0);
}

fn any_op(random: &mut TestRng) -> Op {
    let mut below = |n: u32| random.next_u32() % n;
    let (viewer, session) = (below(4), below(3));
    let duration = Duration::from_millis(u64::from(1 + below(100)));
    let act = match below(9) {
        0..2 => Act::Join { lease: duration },
        2..5 => Act::Heartbeat { lease: duration },
        5 => Act::Restore { lease: duration },
        6 => Act::Renew { lease: duration },
        _ => Act::Leave { remember: duration },
    };
    op(viewer.into(), session.into(), act)
}
