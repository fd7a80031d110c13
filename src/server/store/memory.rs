//! The embedded store: rosters in this process's memory. The default; nothing else is needed to run.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;

use super::{Batch, Live, Reading, Store, StoreError, Written};
use crate::{
    domain::{ChannelId, Roster, Timestamp},
    server::clock::Clock,
};

/// Leases of one process. They end with it: pages beat again within an interval.
pub struct MemoryStore {
    rosters: DashMap<ChannelId, Roster>,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// An empty store that runs by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { rosters: DashMap::new(), clock }
    }

    fn channels(&self) -> Vec<ChannelId> {
        self.rosters.iter().map(|entry| entry.key().clone()).collect()
    }

    fn read(&self, channel: &ChannelId) -> Reading {
        let roster = self.rosters.get_mut(channel);
        let now = self.clock.now();
        reading(roster.map_or(0, |mut roster| roster.count(now)), now)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let write = |batch: &Batch| {
            let mut roster = self.rosters.entry(batch.channel.clone()).or_default();
            // Read under the lock, so that a channel's readings are in the order of its writes.
            let now = self.clock.now();
            let active = batch.ops.iter().map(|op| roster.apply(op, now)).collect();
            Ok(Written { active, reading: reading(roster.count(now), now) })
        };
        batches.iter().map(write).collect()
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        channels.iter().map(|channel| Ok(self.read(channel))).collect()
    }

    async fn live(&self) -> Result<Vec<Live>, StoreError> {
        let live = |channel: ChannelId| {
            let Reading { count, as_of, .. } = self.read(&channel);
            (count > 0).then_some(Live { channel, count, as_of })
        };
        Ok(self.channels().into_iter().filter_map(live).collect())
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for channel in self.channels() {
            self.rosters.remove_if_mut(&channel, |_, roster| roster.sweep(now));
            // One roster under lock at a time, and others' work in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// What is in this process can't be lost, so there is nothing to tell by a mark.
const fn reading(count: u32, as_of: Timestamp) -> Reading {
    Reading { count, as_of, mark: None }
}
