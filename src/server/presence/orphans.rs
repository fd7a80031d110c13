//! The logs of nodes that died: what they had logged and not yet written to its channels is written by the others.
//!
//! The store names the nodes that have logs. A node looks for those of nodes that do not attend the roll call: at its start,
//! since no node may have attended for a while, and whenever a node is gone.

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::gathered::Gathered;
use crate::server::store::{Batch, LogId, RenewalLog, Store, StoreError};

/// Before its first roll call, a node takes those for gone that have begun no log for this time. A busy node begins one each second.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// The pause before the first attempt after a failure. Each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is tried in a row. Usually the logs have expired by then.
const MAX_ATTEMPTS: u32 = 8;

/// How many channels are written at once, if each has its own call.
const LANES_AT_ONCE: usize = 32;

/// What a node knows of the logs of others.
#[derive(Default)]
pub(super) struct Orphans {
    /// The nodes that attended last, with this one. `None` before the first roll call.
    attending: Option<HashSet<u64>>,
    /// When to look for logs.
    next: Option<Next>,
}

struct Next {
    at: Instant,
    attempt: u32,
}

impl Orphans {
    /// Takes note that this node has not attended for a while.
    pub(super) fn reset(&mut self) {
        self.attending = None;
        self.look();
    }

    /// Takes note of the nodes that attend.
    pub(super) fn note(&mut self, nodes: &[u64]) {
        let nodes: HashSet<u64> = nodes.iter().copied().collect();
        let before = self.attending.replace(nodes);
        let is_complete = |nodes: &HashSet<u64>| before.is_some_and(|before| before.is_subset(nodes));
        if !self.attending.as_ref().is_some_and(is_complete) {
            self.look();
        }
    }

    fn look(&mut self) {
        self.next = Some(Next { at: Instant::now(), attempt: 0 });
    }

    /// Writes the logs of nodes that do not attend, if there may be some. The others do so at the same time, and the result is the
    /// same. `own` is this node. Failures are tried again later.
    pub(super) async fn write_logs(&mut self, store: &dyn Store, own: u64) {
        let Some(logs) = store.renewal_log() else { return };
        let Some(Next { attempt, .. }) = self.next.take_if(|next| next.at <= Instant::now()) else { return };
        if let Err(error) = self.try_write(store, logs, own).await {
            tracing::debug!(%error, "the logs of other nodes can't be written yet");
            if attempt < MAX_ATTEMPTS {
                self.next =
                    Some(Next { at: Instant::now() + PAUSE * 2_u32.pow(attempt), attempt: attempt + 1 });
            }
        }
    }

    async fn try_write(&self, store: &dyn Store, logs: &dyn RenewalLog, own: u64) -> Result<(), StoreError> {
        let idle_for = if self.attending.is_none() { IDLE_FOR } else { Duration::ZERO };
        let mut result = Ok(());
        for node in logs.owners(idle_for).await? {
            let is_attending = self.attending.as_ref().is_some_and(|nodes| nodes.contains(&node));
            if node == own || is_attending {
                continue;
            }
            match write_logs_of(node, store, logs).await {
                Ok(()) => logs.remove(node).await?,
                // The logs of the others are written nevertheless.
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

/// Writes what is in both logs of a node to its channels. On a cluster, a channel that can't be written delays others only shortly.
async fn write_logs_of(node: u64, store: &dyn Store, logs: &dyn RenewalLog) -> Result<(), StoreError> {
    let mut gathered = Gathered::default();
    for log in LogId::both(node) {
        logs.read(log).await?.into_iter().for_each(|(renewal, at)| gathered.add(renewal, at));
    }
    let lanes = gathered.into_lanes(store.takes_many_channels());
    let results = stream::iter(lanes).map(|calls| write_lane(calls, store)).buffer_unordered(LANES_AT_ONCE);
    results.collect::<Vec<_>>().await.into_iter().collect()
}

async fn write_lane(calls: Vec<Vec<Batch>>, store: &dyn Store) -> Result<(), StoreError> {
    let mut result = Ok(());
    for batches in calls {
        for written in store.write(&batches).await {
            match written {
                Ok(_) => {}
                Err(error @ (StoreError::Damaged | StoreError::Newer)) => result = Err(error),
                Err(error) => return Err(error),
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::{
        iter::repeat_n,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use async_trait::async_trait;
    use tokio::time::sleep;
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{ChannelId, SessionId, Timestamp, ViewerId},
        server::{
            presence::fake_store::FakeStore,
            store::{Append, LeftSince, Reading, Renewal, Written},
        },
    };

    const AT: Timestamp = Timestamp::from_millis(1);

    /// Node 7 has logged a renewal in each of so many channels.
    struct LogOfNode7 {
        channels: usize,
        removed: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl RenewalLog for LogOfNode7 {
        async fn append(&self, _log: LogId, _renewals: &[Renewal]) -> Result<Append, StoreError> {
            unreachable!()
        }

        async fn read(&self, log: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError> {
            let id = Uuid::from_u128(1);
            let renewal = |n| Renewal {
                channel: ChannelId::parse(&format!("channel{n}")).unwrap(),
                viewer: ViewerId::new(id).unwrap(),
                session: SessionId::new(id).unwrap(),
                lease: Duration::from_secs(60),
            };
            let channels = if log.is_second { 0 } else { self.channels };
            Ok((0..channels).map(|n| (renewal(n), AT)).collect())
        }

        async fn clear(&self, _log: LogId) -> Result<(), StoreError> {
            unreachable!()
        }

        async fn owners(&self, _idle_for: Duration) -> Result<Vec<u64>, StoreError> {
            Ok(vec![7])
        }

        async fn left_since(&self, _since: Timestamp) -> Result<LeftSince, StoreError> {
            unreachable!()
        }

        async fn remove(&self, node: u64) -> Result<(), StoreError> {
            assert_eq!(node, 7);
            self.removed.fetch_add(1, Relaxed);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn channels_of_a_cluster_are_written_side_by_side_but_not_all_at_once() {
        const CHANNELS: usize = 3 * LANES_AT_ONCE;
        let [busy, most, written, removed] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
        let count = [&busy, &most, &written].map(Arc::clone);
        let store = FakeStore {
            write: Box::new(move |batches| {
                let [busy, most, written] = count.clone();
                Box::pin(async move {
                    most.fetch_max(busy.fetch_add(1, Relaxed) + 1, Relaxed);
                    sleep(Duration::from_secs(1)).await;
                    busy.fetch_sub(1, Relaxed);
                    written.fetch_add(batches.len(), Relaxed);
                    let active = |batch: &Batch| repeat_n(true, batch.ops.len()).collect();
                    batches
                        .iter()
                        .map(|batch| Ok(Written::at_once(active(batch), Reading::certain(1, AT))))
                        .collect()
                })
            }),
            attend: None,
            log: Some(Box::new(LogOfNode7 { channels: CHANNELS, removed: Arc::clone(&removed) })),
            takes_many_channels: false,
        };
        let mut orphans = Orphans::default();
        orphans.note(&[1]);
        orphans.write_logs(&store, 1).await;
        assert_eq!((written.load(Relaxed), most.load(Relaxed)), (CHANNELS, LANES_AT_ONCE));
        assert_eq!(removed.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_looks_for_logs_at_its_start_and_when_a_node_is_gone() {
        let mut orphans = Orphans::default();
        let mut looks = |nodes: &[u64]| {
            orphans.note(nodes);
            orphans.next.take().is_some()
        };
        assert!(looks(&[1, 2, 3]));
        assert!(!looks(&[1, 2, 3]));
        assert!(!looks(&[1, 2, 3, 4]));
        assert!(looks(&[1, 2, 4]));
        assert!(!looks(&[1, 2, 4]));
        orphans.reset();
        assert!(orphans.next.is_some() && orphans.attending.is_none());
    }
}
