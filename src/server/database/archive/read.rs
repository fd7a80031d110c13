//! Reading: the points of a range, and the figures of a range or broadcast.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    Archive, COARSE_MS, WINDOW_MS, damaged,
    encoding::{Minutes, decode_into},
    floor,
    fresh::{self, COLUMNS, Fresh},
    joins_key, millis, part_key,
    seen::Seen,
    time,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        database::followers::pieces,
        history::{Broadcast, Cuts, Figures, Joins, Minute, Point, Points, Sketch, Span, Tally},
        store_error::StoreError,
    },
};

/// A range from this length on is read from the rows of 15 minutes.
const LONG_RANGE_MS: u64 = 3 * 24 * 3_600_000;

/// Rows that are read together.
struct Source {
    part: u16,
    /// Their name.
    name: String,
    /// The name of the rows that say when the count is 0.
    idle: Option<String>,
}

impl Source {
    /// The counts and the new viewers of a channel.
    fn counts(channel: &ChannelId) -> Self {
        let part = channel.part();
        Self { part, name: channel.as_str().to_owned(), idle: Some(part_key(part)) }
    }

    /// The joins of a channel with and without a ticket.
    fn joins(channel: &ChannelId) -> Self {
        Self { part: channel.part(), name: joins_key(channel.as_str()), idle: None }
    }
}

/// A broadcast with its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The bounds.
    pub broadcast: Broadcast,
    /// The figures. `ended_at` is `None` while the broadcast may go on.
    pub figures: Figures,
}

impl Archive {
    /// The points of a range, merged from the rows of all nodes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn points(&self, channel: &ChannelId, cuts: &Cuts) -> Result<Vec<Point>, StoreError> {
        let (archive, channel, cuts) = (self.clone(), channel.clone(), cuts.clone());
        self.database.read_long(Box::pin(async move { archive.read_points(&channel, &cuts).await })).await
    }

    /// The figures of a range: sketches are merged, and rows are added up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn figures(
        &self,
        channel: &ChannelId,
        range: Span,
        ended_at: Option<Timestamp>,
    ) -> Result<Figures, StoreError> {
        let (archive, channel) = (self.clone(), channel.clone());
        let read = async move { archive.read_figures(&channel, range, ended_at, None).await };
        self.database.read_long(Box::pin(read)).await
    }

    /// The broadcasts of a channel that started before `before`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn broadcasts(
        &self,
        channel: &ChannelId,
        before: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Kept>, StoreError> {
        let (archive, channel) = (self.clone(), channel.clone());
        let read = async move { archive.read_broadcasts(&channel, before, limit, now).await };
        self.database.read_long(Box::pin(read)).await
    }

    pub(super) async fn read_broadcasts(
        &self,
        channel: &ChannelId,
        before: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Kept>, sqlx::Error> {
        let seen = Seen::read(self.database.pool(), &BTreeSet::from([channel.part()])).await?;
        let rows = sqlx::query(
            "SELECT started_at, last_on_air, seen_by, figures FROM broadcasts WHERE channel = $1 AND started_at < $2 \
             ORDER BY started_at DESC LIMIT $3",
        )
        .bind(channel.as_str().to_owned())
        .bind(millis(before))
        .bind(i64::from(limit))
        .fetch_all(self.database.pool())
        .await?;
        let mut kept = Vec::new();
        for row in &rows {
            let mut broadcast =
                Broadcast { started_at: time(row, "started_at")?, last_on_air: time(row, "last_on_air")? };
            let figures: Option<String> = row.try_get("figures")?;
            let figures = match figures.as_deref().map(serde_json::from_str).transpose().map_err(damaged)? {
                Some(figures) => figures,
                None => {
                    broadcast = seen.lengthened(channel, row.try_get("seen_by")?, broadcast);
                    self.broadcast_figures(channel, broadcast, now).await?
                }
            };
            kept.push(Kept { broadcast, figures });
        }
        Ok(kept)
    }

    /// Computes the figures of a broadcast.
    pub(super) async fn broadcast_figures(
        &self,
        channel: &ChannelId,
        broadcast: Broadcast,
        now: Timestamp,
    ) -> Result<Figures, sqlx::Error> {
        let range = Span::new(broadcast.started_at, broadcast.last_on_air);
        self.read_figures(channel, range, broadcast.ended_at(now), Some(self.early_ms)).await
    }

    /// Computes the figures of a range: of a broadcast with `early_ms`, the time before it in which its first viewers may
    /// have been recorded.
    async fn read_figures(
        &self,
        channel: &ChannelId,
        range: Span,
        ended_at: Option<Timestamp>,
        early_ms: Option<u32>,
    ) -> Result<Figures, sqlx::Error> {
        let mut tally = Tally::default();
        if range.from < range.to {
            let cuts = Cuts { step: range.millis().div_ceil(1_000), bounds: vec![range.from, range.to] };
            for point in self.read_rows(&Source::counts(channel), &cuts).await? {
                tally.add(&point.tally);
            }
        }
        let viewers = self.viewers(channel, range, early_ms).await?;
        // The minute in which the broadcast before has ended is left out.
        let joins_from = range.from.minus_millis(early_ms.unwrap_or_default().saturating_sub(60_000));
        let joins = self.joins(channel, Span::new(joins_from, range.to)).await?;
        Ok(Figures { joins, ..Figures::new(range, ended_at, &tally, &viewers) })
    }

    /// The joins with and without a ticket in the minutes of a range.
    async fn joins(&self, channel: &ChannelId, range: Span) -> Result<Option<Joins>, sqlx::Error> {
        if range.from >= range.to {
            return Ok(None);
        }
        let cuts = Cuts { step: range.millis().div_ceil(1_000), bounds: vec![range.from, range.to] };
        let points = self.read_rows(&Source::joins(channel), &cuts).await?;
        Ok(points.first().and_then(|point| Joins::of(&point.tally.arrivals)))
    }

    /// The distinct viewers of a range. Those of a range that is no broadcast are known by the hour.
    async fn viewers(
        &self,
        channel: &ChannelId,
        range: Span,
        early_ms: Option<u32>,
    ) -> Result<Sketch, sqlx::Error> {
        let from = match early_ms {
            Some(early_ms) => range.from.minus_millis(early_ms),
            None => floor(range.from, 3_600_000),
        };
        let rows = sqlx::query("SELECT data FROM viewers WHERE channel = $1 AND start >= $2 AND start <= $3")
            .bind(channel.as_str().to_owned())
            .bind(millis(from))
            .bind(millis(range.to))
            .fetch_all(self.database.pool())
            .await?;
        let mut viewers = Sketch::default();
        for row in rows {
            viewers.merge(&Sketch::decode(&row.try_get::<Vec<u8>, _>("data")?).map_err(damaged)?);
        }
        Ok(viewers)
    }

    async fn read_points(&self, channel: &ChannelId, cuts: &Cuts) -> Result<Vec<Point>, sqlx::Error> {
        let mut points = self.read_rows(&Source::counts(channel), cuts).await?;
        let joins = self.read_rows(&Source::joins(channel), cuts).await?;
        for (point, joins) in points.iter_mut().zip(joins) {
            point.joins = Joins::of(&joins.tally.arrivals);
        }
        Ok(points)
    }

    /// The points of a range. The cost depends on what is stored, and not on the length of the range.
    async fn read_rows(&self, source: &Source, cuts: &Cuts) -> Result<Vec<Point>, sqlx::Error> {
        let mut points = Points::new(cuts);
        let (Some(from), Some(to)) = (cuts.bounds.first().copied(), cuts.bounds.last().copied()) else {
            return Ok(Vec::new());
        };
        let is_long = to.as_millis() - from.as_millis() >= LONG_RANGE_MS && cuts.step * 1_000 >= COARSE_MS;
        let length = if is_long { COARSE_MS } else { WINDOW_MS };
        // Whole rows of 15 minutes. What lies outside of the range adds nothing.
        let first = floor(from, COARSE_MS);
        let last = Timestamp::from_millis(to.as_millis().div_ceil(COARSE_MS) * COARSE_MS);
        // What is merged meanwhile is in both then, and counts once.
        let (fresh, fresh_idle) = self.fresh(source, first, last).await?;
        let rows = self.rows(source, length, first, last).await?;

        // Rows that a step boundary cuts, and rows with minutes that are not merged yet, are read by the minute.
        let of_fresh = fresh.keys().chain(fresh_idle.keys()).map(|start| floor(*start, length));
        let of_bounds = cuts.bounds.iter().filter(|at| at.as_millis() % length > 0);
        let of_bounds = of_bounds.map(|at| floor(*at, length)).filter(|row| rows.contains_key(row));
        let detailed: BTreeSet<Timestamp> = of_fresh.chain(of_bounds).collect();
        let (mut own, mut idle) = self.merged(source, &detailed, length).await?;
        for (more, known) in [(fresh, &mut own), (fresh_idle, &mut idle)] {
            for (start, minute) in more {
                known.entry(start).or_default().merge(&minute);
            }
        }
        let minutes: BTreeSet<Timestamp> = own.keys().chain(idle.keys()).copied().collect();
        for start in &minutes {
            match (own.get(start), idle.get(start)) {
                (Some(minute), Some(idle)) => points.add_minute(*start, &minute.with_idle(idle)),
                (Some(minute), None) => points.add_minute(*start, minute),
                (None, Some(idle)) => points.add_minute(*start, &Minute::default().with_idle(idle)),
                (None, None) => {}
            }
        }
        // A row whose minutes are not kept any more counts as a whole.
        let has_minutes = |row: Timestamp, length: u64| {
            minutes.range(row..Timestamp::from_millis(row.as_millis() + length)).next().is_some()
        };
        for (row, tally) in &rows {
            if !has_minutes(*row, length) {
                points.add_tally(*row, length, tally);
            }
        }
        if !is_long {
            // Where the rows of 5 minutes are not kept any more, those of 15 minutes are.
            let has_rows = |coarse: Timestamp| {
                let end = Timestamp::from_millis(coarse.as_millis() + COARSE_MS);
                rows.range(coarse..end).next().is_some() || has_minutes(coarse, COARSE_MS)
            };
            // Such a range is short, or has steps below 15 minutes, so it has few quarters of an hour.
            let mut quarters = first.as_millis() / COARSE_MS..last.as_millis() / COARSE_MS;
            if quarters.any(|nth| !has_rows(Timestamp::from_millis(nth * COARSE_MS))) {
                for (row, tally) in self.rows(source, COARSE_MS, first, last).await? {
                    if !has_rows(row) {
                        points.add_tally(row, COARSE_MS, &tally);
                    }
                }
            }
        }
        Ok(points.finish())
    }

    /// The rows of a length that start in a range: those of the source, and where it has none those that say that its
    /// count was 0.
    async fn rows(
        &self,
        source: &Source,
        length: u64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeMap<Timestamp, Tally>, sqlx::Error> {
        let step = i64::try_from(length / 1_000).unwrap_or(i64::MAX);
        let mut rows = match &source.idle {
            Some(idle) => self.tallies(idle, step, from, to).await?,
            None => BTreeMap::new(),
        };
        rows.extend(self.tallies(&source.name, step, from, to).await?);
        Ok(rows)
    }

    async fn tallies(
        &self,
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
        .fetch_all(self.database.pool())
        .await?;
        decode_tallies(&rows)
    }

    /// The minutes that are not merged yet, of a source and of its part if it depends on it.
    async fn fresh(
        &self,
        source: &Source,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(Minutes, Minutes), sqlx::Error> {
        // One statement, so that no row of the part is newer than those of the channel.
        let statement = format!(
            "SELECT {COLUMNS} FROM fresh_minutes \
             WHERE part = $1 AND channel IN ($2, $3) AND start >= $4 AND start < $5"
        );
        let idle = source.idle.as_ref().unwrap_or(&source.name);
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(i16::try_from(source.part).unwrap_or_default())
            .bind(source.name.clone())
            .bind(idle.clone())
            .bind(millis(from))
            .bind(millis(to))
            .fetch_all(self.database.pool())
            .await?;
        let rows = rows.iter().map(Fresh::read).collect::<Result<_, _>>()?;
        let (mut channels, idle) = fresh::merge(rows, source.idle.as_deref());
        Ok((channels.remove(&source.name).unwrap_or_default(), idle))
    }

    /// The merged minutes in rows of a length: those of the source, and those that say that its count was 0.
    async fn merged(
        &self,
        source: &Source,
        rows: &BTreeSet<Timestamp>,
        length: u64,
    ) -> Result<(Minutes, Minutes), sqlx::Error> {
        let windows = |row: &Timestamp| {
            (row.as_millis()..row.as_millis() + length).step_by(300_000).map(Timestamp::from_millis)
        };
        let windows: Vec<Timestamp> = rows.iter().flat_map(windows).collect();
        let idle = source.idle.as_ref().unwrap_or(&source.name);
        let (mut own, mut of_part) = (Minutes::new(), Minutes::new());
        for windows in pieces(&windows) {
            let places: Vec<_> = (1..=windows.len() + 2).map(|nth| self.database.place(nth)).collect();
            let statement = format!(
                "SELECT channel, start, minutes FROM history \
                 WHERE channel IN ({}) AND step = 300 AND start IN ({}) AND minutes IS NOT NULL",
                places[..2].join(", "),
                places[2..].join(", ")
            );
            let mut query =
                sqlx::query(AssertSqlSafe(statement)).bind(source.name.clone()).bind(idle.clone());
            for window in windows {
                query = query.bind(millis(*window));
            }
            for row in query.fetch_all(self.database.pool()).await? {
                let is_own = row.try_get::<String, _>("channel")? == source.name;
                let minutes = if is_own { &mut own } else { &mut of_part };
                let bytes: Vec<u8> = row.try_get("minutes")?;
                decode_into(minutes, time(&row, "start")?, &bytes).map_err(damaged)?;
            }
        }
        Ok((own, of_part))
    }
}

/// Decodes rows with the columns `start` and `tally`.
fn decode_tallies(rows: &[AnyRow]) -> Result<BTreeMap<Timestamp, Tally>, sqlx::Error> {
    let decode = |row: &AnyRow| {
        let tally = Tally::decode(&row.try_get::<Vec<u8>, _>("tally")?).map_err(damaged)?;
        Ok((time(row, "start")?, tally))
    };
    rows.iter().map(decode).collect()
}
