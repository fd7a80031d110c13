//! The remote store itself: encodes calls for the scripts and decodes their responses.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use redis::Value;
use smallvec::smallvec;
use uuid::Uuid;

use super::{
    agreement::Agreement,
    answer::{channel_result, flatten, parse, parse_count, parse_mark, parse_timestamp, text},
    cache::{CachedPart, ChannelCache, Lookup, Marks},
    encoding::{digits, encode},
    leaves::Leaves,
    parts::{Part, PartBatch, create, join_readings, join_written, parts_of, split as split_into_parts},
    renewal_log::Quota,
    unchanged::{Changed, Changes, Position, Unchanged},
};
use crate::{
    domain::{ChannelId, LeaseRules, Timestamp},
    server::{
        clock::{Skew, Skews},
        redis::{ChannelParts, Keys, Runner, Script},
        store::{
            Attendance, Batch, Claim, Difference, Epoch, Listed, Live, MAX_OPS, Names, Reading, RenewalLog,
            RollCall, Share, Store, StoreError, Written, split,
        },
    },
};

/// The most channels that one call reads.
pub(super) const MAX_READ: usize = 1_000;

/// Up to this many channels are read at once, without a question for changes before.
const READ_DIRECTLY: usize = 2;

/// The pause between roll calls on a service that charges for each command.
const PAID_ROLL_CALL_PAUSE: Duration = Duration::from_secs(30);

/// The script that writes. `write.lua` is a function in it, which most calls do not need.
const WRITE: &str = concat!(
    include_str!("scripts/note.lua"),
    include_str!("scripts/call.lua"),
    include_str!("scripts/renew.lua"),
    "local function general()\n",
    include_str!("scripts/write.lua"),
    "end\n",
    include_str!("scripts/batch.lua"),
);

/// A store whose data is in the Redis of a [`Runner`].
pub struct RemoteStore<R> {
    pub(super) runner: R,
    pub(super) keys: Keys,
    pub(super) parts: ChannelParts,
    pub(super) rules: LeaseRules,
    /// The differences between the servers' clocks and the time since `started`.
    skews: Skews,
    started: Instant,
    pub(super) cache: ChannelCache,
    /// Entries in the list of live channels from before this time may be lost.
    pub(super) listed_from: Mutex<Instant>,
    /// No other lock is taken while this one is held.
    pub(super) unchanged: Mutex<Unchanged>,
    write: Script,
    pub(super) append: Script,
    pub(super) read_log: Script,
    pub(super) clear_log: Script,
    pub(super) log_owners: Script,
    pub(super) remove_logs: Script,
    pub(super) read_leaves: Script,
    pub(super) sweep_leaves: Script,
    pub(super) enter_leaves: Script,
    pub(super) leaves: Leaves,
    pub(super) quota: Quota,
    counts: Script,
    changes: Script,
    pub(super) sweep: Script,
    pub(super) list: Script,
    pub(super) listed_channels: Script,
    attend: Script,
    share: Script,
    agreement: Agreement,
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
            skews: Skews::default(),
            started: Instant::now(),
            cache: ChannelCache::default(),
            listed_from: Mutex::new(Instant::now()),
            unchanged: Mutex::default(),
            write: runner.script(WRITE),
            append: runner.script(include_str!("scripts/log.lua")),
            read_log: runner.script("return redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])"),
            clear_log: runner.script("return redis.call('UNLINK', KEYS[1])"),
            log_owners: runner.script(include_str!("scripts/owners.lua")),
            remove_logs: runner.script(include_str!("scripts/remove.lua")),
            read_leaves: runner.script(
                "return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])",
            ),
            sweep_leaves: runner
                .script(concat!(include_str!("scripts/note.lua"), include_str!("scripts/sweep_leaves.lua"))),
            enter_leaves: runner
                .script(concat!(include_str!("scripts/note.lua"), include_str!("scripts/enter_leaves.lua"))),
            leaves: Leaves::default(),
            quota: Quota::default(),
            counts: runner.script(include_str!("scripts/counts.lua")),
            changes: runner.script(include_str!("scripts/changes.lua")),
            sweep: runner.script(include_str!("scripts/sweep.lua")),
            list: runner.script(concat!(include_str!("scripts/note.lua"), include_str!("scripts/list.lua"))),
            listed_channels: runner.script(include_str!("scripts/listed.lua")),
            attend: runner.script(include_str!("scripts/attend.lua")),
            share: runner.script(include_str!("scripts/share.lua")),
            agreement: Agreement::default(),
            runner,
        }
    }

    async fn write_call(
        &self,
        batches: &[PartBatch<'_>],
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let written = self.try_twice(batches).await;
        if written.is_err() {
            self.enter_possible_leaves(batches).await;
        }
        written
    }

    /// Writes batches. If the call arrives too late because a clock was set, it is sent again: the first answer has
    /// shown the server's time.
    async fn try_twice(
        &self,
        batches: &[PartBatch<'_>],
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let any = batches.first().map(|batch| batch.part);
        let (_, keys) = self.keys_of(None, any);
        let skew = || self.skew_of(&keys);
        if skew().millis().is_none() {
            // Without the server's time, a late call could not be told.
            self.counts_call(any.as_slice(), None, Marks::Trusted).await?;
        }
        let (sent, before) = (self.now(), skew().millis());
        match self.try_write(batches, sent).await? {
            Some(written) => Ok(written),
            None if skew().millis() != before => {
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
        let leaves = self.renewal_log().map(|_| self.keys.leaves());
        let (first, keys) = self.keys_of(leaves, batches.iter().map(|batch| batch.part));
        let new_mark = Uuid::new_v4().as_u64_pair().0;
        let skew = self.skew_of(&keys);
        let sent_by_store_clock = skew.to_store(sent).unwrap_or_default();
        let [longest_lease, leave_memory] = self.rule_args();
        let mut args = vec![first, longest_lease, leave_memory];
        args.push(format!("{new_mark:016x}").into_bytes());
        args.push(digits(sent_by_store_clock.as_millis().into()));
        args.extend(batches.iter().map(|batch| encode(&batch.ops, batch.keep)));
        let (response, was_away) = self.run(&self.write, &keys, &args).await?;
        let (as_of, epoch, results) = self.parse_header(sent, &skew, response)?;
        if results.is_empty() {
            return Ok(None);
        }
        let (results, departures) = results.as_chunks::<3>();
        if let [gone, back] = departures {
            self.enter_departures(as_of, gone, back).await;
        }
        let written = |(batch, [count, mark, flags]): (&PartBatch<'_>, &[Value; 3])| {
            let Value::Int(count) = count else {
                return Err(channel_result(count).err().unwrap_or_else(StoreError::unexpected));
            };
            let count = u32::try_from(*count).map_err(|_| StoreError::unexpected())?;
            let mut words = text(mark)?.splitn(2, ' ');
            let mark = parse_mark(words.next());
            let restored = words.next().map_or(Ok(Timestamp::default()), parse_timestamp)?;
            let active = match flags {
                Value::Int(_) => smallvec![true; batch.ops.len()],
                flags => text(flags)?.bytes().map(|flag| flag == b'1').collect(),
            };
            let reading = Reading { count, as_of, mark, restored, epoch, was_away };
            self.keep(batch.part, &reading);
            Ok(Written::at_once(active, reading))
        };
        Ok(Some(batches.iter().zip(results).map(written).collect()))
    }

    /// Reads channels, each from its own data. If it is `known` which changes came before, the counts that may stay the same
    /// are added to the unchanged ones.
    async fn read(
        &self,
        channels: &[ChannelId],
        known: Option<Position>,
        marks: Marks,
    ) -> Vec<Result<Reading, StoreError>> {
        let parts = parts_of(channels, &self.parts);
        let calls = self.calls(&parts, |_| 1, MAX_READ);
        let responses = join_all(calls.iter().map(|parts| self.counts_call(parts, known, marks))).await;
        join_readings(channels, flatten(&calls, responses), &self.parts)
    }

    async fn counts_call(
        &self,
        parts: &[Part<'_>],
        known: Option<Position>,
        marks: Marks,
    ) -> Result<Vec<Result<Reading, StoreError>>, StoreError> {
        let (first, keys) = self.keys_of(None, parts.iter().copied());
        let now = Instant::now();
        let lookup = |part: &Part<'_>| match marks {
            Marks::Read => Lookup::Whole,
            Marks::Trusted => self.cache.lookup(*part, self.parts.number(part.channel), known.is_some(), now),
        };
        let lookups: Vec<_> = parts.iter().map(lookup).collect();
        let codes = lookups.iter().flat_map(|lookup| lookup.code()).collect();
        let (sent, generation) = (self.now(), self.runner.generation());
        let skew = self.skew_of(&keys);
        let (response, was_away) = self.run(&self.counts, &keys, &[first, codes]).await?;
        let known = known.filter(|_| self.runner.generation() == generation);
        let (as_of, epoch, results) = self.parse_header(sent, &skew, response)?;
        let reading = |((part, lookup), result): ((&Part<'_>, &Lookup), &Value)| {
            if let Value::Int(_) = result {
                let Lookup::CountOf(cached) = lookup else { return Err(StoreError::unexpected()) };
                let CachedPart { count, mark, restored, is_quiet, .. } = *cached;
                if !is_quiet {
                    self.cache.note_quiet(*part);
                }
                return Ok(Reading { count, as_of, mark, restored, epoch, was_away });
            }
            let mut words = channel_result(result)?.splitn(4, ' ');
            let (count, mark) = (parse_count(words.next())?, parse_mark(words.next()));
            let restored = words.next().map_or(Ok(Timestamp::default()), parse_timestamp)?;
            let reading = Reading { count, as_of, mark, restored, epoch, was_away };
            self.keep(*part, &reading);
            if let (Some(known), Some(end)) = (known, words.next()) {
                let next_end = Some(parse_timestamp(end)?).filter(|end| *end > Timestamp::default());
                self.unchanged.lock().insert(part.channel, &reading, next_end, known);
            }
            Ok(reading)
        };
        Ok(parts.iter().zip(&lookups).zip(&results).map(reading).collect())
    }

    /// Keeps the state of a part that was read or written.
    fn keep(&self, part: Part<'_>, reading: &Reading) {
        if !self.cache.put(part, self.parts.number(part.channel), reading, Instant::now()) {
            self.unchanged.lock().remove(part.channel);
        }
    }

    /// Asks what has changed. `None`: everything has to be read.
    pub(super) async fn ask_for_changes(&self) -> Result<Option<Changes>, StoreError> {
        // The question would double the cost where commands are billed.
        if !self.runner.takes_many_channels() || self.runner.is_paid_by_command() {
            return Ok(None);
        }
        let keys = [self.keys.roll_call(), self.keys.changes()];
        let since = self.unchanged.lock().up_to();
        let (sent, generation) = (self.now(), self.runner.generation());
        let skew = self.skew_of(&keys);
        let (response, was_away) = self.run(&self.changes, &keys, &[digits(since.into())]).await?;
        let (as_of, epoch, results) = self.parse_header(sent, &skew, response)?;
        let (number, names) = results.split_first().ok_or_else(StoreError::unexpected)?;
        let names = names.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let is_same_connection = self.runner.generation() == generation;
        let changed = (is_same_connection && names != ["*"]).then(|| {
            let mut changed = Changed::default();
            for name in names {
                match self.keys.channel_of(name) {
                    Some(counted) => changed.counts.extend(self.channel(counted)),
                    None => changed.names.extend(self.channel(name)),
                }
            }
            changed
        });
        let number = text(number)?.parse().unwrap_or_default();
        Ok(Some(Changes { since, as_of, epoch, number, changed, was_away }))
    }

    /// Runs a script on channels. Also returns whether counts are uncertain: the server of the first key was away (the outage
    /// can be found or resolved while the call waits for its response), or the other nodes may keep channels in other parts.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
    ) -> Result<(Value, bool), StoreError> {
        let is_uncertain = !self.is_agreed()?;
        let was_away = || keys.first().is_some_and(|key| self.runner.was_away(key));
        let was_away_before = was_away();
        let response = self.runner.run(script, keys, args).await?;
        Ok((response, is_uncertain || was_away_before || was_away()))
    }

    /// Whether the nodes agree on the parts of channels. Nearly all that have not asked yet keep channels whole.
    ///
    /// # Errors
    /// When this node is refused.
    pub(super) fn is_agreed(&self) -> Result<bool, StoreError> {
        Ok(self.agreement.check()? || self.parts.are_one())
    }

    /// The time since this store was created, as a timestamp.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }

    /// The keys of parts for a script, and the index of the first part's first key. If all keys are on one server, those of
    /// the roll call and of the list of changes come first, and then `more`.
    fn keys_of<'a>(
        &self,
        more: Option<Vec<u8>>,
        parts: impl IntoIterator<Item = Part<'a>>,
    ) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut keys = Vec::new();
        if self.runner.takes_many_channels() {
            keys.extend([self.keys.roll_call(), self.keys.changes()]);
            keys.extend(more);
        }
        let first = digits(keys.len() as u128 + 1);
        keys.extend(parts.into_iter().flat_map(|part| self.keys.of_part(part.channel, part.number)));
        (first, keys)
    }

    /// The skew of the server of keys.
    pub(super) fn skew_of(&self, keys: &[Vec<u8>]) -> Arc<Skew> {
        self.skews.of(keys.first().map_or(0, |key| self.runner.server_of(key)))
    }

    /// Splits a response into its time, the epoch of the roll call, and the results of channels. `sent` is when the
    /// call was sent, to the server with this skew.
    pub(super) fn parse_header(
        &self,
        sent: Timestamp,
        skew: &Skew,
        response: Value,
    ) -> Result<(Timestamp, Option<Epoch>, Vec<Value>), StoreError> {
        let mut parts = parse::<Vec<Value>>(response)?.into_iter();
        let mut next = || parts.next().ok_or_else(StoreError::unexpected);
        let as_of = Timestamp::from_millis(parse(next()?)?);
        skew.observe(sent, self.now(), as_of);
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
    pub(super) fn rule_args(&self) -> [Vec<u8>; 2] {
        [self.rules.longest_lease, self.rules.leave_memory].map(|span| digits(span.as_millis()))
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

    /// Splits items into calls for the runner: runs of at most `max_weight`, or single items if the runner takes one
    /// channel, or part of one, per call.
    pub(super) fn calls<'a, T>(
        &self,
        items: &'a [T],
        weight: impl Fn(&T) -> usize,
        max_weight: usize,
    ) -> Vec<&'a [T]> {
        split(items, weight, if self.runner.takes_many_channels() { max_weight } else { 0 })
    }
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
        if channels.len() <= READ_DIRECTLY {
            return self.read(channels, None, Marks::Trusted).await;
        }
        let changes = match self.ask_for_changes().await {
            Ok(Some(changes)) => changes,
            Ok(None) => return self.read(channels, None, Marks::Trusted).await,
            Err(error) => return channels.iter().map(|_| Err(error.clone())).collect(),
        };
        let known: Vec<_> = {
            let (mut unchanged, now) = (self.unchanged.lock(), Instant::now());
            unchanged.apply(&changes, now);
            channels.iter().map(|channel| unchanged.reading(channel, &changes, now)).collect()
        };
        let unknown = channels.iter().zip(&known).filter(|(_, known)| known.is_none());
        let unknown: Vec<_> = unknown.map(|(channel, _)| channel.clone()).collect();
        let mut read = self.read(&unknown, changes.position(), Marks::Trusted).await.into_iter();
        let mut next = || read.next().unwrap_or_else(|| Err(StoreError::unexpected()));
        known.into_iter().map(|known| known.map_or_else(&mut next, Ok)).collect()
    }

    async fn verify(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        self.read(channels, None, Marks::Read).await
    }

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        self.names(parts).await
    }

    async fn enter(&self, channels: &[ChannelId]) -> Result<(), StoreError> {
        let now = Instant::now();
        // Other channels of this node may have no viewers at the moment.
        *self.listed_from.lock() = now;
        self.enter_at(channels, now).await
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
        self.sweep_all().await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn renewal_log(&self) -> Option<&dyn RenewalLog> {
        // Where commands are billed, two would cost more than one.
        (!self.runner.is_paid_by_command()).then_some(self)
    }

    fn takes_many_channels(&self) -> bool {
        self.runner.takes_many_channels()
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        if !attendance.expected_for.is_zero() {
            // The others need not wait for what a refused node can't write.
            self.agreement.check()?;
        }
        // A node that shuts down has no time for it.
        if !attendance.expected_for.is_zero() {
            self.enter_before_roll_call().await;
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
        let report = self.leaves.report();
        let are_entered = self.renewal_log().is_some() && report.are_entered;
        args.push(if are_entered { b"2".to_vec() } else { b"1".to_vec() });
        let is_last = attendance.expected_for.is_zero();
        let are_missing = report.are_dropped || is_last && !report.are_entered;
        args.push(if are_missing { self.rule_args()[0].clone() } else { b"0".to_vec() });
        args.extend(attendance.peers.iter().map(|peer| hex(*peer)));
        let (sent, keys) = (self.now(), [self.keys.roll_call()]);
        let skew = self.skew_of(&keys);
        let response = self.runner.run(&self.attend, &keys, &args).await?;
        self.leaves.reported(report);
        let mut parts = parse::<Vec<Value>>(response)?.into_iter();
        let mut next = || parts.next().ok_or_else(StoreError::unexpected);
        let time = |value: Value| parse::<u64>(value).map(Timestamp::from_millis);
        let (now, epoch) = (time(next()?)?, next()?);
        let number = u64::from_str_radix(text(&epoch)?, 16).map_err(|_| StoreError::unexpected())?;
        let epoch = Some(self.epoch(&epoch));
        let (lost, asked, sure_since) = (time(next()?)?, time(next()?)?, time(next()?)?);
        skew.observe(sent, self.now(), now);
        let nodes: Vec<_> =
            parts.filter_map(|node| u64::from_str_radix(text(&node).ok()?, 16).ok()).collect();
        self.quota.share_with(nodes.len());
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
