//! The embedded store: rosters in this process's memory. The default; nothing else is needed to run.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;

use super::{Batch, Listed, Live, Reading, Store, StoreError, Written};
use crate::{
    domain::{ChannelId, LeaseRules, Roster},
    server::clock::Clock,
};

/// How many viewers are dropped, at most, before others get at their channel.
const STEP: usize = 1_000;

/// Leases of one process. They end with it: pages beat again within an interval.
pub struct MemoryStore {
    rosters: DashMap<ChannelId, Roster>,
    clock: Arc<dyn Clock>,
    rules: LeaseRules,
}

impl MemoryStore {
    /// An empty store that runs by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rules: LeaseRules) -> Self {
        Self { rosters: DashMap::new(), clock, rules }
    }

    fn channels(&self) -> Vec<ChannelId> {
        self.rosters.iter().map(|entry| entry.key().clone()).collect()
    }

    /// The count of a channel. What has expired is dropped before, in steps between which others get at the channel, and
    /// the channel too if nothing is left of it.
    fn read(&self, channel: &ChannelId) -> Reading {
        loop {
            let Some(mut roster) = self.rosters.get_mut(channel) else {
                return Reading::certain(0, self.clock.now());
            };
            // Read under the lock, so that a channel's readings are in the order of its writes.
            let now = self.clock.now();
            if !roster.expire(now, STEP, &self.rules) {
                continue;
            }
            let count = roster.count();
            let is_empty = roster.is_empty();
            drop(roster);
            if is_empty {
                self.rosters.remove_if(channel, |_, roster| roster.is_empty());
            }
            return Reading::certain(count, now);
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let write = |batch: &Batch| {
            let mut roster = self.rosters.entry(batch.channel.clone()).or_default();
            let now = self.clock.now();
            let active = batch.ops.iter().map(|op| roster.apply(op, now, &self.rules)).collect();
            if roster.expire(now, STEP, &self.rules) && !roster.is_empty() {
                return Ok(Written { active, reading: Reading::certain(roster.count(), now) });
            }
            drop(roster);
            Ok(Written { active, reading: self.read(&batch.channel) })
        };
        batches.iter().map(write).collect()
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        channels.iter().map(|channel| Ok(self.read(channel))).collect()
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        let live = |channel: ChannelId| {
            let Reading { count, as_of, restored, .. } = self.read(&channel);
            (count > 0).then_some(Live { channel, count, as_of, restored })
        };
        Ok(Listed { live: self.channels().into_iter().filter_map(live).collect(), is_whole: true })
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        for channel in self.channels() {
            self.read(&channel);
            // Others' work in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
