//! The store that is made of scripts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dashmap::DashMap;
use futures::future::join_all;
use redis::{FromRedisValue, Value, from_redis_value};
use uuid::Uuid;

use super::{
    Keys, Runner,
    script::{Script, encode},
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::store::{Batch, Live, MAX_OPS, Mark, Reading, Store, StoreError, Written, split},
};

/// The most channels in one call that reads.
const MAX_READ: usize = 1_000;

/// How much one call sweeps, at most.
const SWEEP_STEP: usize = 250;

/// For how long a channel stays in the list of live channels without being entered again. The list may hold channels
/// that nobody watches any more: their counts tell.
const LISTED_FOR: Duration = Duration::from_secs(600);

/// For how long the mark of a channel is taken to be what it was while its count stays the same. Reading a channel then
/// costs Redis half as much.
const TRUSTED_FOR: Duration = Duration::from_secs(3);

/// After how long a channel that nobody reads or writes any more is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A store whose data is where a [`Runner`] takes scripts.
pub struct RemoteStore<R> {
    runner: R,
    keys: Keys,
    /// After how long without a write a channel's keys expire.
    ttl: Duration,
    known: DashMap<ChannelId, Known>,
    write: Script,
    counts: Script,
    sweep: Script,
    list: Script,
    listed_channels: Script,
}

/// What was last heard of a channel.
#[derive(Clone, Copy)]
struct Known {
    count: u32,
    mark: Option<Mark>,
    /// When the mark was looked at.
    looked: Instant,
    /// When this node has entered it into the list of live channels.
    listed: Option<Instant>,
}

impl<R: Runner> RemoteStore<R> {
    /// A store on keys that start with `prefix`, for leases of up to `longest_lease`.
    #[must_use]
    pub fn new(runner: R, prefix: &str, longest_lease: Duration) -> Self {
        Self {
            keys: Keys::new(prefix),
            // The leave that a node remembers may be written again for as long as a lease.
            ttl: longest_lease * 2,
            known: DashMap::new(),
            write: runner.script(include_str!("scripts/write.lua")),
            counts: runner.script(include_str!("scripts/counts.lua")),
            sweep: runner.script(include_str!("scripts/sweep.lua")),
            list: runner.script(include_str!("scripts/list.lua")),
            listed_channels: runner.script(include_str!("scripts/listed.lua")),
            runner,
        }
    }

    async fn write_call(&self, batches: &[Batch]) -> Result<Vec<Written>, StoreError> {
        let keys: Vec<_> = batches.iter().flat_map(|batch| self.keys.all(&batch.channel)).collect();
        let new_mark = Uuid::new_v4().as_u64_pair().0;
        let mut args =
            vec![self.ttl.as_millis().to_string().into_bytes(), format!("{new_mark:016x}").into_bytes()];
        args.extend(batches.iter().map(|batch| encode(&batch.ops)));
        let (as_of, answers) = timed(self.runner.run(&self.write, &keys, &args).await?)?;
        let written = |(batch, answer): (&Batch, &Value)| {
            let mut words = text(answer)?.splitn(3, ' ');
            let (count, mark) = (number(words.next())?, mark(words.next()));
            let active = words.next().unwrap_or_default().bytes().map(|flag| flag == b'1').collect();
            self.learn(&batch.channel, count, mark);
            Ok(Written { active, reading: Reading { count, as_of, mark } })
        };
        batches.iter().zip(&answers).map(written).collect()
    }

    async fn counts_call(&self, channels: &[ChannelId]) -> Result<Vec<Reading>, StoreError> {
        let keys: Vec<_> = channels.iter().flat_map(|channel| self.keys.all(channel)).collect();
        let now = Instant::now();
        let trusted = channels.iter().flat_map(|channel| self.trusted(channel, now).to_be_bytes()).collect();
        let (as_of, counts) = timed(self.runner.run(&self.counts, &keys, &[trusted]).await?)?;
        let reading = |(channel, answer): (&ChannelId, &Value)| {
            if let Value::Int(count) = answer {
                let count = u32::try_from(*count).map_err(|_| StoreError::unexpected())?;
                let mark = self.known.get(channel).and_then(|known| known.mark);
                return Ok(Reading { count, as_of, mark });
            }
            let (count, marked) = text(answer)?.split_once(' ').ok_or_else(StoreError::unexpected)?;
            let (count, mark) = (number(Some(count))?, mark(Some(marked)));
            self.learn(channel, count, mark);
            Ok(Reading { count, as_of, mark })
        };
        channels.iter().zip(&counts).map(reading).collect()
    }

    /// The count with which a channel's mark need not be looked at. A channel that was lost has another count, unless just
    /// as many have come meanwhile, so that now and then it is looked at all the same.
    fn trusted(&self, channel: &ChannelId, now: Instant) -> u32 {
        let known = self.known.get(channel);
        known.filter(|known| now < known.looked + TRUSTED_FOR).map_or(u32::MAX, |known| known.count)
    }

    fn learn(&self, channel: &ChannelId, count: u32, mark: Option<Mark>) {
        let looked = Instant::now();
        match self.known.get_mut(channel) {
            Some(mut known) => {
                // If it was lost, the list of live channels may be too.
                let listed = known.listed.filter(|_| known.mark == mark);
                *known = Known { count, mark, looked, listed };
            }
            None => {
                self.known.insert(channel.clone(), Known { count, mark, looked, listed: None });
            }
        }
    }

    async fn listed_call(&self, buckets: &[Vec<u8>]) -> Result<Vec<Vec<String>>, StoreError> {
        parse(self.runner.run(&self.listed_channels, buckets, &[]).await?)
    }

    /// Enters channels that were written into the list of live channels, those that are not in it for long enough anyway.
    /// If it fails it is tried again with their next write.
    async fn enter(&self, batches: &[Batch], written: &[Result<Written, StoreError>]) {
        let at = Instant::now();
        let mut buckets = BTreeMap::<Vec<u8>, BTreeSet<ChannelId>>::new();
        for (Batch { channel, .. }, written) in batches.iter().zip(written) {
            let listed = self.known.get(channel).and_then(|known| known.listed);
            let is_listed = listed.is_some_and(|then| at < then + LISTED_FOR - self.ttl.min(LISTED_FOR / 2));
            if written.is_ok() && !is_listed {
                buckets.entry(self.keys.bucket(channel)).or_default().insert(channel.clone());
            }
        }
        let enter = |(bucket, channels): (Vec<u8>, BTreeSet<ChannelId>)| async move {
            let mut args = vec![LISTED_FOR.as_millis().to_string().into_bytes()];
            args.extend(channels.iter().map(|channel| channel.as_str().as_bytes().to_vec()));
            if self.runner.run(&self.list, &[bucket], &args).await.is_ok() {
                for channel in &channels {
                    if let Some(mut known) = self.known.get_mut(channel) {
                        known.listed = Some(at);
                    }
                }
            }
        };
        join_all(buckets.into_iter().map(enter)).await;
    }

    /// Splits work into calls that the runner takes: of items that weigh `most` together, or one by one.
    fn calls<'a, T>(&self, items: &'a [T], weight: impl Fn(&T) -> usize, most: usize) -> Vec<&'a [T]> {
        split(items, weight, if self.runner.takes_many_channels() { most } else { 0 })
    }
}

/// The answers of calls, one for each of their items.
fn flatten<T, A>(calls: &[&[T]], answers: Vec<Result<Vec<A>, StoreError>>) -> Vec<Result<A, StoreError>> {
    let mut flat = Vec::new();
    for (items, answer) in calls.iter().zip(answers) {
        match answer {
            Ok(answers) if answers.len() == items.len() => flat.extend(answers.into_iter().map(Ok)),
            Ok(_) => flat.extend(items.iter().map(|_| Err(StoreError::unexpected()))),
            Err(error) => flat.extend(items.iter().map(|_| Err(error.clone()))),
        }
    }
    flat
}

#[async_trait]
impl<R: Runner> Store for RemoteStore<R> {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let calls = self.calls(batches, |batch| batch.ops.len(), MAX_OPS);
        let answers = join_all(calls.iter().map(|batches| self.write_call(batches))).await;
        let written = flatten(&calls, answers);
        self.enter(batches, &written).await;
        written
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let calls = self.calls(channels, |_| 1, MAX_READ);
        let answers = join_all(calls.iter().map(|channels| self.counts_call(channels))).await;
        flatten(&calls, answers)
    }

    async fn live(&self) -> Result<Vec<Live>, StoreError> {
        let buckets = self.keys.buckets();
        let calls = self.calls(&buckets, |_| 1, MAX_READ);
        let answers = join_all(calls.iter().map(|buckets| self.listed_call(buckets))).await;
        let names = flatten(&calls, answers);
        let names: Vec<Vec<String>> = names.into_iter().collect::<Result<_, _>>()?;
        let channels: Vec<_> =
            names.iter().flatten().filter_map(|name| ChannelId::parse(name).ok()).collect();
        let readings = self.counts(&channels).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let live = |(channel, reading): (ChannelId, Reading)| Live {
            channel,
            count: reading.count,
            as_of: reading.as_of,
        };
        Ok(channels.into_iter().zip(readings).filter(|(_, reading)| reading.count > 0).map(live).collect())
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = Instant::now();
        self.known.retain(|_, known| {
            now < known.looked + FORGOTTEN_AFTER || known.listed.is_some_and(|at| now < at + LISTED_FOR)
        });
        let listed = self.known.iter().filter(|known| known.listed.is_some());
        let channels: Vec<ChannelId> = listed.map(|known| known.key().clone()).collect();
        let step = SWEEP_STEP.to_string().into_bytes();
        for channel in channels {
            // A step at a time: others' calls get between them.
            loop {
                let answer = self
                    .runner
                    .run(&self.sweep, &self.keys.all(&channel), std::slice::from_ref(&step))
                    .await?;
                let (removed, left) = parse::<(usize, usize)>(answer)?;
                if left == 0 {
                    // Nothing is left to sweep until someone comes, and is entered again.
                    self.known.entry(channel.clone()).and_modify(|known| known.listed = None);
                }
                if removed < SWEEP_STEP {
                    break;
                }
            }
        }
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn takes_many_channels(&self) -> bool {
        self.runner.takes_many_channels()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.runner.incarnation().await
    }
}

/// An answer that begins with the time.
fn timed(answer: Value) -> Result<(Timestamp, Vec<Value>), StoreError> {
    let mut parts = parse::<Vec<Value>>(answer)?.into_iter();
    let time = parse::<u64>(parts.next().ok_or_else(StoreError::unexpected)?)?;
    Ok((Timestamp::from_millis(time), parts.collect()))
}

/// A text in an answer.
fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).map_err(|_| StoreError::unexpected()),
        _ => Err(StoreError::unexpected()),
    }
}

fn number(word: Option<&str>) -> Result<u32, StoreError> {
    word.and_then(|word| word.parse().ok()).ok_or_else(StoreError::unexpected)
}

/// A mark, if there is one.
fn mark(word: Option<&str>) -> Option<Mark> {
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).map(Mark)
}

fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|_| StoreError::unexpected())
}
