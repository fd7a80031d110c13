//! Compaction: merges the minutes of all nodes into rows of 5 and 15 minutes.
//!
//! A row is computed anew from all that is known, so it does not matter how often a minute is merged, nor in which order
//! the minutes of channels arrive. A minute that arrives late changes its rows, and the figures of its broadcast are
//! computed again. Only the minutes of a part must be there when those of its channels are merged: they say that a channel
//! without a minute was empty.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};
use tokio::time::Instant;

use super::{
    Archive, COARSE_MS, JOINS, WINDOW_MS, damaged,
    encoding::{Minutes, decode_into, encode, starts},
    floor,
    fresh::{self, COLUMNS, Fresh},
    limit, millis, part_key, pieces, time,
};
use crate::{
    domain::Timestamp,
    server::{history::Tally, store_error::StoreError},
};

/// The most minutes of channels that one transaction merges.
pub(super) const MAX_ROWS: usize = 1_000;

/// The steps of the two kinds of rows, in seconds.
const FINE: i64 = 300;
const COARSE: i64 = 900;

impl Archive {
    /// Merges minutes of a part that start before `before`, in one transaction. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails. Then nothing has changed.
    pub async fn compact(&self, part: u16, before: Timestamp) -> Result<bool, StoreError> {
        let (most, began) = (self.batches.minutes.size(), Instant::now());
        let result = self.database.write(Box::pin(self.compact_part(part, before, most))).await;
        let merged = result.as_ref().map_or(most, |merged| merged.rows);
        self.batches.minutes.adapt(merged, began.elapsed(), result.is_ok());
        result.map(|merged| merged.is_more)
    }

    /// Merges minutes of channels, or those of the part itself if there are no others: the rows of the channels depend on
    /// the part, so its minutes stay until all others are merged.
    async fn compact_part(&self, part: u16, before: Timestamp, most: usize) -> Result<Merged, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        self.database.lock(&mut transaction, 2 + i64::from(part)).await?;
        let key = part_key(part);
        let all = (Timestamp::default(), before);
        let mut found = read(&mut transaction, part, "channel <> $2", all, most).await?;
        let of_channels = !found.rows.is_empty();
        let is_more = of_channels || {
            found = read(&mut transaction, part, "channel = $2", all, most).await?;
            found.rows.len() >= most
        };
        let mut minutes = std::mem::take(&mut found.minutes);
        if of_channels {
            // With what is known of the part in the same rows of 15 minutes.
            let rows: BTreeSet<Timestamp> =
                found.rows.iter().map(|row| floor(row.start, COARSE_MS)).collect();
            if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
                let end = before.min(Timestamp::from_millis(last.as_millis() + COARSE_MS));
                let of_part = read(&mut transaction, part, "channel = $2", (*first, end), usize::MAX).await?;
                let is_needed = |minute: &Fresh| rows.contains(&floor(minute.start(), COARSE_MS));
                minutes.extend(of_part.minutes.into_iter().filter(is_needed));
            }
        }
        let (channels, idle) = fresh::merge(minutes, Some(&key));
        self.merge_minutes(&mut transaction, &key, channels, idle).await?;
        let rows = found.rows.len();
        self.delete(&mut transaction, part, &found.rows).await?;
        transaction.commit().await?;
        Ok(Merged { rows, is_more })
    }

    /// Merges minutes of channels, of their joins and of their part into their rows, those of all with one statement.
    async fn merge_minutes(
        &self,
        transaction: &mut Transaction<'_, Any>,
        part: &str,
        channels: BTreeMap<String, Minutes>,
        mut idle: Minutes,
    ) -> Result<(), sqlx::Error> {
        let mut all = channels;
        all.insert(part.to_owned(), idle.clone());
        let mut windows = places(&all, WINDOW_MS);
        let of_part: Vec<Place> = windows.iter().map(|(_, start)| (part.to_owned(), *start)).collect();
        let asked: BTreeSet<Place> = windows.iter().cloned().chain(of_part).collect();
        let stored = self.stored_minutes(transaction, &asked).await?;
        for ((_, window), bytes) in stored.iter().filter(|((name, _), _)| name == part) {
            add_stored(&mut idle, part, *window, bytes);
        }
        let (mut rows, mut late) = (Vec::new(), Vec::new());
        for (name, window) in &windows {
            let Some(minutes) = all.get_mut(name) else { continue };
            let place = (name.clone(), *window);
            let bytes = stored.get(&place);
            if let Some(bytes) = bytes {
                add_stored(minutes, name, *window, bytes);
            }
            let mut tally = Tally::default();
            for start in starts(*window) {
                let known = minutes.get(&start).cloned().unwrap_or_default();
                let idle = idle.get(&start).filter(|_| has_idle(name));
                let with_idle = idle.map_or(known.clone(), |idle| known.with_idle(idle));
                tally.add(&Tally::of_minute(start, &with_idle));
            }
            // The first joins of a window may be late too.
            if bytes.is_some() || !has_idle(name) {
                late.push(place.clone());
            }
            rows.push((place, tally, Some(encode(*window, minutes))));
        }
        self.put(transaction, FINE, &rows).await?;
        self.forget_figures(transaction, &late).await?;

        windows = places(&all, COARSE_MS);
        let of_part: Vec<Place> = windows.iter().map(|(_, start)| (part.to_owned(), *start)).collect();
        let asked: BTreeSet<Place> = windows.iter().cloned().chain(of_part).collect();
        let tallies = self.tallies_within(transaction, &asked).await?;
        let mut rows = Vec::new();
        for (name, start) in windows {
            let mut tally = Tally::default();
            for nth in 0..COARSE_MS / WINDOW_MS {
                let window = Timestamp::from_millis(start.as_millis() + nth * WINDOW_MS);
                let own = tallies.get(&(name.clone(), window));
                let idle = || tallies.get(&(part.to_owned(), window)).filter(|_| has_idle(&name));
                if let Some(known) = own.or_else(idle) {
                    tally.add(known);
                }
            }
            rows.push(((name, start), tally, None));
        }
        self.put(transaction, COARSE, &rows).await
    }

    /// The encoded minutes of rows of 5 minutes, as far as there are any.
    async fn stored_minutes(
        &self,
        transaction: &mut Transaction<'_, Any>,
        places: &BTreeSet<Place>,
    ) -> Result<BTreeMap<Place, Vec<u8>>, sqlx::Error> {
        let condition = "step = 300 AND start = asked.column2 AND minutes IS NOT NULL";
        let found = self.within(transaction, "minutes", condition, places).await?;
        Ok(found.into_iter().collect())
    }

    /// The rows of 5 minutes within rows of 15 minutes.
    async fn tallies_within(
        &self,
        transaction: &mut Transaction<'_, Any>,
        places: &BTreeSet<Place>,
    ) -> Result<BTreeMap<Place, Tally>, sqlx::Error> {
        let condition =
            format!("step = 300 AND start >= asked.column2 AND start < asked.column2 + {COARSE_MS}");
        let found = self.within(transaction, "tally", &condition, places).await?;
        let decode = |(place, bytes): (Place, Vec<u8>)| Ok((place, Tally::decode(&bytes).map_err(damaged)?));
        found.into_iter().map(decode).collect()
    }

    /// A column of rows with the names and the starts that are asked for. The condition says how a start fits.
    async fn within(
        &self,
        transaction: &mut Transaction<'_, Any>,
        column: &str,
        condition: &str,
        asked: &BTreeSet<Place>,
    ) -> Result<Vec<(Place, Vec<u8>)>, sqlx::Error> {
        let asked: Vec<&Place> = asked.iter().collect();
        let mut found = Vec::new();
        for some in pieces(&asked) {
            // In this order SQLite searches the row of each name by its key.
            let statement = format!(
                "SELECT history.channel, start, {column} FROM {} AS asked CROSS JOIN history \
                 WHERE history.channel = asked.column1 AND {condition}",
                self.table(some.len(), 1)
            );
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, (name, start)| {
                query.bind(name.clone()).bind(millis(*start))
            });
            for row in query.fetch_all(&mut **transaction).await? {
                found.push(((row.try_get("channel")?, time(&row, "start")?), row.try_get(column)?));
            }
        }
        Ok(found)
    }

    /// Stores rows of one step. Each has its minutes, or none if it is of 15 minutes.
    async fn put(
        &self,
        transaction: &mut Transaction<'_, Any>,
        step: i64,
        rows: &[(Place, Tally, Option<Vec<u8>>)],
    ) -> Result<(), sqlx::Error> {
        for some in pieces(rows) {
            let statement = format!(
                "INSERT INTO history (channel, step, start, tally, minutes) VALUES {} \
                 ON CONFLICT (channel, step, start) DO UPDATE SET tally = excluded.tally, \
                 minutes = excluded.minutes",
                self.places(some.len(), 5)
            );
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for ((name, start), tally, minutes) in some {
                query = query.bind(name.clone()).bind(step).bind(millis(*start));
                query = query.bind(tally.encode()).bind(minutes.clone());
            }
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }

    /// Has the figures of the broadcasts in rows of 5 minutes computed again.
    async fn forget_figures(
        &self,
        transaction: &mut Transaction<'_, Any>,
        rows: &[Place],
    ) -> Result<(), sqlx::Error> {
        for some in pieces(rows) {
            let statement = format!(
                "UPDATE broadcasts SET figures = NULL FROM {} AS changed \
                 WHERE broadcasts.channel = changed.column1 AND started_at < changed.column2 + {WINDOW_MS} \
                 AND last_on_air >= changed.column2 AND figures IS NOT NULL",
                self.table(some.len(), 1)
            );
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, (name, start)| {
                query.bind(name.strip_suffix(JOINS).unwrap_or(name).to_owned()).bind(millis(*start))
            });
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }

    /// Deletes minutes that are merged. One that its node has replaced meanwhile stays, and is merged again. (SQLite would
    /// search the whole table for a list of keys.)
    async fn delete(
        &self,
        transaction: &mut Transaction<'_, Any>,
        part: u16,
        merged: &[Row],
    ) -> Result<(), sqlx::Error> {
        for some in pieces(merged) {
            let is_one = |nth: usize| {
                let place = |column| self.database.place(7 * nth + column);
                let [part, channel, start, node, data, held, held_at] = [1, 2, 3, 4, 5, 6, 7].map(place);
                format!(
                    "part = {part} AND channel = {channel} AND start = {start} AND node = {node} \
                     AND data = {data} AND held = {held} AND held_at = {held_at}"
                )
            };
            let any: Vec<String> = (0..some.len()).map(is_one).collect();
            let statement = format!("DELETE FROM fresh_minutes WHERE {}", any.join(" OR "));
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for row in some {
                query = query.bind(i16::try_from(part).unwrap_or_default()).bind(row.channel.clone());
                query = query.bind(millis(row.start)).bind(row.node);
                query = query.bind(row.data.clone()).bind(row.held).bind(row.held_at);
            }
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

/// The name and the start of a row.
type Place = (String, Timestamp);

/// The rows of a length that minutes belong to.
fn places(all: &BTreeMap<String, Minutes>, length_ms: u64) -> BTreeSet<Place> {
    let of_one = |(name, minutes): (&String, &Minutes)| {
        let place = |start: &Timestamp| (name.clone(), floor(*start, length_ms));
        minutes.keys().map(place).collect::<BTreeSet<_>>()
    };
    all.iter().flat_map(of_one).collect()
}

/// Whether the rows of a name depend on those of its part. Without joins there is nothing to know of an idle channel.
fn has_idle(name: &str) -> bool {
    !name.ends_with(JOINS)
}

/// Adds the stored minutes of a row.
fn add_stored(minutes: &mut Minutes, name: &str, window: Timestamp, bytes: &[u8]) {
    if let Err(error) = decode_into(minutes, window, bytes) {
        tracing::error!(%error, channel = name, "the minutes of a row are damaged; replacing them");
    }
}

/// What one transaction has merged.
struct Merged {
    /// The number of minutes.
    rows: usize,
    /// Whether there may be more.
    is_more: bool,
}

/// A row with a minute of one node, as it was merged.
struct Row {
    channel: String,
    start: Timestamp,
    node: i64,
    data: Vec<u8>,
    held: i64,
    held_at: i64,
}

/// Minutes that are not merged yet.
#[derive(Default)]
struct Found {
    /// All of them.
    rows: Vec<Row>,
    /// Those that are not damaged.
    minutes: Vec<Fresh>,
}

/// Reads minutes of a part in the order of their keys. The condition may use `$2`, the key of the part.
async fn read(
    transaction: &mut Transaction<'_, Any>,
    part: u16,
    condition: &str,
    (from, to): (Timestamp, Timestamp),
    most: usize,
) -> Result<Found, sqlx::Error> {
    let statement = format!(
        "SELECT {COLUMNS} FROM fresh_minutes WHERE part = $1 AND {condition} AND start >= $3 AND start < $4 \
         ORDER BY channel, start, node LIMIT $5"
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(i16::try_from(part).unwrap_or_default())
        .bind(part_key(part))
        .bind(millis(from))
        .bind(millis(to))
        .bind(limit(most))
        .fetch_all(&mut **transaction)
        .await?;
    let mut found = Found::default();
    for row in &rows {
        let channel: String = row.try_get("channel")?;
        match Fresh::read(row) {
            Ok(minute) => found.minutes.push(minute),
            Err(error @ sqlx::Error::Decode(_)) => {
                tracing::error!(%error, channel, "a minute is damaged; dropping it");
            }
            Err(error) => return Err(error),
        }
        found.rows.push(Row {
            channel,
            start: time(row, "start")?,
            node: row.try_get("node")?,
            data: row.try_get("data")?,
            held: row.try_get("held")?,
            held_at: row.try_get("held_at")?,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        domain::ChannelId,
        server::{
            config::DatabaseConfig,
            database::{Database, Row, RowKind},
            history::{Cuts, Minute, Zone},
        },
    };

    const START: u64 = 1_790_000_100_000;

    #[tokio::test]
    async fn a_minute_that_its_node_replaces_during_the_merge_is_merged_again() {
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let archive = Archive::new(database.clone());
        let (ana, start) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(START));
        let data = |seconds: u64| {
            let mut minute = Minute::default();
            for second in 0..seconds {
                minute.watch(Timestamp::from_millis(START + 1_000 * second), 1_000, 3);
            }
            minute.encode()
        };
        let row = Row {
            kind: RowKind::Minute,
            channel: ana.to_string(),
            part: ana.part(),
            start,
            node: 7,
            data: data(1),
            held: None,
        };
        archive.store(&[row]).await.unwrap();
        let hex: String = data(9).iter().map(|byte| format!("{byte:02x}")).collect();
        let replace = format!(
            "CREATE TRIGGER replaces AFTER INSERT ON history \
             BEGIN UPDATE fresh_minutes SET data = x'{hex}'; END"
        );
        sqlx::query(AssertSqlSafe(replace)).execute(database.pool()).await.unwrap();
        let later = Timestamp::from_millis(START + 7_200_000);
        archive.compact(ana.part(), later).await.unwrap();
        sqlx::query("DROP TRIGGER replaces").execute(database.pool()).await.unwrap();
        while archive.compact(ana.part(), later).await.unwrap() {}

        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fresh_minutes")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(left, 0);
        let cuts = Cuts::new(start, later, Some(900), &Zone::utc()).unwrap();
        let points = archive.points(&ana, &cuts).await.unwrap();
        assert_eq!(points.iter().map(|point| point.tally.observed_ms).sum::<u64>(), 9_000);
    }
}
