//! The writer of a node: brings what was recorded into the database, every few seconds, and at once that a channel went on
//! air.
//!
//! A channel whose count goes on has a row in each minute, and a broadcast that goes on is lengthened every 30 seconds. What
//! follows from the rows of their parts, which are written every time, is not written again. These rows come last: what has
//! not ended before goes on up to where they say.
//!
//! Each row belongs to this run of the node, and a later row of the same key replaces it. So a write that is repeated, or
//! arrives late, does no harm. While the database is away, rows wait; each key waits once.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{
    Recorder, RowData, Taken,
    backlog::{Backlog, Key},
};
use crate::server::{
    database::{Archive, Batch, OnAir, Row, RowKind},
    history::Held,
    metrics::Metrics,
    store_error::StoreError,
};

/// The pause between two writes. The figures of the present broadcast are this old at most, plus the time of a write.
const WRITE_INTERVAL: Duration = Duration::from_secs(4);

/// After a longer pause between two writes, such as a standstill of the machine, other nodes may have merged what was
/// written, so everything is written again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long channels that go on air are gathered before they are written.
const GATHER: Duration = Duration::from_millis(250);

/// The most rows, or spans on air, of one transaction.
const BATCH: usize = 512;

/// Where a writer writes: the archive. The simulation has another one.
pub trait Destination: Send + Sync {
    /// The id of the database, once it is known.
    fn id(&self) -> Option<Uuid>;

    /// As [`Archive::store`].
    fn store(&self, rows: &[Row]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// As [`Archive::note_on_air`].
    fn note_on_air(&self, spans: &[OnAir]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Destination for Archive {
    fn id(&self) -> Option<Uuid> {
        self.id()
    }

    fn store(&self, rows: &[Row]) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.store(rows)
    }

    fn note_on_air(&self, spans: &[OnAir]) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.note_on_air(spans)
    }
}

/// The writer of a node.
pub struct Writer<D = Archive> {
    recorder: Recorder,
    archive: D,
    metrics: Metrics,
    waiting: Mutex<Backlog>,
    rows: Batch,
    spans: Batch,
}

impl<D: Destination> Writer<D> {
    /// A writer without waiting rows.
    #[must_use]
    pub fn new(recorder: Recorder, archive: D, metrics: Metrics) -> Self {
        let (rows, spans) = (Batch::new(BATCH), Batch::new(BATCH));
        Self { recorder, archive, metrics, waiting: Mutex::default(), rows, spans }
    }

    /// The bytes of what waits for the database: [`super::MAX_WAITING_BYTES`] at most.
    pub async fn waiting_bytes(&self) -> usize {
        self.waiting.lock().await.total_bytes()
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

    /// The last write of this run: the broadcasts, and then every row that is not up to date.
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
        self.take(&mut waiting, |recorder| recorder.take(everything || is_late));
        if everything {
            // There may be no time for all. Broadcasts that are not written are lost, and minutes are only details.
            self.write_on_air(&mut waiting).await?;
        }
        let result = self.write_waiting(&mut waiting).await;
        self.metrics.history_waiting(waiting.rows.len());
        if result.is_ok() {
            self.recorder.progress().write(Some(samples));
        }
        result
    }

    /// Writes what is known of channels that went on air, so that their broadcasts have their figures from the start.
    async fn write_begun(&self) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().await;
        // Their records stay changed until they are taken.
        let channels = self.recorder.progress().take_begun();
        let begun =
            |recorder: &Recorder| channels.iter().filter_map(|channel| recorder.take_of(channel)).collect();
        self.take(&mut waiting, begun);
        self.write_waiting(&mut waiting).await?;
        self.recorder.progress().write(None);
        Ok(())
    }

    /// Queues what `taken` takes from the recorder, within the limit.
    fn take(&self, waiting: &mut Backlog, taken: impl FnOnce(&Recorder) -> Vec<Taken>) {
        if let Some(database) = self.archive.id() {
            self.recorder.set_key(database);
        }
        let mut lost = 0;
        for taken in taken(&self.recorder) {
            lost += waiting.take_in(taken);
        }
        lost += waiting.shed();
        if lost > 0 {
            waiting.taken = None;
            self.metrics.history_lost(lost);
        }
        let mut minutes = waiting.rows.keys().filter(|(_, kind, ..)| *kind == RowKind::Minute);
        self.recorder.progress().wait_from(minutes.next().map(|(start, ..)| *start));
    }

    /// Writes the rows of channels, the spans on air, and then the rows of parts: those say that all channels without a row
    /// are empty, and that the broadcasts which have not ended go on.
    async fn write_waiting(&self, waiting: &mut Backlog) -> Result<(), StoreError> {
        let Some(key) = self.recorder.key() else {
            return Err(StoreError::Away("it was never reached".to_owned()));
        };
        waiting.hash_early(key);
        self.write_rows(waiting, false).await?;
        self.write_on_air(waiting).await?;
        self.write_rows(waiting, true).await?;
        self.recorder.progress().wait_from(None);
        Ok(())
    }

    /// Writes the rows of channels or those of parts.
    async fn write_rows(&self, waiting: &mut Backlog, of_parts: bool) -> Result<(), StoreError> {
        let node = self.recorder.node();
        loop {
            let of_kind = waiting.rows.iter().filter(|((_, _, is_part, ..), _)| *is_part == of_parts);
            let row = |((start, kind, _, part, channel), (data, held)): (&Key, &(RowData, Option<Held>))| {
                let (kind, channel, part, start) = (*kind, channel.clone(), *part, *start);
                // Viewers whose hashes wait for the key are not written.
                let RowData::Encoded(data) = data.clone() else { return None };
                Some(Row { kind, channel, part, start, node, data, held: *held })
            };
            let rows: Vec<Row> = of_kind.filter_map(row).take(self.rows.size()).collect();
            if rows.is_empty() {
                return Ok(());
            }
            self.rows.run(rows.len(), self.archive.store(&rows)).await?;
            for row in rows {
                waiting.remove(&(row.start, row.kind, of_parts, row.part, row.channel));
            }
        }
    }

    async fn write_on_air(&self, waiting: &mut Backlog) -> Result<(), StoreError> {
        while !waiting.on_air.is_empty() {
            let batch = waiting.on_air.iter().take(self.spans.size());
            let spans: Vec<OnAir> = batch
                .map(|((_, channel), taken)| OnAir {
                    channel: channel.clone(),
                    span: taken.span,
                    observed_from: taken.observed_from,
                    sight: taken.sight,
                })
                .collect();
            self.spans.run(spans.len(), self.archive.note_on_air(&spans)).await?;
            for OnAir { channel, span, .. } in spans {
                waiting.on_air.remove(&(span.from, channel));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::{
        super::backlog::{MAX_WAITING_BYTES, SPAN_BYTES},
        *,
    };
    use crate::{
        domain::{ChannelId, Count, Timestamp, ViewerId},
        server::{
            clock::ManualClock,
            config::DatabaseConfig,
            database::{Database, Kept},
            presence::Observer,
        },
    };

    fn channel(nth: usize) -> ChannelId {
        ChannelId::parse(&format!("c{nth}")).unwrap()
    }

    /// A node in simulated time over a new database.
    struct Node {
        database: Database,
        recorder: Recorder,
        writer: Writer,
        _folder: TempDir,
    }

    impl Node {
        async fn start() -> Self {
            let folder = TempDir::new().unwrap();
            let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
            let database = Database::open(&file).await.unwrap();
            let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_040_000)));
            let recorder = Recorder::new(7, Duration::ZERO, clock);
            let writer = Writer::new(recorder.clone(), Archive::new(database.clone()), Metrics::new());
            Self { database, recorder, writer, _folder: folder }
        }
    }

    /// Lets the writes of minutes fail.
    async fn refuse_minutes(database: &Database) {
        let refuse =
            "CREATE TRIGGER no_minutes BEFORE INSERT ON fresh_minutes BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(refuse).execute(database.pool()).await.unwrap();
    }

    #[tokio::test]
    async fn what_ends_before_the_first_contact_is_written_when_the_database_comes() {
        const CHANNELS: usize = 100;
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::new(&file).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_040_000)));
        let recorder = Recorder::new(7, Duration::ZERO, clock.clone());
        let archive = Archive::new(database.clone());
        let writer = Writer::new(recorder.clone(), archive.clone(), Metrics::new());
        let all: Vec<u16> = (0..ChannelId::PARTS).collect();
        recorder.ownership().set(&all, Instant::now() + Duration::from_secs(600));
        for count in [3, 3, 2, 0] {
            for nth in 0..CHANNELS {
                let sample = recorder.next_sample(&[channel(nth).part()]);
                for who in 1..=u128::from(count) {
                    let viewer = ViewerId::new(Uuid::from_u128(who)).unwrap();
                    recorder.wrote(&channel(nth), Some(viewer), Count::fresh(count, recorder.now()));
                }
                recorder.sampled(&channel(nth), Count::fresh(count, recorder.now()), sample);
            }
            assert!(writer.write_begun().await.is_err());
            clock.advance(Duration::from_secs(1));
        }
        assert!(recorder.progress().take_begun().is_empty());
        clock.advance(Duration::from_secs(400));
        assert!(writer.write().await.is_err());
        assert!(recorder.is_empty(), "the records are freed");

        let contact = tokio::spawn(database.clone().run());
        let written = async {
            while writer.write().await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), written).await.expect("the database comes");
        contact.abort();
        for nth in 0..CHANNELS {
            let kept = archive.broadcasts(&channel(nth), recorder.now(), 9, recorder.now()).await.unwrap();
            let [Kept { figures, .. }] = &*kept else { panic!("one broadcast: {kept:?}") };
            assert_eq!((figures.peak, figures.uniques, figures.observed), (Some(3), 3, 1.0));
            let end = figures.started_at + Duration::from_secs(3);
            assert_eq!((figures.watch_seconds, figures.ended_at), (8.0, Some(end)));
        }
        assert_eq!(writer.waiting.lock().await.total_bytes(), 0);
    }

    #[tokio::test]
    async fn rows_that_wait_and_rows_that_are_lost_are_in_the_metrics() {
        let Node { database, recorder, writer, .. } = &Node::start().await;
        let metrics = &writer.metrics;
        let metric = |name: &str| -> u64 {
            let text = metrics.text(0, 0, 0, true);
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
        };
        let metrics_now = || (metric("aforo_history_rows_waiting"), metric("aforo_history_rows_lost_total"));
        refuse_minutes(database).await;
        assert_eq!(metrics_now(), (0, 0));
        for nth in 0..3 {
            let sample = recorder.next_sample(&[channel(nth).part()]);
            recorder.sampled(&channel(nth), Count::fresh(3, recorder.now()), sample);
        }
        assert!(writer.write().await.is_err());
        assert_eq!(metrics_now(), (3, 0));
        // More than the memory for what waits: the oldest minute is lost.
        let key = (recorder.now() + Duration::from_secs(60), RowKind::Minute, false, 3, "ana".to_owned());
        let spans = 3 * SPAN_BYTES;
        writer.waiting.lock().await.queue(key, RowData::Encoded(vec![0; MAX_WAITING_BYTES - spans]), None);
        assert!(writer.write().await.is_err());
        assert_eq!(metrics_now(), (1, 3));
        *writer.waiting.lock().await = Backlog::default();
        sqlx::query("DROP TRIGGER no_minutes").execute(database.pool()).await.unwrap();
        writer.write().await.unwrap();
        assert_eq!(metrics_now(), (0, 3));
    }

    #[tokio::test]
    async fn the_last_write_begins_with_the_broadcasts() {
        let Node { database, recorder, writer, .. } = &Node::start().await;
        let (ana, now) = (channel(1), recorder.now());
        let sample = recorder.next_sample(&[ana.part()]);
        recorder.sampled(&ana, Count::fresh(3, now), sample);
        // No minute can be written, as if there were no time for it.
        refuse_minutes(database).await;
        assert!(writer.finish().await.is_err());
        assert_eq!(
            writer.archive.broadcasts(&ana, now + Duration::from_secs(1), 9, now).await.unwrap().len(),
            1
        );
    }
}
