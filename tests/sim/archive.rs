//! A simulated database for what nodes record: each run of a node writes its own rows, and readers merge them. During a
//! fault it is away: calls fail, some of them although their rows were stored.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use aforo::{
    domain::{ChannelId, Timestamp},
    server::{
        database::{OnAir, Row, RowKind, part_key},
        history::{Figures, Held, Minute, Sketch, Span, TakenMinute, Tally},
        recording::writer::Destination,
        store_error::StoreError,
    },
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    node::number,
    oracle::{
        faults::Fault,
        history::{Recorded, RecordedFigures, RecordedSecond},
        plan::{CHANNELS, Millis},
    },
    store::{EPOCH, SharedStore, millis},
};

/// The rows of minutes, by channel or part, start and run of a node.
type Minutes = BTreeMap<(String, Timestamp, u64), (Vec<u8>, Option<Held>)>;

/// The rows of distinct viewers, by channel, start and run of a node.
type Viewers = BTreeMap<(String, Timestamp, u64), Vec<u8>>;

/// The database of all nodes.
#[derive(Default)]
pub struct Archive {
    minutes: Mutex<Minutes>,
    viewers: Mutex<Viewers>,
    /// The number of calls that failed.
    failed: AtomicU64,
}

/// The connection of a node to the database.
pub struct ArchiveLink {
    archive: Arc<Archive>,
    store: Arc<SharedStore>,
    /// Whether there was a first contact.
    is_known: AtomicBool,
}

impl ArchiveLink {
    pub fn new(archive: &Arc<Archive>, store: &Arc<SharedStore>) -> Self {
        Self { archive: Arc::clone(archive), store: Arc::clone(store), is_known: AtomicBool::default() }
    }

    fn is_away(&self) -> bool {
        self.store.until(|fault| fault == Fault::DatabaseAway).is_some()
    }
}

impl Destination for ArchiveLink {
    fn id(&self) -> Option<Uuid> {
        if !self.is_away() {
            self.is_known.store(true, Relaxed);
        }
        self.is_known.load(Relaxed).then_some(Uuid::from_u128(7))
    }

    async fn store(&self, rows: &[Row]) -> Result<(), StoreError> {
        let is_away = self.is_away();
        // Every other call that fails has only lost its answer.
        if !is_away || self.archive.failed.fetch_add(1, Relaxed).is_multiple_of(2) {
            self.archive.store(rows);
        }
        if is_away { Err(StoreError::Away("simulated".to_owned())) } else { Ok(()) }
    }

    async fn note_on_air(&self, _spans: &[OnAir]) -> Result<(), StoreError> {
        if self.is_away() { Err(StoreError::Away("simulated".to_owned())) } else { Ok(()) }
    }
}

impl Archive {
    fn store(&self, rows: &[Row]) {
        for row in rows {
            let key = (row.channel.clone(), row.start, row.node);
            match row.kind {
                RowKind::Minute => _ = self.minutes.lock().insert(key, (row.data.clone(), row.held)),
                RowKind::Viewers => _ = self.viewers.lock().insert(key, row.data.clone()),
            }
        }
    }

    /// What is recorded of the channels from the beginning until `end`.
    pub fn recorded(&self, end: Millis) -> Recorded {
        let mut of_channels = BTreeMap::<u64, BTreeMap<Timestamp, Minute>>::new();
        for (channel, start, minute) in self.decoded() {
            of_channels.entry(channel).or_default().entry(start).or_default().merge(&minute);
        }
        let mut recorded = Recorded::default();
        let range = Span::new(Timestamp::from_millis(EPOCH), Timestamp::from_millis(EPOCH + end));
        for channel in 0..CHANNELS {
            let minutes = of_channels.remove(&channel).unwrap_or_default();
            let mut tally = Tally::default();
            for (start, minute) in &minutes {
                tally.add(&Tally::of_minute(*start, minute));
                let seconds = (0..).zip(minute.seconds()).map(|(nth, second)| RecordedSecond {
                    at: since_epoch(*start + millis(nth * 1_000)),
                    channel,
                    observed: second.observed_ms().into(),
                    watched: second.watched_ms(),
                    counts: second.lowest().zip(second.highest()),
                });
                recorded.seconds.extend(seconds.filter(|second| second.counts.is_some()));
            }
            let figures = Figures::new(range, Some(range.to), &tally, &self.viewers_of(channel));
            recorded.figures.push(RecordedFigures {
                channel,
                length: end as f64 / 1_000.0,
                observed: figures.observed,
                average: figures.average,
                watch_seconds: figures.watch_seconds,
                uniques: figures.uniques,
            });
        }
        recorded
    }

    /// The minutes of the channels, each as long as its node has observed the part.
    fn decoded(&self) -> Vec<(u64, Timestamp, Minute)> {
        let minutes = self.minutes.lock();
        let decode = |name: &str, start: Timestamp, node: u64| {
            let (data, held) = minutes.get(&(name.to_owned(), start, node))?;
            Some(TakenMinute { start, minute: Minute::decode(data).unwrap(), held: *held })
        };
        let row = |(name, start, node): &(String, Timestamp, u64)| {
            let channel = ChannelId::parse(name).ok()?;
            let of_part = decode(&part_key(channel.part()), *start, *node);
            let until = of_part.and_then(|part| part.observed_until());
            let minute = decode(name, *start, *node)?.held_until(until);
            Some((number(&channel), *start, minute)).filter(|(number, ..)| *number < CHANNELS)
        };
        minutes.keys().filter_map(row).collect()
    }

    /// The distinct viewers of a channel.
    fn viewers_of(&self, channel: u64) -> Sketch {
        let mut viewers = Sketch::default();
        for ((name, ..), data) in self.viewers.lock().iter() {
            if ChannelId::parse(name).is_ok_and(|name| number(&name) == channel) {
                viewers.merge(&Sketch::decode(data).unwrap());
            }
        }
        viewers
    }
}

/// Milliseconds since the world began.
fn since_epoch(at: Timestamp) -> Millis {
    at.as_millis().saturating_sub(EPOCH)
}
