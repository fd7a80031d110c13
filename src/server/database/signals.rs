//! Live signals in the database. Reports that arrive together are one transaction.
//!
//! Every change gets the next number of one row, whose lock orders all writers. So the numbers are in the order of the
//! commits, and a reader that has seen a number has seen all changes before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{Any, AssertSqlSafe, Row, Transaction, any::AnyRow};
use tokio::time::Instant;

use super::{
    CALL_LIMIT, Database, Kind,
    followers::pieces,
    gather::{Canceled, Gatherer},
};
use crate::{
    domain::{
        ChannelId, Timestamp,
        signal::{Ended, Publisher, Report, Signal},
    },
    server::{
        signals::{Change, Changes, SignalStore},
        store_error::StoreError,
    },
};

/// The most rows of one read. Longer reads continue where the last one ended.
const MAX_ROWS: usize = 1_000;

/// The live signals in a [`Database`].
pub struct DatabaseSignals {
    database: Database,
    reports: Gatherer<(ChannelId, Report), Change>,
}

impl DatabaseSignals {
    /// Live signals in `database`. Reports are answered while [`DatabaseSignals::run`] runs.
    #[must_use]
    pub fn new(database: Database) -> Self {
        // A report counts although the video server may not wait for the answer.
        Self { database, reports: Gatherer::new(Canceled::Runs, CALL_LIMIT) }
    }

    /// Writes the reports, forever.
    pub async fn run(&self) {
        let database = &self.database;
        let write = |reports: Vec<_>, until| async move {
            database.write_until(until, write_all(database, &reports)).await
        };
        self.reports.run(write).await;
    }

    /// Waits until all reports so far are written, but no longer than `limit`. Returns whether they are.
    pub async fn flush(&self, limit: Duration) -> bool {
        self.reports.flush(limit).await
    }

    /// The number of the newest change, and the time.
    async fn newest(&self) -> Result<(i64, Timestamp), sqlx::Error> {
        let find = format!("SELECT number, {} AS now FROM signal_changes", now(self.database.kind()));
        let row = sqlx::query(AssertSqlSafe(find)).fetch_one(self.database.pool()).await?;
        Ok((row.try_get("number")?, timestamp(row.try_get("now")?)))
    }

    /// The changes after a number, in order; with `on_air_only` only channels that are on air.
    async fn rows(&self, after: i64, on_air_only: bool) -> Result<Vec<Change>, sqlx::Error> {
        let mut changes: Vec<Change> = Vec::new();
        let mut after = after;
        loop {
            let rows = sqlx::query(
                "SELECT channel, change_number, on_air, since FROM signals \
                 WHERE change_number > $1 AND on_air >= $2 ORDER BY change_number LIMIT $3",
            )
            .bind(after)
            .bind(i64::from(on_air_only))
            .bind(i64::try_from(MAX_ROWS).unwrap_or(i64::MAX))
            .fetch_all(self.database.pool())
            .await?;
            for row in &rows {
                after = row.try_get("change_number")?;
                changes.extend(change(row)?);
            }
            if rows.len() < MAX_ROWS {
                return Ok(changes);
            }
        }
    }
}

#[async_trait]
impl SignalStore for DatabaseSignals {
    async fn report(&self, channel: &ChannelId, report: Report) -> Result<Change, StoreError> {
        self.reports.call((channel.clone(), report)).await
    }

    async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError> {
        let read = async {
            let (newest, now) = self.newest().await?;
            let read_at = Instant::now();
            let after = after.map(to_i64).filter(|after| *after <= newest);
            let changes = self.rows(after.unwrap_or(-1), after.is_none()).await?;
            // Changes that were committed since `newest` was read may be among them. They are read again, if there may be
            // others with smaller numbers that are not.
            let last = changes.last().map_or(0, |change| change.number);
            let newest = if after.is_some() { to_u64(newest).max(last) } else { to_u64(newest) };
            Ok(Changes { changes, newest, now: now + read_at.elapsed(), is_whole: after.is_none() })
        };
        self.database.read(read).await
    }

    async fn end_silent(&self, silent_for: Duration) -> Result<(), StoreError> {
        let is_silent = format!("on_air = 1 AND heard_at < {} - $1", now(self.database.kind()));
        let silent_for = millis(silent_for);
        let find = AssertSqlSafe(format!("SELECT 1 FROM signals WHERE {is_silent} LIMIT 1"));
        let found = sqlx::query(find).bind(silent_for).fetch_optional(self.database.pool());
        if self.database.read(found).await?.is_none() {
            return Ok(());
        }
        let end = async {
            let mut transaction = self.database.begin().await?;
            let limit = i64::try_from(MAX_ROWS).unwrap_or(i64::MAX);
            let (newest, now) = next_numbers(&mut transaction, self.database.kind(), limit).await?;
            let find = AssertSqlSafe(format!("SELECT channel FROM signals WHERE {is_silent} LIMIT {limit}"));
            let rows = sqlx::query(find).bind(silent_for).fetch_all(&mut *transaction).await?;
            let mut ended = Numbered::new();
            for (number, row) in (newest - limit + 1..).zip(&rows) {
                ended.insert(row.try_get("channel")?, (number, Signal::off(now)));
            }
            put_all(&self.database, &mut transaction, ended).await?;
            transaction.commit().await
        };
        self.database.write(end).await
    }

    async fn forget_ended(&self, ended_for: Duration) -> Result<(), StoreError> {
        let is_old = format!("on_air = 0 AND since < {} - $1", now(self.database.kind()));
        let find = AssertSqlSafe(format!("SELECT 1 FROM signals WHERE {is_old} LIMIT 1"));
        let found = sqlx::query(find).bind(millis(ended_for)).fetch_optional(self.database.pool());
        if self.database.read(found).await?.is_none() {
            return Ok(());
        }
        let forget = async {
            let mut transaction = self.database.begin().await?;
            let delete = AssertSqlSafe(format!("DELETE FROM signals WHERE {is_old}"));
            sqlx::query(delete).bind(millis(ended_for)).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.database.write(forget).await
    }
}

/// Writes reports in one transaction. Returns the state of the channel after each.
async fn write_all(database: &Database, reports: &[(ChannelId, Report)]) -> Result<Vec<Change>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let count = i64::try_from(reports.len()).unwrap_or(i64::MAX);
    let (newest, now) = next_numbers(&mut transaction, database.kind(), count).await?;
    let channels: BTreeSet<&str> = reports.iter().map(|(channel, _)| channel.as_str()).collect();
    let channels: Vec<&str> = channels.into_iter().collect();
    let mut known = read_all(database, &mut transaction, &channels).await?;
    let mut changed = BTreeSet::new();
    let mut changes = Vec::with_capacity(reports.len());
    for (number, (channel, report)) in (newest - count + 1..).zip(reports) {
        let stored = known.get(channel.as_str()).cloned();
        let (known_number, before) = stored.unwrap_or_else(|| (number, Signal::unknown()));
        let mut after = before.clone();
        after.apply(report.clone(), now);
        // A repeated report is no change for other nodes.
        let is_news = (before.is_on_air, before.since) != (after.is_on_air, after.since);
        let number = if is_news { number } else { known_number };
        changes.push(state(channel.clone(), number, after.is_on_air, after.since));
        if after != before {
            known.insert(channel.as_str().to_owned(), (number, after));
            changed.insert(channel.as_str());
        }
    }
    known.retain(|channel, _| changed.contains(channel.as_str()));
    put_all(database, &mut transaction, known).await?;
    transaction.commit().await?;
    Ok(changes)
}

/// Signals with the numbers of their last changes, by their channels.
type Numbered = BTreeMap<String, (i64, Signal)>;

/// Takes the next `count` numbers, and so the lock of all writers. Returns the greatest number, and the time.
async fn next_numbers(
    transaction: &mut Transaction<'_, Any>,
    kind: Kind,
    count: i64,
) -> Result<(i64, Timestamp), sqlx::Error> {
    let statement =
        format!("UPDATE signal_changes SET number = number + $1 RETURNING number, {} AS now", now(kind));
    let row = sqlx::query(AssertSqlSafe(statement)).bind(count).fetch_one(&mut **transaction).await?;
    Ok((row.try_get("number")?, timestamp(row.try_get("now")?)))
}

/// The stored signals of channels.
async fn read_all(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    channels: &[&str],
) -> Result<Numbered, sqlx::Error> {
    let mut known = Numbered::new();
    for some in pieces(channels) {
        let places: Vec<String> = (1..=some.len()).map(|nth| database.place(nth)).collect();
        let statement = format!(
            "SELECT channel, change_number, on_air, since, heard_at, publisher, publisher_since, \
             earlier_publisher, ended_publisher, ended_at FROM signals WHERE channel IN ({})",
            places.join(", ")
        );
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = some.iter().fold(query, |query, channel| query.bind((*channel).to_owned()));
        for row in query.fetch_all(&mut **transaction).await? {
            known.insert(row.try_get("channel")?, (row.try_get("change_number")?, signal(&row)?));
        }
    }
    Ok(known)
}

/// Stores signals.
async fn put_all(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    signals: Numbered,
) -> Result<(), sqlx::Error> {
    const WIDTH: usize = 10;
    let text = |publisher: &Option<Publisher>| {
        publisher.as_ref().map_or_else(String::new, |id| id.as_str().to_owned())
    };
    let row = |at: usize| {
        let places: Vec<String> = (1..=WIDTH).map(|nth| database.place(at * WIDTH + nth)).collect();
        format!("({})", places.join(", "))
    };
    let signals: Vec<_> = signals.into_iter().collect();
    for some in pieces(&signals) {
        let rows: Vec<String> = (0..some.len()).map(row).collect();
        let statement = format!(
            "INSERT INTO signals (channel, change_number, on_air, since, heard_at, publisher, publisher_since, \
             earlier_publisher, ended_publisher, ended_at) VALUES {} ON CONFLICT (channel) DO UPDATE SET \
             change_number = excluded.change_number, on_air = excluded.on_air, since = excluded.since, \
             heard_at = excluded.heard_at, publisher = excluded.publisher, \
             publisher_since = excluded.publisher_since, earlier_publisher = excluded.earlier_publisher, \
             ended_publisher = excluded.ended_publisher, ended_at = excluded.ended_at",
            rows.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (channel, (number, signal)) in some {
            query = query
                .bind(channel.clone())
                .bind(*number)
                .bind(i64::from(signal.is_on_air))
                .bind(to_i64(signal.since.as_millis()))
                .bind(to_i64(signal.heard_at.as_millis()))
                .bind(text(&signal.publisher))
                .bind(to_i64(signal.publisher_since.as_millis()))
                .bind(text(&signal.earlier))
                .bind(
                    signal
                        .ended
                        .as_ref()
                        .map_or_else(String::new, |ended| ended.publisher.as_str().to_owned()),
                )
                .bind(signal.ended.as_ref().map_or(0, |ended| to_i64(ended.at.as_millis())));
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn signal(row: &AnyRow) -> Result<Signal, sqlx::Error> {
    let publisher = |column| row.try_get::<&str, _>(column).map(Publisher::new);
    let ended_at = timestamp(row.try_get("ended_at")?);
    Ok(Signal {
        is_on_air: row.try_get::<i64, _>("on_air")? == 1,
        since: timestamp(row.try_get("since")?),
        heard_at: timestamp(row.try_get("heard_at")?),
        publisher: publisher("publisher")?,
        publisher_since: timestamp(row.try_get("publisher_since")?),
        earlier: publisher("earlier_publisher")?,
        ended: publisher("ended_publisher")?.map(|publisher| Ended { publisher, at: ended_at }),
    })
}

/// The change of a row. A name that this version does not accept is skipped.
fn change(row: &AnyRow) -> Result<Option<Change>, sqlx::Error> {
    let is_on_air = row.try_get::<i64, _>("on_air")? == 1;
    let since = timestamp(row.try_get("since")?);
    let number = row.try_get("change_number")?;
    let channel = ChannelId::parse(row.try_get("channel")?).ok();
    Ok(channel.map(|channel| state(channel, number, is_on_air, since)))
}

/// The state of a channel that has been on air or off air since `since`; 0 is unknown.
fn state(channel: ChannelId, number: i64, is_on_air: bool, since: Timestamp) -> Change {
    let ended_at = (!is_on_air && since > Timestamp::default()).then_some(since);
    Change { channel, number: to_u64(number), since: is_on_air.then_some(since), ended_at }
}

/// The time of the database, as an expression: milliseconds since the epoch.
const fn now(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        Kind::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    }
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(to_u64(millis))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
