//! Writing renewals to channels of a cluster while one of its servers hangs.

use std::iter::repeat_n;

use uuid::Uuid;

use super::*;
use crate::{
    domain::{ChannelId, SessionId, ViewerId},
    server::{
        clock::ManualClock,
        presence::{fake_store::FakeStore, roll_call::LastRollCall},
        store::Reading,
    },
};

/// The channels whose server hangs.
const HUNG: &str = "hung";

/// A channel that all sessions have left, and one that its server may have lost.
const LEFT: &str = "left";
const LOST: &str = "lost";

/// Each channel has its own call. Those to the server that hangs fail after a second. Counts the renewals of the other channels
/// that are written.
fn cluster(number: &Arc<AtomicUsize>) -> FakeStore {
    let number = Arc::clone(number);
    let hangs = |batch: &Batch| batch.channel.as_str().starts_with(HUNG);
    let write = move |batch: &Batch| {
        if hangs(batch) {
            return Err(StoreError::Unreachable("it hangs".to_owned()));
        }
        number.fetch_add(batch.ops.len(), Relaxed);
        let was_away = batch.channel.as_str() == LOST;
        let reading = Reading { was_away, ..Reading::certain(1, Timestamp::from_millis(1)) };
        let is_active = batch.channel.as_str() != LEFT && batch.channel.as_str() != LOST;
        Ok(Written::at_once(repeat_n(is_active, batch.ops.len()).collect(), reading))
    };
    FakeStore {
        write: Box::new(move |batches| {
            let hangs = batches.iter().any(hangs);
            let written = batches.iter().map(&write).collect();
            Box::pin(async move {
                if hangs {
                    sleep(Duration::from_secs(1)).await;
                }
                written
            })
        }),
        attend: None,
        log: None,
        takes_many_channels: false,
    }
}

/// Over the cluster, at the time 1 ms.
fn renewals(store: FakeStore) -> (Renewals, Arc<Journal>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let (policy, roll) = (Policy::default(), Arc::new(LastRollCall::default()));
    roll.set_not_kept();
    let journal = Arc::new(Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll)));
    let store: Arc<dyn Store> = Arc::new(store);
    let recovery = Recovery::new(
        Arc::clone(&store),
        Arc::clone(&journal),
        roll,
        Arc::clone(&clock),
        policy.update_interval,
    );
    (Renewals::new(store, Arc::clone(&journal), Arc::new(recovery), clock, &policy), journal)
}

/// A session that the store has, and a heartbeat of it.
fn joined(journal: &Journal, channel: &ChannelId, n: usize) -> Renewal {
    let (id, lease) = (Uuid::from_u128(n as u128), Duration::from_secs(60));
    let (viewer, session) = (ViewerId::new(id).unwrap(), SessionId::new(id).unwrap());
    let join = Op { viewer, session, act: Act::Join { lease } };
    let accepted = journal.accept(channel, &join, NOW, NOW);
    journal.confirm(channel, &join, accepted, (NOW, NOW), None, true);
    Renewal { channel: channel.clone(), viewer, session, lease }
}

const NOW: Timestamp = Timestamp::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_server_of_a_cluster_that_hangs_delays_no_renewal_of_another() {
    const EACH: usize = 2 * MAX_OPS;
    let written = Arc::default();
    let (renewals, journal) = renewals(cluster(&written));
    let mut gathered = Gathered::default();
    for name in (0..20).flat_map(|n| [format!("{HUNG}{n}"), format!("well{n}")]) {
        let channel = ChannelId::parse(&name).unwrap();
        (1..=EACH).for_each(|n| gathered.add(joined(&journal, &channel, n), NOW));
    }
    let began = Instant::now();
    assert!(!renewals.write_all(gathered, began).await);
    assert!(began.elapsed() <= FLUSH_LIMIT, "a channel that fails is not tried again");
    assert_eq!(written.load(Relaxed), 20 * EACH);
    let unwritten = journal.unwritten();
    assert_eq!(unwritten.len(), 20);
    assert!(unwritten.iter().all(|channel| channel.as_str().starts_with(HUNG)), "{unwritten:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_left_elsewhere_is_known_once_its_renewal_is_written() {
    let (renewals, journal) = renewals(cluster(&Arc::default()));
    let is_live = |renewal: &Renewal| {
        let &Renewal { viewer, session, lease, .. } = renewal;
        let beat = Op { viewer, session, act: Act::Heartbeat { lease } };
        journal.accept(&renewal.channel, &beat, NOW, NOW).is_live
    };
    for (name, stays) in [("well", true), (LOST, true), (LEFT, false)] {
        let renewal = joined(&journal, &ChannelId::parse(name).unwrap(), 1);
        let mut gathered = Gathered::default();
        gathered.add(renewal.clone(), NOW);
        assert!(renewals.write_all(gathered, Instant::now()).await);
        assert_eq!(is_live(&renewal), stays, "{name}");
    }
}
