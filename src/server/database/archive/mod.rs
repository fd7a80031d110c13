//! What is kept of the counts of channels: minutes, rows of 5 and 15 minutes, distinct viewers and broadcasts.
//!
//! Promises:
//! - A node writes rows of its own, and a later row replaces an earlier one of the same key. So a write can be repeated,
//!   and nodes do not wait for each other.
//! - [`Archive::compact`] merges rows in one transaction. A row that arrives later is merged later, with the same result.
//! - Reading merges what is not merged yet, so it shows every row that was written.
//! - The row of a part says up to when its node observed all channels of the part. So it also says how long their last
//!   counts have held, and how long the broadcasts last that the node sees ([`Archive::lengthen_abandoned`]).

mod announce;
mod compact;
mod encoding;
mod fresh;
mod on_air;
mod read;
mod retain;
mod seen;

use std::sync::Arc;

use sqlx::{Any, AssertSqlSafe, Transaction};
use uuid::Uuid;

use super::{
    Batch, Database,
    columns::{millis, time},
    followers::pieces,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{Held, Span, broadcast::GRACE},
        store_error::StoreError,
    },
};

pub(super) use self::announce::numbers;
pub use self::{read::Kept, retain::Retention};

/// How long before a broadcast its first viewers may have been recorded, if a channel is on air while it has viewers: the owner
/// notices the start with its next sample, or after an outage of the store. A viewer of the broadcast before was recorded
/// earlier.
const EARLY_MS: u32 = 300_000;
const _: () = assert!(EARLY_MS as u64 == GRACE.as_secs() * 1_000);

/// The length of a row with minutes, in milliseconds.
const WINDOW_MS: u64 = 300_000;

/// The length of a row that is kept for good, in milliseconds.
const COARSE_MS: u64 = 900_000;

/// The name under which a part of the channels is recorded. It is not a valid name of a channel.
#[must_use]
pub fn part_key(part: u16) -> String {
    format!("/{part}")
}

/// What follows the name of a channel in the name under which its joins are recorded.
const JOINS: &str = "/joins";

/// The name under which the joins of a channel with and without a ticket are recorded. It is not a valid name of a
/// channel. Nodes of earlier versions merge these rows like those of a channel.
#[must_use]
pub fn joins_key(channel: &str) -> String {
    [channel, JOINS].concat()
}

/// The archive in a [`Database`]. Cloning is cheap.
#[derive(Clone)]
pub struct Archive {
    database: Database,
    /// Whether broadcasts are registered for announcement when they begin.
    announces: bool,
    /// How long before a broadcast its first viewer may have been recorded, in milliseconds.
    early_ms: u32,
    batches: Arc<Batches>,
}

/// The sizes of calls whose items are in the database.
struct Batches {
    /// Minutes that are merged.
    minutes: Batch,
    /// Broadcasts that are lengthened.
    abandoned: Batch,
    /// Broadcasts that are completed.
    ended: Batch,
    /// Channels that are cleaned.
    channels: Batch,
}

/// The kind of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// A minute of a channel or part.
    Minute,
    /// The distinct viewers of a channel in an hour or less.
    Viewers,
}

/// What one node has recorded.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub kind: RowKind,
    /// The channel, a [`joins_key`] or a [`part_key`].
    pub channel: String,
    /// The part of the channel.
    pub part: u16,
    /// The start of the minute or span.
    pub start: Timestamp,
    /// The random number of the node.
    pub node: u64,
    /// The encoded minute or sketch.
    pub data: Vec<u8>,
    /// The last count of a minute, if it holds. In the row of a part: up to when it was observed.
    pub held: Option<Held>,
}

/// A span in which a channel was on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnAir {
    /// The channel.
    pub channel: ChannelId,
    /// The span.
    pub span: Span,
    /// From when on it was observed. Of the time before, only its start was reported.
    pub observed_from: Timestamp,
    /// How it was seen.
    pub sight: Sight,
}

/// How a node has seen a span on air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// This node, the owner, sees that the span goes on, and will say when it ends. Until then it lasts for as long as the node
    /// observes the channel's part.
    GoesOn(u64),
    /// The owner has seen its end.
    Ended,
    /// Calls have shown the span to a node that is not the owner. It says nothing about the end of a broadcast that the owner
    /// sees.
    Glimpse,
}

impl Archive {
    /// The archive in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let batches = Batches {
            minutes: Batch::new(compact::MAX_ROWS),
            abandoned: Batch::new(seen::BATCH),
            ended: Batch::new(retain::BROADCASTS),
            channels: Batch::new(retain::CHANNELS),
        };
        Self { database, announces: false, early_ms: EARLY_MS, batches: Arc::new(batches) }
    }

    /// Has broadcasts begin with live signals. Who was there before, and had left, is no viewer of a broadcast.
    #[must_use]
    pub fn with_signals(mut self) -> Self {
        self.early_ms = 0;
        self
    }

    /// Whether broadcasts begin with live signals.
    #[must_use]
    pub fn is_with_signals(&self) -> bool {
        self.early_ms == 0
    }

    /// The newest broadcast of a channel that started before `before`. This does not wait for the long reads of visitors, so
    /// it is for a caller that reads one at a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest(
        &self,
        channel: &ChannelId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Kept>, StoreError> {
        let (archive, channel) = (self.clone(), channel.clone());
        let read = Box::pin(async move { archive.read_broadcasts(&channel, before, 1, now).await });
        self.database.read(read).await.map(|mut kept| kept.pop())
    }

    /// The id of the database, once it is known.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.database.id()
    }

    /// Stores rows in one transaction. Each replaces the earlier row of the same node.
    ///
    /// # Errors
    /// When the database fails. Then nothing was stored, or the answer was lost.
    pub async fn store(&self, rows: &[Row]) -> Result<(), StoreError> {
        self.database.write(Box::pin(self.store_all(rows))).await
    }

    async fn store_all(&self, rows: &[Row]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        for kind in [RowKind::Minute, RowKind::Viewers] {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.kind == kind).collect();
            for piece in pieces(&rows) {
                self.insert(&mut transaction, kind, piece).await?;
            }
        }
        transaction.commit().await
    }

    /// Inserts rows of one kind with one statement.
    async fn insert(
        &self,
        transaction: &mut Transaction<'_, Any>,
        kind: RowKind,
        rows: &[&Row],
    ) -> Result<(), sqlx::Error> {
        let (table, key, values) = match kind {
            RowKind::Minute => {
                ("fresh_minutes", "part, channel, start, node", &["data", "held", "held_at"][..])
            }
            RowKind::Viewers => ("viewers", "channel, start, node", &["data"][..]),
        };
        let width = key.split(',').count() + values.len();
        let replaced: Vec<String> =
            values.iter().map(|value| format!("{value} = excluded.{value}")).collect();
        let statement = format!(
            "INSERT INTO {table} ({key}, {}) VALUES {} ON CONFLICT ({key}) DO UPDATE SET {}",
            values.join(", "),
            self.places(rows.len(), width),
            replaced.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for row in rows {
            if kind == RowKind::Minute {
                query = query.bind(i16::try_from(row.part).unwrap_or_default());
            }
            query = query.bind(row.channel.clone()).bind(millis(row.start)).bind(row.node.cast_signed());
            query = query.bind(row.data.clone());
            if kind == RowKind::Minute {
                let (count, at) = row.held.map_or((0, 0), |held| (i64::from(held.count), millis(held.at)));
                query = query.bind(count).bind(at);
            }
        }
        query.execute(&mut **transaction).await.map(drop)
    }

    /// The parameters of `rows` rows with `width` columns, as what follows the `VALUES` of an `INSERT`.
    fn places(&self, rows: usize, width: usize) -> String {
        let row = |at: usize| {
            let places = (1..=width).map(|nth| self.database.place(at * width + nth));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        (0..rows).map(row).collect::<Vec<_>>().join(", ")
    }

    /// The parameters of `rows` rows of a name and some numbers as a table. Both databases name its columns `column1`,
    /// `column2` and so on.
    fn table(&self, rows: usize, numbers: usize) -> String {
        let row = |at: usize| {
            let first = at * (1 + numbers) + 1;
            let numbers = (first + 1..=first + numbers)
                .map(|nth| format!(", CAST({} AS BIGINT)", self.database.place(nth)));
            format!("(CAST({} AS TEXT){})", self.database.place(first), numbers.collect::<String>())
        };
        format!("(VALUES {})", (0..rows).map(row).collect::<Vec<_>>().join(", "))
    }
}

/// A number of rows as a parameter.
fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The start of the row of `length_ms` that contains an instant.
const fn floor(at: Timestamp, length_ms: u64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() / length_ms * length_ms)
}

/// The error of a row that cannot be decoded.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
