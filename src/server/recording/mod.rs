//! The recorder of a node: what is kept of the counts of channels.
//!
//! Every node records what its own calls show: the highest counts, the distinct viewers and the new viewers. The owner of
//! a channel also records how long each count lasted ([`sampler`]). The [`writer`] brings all of it into the database as
//! rows of this node. [`upkeep`] merges the rows of all nodes.
//!
//! Promises:
//! - Recording costs a beat no call to the store, and well below a microsecond of this node.
//! - The peak is taken from every write and every read. No higher count was ever shown.
//! - Reading a channel creates no record. A record goes some minutes after its channel's last viewer.
//! - While the database is away, rows wait in memory within a bound (`backlog.rs`), also before the first contact
//!   with it: what ended meanwhile is written when it comes.

mod backlog;
mod dated_signals;
mod distinct;
mod feed;
mod on_air;
mod ownership;
pub mod past;
mod progress;
mod record;
pub mod sampler;
mod signal_clock;
pub mod simulated;
mod store_time;
pub mod upkeep;
mod waiting;
pub mod writer;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

pub use self::{
    backlog::MAX_WAITING_BYTES,
    distinct::RowData,
    feed::{FiguresFeed, FiguresWatch},
    ownership::{Ownership, Shareholder},
    progress::Progress,
};
use self::{dated_signals::DatedSignals, on_air::Air, record::Record, store_time::StoreTime};
use super::{
    clock::Clock,
    database::{Sight, part_key},
    history::{self, HashKey, Place, Span, Track},
    presence::Observer,
    signals::{Change, Signals, Source},
};
use crate::domain::{Act, ChannelId, Count, Live, SessionKey, Timestamp, ViewerId};

/// The recorder of a node. Cloning is cheap.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    /// Identifies this run of the node in its rows.
    node: u64,
    /// The key of the hashes of viewers. Known after the first contact with the database.
    key: OnceLock<HashKey>,
    records: DashMap<ChannelId, Record>,
    /// What is known of each part: while its list of live channels is complete, all other channels have no viewers.
    parts: Vec<Mutex<Track>>,
    /// A bit for each part in whose observation there was a gap since the last [`Recorder::take`].
    gaps: AtomicU16,
    /// A bit for each part in the last sample.
    sampled: AtomicU16,
    ownership: Ownership,
    progress: Progress,
    /// The pause between two samples.
    sample_pause: Mutex<Duration>,
    signals: DatedSignals,
    /// The shortest pause between two samples.
    min_pause: Duration,
    clock: Arc<dyn Clock>,
    /// The number of samples so far.
    samples: AtomicU64,
    store_time: StoreTime,
}

/// What has changed of a channel or part since it was last taken.
#[derive(Debug)]
pub struct Taken {
    /// The name of the channel, or the key of the part.
    pub channel: String,
    /// The part.
    pub part: u16,
    /// The minutes whose rows must be written.
    pub minutes: Vec<history::TakenMinute>,
    /// The changed minutes of [joins](super::history::joins).
    pub joins: Vec<history::TakenMinute>,
    /// The rows of distinct viewers with the starts of their spans.
    pub viewers: Vec<(Timestamp, RowData)>,
    /// The span on air.
    pub on_air: Option<TakenSpan>,
    /// The number of minutes that were lost, because nobody took them for an hour.
    pub lost: u64,
}

/// A span on air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenSpan {
    /// The span.
    pub span: Span,
    /// When it was first observed.
    pub observed_from: Timestamp,
    /// How it was seen.
    pub sight: Sight,
}

/// Each part has a bit in [`Inner::gaps`] and [`Inner::sampled`].
const _: () = assert!(ChannelId::PARTS <= 16);

/// The pause between two samples of an owner.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time between two observations that counts as observed, in samples.
const MAX_GAP: u32 = 5;

impl Recorder {
    /// A recorder without records. `node` is a random number of this run of the node. A store that charges for each
    /// command has a pause between roll calls, and is sampled three times in it.
    #[must_use]
    pub fn new(node: u64, roll_call_pause: Duration, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            node,
            key: OnceLock::new(),
            records: DashMap::new(),
            parts: (0..ChannelId::PARTS).map(|_| Mutex::default()).collect(),
            gaps: AtomicU16::default(),
            sampled: AtomicU16::default(),
            ownership: Ownership::default(),
            progress: Progress::default(),
            signals: DatedSignals::default(),
            sample_pause: Mutex::new(SAMPLE_INTERVAL.max(roll_call_pause / 3)),
            min_pause: SAMPLE_INTERVAL.max(roll_call_pause / 3),
            clock,
            samples: AtomicU64::default(),
            store_time: StoreTime::default(),
        }))
    }

    /// Plans the next sample after one of `calls` store calls. A sample may not cost a store more than a call for each
    /// millisecond of the pause.
    fn plan_sample(&self, calls: usize) -> Duration {
        let pause = self.0.min_pause.max(Duration::from_millis(u64::try_from(calls).unwrap_or(u64::MAX)));
        *self.0.sample_pause.lock() = pause;
        pause
    }

    /// The longest time between two observations that counts as observed.
    fn max_gap(&self) -> Duration {
        *self.0.sample_pause.lock() * MAX_GAP
    }

    /// The parts of the channels that this node owns.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.0.ownership
    }

    /// How far the database has what this node has seen.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// The number of channels with a record on this node.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.records.len()
    }

    /// Whether no channel has a record on this node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.records.is_empty()
    }

    /// Whether a channel has a record on this node.
    #[must_use]
    pub fn has_record(&self, channel: &ChannelId) -> bool {
        self.0.records.contains_key(channel)
    }

    /// Lets the live signals decide what is on air. Further calls have no effect.
    pub fn follow_signals(&self, signals: Signals) {
        if !self.0.signals.follow(signals.clone()) {
            return;
        }
        // The signals don't keep a recorder that is no longer needed.
        let inner = Arc::downgrade(&self.0);
        signals.on_change(move |change, source| {
            if let Some(inner) = inner.upgrade() {
                Self(inner).signal_changed(change, source);
            }
        });
    }

    /// Records a change of a live signal, when this node learns of it.
    fn signal_changed(&self, change: &Change, source: Source) {
        let channel = &change.channel;
        if let Some(now) = self.0.store_time.now() {
            self.0.signals.compare_clocks(now);
        }
        if change.since.is_none() {
            self.0.signals.end(channel);
        }
        match (change.since, change.ended_at) {
            (Some(since), _) => {
                self.count_who_waited(channel, since);
                self.signal_is_on(channel, source);
            }
            (None, Some(ended_at)) => {
                let ended_at = self.0.signals.convert(ended_at);
                // What another node has observed since is not ended here.
                let max_gap = self.0.ownership.owns(channel).then(|| self.max_gap());
                if let Some(mut record) = self.0.records.get_mut(channel) {
                    record.end_signal(ended_at, max_gap);
                }
            }
            (None, None) => {}
        }
    }

    /// Counts who has waited for a live signal that began at `since`.
    fn count_who_waited(&self, channel: &ChannelId, since: Timestamp) {
        let since = self.0.signals.begin(channel, since);
        let Some(waiting) = self.0.records.get_mut(channel).map(|mut record| record.take_waiting()) else {
            return;
        };
        // Counted without the lock of the record, as there may be many.
        let viewers = waiting.viewers(self.key(), self.now());
        if let Some(mut record) = self.0.records.get_mut(channel) {
            record.begin_signal(since, viewers);
        }
    }

    /// Records that the live signal is on. The broadcast may be over before the next sample. The owner records it, and the node
    /// whose caller has reported it: the owner may read the signal too late.
    fn signal_is_on(&self, channel: &ChannelId, source: Source) {
        let is_owned = self.0.ownership.owns(channel);
        let Some(Live::Yes { since }) = self.0.signals.state(channel) else { return };
        if !is_owned && source == Source::Store {
            return;
        }
        let now = self.now();
        let mut record = self.0.records.entry(channel.clone()).or_default();
        if !is_owned {
            record.glimpse_signal(since, now);
        } else if record.signal_is_on(since, now) {
            self.0.progress.begin(channel);
        }
    }

    /// Whether a channel with this count is on air, and since when if that is known.
    fn air_of(&self, channel: &ChannelId, count: u32) -> Air {
        match self.0.signals.state(channel) {
            None if count > 0 => Air::On { since: None },
            Some(Live::Yes { since }) => Air::On { since: Some(since) },
            None | Some(Live::No | Live::Unknown) => Air::Off,
        }
    }

    /// Sets the key of the hashes of viewers: the id of the database. Further calls have no effect.
    pub fn set_key(&self, database: Uuid) {
        let _already_set = self.0.key.set(HashKey::new(*database.as_bytes()));
    }

    /// The key of the hashes of viewers. `None` before the first contact with the database.
    fn key(&self) -> Option<&HashKey> {
        self.0.key.get()
    }

    /// Records that a viewer joined a channel at this node, where the viewer watches, and whether it came with a ticket
    /// (`None` if tickets are off).
    pub fn joined(
        &self,
        channel: &ChannelId,
        viewer: ViewerId,
        place: Place<'_>,
        has_ticket: Option<bool>,
        count: Count,
    ) {
        let at = self.time_of(count);
        if let Some(mut record) = self.0.records.get_mut(channel) {
            record.arrive(viewer, self.0.node, place, at);
            if let Some(has_ticket) = has_ticket {
                record.join(has_ticket, self.0.node, at);
            }
        }
    }

    /// The number of this node's run in its rows.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.0.node
    }

    /// The present time, by the store's clock. By this node's clock until the store's is known.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.store_time.now().unwrap_or_else(|| self.0.clock.now())
    }

    /// When a write was accepted whose response has this count. Without a response of the store, the count is an earlier one.
    fn time_of(&self, count: Count) -> Timestamp {
        let is_of_response = count.live().is_some();
        if is_of_response { count.as_of() } else { self.now() }
    }

    /// Records the store's time, which a call has shown just now.
    fn note_time(&self, now: Timestamp) {
        self.0.store_time.note(now);
        self.0.signals.compare_clocks(now);
    }

    /// Takes what has changed: of channels, and of parts. Frees the records of channels that are empty. The parts are as
    /// they were before the channels: a part says that its channels are as their rows say.
    /// Without `everything`, minutes and spans are left out if the rows in the database already say the same, unless there
    /// was a gap in the observation of the part.
    #[must_use]
    pub fn take(&self, everything: bool) -> Vec<Taken> {
        let now = self.now();
        self.0.signals.sweep();
        let of_part = |(part, track): (u16, &Mutex<Track>)| Taken {
            channel: part_key(part),
            part,
            minutes: track.lock().take_dirty(now),
            joins: Vec::new(),
            viewers: Vec::new(),
            on_air: None,
            lost: 0,
        };
        let parts: Vec<Taken> = (0..).zip(&self.0.parts).map(of_part).collect();
        let gaps = if everything { u16::MAX } else { self.0.gaps.swap(0, Ordering::Relaxed) };
        let mut taken = Vec::new();
        // One by one: a lock that is held for many records would stop the beats of their channels.
        let channels: Vec<ChannelId> = self.0.records.iter().map(|record| record.key().clone()).collect();
        for channel in channels {
            let Some(mut record) = self.0.records.get_mut(&channel) else { continue };
            taken.extend(record.take(
                &channel,
                self.node(),
                self.key(),
                now,
                gaps >> channel.part() & 1 == 1,
            ));
            let is_over = record.is_over(now);
            drop(record);
            if is_over {
                self.0.records.remove_if(&channel, |_, record| record.is_over(now));
            }
        }
        taken.extend(parts);
        taken
    }

    /// Takes what has changed of a channel.
    fn take_of(&self, channel: &ChannelId) -> Option<Taken> {
        let now = self.now();
        let mut record = self.0.records.get_mut(channel)?;
        record.take(channel, self.node(), self.key(), now, false)
    }

    /// Begins a sample of these parts. Returns its number.
    fn next_sample(&self, parts: &[u16]) -> u64 {
        // Another node may have written the channels of a part that was not in the last sample, or that this node did not own
        // for a moment since.
        let sampled = parts.iter().fold(0, |bits, part| bits | 1 << part);
        let before = self.0.sampled.swap(sampled, Ordering::Relaxed);
        let returned = sampled & (!before | self.0.ownership.take_lost());
        for part in parts.iter().filter(|part| returned >> **part & 1 == 1) {
            self.sampled_part(*part, None);
        }
        self.0.samples.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The channels of some parts that are on air, or were on air or had viewers when they were last observed here, and are
    /// not in a sample yet. The others are known to have none while the list of live channels lacks them.
    fn missing(&self, parts: &[u16], sample: u64) -> Vec<ChannelId> {
        let is_in = |channel: &ChannelId| parts.contains(&channel.part());
        let is_sampled =
            |channel: &ChannelId| self.0.records.get(channel).is_some_and(|record| record.sample == sample);
        let mut missing = self.0.signals.on_air();
        missing.retain(|channel| is_in(channel) && !is_sampled(channel));
        let observed = self
            .0
            .records
            .iter()
            .filter(|record| (record.has_viewers() || record.is_on_air()) && record.sample != sample);
        missing.extend(observed.map(|record| record.key().clone()).filter(is_in));
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Records whether the list of live channels of a part was complete: at which time, or `None`.
    ///
    /// It was not while this node did not own the part. Its own calls then did not observe the channels, and time that is
    /// observed of the part alone would have the count 0.
    fn sampled_part(&self, part: u16, complete_at: Option<Timestamp>) {
        let Some(track) = self.0.parts.get(usize::from(part)) else { return };
        let complete_at = complete_at.filter(|_| !self.0.ownership.has_lost(part));
        // The lock is held until the gap is noted, so that no writer takes the part without it.
        let mut track = track.lock();
        let goes_on = match complete_at {
            Some(at) => {
                let goes_on = track.observe(0, at, true, self.max_gap());
                // Without current signals nobody knows whether a channel is off air.
                if self.0.signals.are_current() {
                    self.0.progress.sample(part, at);
                }
                goes_on
            }
            None => {
                track.unknown(Timestamp::from_millis(u64::MAX));
                false
            }
        };
        if !goes_on {
            self.0.gaps.fetch_or(1 << part, Ordering::Relaxed);
        }
    }

    /// Records a fresh count. The record of a channel that goes on air is written soon.
    fn observe(&self, record: &mut Record, channel: &ChannelId, count: u32, at: Timestamp, is_owned: bool) {
        let air = self.air_of(channel, count);
        if record.observe(count, at, air, is_owned.then(|| self.max_gap())) {
            self.0.progress.begin(channel);
        }
    }

    /// Whether a count that the owner has sampled begins a record.
    fn is_record_due(&self, channel: &ChannelId, count: u32) -> bool {
        count > 0 || self.air_of(channel, count) != Air::Off
    }

    /// Records a count that the owner of the channel has sampled.
    fn sampled(&self, channel: &ChannelId, count: Count, sample: u64) {
        match (count.live(), self.0.records.get_mut(channel)) {
            (Some(value), Some(mut record)) => {
                record.sample = sample;
                self.observe(&mut record, channel, value, count.as_of(), true);
            }
            (Some(value), None) if self.is_record_due(channel, value) => {
                let mut record = self.0.records.entry(channel.clone()).or_default();
                record.sample = sample;
                self.observe(&mut record, channel, value, count.as_of(), true);
            }
            (None, Some(mut record)) => {
                record.sample = sample;
                record.lose_sight(count.as_of());
            }
            _ => {}
        }
    }
}

impl Observer for Recorder {
    fn wrote(&self, channel: &ChannelId, viewer: Option<ViewerId>, count: Count) {
        let is_owned = self.0.ownership.owns(channel);
        let fresh = count.live();
        // A node that owns no part has no sample that shows the time.
        if fresh.is_some() && self.0.signals.decide() && self.0.store_time.is_older_than(SAMPLE_INTERVAL) {
            self.note_time(count.as_of());
        }
        let mut record = match self.0.records.get_mut(channel) {
            Some(record) => record,
            None if viewer.is_some() => self.0.records.entry(channel.clone()).or_default(),
            None => return,
        };
        // The count may begin a broadcast, of which this is a viewer.
        if let Some(count_now) = fresh {
            self.observe(&mut record, channel, count_now, count.as_of(), is_owned);
        }
        if let Some(viewer) = viewer {
            let signal = self.0.signals.state(channel);
            record.see(viewer, self.key(), self.time_of(count), signal);
        }
    }

    fn acted(&self, who: &SessionKey, act: Act, is_counted: bool, _arrived: Instant) {
        // Only those who wait for a signal are remembered.
        if !self.0.signals.is_off_air(&who.channel) {
            return;
        }
        let Some(mut record) = self.0.records.get_mut(&who.channel) else { return };
        match act {
            Act::Join { lease } | Act::Heartbeat { lease } | Act::Renew { lease } if is_counted => {
                let now = self.now();
                record.wait(who.viewer, who.session, now, now + lease);
            }
            Act::Leave | Act::LeaveKnown => record.stop_waiting(who.viewer, who.session),
            _ => {}
        }
    }

    fn read(&self, channel: &ChannelId, count: Count) {
        let Some(count_now) = count.live() else { return };
        if let Some(mut record) = self.0.records.get_mut(channel) {
            let is_owned = self.0.ownership.owns(channel);
            // Many clients may read a count that holds. The next sample shows that it still does.
            if !record.has_observed(count_now, count.as_of(), is_owned, SAMPLE_INTERVAL) {
                self.observe(&mut record, channel, count_now, count.as_of(), is_owned);
            }
        }
    }
}

#[cfg(test)]
mod tests;
