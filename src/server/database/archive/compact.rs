//! Compaction: merges the minutes of all nodes into rows of 5 and 15 minutes.
//!
//! A row is computed anew from all that is known, so it does not matter how often a minute is merged, nor in which order
//! minutes arrive. A minute that arrives late changes its rows, and the figures of its broadcast are computed again.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};
use tokio::time::Instant;

use super::{
    Archive, COARSE_MS, JOINS, WINDOW_MS,
    encoding::{Minutes, decode_into, encode, starts},
    floor,
    fresh::{self, COLUMNS, Fresh},
    limit, millis, part_key, pieces, time,
};
use crate::{
    domain::Timestamp,
    server::{database::Database, history::Tally, store_error::StoreError},
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
        let of_channels = !found.keys.is_empty();
        let is_more = of_channels || {
            found = read(&mut transaction, part, "channel = $2", all, most).await?;
            found.keys.len() >= most
        };
        let mut minutes = std::mem::take(&mut found.minutes);
        if of_channels {
            // With what is known of the part in the same rows of 15 minutes.
            let rows: BTreeSet<Timestamp> =
                found.keys.iter().map(|(_, start, _)| floor(*start, COARSE_MS)).collect();
            if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
                let end = before.min(Timestamp::from_millis(last.as_millis() + COARSE_MS));
                let of_part = read(&mut transaction, part, "channel = $2", (*first, end), usize::MAX).await?;
                let is_needed = |minute: &Fresh| rows.contains(&floor(minute.start(), COARSE_MS));
                minutes.extend(of_part.minutes.into_iter().filter(is_needed));
            }
        }
        // The part comes first, since the rows of its channels depend on it.
        let (channels, idle) = fresh::merge(minutes, Some(&key));
        for (channel, minutes) in [(key.clone(), idle)].into_iter().chain(channels) {
            merge_channel(&mut transaction, &key, &channel, minutes).await?;
        }
        let rows = found.keys.len();
        delete(&self.database, &mut transaction, part, &found.keys).await?;
        transaction.commit().await?;
        Ok(Merged { rows, is_more })
    }
}

/// What one transaction has merged.
struct Merged {
    /// The number of minutes.
    rows: usize,
    /// Whether there may be more.
    is_more: bool,
}

/// The channel, start and node of a minute.
type Key = (String, Timestamp, i64);

/// Minutes that are not merged yet.
#[derive(Default)]
struct Found {
    /// All of them.
    keys: Vec<Key>,
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
        found.keys.push((channel, time(row, "start")?, row.try_get("node")?));
    }
    Ok(found)
}

/// Deletes minutes that are merged, many with one statement. (SQLite would search the whole table for a list of keys.)
async fn delete(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    part: u16,
    keys: &[Key],
) -> Result<(), sqlx::Error> {
    for some in pieces(keys) {
        let is_one = |nth: usize| {
            let [part, channel, start, node] = [1, 2, 3, 4].map(|place| database.place(4 * nth + place));
            format!("part = {part} AND channel = {channel} AND start = {start} AND node = {node}")
        };
        let any: Vec<String> = (0..some.len()).map(is_one).collect();
        let statement = format!("DELETE FROM fresh_minutes WHERE {}", any.join(" OR "));
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (channel, start, node) in some {
            query = query.bind(i16::try_from(part).unwrap_or_default());
            query = query.bind(channel.clone()).bind(millis(*start)).bind(*node);
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Merges minutes of one channel, of its joins or of a part into their rows.
async fn merge_channel(
    transaction: &mut Transaction<'_, Any>,
    part: &str,
    channel: &str,
    mut minutes: Minutes,
) -> Result<(), sqlx::Error> {
    // Without joins there is nothing to know of an idle channel.
    let idle_key = (!channel.ends_with(JOINS)).then_some(part);
    let windows: BTreeSet<Timestamp> = minutes.keys().map(|start| floor(*start, WINDOW_MS)).collect();
    for window in &windows {
        let is_late = load_window(transaction, channel, *window, &mut minutes).await?;
        let mut idle = Minutes::new();
        if let Some(part) = idle_key {
            load_window(transaction, part, *window, &mut idle).await?;
        }
        let mut tally = Tally::default();
        for start in starts(*window) {
            let known = minutes.get(&start).cloned().unwrap_or_default();
            let with_idle = idle.get(&start).map_or(known.clone(), |idle| known.with_idle(idle));
            tally.add(&Tally::of_minute(start, &with_idle));
        }
        put(transaction, channel, FINE, *window, &tally, Some(encode(*window, &minutes))).await?;
        // The first joins of a window may be late too.
        if is_late || idle_key.is_none() {
            forget_figures(transaction, channel, *window).await?;
        }
    }
    let coarse: BTreeSet<Timestamp> = windows.iter().map(|window| floor(*window, COARSE_MS)).collect();
    for start in coarse {
        let end = Timestamp::from_millis(start.as_millis() + COARSE_MS);
        let own = tallies(transaction, channel, FINE, start, end).await?;
        let idle = match idle_key {
            Some(part) => tallies(transaction, part, FINE, start, end).await?,
            None => BTreeMap::new(),
        };
        let mut tally = Tally::default();
        for nth in 0..COARSE_MS / WINDOW_MS {
            let window = Timestamp::from_millis(start.as_millis() + nth * WINDOW_MS);
            if let Some(known) = own.get(&window).or(idle.get(&window)) {
                tally.add(known);
            }
        }
        put(transaction, channel, COARSE, start, &tally, None).await?;
    }
    Ok(())
}

/// Adds the stored minutes of a window. Returns whether there were any.
async fn load_window(
    transaction: &mut Transaction<'_, Any>,
    channel: &str,
    window: Timestamp,
    minutes: &mut Minutes,
) -> Result<bool, sqlx::Error> {
    let row =
        sqlx::query("SELECT minutes FROM history WHERE channel = $1 AND step = 300 AND start = $2 AND minutes IS NOT NULL")
            .bind(channel.to_owned())
            .bind(millis(window))
            .fetch_optional(&mut **transaction)
            .await?;
    let Some(row) = row else { return Ok(false) };
    if let Err(error) = decode_into(minutes, window, &row.try_get::<Vec<u8>, _>("minutes")?) {
        tracing::error!(%error, channel, "the minutes of a row are damaged; replacing them");
    }
    Ok(true)
}

/// The rows of a channel with a step of `step` seconds, from `from` until before `to`.
async fn tallies(
    transaction: &mut Transaction<'_, Any>,
    channel: &str,
    step: i64,
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<Timestamp, Tally>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT start, tally FROM history WHERE channel = $1 AND step = $2 AND start >= $3 AND start < $4",
    )
    .bind(channel.to_owned())
    .bind(step)
    .bind(millis(from))
    .bind(millis(to))
    .fetch_all(&mut **transaction)
    .await?;
    super::read::decode_tallies(&rows)
}

async fn put(
    transaction: &mut Transaction<'_, Any>,
    channel: &str,
    step: i64,
    start: Timestamp,
    tally: &Tally,
    minutes: Option<Vec<u8>>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO history (channel, step, start, tally, minutes) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (channel, step, start) DO UPDATE SET tally = excluded.tally, minutes = excluded.minutes",
    )
    .bind(channel.to_owned())
    .bind(step)
    .bind(millis(start))
    .bind(tally.encode())
    .bind(minutes)
    .execute(&mut **transaction)
    .await
    .map(drop)
}

/// Has the figures of the broadcasts of a window computed again.
async fn forget_figures(
    transaction: &mut Transaction<'_, Any>,
    channel: &str,
    window: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE broadcasts SET figures = NULL \
         WHERE channel = $1 AND started_at < $2 AND last_on_air >= $3 AND figures IS NOT NULL",
    )
    .bind(channel.strip_suffix(JOINS).unwrap_or(channel).to_owned())
    .bind(millis(Timestamp::from_millis(window.as_millis() + WINDOW_MS)))
    .bind(millis(window))
    .execute(&mut **transaction)
    .await
    .map(drop)
}
