//! The embedded store: rosters in the memory of this process. It is the default and needs no other service.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;

use super::{Batch, Claim, Listed, Live, Names, Reading, Share, Store, StoreError, Written};
use crate::{
    domain::{ChannelId, LeaseRules, Roster},
    server::clock::Clock,
};

/// The most expired viewers that are removed while the channel is locked.
const STEP: usize = 1_000;

/// The leases of one process. They are lost when the process ends; pages beat again within a heartbeat interval.
pub struct MemoryStore {
    rosters: DashMap<ChannelId, Roster>,
    clock: Arc<dyn Clock>,
    rules: LeaseRules,
}

impl MemoryStore {
    /// Creates an empty store that uses `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rules: LeaseRules) -> Self {
        Self { rosters: DashMap::new(), clock, rules }
    }

    fn channels(&self) -> Vec<ChannelId> {
        self.rosters.iter().map(|entry| entry.key().clone()).collect()
    }

    /// The count of a channel. Expired viewers are removed first, in steps between which the channel is unlocked. An
    /// empty channel is removed.
    fn read(&self, channel: &ChannelId) -> Reading {
        loop {
            let Some(mut roster) = self.rosters.get_mut(channel) else {
                return Reading::certain(0, self.clock.now());
            };
            // The time is read under the lock, so a channel's readings are in the order of its writes.
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
                return Ok(Written::at_once(active, Reading::certain(roster.count(), now)));
            }
            drop(roster);
            Ok(Written::at_once(active, self.read(&batch.channel)))
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

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        let mut channels = self.channels();
        channels.retain(|channel| parts.contains(&channel.part()));
        Ok(Names { channels, is_whole: true })
    }

    async fn share(&self, _claim: &Claim) -> Result<Share, StoreError> {
        Ok(Share::Parts((0..ChannelId::PARTS).collect()))
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        for channel in self.channels() {
            self.read(&channel);
            // Lets other tasks run between two channels.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
