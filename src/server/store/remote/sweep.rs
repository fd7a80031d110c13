//! Frees the memory of expired entries, in the store and in this node's caches.

use std::{collections::HashMap, time::Duration};

use super::{answer::parse, encoding::digits, live_list::RELIST_AFTER, parts::parts_of, store::RemoteStore};
use crate::{
    domain::ChannelId,
    server::{
        redis::Runner,
        store::{Store, StoreError},
    },
};

/// A call to sweep ends after a channel with this many viewers to check, or sooner.
const SWEEP_STEP: i64 = 250;

/// The most channels that one call sweeps.
const MAX_SWEPT: usize = 50;

impl<R: Runner> RemoteStore<R> {
    /// Sweeps the channels that this node has entered into the list of live channels, and forgets what nobody has asked for.
    pub(super) async fn sweep_all(&self) -> Result<(), StoreError> {
        self.unchanged.lock().sweep();
        self.cache.sweep(self.rules.longest_lease + RELIST_AFTER);
        let swept = self.sweep_listed().await;
        swept.and(self.sweep_leaves().await)
    }

    async fn sweep_listed(&self) -> Result<(), StoreError> {
        let channels = self.cache.listed();
        let (whole, in_parts): (Vec<_>, Vec<_>) =
            channels.into_iter().partition(|channel| self.parts.number(channel) == 1);
        let spare = self.rules.longest_lease / 8;
        let mut empty = self.sweep_channels(whole, spare).await?;
        // A viewer may have joined another part meanwhile, which keeps this one for as long.
        let longest = self.rules.longest_lease.max(self.rules.leave_memory);
        empty.extend(self.sweep_channels(in_parts, longest + spare).await?);
        for channel in empty {
            // An empty channel needs no sweep until a viewer joins, which lists the channel again.
            self.cache.set_listed(&channel, None);
        }
        Ok(())
    }

    /// Sweeps the sessions that have left, in short calls.
    async fn sweep_leaves(&self) -> Result<(), StoreError> {
        if self.renewal_log().is_none() {
            return Ok(());
        }
        let (keys, [longest_lease, _]) = ([self.keys.leaves()], self.rule_args());
        let args = [longest_lease];
        while parse::<i64>(self.runner.run(&self.sweep_leaves, &keys, &args).await?)? > 0 {}
        Ok(())
    }

    /// Sweeps channels in short calls, so that others run between them. Returns those without viewers. The keys of a channel
    /// without viewers live for `spare`.
    async fn sweep_channels(
        &self,
        channels: Vec<ChannelId>,
        spare: Duration,
    ) -> Result<Vec<ChannelId>, StoreError> {
        let [longest_lease, leave_memory] = self.rule_args();
        let args =
            [SWEEP_STEP.to_string().into_bytes(), longest_lease, leave_memory, digits(spare.as_millis())];
        let at_once = if self.runner.takes_many_channels() { MAX_SWEPT } else { 1 };
        let mut left = HashMap::<&ChannelId, i64>::new();
        let mut parts = parts_of(&channels, &self.parts);
        while !parts.is_empty() {
            let mut asked = parts.split_off(parts.len().saturating_sub(at_once));
            let keys: Vec<_> =
                asked.iter().flat_map(|part| self.keys.of_part(part.channel, part.number)).collect();
            let swept = parse::<Vec<i64>>(self.runner.run(&self.sweep, &keys, &args).await?)?;
            let not_swept = asked.split_off((swept.len() / 2).min(asked.len()));
            let progress = asked.len();
            for (part, result) in asked.into_iter().zip(swept.chunks_exact(2)) {
                if result[0] >= SWEEP_STEP && result[1] != 0 {
                    parts.push(part);
                } else {
                    *left.entry(part.channel).or_default() += result[1].abs();
                }
            }
            if progress == 0 {
                return Err(StoreError::unexpected());
            }
            parts.extend(not_swept);
        }
        Ok(left.into_iter().filter(|(_, left)| *left == 0).map(|(channel, _)| channel.clone()).collect())
    }
}
