//! The remote store itself: encodes calls for the scripts and decodes their responses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dashmap::DashMap;
use futures::future::join_all;
use redis::{FromRedisValue, Value, from_redis_value};
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::{
    agreement::Agreement,
    encoding::encode,
    parts::{Part, PartBatch, create, join_readings, join_written, parts_of, split as split_into_parts},
};
use crate::{
    domain::{ChannelId, LeaseRules, Timestamp},
    server::{
        clock::Skew,
        redis::{ChannelParts, Keys, Runner, Script},
        store::{
            Attendance, Batch, Claim, Difference, Epoch, Listed, Live, MAX_OPS, Mark, Names, Reading,
            RollCall, Share, Store, StoreError, Written, split,
        },
    },
};

/// The most channels that one call reads.
const MAX_READ: usize = 1_000;

/// The pause between roll calls on a service that charges for each command.
const PAID_ROLL_CALL_PAUSE: Duration = Duration::from_secs(30);

/// A call to sweep ends after a channel with this many viewers to check, or sooner.
const SWEEP_STEP: i64 = 250;

/// The most channels that one call sweeps.
const MAX_SWEPT: usize = 50;

/// How long after its last entry a channel with viewers is entered into the list of live channels again. An entry
/// expires after this time plus the longest lease. The list can contain channels without viewers; their counts are 0.
const RELIST_AFTER: Duration = Duration::from_secs(30);

/// How long a channel's mark is assumed to be unchanged while its count stays the same. A read that skips the mark
/// costs Redis half as much.
const MARK_TRUSTED_FOR: Duration = Duration::from_secs(3);

/// How long after its last read or write a channel is removed from the cache.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// A store whose data is in the Redis of a [`Runner`].
pub struct RemoteStore<R> {
    runner: R,
    keys: Keys,
    parts: ChannelParts,
    rules: LeaseRules,
    /// The difference between the server's clock and the time since `started`.
    skew: Skew,
    started: Instant,
    cache: DashMap<ChannelId, CachedChannel>,
    write: Script,
    counts: Script,
    sweep: Script,
    list: Script,
    listed_channels: Script,
    attend: Script,
    share: Script,
    agreement: Agreement,
}

/// What is known of a channel.
struct CachedChannel {
    parts: SmallVec<[Option<CachedPart>; 1]>,
    /// When a part of the channel was last read or written.
    used: Instant,
    /// When this node last entered the channel into the list of live channels.
    listed: Option<Instant>,
}

/// The last known state of a part of a channel.
#[derive(Clone, Copy)]
struct CachedPart {
    count: u32,
    mark: Option<Mark>,
    restored: Timestamp,
    /// When the mark was last read.
    mark_read: Instant,
}

impl<R: Runner> RemoteStore<R> {
    /// Creates a store of whole channels whose keys start with `prefix`.
    #[must_use]
    pub fn new(runner: R, prefix: &str, rules: LeaseRules) -> Self {
        Self::in_parts(runner, prefix, ChannelParts::one(), rules)
    }

    /// Creates a store of channels in `parts` whose keys start with `prefix`.
    #[must_use]
    pub fn in_parts(runner: R, prefix: &str, parts: ChannelParts, rules: LeaseRules) -> Self {
        Self {
            keys: Keys::new(prefix, parts.clone()),
            parts,
            rules,
            skew: Skew::default(),
            started: Instant::now(),
            cache: DashMap::new(),
            write: runner.script(include_str!("scripts/write.lua")),
            counts: runner.script(include_str!("scripts/counts.lua")),
            sweep: runner.script(include_str!("scripts/sweep.lua")),
            list: runner.script(include_str!("scripts/list.lua")),
            listed_channels: runner.script(include_str!("scripts/listed.lua")),
            attend: runner.script(include_str!("scripts/attend.lua")),
            share: runner.script(include_str!("scripts/share.lua")),
            agreement: Agreement::default(),
            runner,
        }
    }

    /// Writes batches. If the call arrives too late because a clock was set, it is sent again: the first answer has
    /// shown the server's time.
    async fn write_call(
        &self,
        batches: &[PartBatch<'_>],
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        if self.skew.millis().is_none() {
            // Without the server's time, a late call could not be told.
            let any = batches.first().map(|batch| batch.part);
            self.counts_call(any.as_slice()).await?;
        }
        let (sent, before) = (self.now(), self.skew.millis());
        match self.try_write(batches, sent).await? {
            Some(written) => Ok(written),
            None if self.skew.millis() != before => {
                self.try_write(batches, self.now()).await?.ok_or_else(StoreError::late)
            }
            None => Err(StoreError::late()),
        }
    }

    /// Writes batches in a call that is sent at `sent`. `None` if the call arrived so late that nothing was applied.
    async fn try_write(
        &self,
        batches: &[PartBatch<'_>],
        sent: Timestamp,
    ) -> Result<Option<Vec<Result<Written, StoreError>>>, StoreError> {
        let (first, keys) = self.keys_of(batches.iter().map(|batch| batch.part));
        let new_mark = Uuid::new_v4().as_u64_pair().0;
        let sent_by_store_clock = self.skew.to_store(sent).unwrap_or_default();
        let [longest_lease, leave_memory] = self.rule_args();
        let mut args = vec![first, longest_lease, leave_memory];
        args.push(format!("{new_mark:016x}").into_bytes());
        args.push(digits(sent_by_store_clock.as_millis().into()));
        args.extend(batches.iter().map(|batch| encode(&batch.ops, batch.keep)));
        let (response, was_away) = self.run(&self.write, &keys, &args).await?;
        let (as_of, epoch, results) = self.parse_header(sent, response)?;
        if results.is_empty() {
            return Ok(None);
        }
        let written = |(batch, result): (&PartBatch<'_>, &Value)| {
            let mut words = channel_result(result)?.splitn(4, ' ');
            let (count, mark) = (parse_count(words.next())?, parse_mark(words.next()));
            let restored = parse_timestamp(words.next())?;
            let active = words.next().unwrap_or_default().bytes().map(|flag| flag == b'1').collect();
            self.cache_part(batch.part, count, mark, restored);
            Ok(Written::at_once(active, Reading { count, as_of, mark, restored, epoch, was_away }))
        };
        Ok(Some(batches.iter().zip(&results).map(written).collect()))
    }

    async fn counts_call(&self, parts: &[Part<'_>]) -> Result<Vec<Result<Reading, StoreError>>, StoreError> {
        let (first, keys) = self.keys_of(parts.iter().copied());
        let now = Instant::now();
        let trusted: Vec<_> = parts.iter().map(|part| self.trusted(*part, now)).collect();
        let count = |trusted: &Option<CachedPart>| trusted.map_or(u32::MAX, |cached| cached.count);
        let counts = trusted.iter().flat_map(|trusted| count(trusted).to_be_bytes()).collect();
        let sent = self.now();
        let (response, was_away) = self.run(&self.counts, &keys, &[first, counts]).await?;
        let (as_of, epoch, results) = self.parse_header(sent, response)?;
        let reading = |((part, trusted), result): ((&Part<'_>, &Option<CachedPart>), &Value)| {
            if let Value::Int(_) = result {
                let CachedPart { count, mark, restored, .. } = trusted.ok_or_else(StoreError::unexpected)?;
                return Ok(Reading { count, as_of, mark, restored, epoch, was_away });
            }
            let mut words = channel_result(result)?.splitn(3, ' ');
            let (count, mark) = (parse_count(words.next())?, parse_mark(words.next()));
            let restored =
                words.next().map_or(Ok(Timestamp::default()), |word| parse_timestamp(Some(word)))?;
            self.cache_part(*part, count, mark, restored);
            Ok(Reading { count, as_of, mark, restored, epoch, was_away })
        };
        Ok(parts.iter().zip(&trusted).zip(&results).map(reading).collect())
    }

    /// Runs a script on channels. Also returns whether counts are uncertain: the server of the first key was away (the outage
    /// can be found or resolved while the call waits for its response), or the other nodes may keep channels in other parts.
    async fn run(
        &self,
        script: &Script,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
    ) -> Result<(Value, bool), StoreError> {
        // Nearly all nodes that have not asked yet keep channels whole.
        let is_uncertain = !self.agreement.check()? && !self.parts.are_one();
        let was_away = || keys.first().is_some_and(|key| self.runner.was_away(key));
        let was_away_before = was_away();
        let response = self.runner.run(script, keys, args).await?;
        Ok((response, is_uncertain || was_away_before || was_away()))
    }

    /// The time since this store was created, as a timestamp.
    fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }

    /// The keys of parts for a script, and the index of the first part's first key. If all keys are on one server, the key
    /// of the roll call comes first.
    fn keys_of<'a>(&self, parts: impl IntoIterator<Item = Part<'a>>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let roll_call = self.runner.takes_many_channels().then(|| self.keys.roll_call());
        let first = if roll_call.is_some() { b"2" } else { b"1" };
        let keys = parts.into_iter().flat_map(|part| self.keys.of_part(part.channel, part.number));
        (first.to_vec(), roll_call.into_iter().chain(keys).collect())
    }

    /// Splits a response into its time, the epoch of the roll call, and the results of channels. `sent` is when the
    /// call was sent.
    fn parse_header(
        &self,
        sent: Timestamp,
        response: Value,
    ) -> Result<(Timestamp, Option<Epoch>, Vec<Value>), StoreError> {
        let mut parts = parse::<Vec<Value>>(response)?.into_iter();
        let mut next = || parts.next().ok_or_else(StoreError::unexpected);
        let as_of = Timestamp::from_millis(parse(next()?)?);
        self.skew.observe(sent, self.now(), as_of);
        let epoch = next()?;
        let epoch = self.runner.takes_many_channels().then(|| self.epoch(&epoch));
        Ok((as_of, epoch, parts.collect()))
    }

    fn epoch(&self, value: &Value) -> Epoch {
        /// Odd, so that consecutive connections have distinct epochs for any number.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let number = text(value).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or_default();
        Epoch(number ^ self.runner.generation().wrapping_mul(FACTOR))
    }

    /// The lease rules as script arguments.
    fn rule_args(&self) -> [Vec<u8>; 2] {
        [self.rules.longest_lease, self.rules.leave_memory].map(|span| digits(span.as_millis()))
    }

    /// The last known state of a part, if a read that finds the same count may skip its mark. A lost channel has a
    /// different count, unless as many viewers have joined since. Its mark is therefore read again after
    /// [`MARK_TRUSTED_FOR`].
    fn trusted(&self, part: Part<'_>, now: Instant) -> Option<CachedPart> {
        let cached = self.cache.get(part.channel).and_then(|cached| cached.parts[usize::from(part.number)]);
        // A part without viewers gets its mark without a change of its count.
        let is_known = |cached: &CachedPart| cached.mark.is_some() || self.parts.number(part.channel) == 1;
        cached.filter(|cached| now < cached.mark_read + MARK_TRUSTED_FOR && is_known(cached))
    }

    /// Updates the cache from a result. A channel that has no data in the store is not added.
    fn cache_part(&self, part: Part<'_>, count: u32, mark: Option<Mark>, restored: Timestamp) {
        let now = Instant::now();
        let state = Some(CachedPart { count, mark, restored, mark_read: now });
        let nth = usize::from(part.number);
        match self.cache.get_mut(part.channel) {
            Some(mut cached) => {
                let before = cached.parts[nth];
                if before.is_none_or(|before| before.mark != mark) {
                    // If the channel was lost, the list of live channels may be lost too.
                    cached.listed = None;
                }
                cached.parts[nth] = state;
                cached.used = now;
            }
            None if mark.is_some() => {
                let mut parts = smallvec![None; self.parts.number(part.channel).into()];
                parts[nth] = state;
                self.cache.insert(part.channel.clone(), CachedChannel { parts, used: now, listed: None });
            }
            None => {}
        }
    }

    async fn listed_call(&self, buckets: &[Vec<u8>]) -> Result<Names, StoreError> {
        let response = self.runner.run(&self.listed_channels, buckets, &[]).await?;
        let buckets = parse::<Vec<Option<String>>>(response)?;
        let names = buckets.iter().flatten().flat_map(|names| names.split_ascii_whitespace());
        let channels = names.filter_map(|name| self.channel(name)).collect();
        Ok(Names { channels, is_whole: buckets.iter().all(Option::is_some) })
    }

    /// The channel with a name from the store. It shares its text with the key in the cache, and so with those in other
    /// maps of this node: keys with the same text are equal without a comparison.
    fn channel(&self, name: &str) -> Option<ChannelId> {
        let cached = self.cache.get(name).map(|cached| cached.key().clone());
        cached.or_else(|| ChannelId::parse(name).ok())
    }

    /// Enters written channels that have viewers into the list of live channels, unless their entry is recent. A
    /// failure is retried at the next write of the channel.
    async fn list_channels(&self, batches: &[Batch], written: &[Result<Written, StoreError>]) {
        let at = Instant::now();
        let mut buckets = BTreeMap::<Vec<u8>, BTreeSet<ChannelId>>::new();
        for (Batch { channel, .. }, written) in batches.iter().zip(written) {
            let listed = self.cache.get(channel).and_then(|cached| cached.listed);
            let is_listed = listed.is_some_and(|then| at < then + RELIST_AFTER);
            let has_viewers = written.as_ref().is_ok_and(|written| written.reading.count > 0);
            if has_viewers && !is_listed {
                buckets.entry(self.keys.bucket(channel)).or_default().insert(channel.clone());
            }
        }
        let list = |(bucket, channels): (Vec<u8>, BTreeSet<ChannelId>)| async move {
            let mut args = vec![digits((self.rules.longest_lease + RELIST_AFTER).as_millis())];
            args.extend(channels.iter().map(|channel| channel.as_str().as_bytes().to_vec()));
            if self.runner.run(&self.list, &[bucket], &args).await.is_ok() {
                for channel in &channels {
                    if let Some(mut cached) = self.cache.get_mut(channel) {
                        cached.listed = Some(at);
                    }
                }
            }
        };
        join_all(buckets.into_iter().map(list)).await;
    }

    /// Creates the missing parts of channels that have viewers. Beats that only renew sessions create nothing.
    async fn create_missing(&self, batches: &[Batch], written: &[Result<Written, StoreError>]) {
        let lacks = |written: &Result<Written, StoreError>| {
            written.as_ref().is_ok_and(|written| written.reading.count > 0 && written.reading.mark.is_none())
        };
        let channels = batches.iter().map(|batch| &batch.channel).zip(written);
        let lacking = channels.filter(|(channel, result)| self.parts.number(channel) > 1 && lacks(result));
        let missing: Vec<_> = lacking.flat_map(|(channel, _)| create(channel, &self.parts)).collect();
        let calls = self.calls(&missing, |_| 1, MAX_OPS);
        // What fails is created by the next write.
        let _results = join_all(calls.iter().map(|batches| self.write_call(batches))).await;
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

    /// Splits items into calls for the runner: runs of at most `max_weight`, or single items if the runner takes one
    /// channel, or part of one, per call.
    fn calls<'a, T>(&self, items: &'a [T], weight: impl Fn(&T) -> usize, max_weight: usize) -> Vec<&'a [T]> {
        split(items, weight, if self.runner.takes_many_channels() { max_weight } else { 0 })
    }
}

/// Flattens the responses of calls into one result for each item.
fn flatten<T, A>(
    calls: &[&[T]],
    responses: Vec<Result<Vec<Result<A, StoreError>>, StoreError>>,
) -> Vec<Result<A, StoreError>> {
    let mut flat = Vec::new();
    for (items, response) in calls.iter().zip(responses) {
        match response {
            Ok(results) if results.len() == items.len() => flat.extend(results),
            Ok(_) => flat.extend(items.iter().map(|_| Err(StoreError::unexpected()))),
            Err(error) => flat.extend(items.iter().map(|_| Err(error.clone()))),
        }
    }
    flat
}

#[async_trait]
impl<R: Runner> Store for RemoteStore<R> {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let of_parts = split_into_parts(batches, &self.parts);
        let calls = self.calls(&of_parts, |batch| batch.ops.len().max(1), MAX_OPS);
        let responses = join_all(calls.iter().map(|batches| self.write_call(batches))).await;
        let written = join_written(batches, flatten(&calls, responses), &self.parts);
        if !self.parts.are_one() {
            self.create_missing(batches, &written).await;
        }
        self.list_channels(batches, &written).await;
        written
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let parts = parts_of(channels, &self.parts);
        let calls = self.calls(&parts, |_| 1, MAX_READ);
        let responses = join_all(calls.iter().map(|parts| self.counts_call(parts))).await;
        join_readings(channels, flatten(&calls, responses), &self.parts)
    }

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        let buckets: Vec<_> = parts.iter().map(|part| self.keys.bucket_of_part(*part)).collect();
        let calls = self.calls(&buckets, |_| 1, MAX_READ);
        let responses = join_all(calls.iter().map(|buckets| self.listed_call(buckets))).await;
        let is_whole = responses.iter().all(|names| names.as_ref().is_ok_and(|names| names.is_whole));
        if !responses.is_empty() && responses.iter().all(Result::is_err) {
            return Err(responses.into_iter().find_map(Result::err).unwrap_or_else(StoreError::unexpected));
        }
        let channels = responses.into_iter().flatten().flat_map(|names| names.channels).collect();
        Ok(Names { channels, is_whole })
    }

    async fn share(&self, claim: &Claim) -> Result<Share, StoreError> {
        let database = claim.database.map(|id| id.to_string()).unwrap_or_default();
        let has_claimed = self.agreement.ask();
        let lease = if has_claimed { claim.lease } else { Duration::ZERO };
        let args = [
            format!("{:016x}", claim.node).into_bytes(),
            digits(lease.as_millis()),
            digits(ChannelId::PARTS.into()),
            database.clone().into_bytes(),
            self.parts.to_string().into_bytes(),
        ];
        let response = self.runner.run(&self.share, &[self.keys.shares()], &args).await;
        let response = response.inspect_err(|_| self.agreement.not_answered())?;
        let mut answer = parse::<Vec<Value>>(response)?.into_iter();
        let mut next = || answer.next().ok_or_else(StoreError::unexpected);
        let (in_use, channel_parts) = (parse::<String>(next()?)?, parse::<String>(next()?)?);
        let is_same = channel_parts == self.parts.to_string();
        let difference = (!is_same).then_some(Difference::ChannelParts(channel_parts));
        if let Some(difference) = self.agreement.answered(difference, has_claimed) {
            return Ok(Share::Refused(difference));
        }
        if !database.is_empty() && !in_use.is_empty() && in_use != database {
            return Ok(Share::Refused(Difference::Database));
        }
        Ok(Share::Parts(answer.map(parse).collect::<Result<_, _>>()?))
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        let parts: Vec<u16> = (0..ChannelId::PARTS).collect();
        let Names { channels, mut is_whole } = self.listed(&parts).await?;
        let mut live = Vec::new();
        let readings = self.counts(&channels).await;
        for (channel, reading) in channels.into_iter().zip(readings) {
            match reading {
                Ok(Reading { count, as_of, restored, was_away, .. }) if count > 0 => {
                    is_whole &= !was_away;
                    live.push(Live { channel, count, as_of, restored });
                }
                Ok(reading) => is_whole &= !reading.was_away,
                Err(_) => is_whole = false,
            }
        }
        Ok(Listed { live, is_whole })
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = Instant::now();
        let listed_for = self.rules.longest_lease + RELIST_AFTER;
        self.cache.retain(|_, cached| {
            now < cached.used + CACHE_TTL || cached.listed.is_some_and(|at| now < at + listed_for)
        });
        let listed = self.cache.iter().filter(|cached| cached.listed.is_some());
        let channels: Vec<ChannelId> = listed.map(|cached| cached.key().clone()).collect();
        let (whole, in_parts): (Vec<_>, Vec<_>) =
            channels.into_iter().partition(|channel| self.parts.number(channel) == 1);
        let spare = self.rules.longest_lease / 8;
        let mut empty = self.sweep_channels(whole, spare).await?;
        // A viewer may have joined another part meanwhile, which keeps this one for as long.
        let longest = self.rules.longest_lease.max(self.rules.leave_memory);
        empty.extend(self.sweep_channels(in_parts, longest + spare).await?);
        for channel in empty {
            // An empty channel needs no sweep until a viewer joins, which lists the channel again.
            self.cache.entry(channel).and_modify(|cached| cached.listed = None);
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
        if !attendance.expected_for.is_zero() {
            // The others need not wait for what a refused node can't write.
            self.agreement.check()?;
        }
        // The servers of a cluster fail and return one by one, and the roll call needs only its own.
        let server = if self.runner.takes_many_channels() { self.runner.incarnation().await? } else { None };
        let hex = |number: u64| format!("{number:016x}").into_bytes();
        let flag = |is_set: bool| if is_set { b"1".to_vec() } else { Vec::new() };
        let mut args = vec![hex(attendance.node), digits(attendance.expected_for.as_millis())];
        args.push(attendance.sure_since.map_or_else(|| b"now".to_vec(), |at| digits(at.as_millis().into())));
        args.push(attendance.known.map(hex).unwrap_or_default());
        args.push(hex(Uuid::new_v4().as_u64_pair().0));
        args.extend([
            server.unwrap_or_default().into_bytes(),
            flag(attendance.has_found_loss || attendance.is_locked_out),
        ]);
        args.extend([flag(self.runner.takes_many_channels()), flag(attendance.is_locked_out)]);
        args.extend(attendance.peers.iter().map(|peer| hex(*peer)));
        let sent = self.now();
        let response = self.runner.run(&self.attend, &[self.keys.roll_call()], &args).await?;
        let mut parts = parse::<Vec<Value>>(response)?.into_iter();
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

    fn unresolved_outage(&self) -> Option<u64> {
        self.runner.unresolved_outage()
    }

    fn resolve_outages(&self, up_to: u64) {
        self.runner.resolve_outages(up_to);
    }
}

/// A number as a script argument.
fn digits(number: u128) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The result for a channel, or the error that it names.
fn channel_result(value: &Value) -> Result<&str, StoreError> {
    match text(value)? {
        "!damaged" => Err(StoreError::Damaged),
        "!newer" => Err(StoreError::Newer),
        text => Ok(text),
    }
}

fn parse_timestamp(word: Option<&str>) -> Result<Timestamp, StoreError> {
    let millis = word.and_then(|word| word.parse().ok()).ok_or_else(StoreError::unexpected)?;
    Ok(Timestamp::from_millis(millis))
}

/// A string in a response.
fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).map_err(|_| StoreError::unexpected()),
        _ => Err(StoreError::unexpected()),
    }
}

fn parse_count(word: Option<&str>) -> Result<u32, StoreError> {
    word.and_then(|word| word.parse().ok()).ok_or_else(StoreError::unexpected)
}

/// A mark, or `None` if the word is missing or empty.
fn parse_mark(word: Option<&str>) -> Option<Mark> {
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).map(Mark)
}

fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|_| StoreError::unexpected())
}
