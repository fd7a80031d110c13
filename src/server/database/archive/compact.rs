//! Compaction: merges the minutes of all nodes into rows of 5 and 15 minutes.
//!
//! A row is computed anew from all that is known, so it does not matter how often a minute is merged, nor in which order
//! minutes arrive. A minute that arrives late changes its rows, and the figures of its broadcast are computed again.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{
    Archive, COARSE_MS, JOINS, WINDOW_MS,
    encoding::{Minutes, decode_into, encode, starts},
    floor,
    fresh::{self, COLUMNS, Fresh},
    millis, part_key, time,
};
use crate::{
    domain::Timestamp,
    server::{history::Tally, store_error::StoreError},
};

/// The most minutes that one transaction merges.
const MAX_ROWS: i64 = 1_000;

/// The steps of the two kinds of rows, in seconds.
const FINE: i64 = 300;
const COARSE: i64 = 900;

impl Archive {
    /// Merges minutes of a part that start before `before`, in one transaction. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails. Then nothing has changed.
    pub async fn compact(&self, part: u16, before: Timestamp) -> Result<bool, StoreError> {
        self.database.write(Box::pin(self.compact_part(part, before))).await
    }

    async fn compact_part(&self, part: u16, before: Timestamp) -> Result<bool, sqlx::Error> {
        let part_number = i16::try_from(part).unwrap_or_default();
        let mut transaction = self.database.begin().await?;
        self.database.lock(&mut transaction, 2 + i64::from(part)).await?;
        let key = part_key(part);
        let (mut is_more, mut rows, mut merged) = (false, Vec::new(), Vec::new());
        for (condition, limit) in [("channel = $3", i64::MAX), ("channel <> $3", MAX_ROWS)] {
            let statement = format!(
                "SELECT {COLUMNS} FROM fresh_minutes WHERE part = $1 AND start < $2 AND {condition} \
                 ORDER BY channel, start, node LIMIT $4"
            );
            let found = sqlx::query(AssertSqlSafe(statement))
                .bind(part_number)
                .bind(millis(before))
                .bind(key.clone())
                .bind(limit)
                .fetch_all(&mut *transaction)
                .await?;
            is_more = i64::try_from(found.len()).is_ok_and(|rows| rows >= limit);
            for row in &found {
                merged.push((
                    row.try_get::<String, _>("channel")?,
                    time(row, "start")?,
                    row.try_get("node")?,
                ));
                match Fresh::read(row) {
                    Ok(row) => rows.push(row),
                    Err(error @ sqlx::Error::Decode(_)) => {
                        tracing::error!(%error, channel = merged[merged.len() - 1].0, "a minute is damaged; dropping it");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // The part comes first, since the rows of its channels depend on it.
        let (channels, idle) = fresh::merge(rows, Some(&key));
        for (channel, minutes) in [(key.clone(), idle)].into_iter().chain(channels) {
            merge_channel(&mut transaction, &key, &channel, minutes).await?;
        }
        // It also stays until all of them are merged.
        for (channel, start, node) in merged.into_iter().filter(|(channel, ..)| !is_more || *channel != key) {
            delete(&mut transaction, part_number, channel, start, node).await?;
        }
        transaction.commit().await?;
        Ok(is_more)
    }
}

/// Deletes a fresh minute.
async fn delete(
    transaction: &mut Transaction<'_, Any>,
    part: i16,
    channel: String,
    start: Timestamp,
    node: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM fresh_minutes WHERE part = $1 AND channel = $2 AND start = $3 AND node = $4")
        .bind(part)
        .bind(channel)
        .bind(millis(start))
        .bind(node)
        .execute(&mut **transaction)
        .await
        .map(drop)
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
