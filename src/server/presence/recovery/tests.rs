//! Rounds over a slow store.

use std::{iter::repeat_n, sync::Mutex as StdMutex};

use super::*;
use crate::{
    domain::{Act, Op, Policy, SessionId, ViewerId},
    server::{
        clock::ManualClock,
        presence::fake_store::FakeStore,
        store::{Reading, Written},
    },
};

/// Each write takes a second. Records since when the node is sure at each roll call.
fn slow_store(clock: &Arc<ManualClock>, sure_since: &Arc<StdMutex<Vec<Option<Timestamp>>>>) -> FakeStore {
    let (clock, sure_since) = (Arc::clone(clock), Arc::clone(sure_since));
    let at_write = Arc::clone(&clock);
    FakeStore {
        write: Box::new(move |batches| {
            let clock = Arc::clone(&at_write);
            Box::pin(async move {
                sleep(Duration::from_secs(1)).await;
                clock.advance(Duration::from_secs(1));
                let reading = Reading::certain(0, clock.now());
                let written =
                    |batch: &Batch| Written::at_once(repeat_n(true, batch.ops.len()).collect(), reading);
                batches.iter().map(|batch| Ok(written(batch))).collect()
            })
        }),
        attend: Some(Box::new(move |attendance| {
            sure_since.lock().unwrap().push(attendance.sure_since);
            let now = clock.now();
            RollCall {
                now,
                number: 1,
                epoch: None,
                lost: Timestamp::default(),
                asked: now,
                sure_since: attendance.sure_since.unwrap_or(now),
                nodes: vec![attendance.node],
            }
        })),
        log: None,
        takes_many_channels: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_attends_during_a_long_replay_and_is_sure_only_after_it() {
    const PIECES: usize = 20;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let sure_since = Arc::default();
    let store = Arc::new(slow_store(&clock, &sure_since));
    let (policy, roll) = (Policy::default(), Arc::new(LastRollCall::default()));
    let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll));
    let (journal, channel) = (Arc::new(journal), ChannelId::parse("ana").unwrap());
    let started = clock.now();
    for n in 1..=PIECES * MAX_OPS {
        let uuid = Uuid::from_u128(n as u128);
        let (viewer, session) = (ViewerId::new(uuid).unwrap(), SessionId::new(uuid).unwrap());
        let op = Op { viewer, session, act: Act::Join { lease: policy.timeout } };
        journal.accept(&channel, &op, started, started);
        journal.mark_unwritten(&channel, &op);
    }
    let recovery = Recovery::new(
        store,
        Arc::clone(&journal),
        roll,
        Arc::clone(&clock) as Arc<dyn Clock>,
        policy.update_interval,
    );
    recovery.round(true).await.unwrap();
    assert!(journal.is_written());
    let said = std::mem::take(&mut *sure_since.lock().unwrap());
    let [first, during @ .., last] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(*first, None);
    assert!(during.len() >= PIECES - 2, "once a second: {said:?}");
    assert!(during.iter().all(|since| *since == Some(started)), "{said:?}");
    assert!(last.is_some_and(|since| since >= started), "{said:?}");
}
