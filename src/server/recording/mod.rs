//! The recorder of a node: what is kept of the counts of channels.
//!
//! Every node records what its own calls show: the highest counts, the distinct viewers and the new viewers. The owner of
//! a channel also records how long the count was what ([`sampler`]). The [`writer`] brings all of it into the database as
//! rows of this node. [`upkeep`] merges the rows of all nodes.
//!
//! Promises:
//! - Recording costs a beat no call to the store, and well below a microsecond of this node.
//! - The peak is taken from every write and every read. No higher count was ever shown.
//! - What is merely read creates no record. A record goes some minutes after its channel's last viewer.
//! - While the database is away, rows wait in memory within a bound ([`writer::MAX_WAITING_BYTES`]).

mod ownership;
mod progress;
mod record;
pub mod sampler;
pub mod upkeep;
pub mod writer;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use uuid::Uuid;

use self::record::Record;
pub use self::{
    ownership::{Ownership, Shareholder},
    progress::Progress,
};
use super::{
    history::{HashKey, Place, Track},
    presence::Observer,
};
use crate::domain::{ChannelId, Count, Timestamp, ViewerId};

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
    ownership: Ownership,
    progress: Progress,
    sample_interval: Duration,
}

/// The pause between two samples of an owner.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time between two observations that counts as observed, in samples.
const MAX_GAP: u32 = 5;

impl Recorder {
    /// A recorder without records. `node` is a random number of this run of the node. A store that charges for each
    /// command has a pause between roll calls, and is sampled three times in it.
    #[must_use]
    pub fn new(node: u64, roll_call_pause: Duration) -> Self {
        Self(Arc::new(Inner {
            node,
            key: OnceLock::new(),
            records: DashMap::new(),
            parts: (0..ChannelId::PARTS).map(|_| Mutex::default()).collect(),
            ownership: Ownership::default(),
            progress: Progress::default(),
            sample_interval: SAMPLE_INTERVAL.max(roll_call_pause / 3),
        }))
    }

    /// The pause between two samples of an owner.
    #[must_use]
    pub fn sample_interval(&self) -> Duration {
        self.0.sample_interval
    }

    fn max_gap(&self) -> Duration {
        self.0.sample_interval * MAX_GAP
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

    /// Sets the key of the hashes of viewers: the id of the database. Further calls have no effect.
    pub fn set_key(&self, database: Uuid) {
        let _already_set = self.0.key.set(HashKey::new(*database.as_bytes()));
    }

    /// Records that a viewer joined a channel at this node, and where the viewer watches.
    pub fn joined(&self, channel: &ChannelId, viewer: ViewerId, place: Place<'_>, at: Timestamp) {
        if let Some(mut record) = self.0.records.get_mut(channel) {
            record.arrive(viewer, self.0.node, place, at);
        }
    }

    /// All channels that have a record here.
    fn recorded_all(&self) -> Vec<ChannelId> {
        self.0.records.iter().map(|record| record.key().clone()).collect()
    }

    /// The channels of some parts that have a record here.
    fn recorded(&self, parts: &[u16]) -> Vec<ChannelId> {
        let records = self.0.records.iter().filter(|record| parts.contains(&record.key().part()));
        records.map(|record| record.key().clone()).collect()
    }

    /// Records whether the list of live channels of a part was complete: at which time, or `None`.
    fn sampled_part(&self, part: u16, complete_at: Option<Timestamp>) {
        let Some(track) = self.0.parts.get(usize::from(part)) else { return };
        match complete_at {
            Some(at) => {
                track.lock().observe(0, at, true, self.max_gap());
                self.0.progress.sample(part, at);
            }
            None => track.lock().unknown(Timestamp::from_millis(u64::MAX)),
        }
    }

    /// Records a fresh count. The record of a channel that goes on air is written soon.
    fn observe(&self, record: &mut Record, channel: &ChannelId, count: u32, at: Timestamp, is_owned: bool) {
        if record.observe(count, at, is_owned.then(|| self.max_gap())) {
            self.0.progress.begin(channel);
        }
    }

    /// Records a count that the owner of the channel has sampled.
    fn sampled(&self, channel: &ChannelId, count: Count) {
        match (count.value, self.0.records.get_mut(channel)) {
            (Some(value), Some(mut record)) if !count.stale => {
                self.observe(&mut record, channel, value, count.as_of, true);
            }
            (Some(value), None) if !count.stale && value > 0 => {
                let mut record = self.0.records.entry(channel.clone()).or_default();
                self.observe(&mut record, channel, value, count.as_of, true);
            }
            (_, Some(mut record)) => record.lose_sight(count.as_of),
            _ => {}
        }
    }
}

impl Observer for Recorder {
    fn wrote(&self, channel: &ChannelId, viewer: Option<ViewerId>, count: Count) {
        let is_owned = self.0.ownership.owns(channel);
        let fresh = count.value.filter(|_| !count.stale);
        let mut record = match self.0.records.get_mut(channel) {
            Some(record) => record,
            None if viewer.is_some() => self.0.records.entry(channel.clone()).or_default(),
            None => return,
        };
        if let Some(viewer) = viewer {
            record.see(viewer, self.0.key.get(), count.as_of);
        }
        if let Some(count_now) = fresh {
            self.observe(&mut record, channel, count_now, count.as_of, is_owned);
        }
    }

    fn read(&self, channel: &ChannelId, count: Count) {
        let Some(count_now) = count.value.filter(|_| !count.stale) else { return };
        if let Some(mut record) = self.0.records.get_mut(channel) {
            let is_owned = self.0.ownership.owns(channel);
            self.observe(&mut record, channel, count_now, count.as_of, is_owned);
        }
    }
}
