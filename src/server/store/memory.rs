//! The embedded store: rosters in this process's memory. The default; nothing else is needed to run.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;

use super::{Batch, Reading, Store, StoreError, Written};
use crate::{
    domain::{ChannelId, Roster},
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
}

#[async_trait]
impl Store for MemoryStore {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let write = |batch: &Batch| {
            let mut roster = self.rosters.entry(batch.channel.clone()).or_default();
            // Read under the lock, so that a channel's readings are in the order of its writes.
            let now = self.clock.now();
            let active = batch.ops.iter().map(|op| roster.apply(op, now)).collect();
            Ok(Written { active, reading: Reading { count: roster.count(now), as_of: now } })
        };
        batches.iter().map(write).collect()
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let read = |channel: &ChannelId| {
            let roster = self.rosters.get_mut(channel);
            let now = self.clock.now();
            Ok(Reading { count: roster.map_or(0, |mut roster| roster.count(now)), as_of: now })
        };
        channels.iter().map(read).collect()
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let channels: Vec<ChannelId> = self.rosters.iter().map(|entry| entry.key().clone()).collect();
        for channel in channels {
            self.rosters.remove_if_mut(&channel, |_, roster| roster.sweep(now));
            // One roster under lock at a time, and others' work in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
