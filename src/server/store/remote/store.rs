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

use super::encoding::encode;
use crate::{
    domain::{ChannelId, LeaseRules, Timestamp},
    server::{
        clock::Skew,
        redis::{Keys, Runner, Script},
        store::{
            Attendance, Batch, Epoch, Listed, Live, MAX_OPS, Mark, Reading, RollCall, Store, StoreError,
            Written, split,
        },
    },
};

/// The most channels in one call that reads.
const MAX_READ: usize = 1_000;

/// The pause between roll calls where commands are paid for.
const PAID_ROLL_CALL_PAUSE: Duration = Duration::from_secs(30);

/// How much one call sweeps, at most.
const SWEEP_STEP: usize = 250;

/// After how long a channel that still has viewers is entered into the list of live channels again; it stays there for a
/// lease longer. The list may hold channels that nobody watches any more: their counts tell.
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// For how long the mark of a channel is taken to be what it was while its count stays the same. Reading a channel then
/// costs Redis half as much.
const TRUSTED_FOR: Duration = Duration::from_secs(3);

/// After how long a channel that nobody reads or writes any more is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A store whose data is where a [`Runner`] takes scripts.
pub struct RemoteStore<R> {
    runner: R,
    keys: Keys,
    rules: LeaseRules,
    /// What the server's clock shows, by the milliseconds since `started`.
    skew: Skew,
    started: Instant,
    known: DashMap<ChannelId, Known>,
    write: Script,
    counts: Script,
    sweep: Script,
    list: Script,
    listed_channels: Script,
    attend: Script,
}

/// What was last heard of a channel.
#[derive(Clone, Copy)]
struct Known {
    count: u32,
    mark: Option<Mark>,
    restored: Timestamp,
    /// When the mark was looked at.
    looked: Instant,
    /// When this node has entered it into the list of live channels.
    listed: Option<Instant>,
}

impl<R: Runner> RemoteStore<R> {
    /// A store on keys that start with `prefix`.
    #[must_use]
    pub fn new(runner: R, prefix: &str, rules: LeaseRules) -> Self {
        Self {
            keys: Keys::new(prefix),
            rules,
            skew: Skew::default(),
            started: Instant::now(),
            known: DashMap::new(),
            write: runner.script(include_str!("scripts/write.lua")),
            counts: runner.script(include_str!("scripts/counts.lua")),
            sweep: runner.script(include_str!("scripts/sweep.lua")),
            list: runner.script(include_str!("scripts/list.lua")),
            listed_channels: runner.script(include_str!("scripts/listed.lua")),
            attend: runner.script(include_str!("scripts/attend.lua")),
            runner,
        }
    }

    async fn write_call(&self, batches: &[Batch]) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let (first, keys) = self.keys_of(batches.iter().map(|batch| &batch.channel));
        let new_mark = Uuid::new_v4().as_u64_pair().0;
        let sent = self.now();
        let sent_there = self.skew.to_store(sent).unwrap_or_default();
        let [longest_lease, leave_memory] = self.spans();
        let mut args = vec![first, longest_lease, leave_memory];
        args.push(format!("{new_mark:016x}").into_bytes());
        args.push(digits(sent_there.as_millis().into()));
        args.extend(batches.iter().map(|batch| encode(&batch.ops)));
        let answer = self.runner.run(&self.write, &keys, &args).await?;
        let (as_of, epoch, answers) = self.timed(sent, answer)?;
        let written = |(batch, answer): (&Batch, &Value)| {
            let mut words = readable(answer)?.splitn(4, ' ');
            let (count, mark, restored) = (number(words.next())?, mark(words.next()), instant(words.next())?);
            let active = words.next().unwrap_or_default().bytes().map(|flag| flag == b'1').collect();
            self.learn(&batch.channel, count, mark, restored);
            Ok(Written { active, reading: Reading { count, as_of, mark, restored, epoch } })
        };
        Ok(batches.iter().zip(&answers).map(written).collect())
    }

    async fn counts_call(
        &self,
        channels: &[ChannelId],
    ) -> Result<Vec<Result<Reading, StoreError>>, StoreError> {
        let (first, keys) = self.keys_of(channels);
        let now = Instant::now();
        let trusted = channels.iter().flat_map(|channel| self.trusted(channel, now).to_be_bytes()).collect();
        let sent = self.now();
        let answer = self.runner.run(&self.counts, &keys, &[first, trusted]).await?;
        let (as_of, epoch, counts) = self.timed(sent, answer)?;
        let reading = |(channel, answer): (&ChannelId, &Value)| {
            if let Value::Int(count) = answer {
                let count = u32::try_from(*count).map_err(|_| StoreError::unexpected())?;
                let known = self.known.get(channel);
                let (mark, restored) = known.map(|known| (known.mark, known.restored)).unwrap_or_default();
                return Ok(Reading { count, as_of, mark, restored, epoch });
            }
            let mut words = readable(answer)?.splitn(3, ' ');
            let (count, mark) = (number(words.next())?, mark(words.next()));
            let restored = words.next().map_or(Ok(Timestamp::default()), |word| instant(Some(word)))?;
            self.learn(channel, count, mark, restored);
            Ok(Reading { count, as_of, mark, restored, epoch })
        };
        Ok(channels.iter().zip(&counts).map(reading).collect())
    }

    /// Milliseconds since this store was made, as a clock.
    fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }

    /// The keys that scripts take for channels, and the index of the first channel's first: the roll call goes before them
    /// where all keys are in one place.
    fn keys_of<'a>(&self, channels: impl IntoIterator<Item = &'a ChannelId>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let roll_call = self.runner.takes_many_channels().then(|| self.keys.roll_call());
        let first = if roll_call.is_some() { b"2" } else { b"1" };
        let of_channels = channels.into_iter().flat_map(|channel| self.keys.all(channel));
        (first.to_vec(), roll_call.into_iter().chain(of_channels).collect())
    }

    /// An answer that begins with the time and the epoch of the roll call. `sent` is when its call was sent.
    fn timed(
        &self,
        sent: Timestamp,
        answer: Value,
    ) -> Result<(Timestamp, Option<Epoch>, Vec<Value>), StoreError> {
        let mut parts = parse::<Vec<Value>>(answer)?.into_iter();
        let mut next = || parts.next().ok_or_else(StoreError::unexpected);
        let as_of = Timestamp::from_millis(parse(next()?)?);
        self.skew.observe(sent, self.now(), as_of);
        let epoch = next()?;
        let epoch = self.runner.takes_many_channels().then(|| self.epoch(&epoch));
        Ok((as_of, epoch, parts.collect()))
    }

    fn epoch(&self, value: &Value) -> Epoch {
        /// Odd, so that connections which are counted up are told apart whatever the number is.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let number = text(value).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or_default();
        Epoch(number ^ self.runner.generation().wrapping_mul(FACTOR))
    }

    fn spans(&self) -> [Vec<u8>; 2] {
        [self.rules.longest_lease, self.rules.leave_memory].map(|span| digits(span.as_millis()))
    }

    /// The count with which a channel's mark need not be looked at. A channel that was lost has another count, unless just
    /// as many have come meanwhile, so that now and then it is looked at all the same.
    fn trusted(&self, channel: &ChannelId, now: Instant) -> u32 {
        let known = self.known.get(channel);
        known.filter(|known| now < known.looked + TRUSTED_FOR).map_or(u32::MAX, |known| known.count)
    }

    /// Remembers what was heard of a channel that has something in the store.
    fn learn(&self, channel: &ChannelId, count: u32, mark: Option<Mark>, restored: Timestamp) {
        let looked = Instant::now();
        match self.known.get_mut(channel) {
            Some(mut known) => {
                // If it was lost, the list of live channels may be too.
                let listed = known.listed.filter(|_| known.mark == mark);
                *known = Known { count, mark, restored, looked, listed };
            }
            None if mark.is_some() => {
                self.known.insert(channel.clone(), Known { count, mark, restored, looked, listed: None });
            }
            None => {}
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
            let is_listed = listed.is_some_and(|then| at < then + LIST_AGAIN_AFTER);
            let has_viewers = written.as_ref().is_ok_and(|written| written.reading.count > 0);
            if has_viewers && !is_listed {
                buckets.entry(self.keys.bucket(channel)).or_default().insert(channel.clone());
            }
        }
        let enter = |(bucket, channels): (Vec<u8>, BTreeSet<ChannelId>)| async move {
            let mut args = vec![digits((self.rules.longest_lease + LIST_AGAIN_AFTER).as_millis())];
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
fn flatten<T, A>(
    calls: &[&[T]],
    answers: Vec<Result<Vec<Result<A, StoreError>>, StoreError>>,
) -> Vec<Result<A, StoreError>> {
    let mut flat = Vec::new();
    for (items, answer) in calls.iter().zip(answers) {
        match answer {
            Ok(answers) if answers.len() == items.len() => flat.extend(answers),
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

    async fn live(&self) -> Result<Listed, StoreError> {
        let buckets = self.keys.buckets();
        let calls = self.calls(&buckets, |_| 1, MAX_READ);
        let answers = join_all(calls.iter().map(|buckets| self.listed_call(buckets))).await;
        let mut is_whole = answers.iter().all(Result::is_ok);
        if answers.iter().all(Result::is_err) {
            return Err(answers.into_iter().find_map(Result::err).unwrap_or_else(StoreError::unexpected));
        }
        let names = answers.into_iter().flatten().flatten().flatten();
        let channels: Vec<_> = names.filter_map(|name| ChannelId::parse(&name).ok()).collect();
        let mut live = Vec::new();
        let readings = self.counts(&channels).await;
        for (channel, reading) in channels.into_iter().zip(readings) {
            match reading {
                Ok(Reading { count, as_of, restored, .. }) if count > 0 => {
                    live.push(Live { channel, count, as_of, restored });
                }
                Ok(_) => {}
                Err(_) => is_whole = false,
            }
        }
        Ok(Listed { live, is_whole })
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = Instant::now();
        let listed_for = self.rules.longest_lease + LIST_AGAIN_AFTER;
        self.known.retain(|_, known| {
            now < known.looked + FORGOTTEN_AFTER || known.listed.is_some_and(|at| now < at + listed_for)
        });
        let listed = self.known.iter().filter(|known| known.listed.is_some());
        let channels: Vec<ChannelId> = listed.map(|known| known.key().clone()).collect();
        let [longest_lease, leave_memory] = self.spans();
        let args = [SWEEP_STEP.to_string().into_bytes(), longest_lease, leave_memory];
        for channel in channels {
            // A step at a time: others' calls get between them.
            loop {
                let answer = self.runner.run(&self.sweep, &self.keys.all(&channel), &args).await?;
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

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        let server = self.runner.incarnation().await?.unwrap_or_default();
        let hex = |number: u64| format!("{number:016x}").into_bytes();
        let flag = |is_set: bool| if is_set { b"1".to_vec() } else { Vec::new() };
        let mut args = vec![hex(attendance.node), digits(attendance.expected_for.as_millis())];
        args.push(attendance.sure_since.map_or_else(|| b"now".to_vec(), |at| digits(at.as_millis().into())));
        args.push(attendance.known.map(hex).unwrap_or_default());
        args.push(hex(Uuid::new_v4().as_u64_pair().0));
        args.extend([server.into_bytes(), flag(attendance.has_found_loss || attendance.is_locked_out)]);
        args.extend([flag(self.runner.takes_many_channels()), flag(attendance.is_locked_out)]);
        args.extend(attendance.peers.iter().map(|peer| hex(*peer)));
        let sent = self.now();
        let answer = self.runner.run(&self.attend, &[self.keys.roll_call()], &args).await?;
        let mut parts = parse::<Vec<Value>>(answer)?.into_iter();
        let mut next = || parts.next().ok_or_else(StoreError::unexpected);
        let time = |value: Value| parse::<u64>(value).map(Timestamp::from_millis);
        let (now, epoch) = (time(next()?)?, next()?);
        let number = u64::from_str_radix(text(&epoch)?, 16).map_err(|_| StoreError::unexpected())?;
        let epoch = Some(self.epoch(&epoch));
        let (lost, asked, sure_since) = (time(next()?)?, time(next()?)?, time(next()?)?);
        self.skew.observe(sent, self.now(), now);
        let nodes = parts.filter_map(|node| u64::from_str_radix(text(&node).ok()?, 16).ok()).collect();
        Ok(Some(RollCall { now, number, epoch, lost, asked, sure_since, nodes }))
    }

    fn roll_call_pause(&self) -> Duration {
        if self.runner.is_paid_by_command() { PAID_ROLL_CALL_PAUSE } else { Duration::ZERO }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.runner.ping().await
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.runner.incarnation().await
    }
}

/// A number as scripts take it.
fn digits(number: u128) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The answer for a channel, unless it says why there is none.
fn readable(value: &Value) -> Result<&str, StoreError> {
    match text(value)? {
        "!damaged" => Err(StoreError::Damaged),
        "!newer" => Err(StoreError::Newer),
        text => Ok(text),
    }
}

fn instant(word: Option<&str>) -> Result<Timestamp, StoreError> {
    let millis = word.and_then(|word| word.parse().ok()).ok_or_else(StoreError::unexpected)?;
    Ok(Timestamp::from_millis(millis))
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
