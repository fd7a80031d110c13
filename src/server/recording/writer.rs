//! The writer of a node: brings what was recorded into the database, every few seconds, and at once that a channel went on
//! air.
//!
//! A channel whose count goes on has a row in each minute, and a broadcast that goes on is lengthened every 30 seconds. What
//! follows from the rows of their parts, which are written every time, is not written again. These rows come last: what has
//! not ended before goes on up to where they say.
//!
//! Each row belongs to this run of the node, and a later row of the same key replaces it. So a write that is repeated, or
//! arrives late, does no harm. While the database is away, rows wait; each key waits once.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{Recorder, Taken};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        database::{Archive, OnAir, Row, RowKind, joins_key},
        history::{Held, Span},
        metrics::Metrics,
        store_error::StoreError,
    },
};

/// The pause between two writes. The figures of the present broadcast are this old at most, plus the time of a write.
const WRITE_INTERVAL: Duration = Duration::from_secs(4);

/// After a longer pause between two writes, such as a standstill of the machine, other nodes may have merged what was
/// written, so everything is written again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long channels that go on air are gathered before they are written.
const GATHER: Duration = Duration::from_millis(250);

/// The most bytes of rows that wait for the database: about an hour of a thousand busy channels. Beyond, the oldest
/// minutes are lost first.
pub const MAX_WAITING_BYTES: usize = 64 << 20;

/// The rows of one transaction.
const BATCH: usize = 512;

/// The writer of a node.
pub struct Writer {
    recorder: Recorder,
    archive: Archive,
    metrics: Metrics,
    waiting: Mutex<Waiting>,
}

/// The key of a waiting row: the oldest come first.
type Key = (Timestamp, RowKind, IsPart, u16, String);

/// Whether a row is about a whole part.
type IsPart = bool;

/// What waits for the database.
#[derive(Default)]
struct Waiting {
    rows: BTreeMap<Key, (Vec<u8>, Option<Held>)>,
    bytes: usize,
    /// When all changes were last taken. `None`: never, or something was lost since.
    taken: Option<Instant>,
    /// The ends of spans on air, and whether they go on.
    on_air: BTreeMap<(ChannelId, Timestamp), (Timestamp, bool)>,
}

impl Writer {
    /// A writer without waiting rows.
    #[must_use]
    pub fn new(recorder: Recorder, archive: Archive, metrics: Metrics) -> Self {
        Self { recorder, archive, metrics, waiting: Mutex::default() }
    }

    /// Writes forever.
    pub async fn run(&self) {
        let mut ticks = interval(WRITE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let written = tokio::select! {
                _ = ticks.tick() => self.write().await,
                () = self.recorder.progress().begun() => {
                    sleep(GATHER).await;
                    self.write_begun().await
                }
            };
            if let Err(error) = written {
                tracing::debug!(%error, "history not written; retrying later");
            }
        }
    }

    /// Takes what has changed and writes everything that waits.
    ///
    /// # Errors
    /// When the database fails. What was not written still waits.
    pub async fn write(&self) -> Result<(), StoreError> {
        self.write_changes(false).await
    }

    /// The last write of this run. It brings every row up to date.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish(&self) -> Result<(), StoreError> {
        self.write_changes(true).await
    }

    async fn write_changes(&self, everything: bool) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().await;
        // What is sampled from here on may be taken or not.
        let samples = self.recorder.progress().samples();
        // Rows that wait may be merged before those of their parts arrive, so they must say everything by themselves.
        let is_late = !waiting.rows.is_empty() || waiting.taken.is_none_or(|at| at.elapsed() > MAX_PAUSE);
        waiting.taken = Some(Instant::now());
        let is_taken = self.take(&mut waiting, |recorder| recorder.take(everything || is_late));
        let result = self.write_waiting(&mut waiting).await;
        self.metrics.history_waiting(waiting.rows.len());
        if result.is_ok() {
            self.recorder.progress().write(is_taken.then_some(samples));
        }
        result
    }

    /// Writes what is known of channels that went on air, so that their broadcasts have their figures from the start.
    async fn write_begun(&self) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().await;
        let begun = |recorder: &Recorder| {
            let channels = recorder.progress().take_begun();
            channels.iter().filter_map(|channel| recorder.take_of(channel)).collect()
        };
        if self.take(&mut waiting, begun) {
            self.write_waiting(&mut waiting).await?;
            self.recorder.progress().write(None);
        }
        Ok(())
    }

    /// Queues what `taken` takes from the recorder, within the limit. Before the first contact with the database nothing
    /// is taken, and the result is false.
    fn take(&self, waiting: &mut Waiting, taken: impl FnOnce(&Recorder) -> Vec<Taken>) -> bool {
        let Some(database) = self.archive.id() else { return false };
        self.recorder.set_key(database);
        let mut lost = 0;
        for taken in taken(&self.recorder) {
            lost += waiting.take_in(taken);
        }
        lost += waiting.shed();
        if lost > 0 {
            waiting.taken = None;
            self.metrics.history_lost(lost);
        }
        true
    }

    /// Writes the rows of channels, the spans on air, and then the rows of parts: those say that all channels without a row
    /// are empty, and that the broadcasts which have not ended go on.
    async fn write_waiting(&self, waiting: &mut Waiting) -> Result<(), StoreError> {
        self.write_rows(waiting, false).await?;
        self.write_on_air(waiting).await?;
        self.write_rows(waiting, true).await
    }

    /// Writes the rows of channels or those of parts.
    async fn write_rows(&self, waiting: &mut Waiting, of_parts: bool) -> Result<(), StoreError> {
        let node = self.recorder.node();
        loop {
            let of_kind = waiting.rows.iter().filter(|((_, _, is_part, ..), _)| *is_part == of_parts);
            let batch = of_kind.take(BATCH);
            let row =
                |((start, kind, _, part, channel), (data, held)): (&Key, &(Vec<u8>, Option<Held>))| Row {
                    kind: *kind,
                    channel: channel.clone(),
                    part: *part,
                    start: *start,
                    node,
                    data: data.clone(),
                    held: *held,
                };
            let rows: Vec<Row> = batch.map(row).collect();
            if rows.is_empty() {
                return Ok(());
            }
            self.archive.store(&rows).await?;
            for row in rows {
                waiting.remove(&(row.start, row.kind, of_parts, row.part, row.channel));
            }
        }
    }

    async fn write_on_air(&self, waiting: &mut Waiting) -> Result<(), StoreError> {
        while !waiting.on_air.is_empty() {
            let batch = waiting.on_air.iter().take(BATCH);
            let spans: Vec<OnAir> = batch
                .map(|((channel, from), (to, goes_on))| OnAir {
                    channel: channel.clone(),
                    span: Span::new(*from, *to),
                    seen_by: goes_on.then(|| self.recorder.node()),
                })
                .collect();
            self.archive.note_on_air(&spans).await?;
            for OnAir { channel, span, .. } in spans {
                waiting.on_air.remove(&(channel, span.from));
            }
        }
        Ok(())
    }
}

impl Waiting {
    /// Queues what was taken. Returns the number of minutes that had been lost before.
    fn take_in(&mut self, taken: Taken) -> u64 {
        let Taken { channel, part, minutes, joins, viewers, on_air, lost } = taken;
        let is_part = channel.starts_with('/');
        for taken in minutes {
            let key = (taken.start, RowKind::Minute, is_part, part, channel.clone());
            self.queue(key, taken.minute.encode(), taken.held);
        }
        for taken in joins {
            let key = (taken.start, RowKind::Minute, false, part, joins_key(&channel));
            self.queue(key, taken.minute.encode(), None);
        }
        if let Some((start, sketch)) = viewers {
            self.queue((start, RowKind::Viewers, is_part, part, channel.clone()), sketch, None);
        }
        if let (Some((span, goes_on)), Ok(channel)) = (on_air, ChannelId::parse(&channel)) {
            self.on_air.insert((channel, span.from), (span.to, goes_on));
        }
        lost
    }

    /// Queues a row in place of the waiting one with the same key.
    fn queue(&mut self, key: Key, data: Vec<u8>, held: Option<Held>) {
        self.bytes += data.len();
        if let Some((replaced, _)) = self.rows.insert(key, (data, held)) {
            self.bytes -= replaced.len();
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some((data, _)) = self.rows.remove(key) {
            self.bytes -= data.len();
        }
    }

    /// Drops the oldest rows beyond the limit, whole minutes at a time: the row of a part says that its channels are as their
    /// rows say. Returns the number of rows.
    fn shed(&mut self) -> u64 {
        let (mut lost, mut dropped) = (0, None);
        while let Some(oldest) = self.rows.first_entry()
            && (self.bytes > MAX_WAITING_BYTES || dropped == Some(oldest.key().0))
        {
            let ((start, ..), (data, _)) = oldest.remove_entry();
            self.bytes -= data.len();
            lost += 1;
            dropped = Some(start);
        }
        lost
    }
}
