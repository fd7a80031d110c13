//! The list of live channels in the store: a sorted set for each part of the channels, a bucket. An entry expires some time
//! after a channel's last write, so the list can contain channels without viewers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    answer::parse,
    encoding::digits,
    store::{MAX_READ, RemoteStore},
    unchanged::Position,
};
use crate::{
    domain::ChannelId,
    server::{
        redis::Runner,
        store::{Batch, Names, StoreError, Written},
    },
};

/// How long after its last entry a channel with viewers is entered into the list of live channels again. An entry
/// expires after this time plus the longest lease. The list can contain channels without viewers; their counts are 0.
pub(super) const RELIST_AFTER: Duration = Duration::from_secs(30);

/// The most channels that one call enters.
const MAX_LISTED: usize = 500;

impl<R: Runner> RemoteStore<R> {
    /// The names of the channels of some parts that may have viewers now.
    pub(super) async fn names(&self, parts: &[u16]) -> Result<Names, StoreError> {
        let changes = self.ask_for_changes().await?;
        let names = changes.as_ref().and_then(|changes| {
            let (mut unchanged, now) = (self.unchanged.lock(), Instant::now());
            unchanged.apply(changes, now);
            unchanged.names(parts, changes, now)
        });
        if let Some(names) = names {
            let channels = names.iter().flat_map(|names| names.iter()).cloned().collect();
            return Ok(Names { channels, is_whole: true });
        }
        let known = changes.and_then(|changes| changes.position());
        let calls = self.calls(parts, |_| 1, MAX_READ);
        let responses = join_all(calls.iter().map(|parts| self.listed_call(parts, known))).await;
        let is_whole = responses.iter().all(|names| names.as_ref().is_ok_and(|names| names.is_whole));
        if !responses.is_empty() && responses.iter().all(Result::is_err) {
            return Err(responses.into_iter().find_map(Result::err).unwrap_or_else(StoreError::unexpected));
        }
        let channels = responses.into_iter().flatten().flat_map(|names| names.channels).collect();
        Ok(Names { channels, is_whole })
    }

    /// Lists the channels of parts. The names are added to the unchanged ones if it is `known` which changes came before.
    async fn listed_call(&self, parts: &[u16], known: Option<Position>) -> Result<Names, StoreError> {
        let buckets: Vec<_> = parts.iter().map(|part| self.keys.bucket_of_part(*part)).collect();
        let generation = self.runner.generation();
        let was_away = || buckets.iter().any(|bucket| self.runner.was_away(bucket));
        // An outage can be found or resolved while the call waits for its response.
        let was_away_before = was_away();
        let response = self.runner.run(&self.listed_channels, &buckets, &[]).await?;
        // The nodes may not have entered their channels again yet.
        let is_uncertain = was_away_before || was_away();
        let known = known.filter(|_| self.runner.generation() == generation);
        let names = parse::<Vec<Option<String>>>(response)?;
        let (mut channels, is_whole) = (Vec::new(), !is_uncertain && names.iter().all(Option::is_some));
        for (part, names) in parts.iter().zip(names) {
            let Some(names) = names else { continue };
            let names = names.split_ascii_whitespace().filter_map(|name| self.channel(name));
            let from = channels.len();
            channels.extend(names);
            if let Some(known) = known {
                self.unchanged.lock().insert_names(*part, &channels[from..], known, Instant::now());
            }
        }
        Ok(Names { channels, is_whole })
    }

    /// The channel with a name from the store. It shares its text with the key in the cache, and so with those in other
    /// maps of this node: keys with the same text are equal without a comparison.
    pub(super) fn channel(&self, name: &str) -> Option<ChannelId> {
        self.cache.channel(name).or_else(|| ChannelId::parse(name).ok())
    }

    /// Enters written channels that have viewers into the list of live channels, unless their entry is recent. A
    /// failure is retried at the next write of the channel.
    pub(super) async fn list_channels(&self, batches: &[Batch], written: &[Result<Written, StoreError>]) {
        let at = Instant::now();
        let (mut channels, from) = (BTreeSet::new(), *self.listed_from.lock());
        for (Batch { channel, .. }, written) in batches.iter().zip(written) {
            let is_listed =
                self.cache.listed_at(channel).is_some_and(|then| then >= from && at < then + RELIST_AFTER);
            let has_viewers = written.as_ref().is_ok_and(|written| written.reading.count > 0);
            if has_viewers && !is_listed {
                channels.insert(channel);
            }
        }
        let _retried = self.enter_at(channels, at).await;
    }

    /// Enters channels into the list of live channels at `at`. Returns an error if some of them could not be entered.
    pub(super) async fn enter_at(
        &self,
        channels: impl IntoIterator<Item = &ChannelId>,
        at: Instant,
    ) -> Result<(), StoreError> {
        let mut buckets = BTreeMap::<Vec<u8>, Vec<&ChannelId>>::new();
        for channel in channels {
            buckets.entry(self.keys.bucket(channel)).or_default().push(channel);
        }
        let calls = buckets.iter().flat_map(|(bucket, channels)| {
            channels.chunks(MAX_LISTED).map(move |channels| (bucket.clone(), channels))
        });
        let enter = async |(bucket, channels): (Vec<u8>, &[&ChannelId])| {
            let mut args = vec![digits((self.rules.longest_lease + RELIST_AFTER).as_millis())];
            args.extend(channels.iter().map(|channel| channel.as_str().as_bytes().to_vec()));
            let changes = self.runner.takes_many_channels().then(|| self.keys.changes());
            let keys: Vec<_> = std::iter::once(bucket).chain(changes).collect();
            self.runner.run(&self.list, &keys, &args).await?;
            for channel in channels {
                self.cache.set_listed(channel, Some(at));
            }
            Ok(())
        };
        join_all(calls.map(enter)).await.into_iter().collect()
    }
}
