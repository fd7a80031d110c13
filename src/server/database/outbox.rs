//! The outbox: what was announced of broadcasts, and the events that receivers have not taken yet.
//!
//! Promises:
//! - [`Outbox::announce`] changes what was announced and adds the events in one transaction, if nobody else has announced
//!   anything of the broadcast since it was read. So an event is added once, and no crash loses it.
//! - An event waits for each receiver by itself until it is removed.
//! - An event is not due while an older one of its channel waits for the same receiver and has failed less than
//!   [`HOLDING_ATTEMPTS`] times. The wait is in the row, so looking for what is due costs the same however much waits.

use std::{collections::BTreeSet, sync::Arc};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction, any::AnyRow};

use super::{
    Batch, CALL_LIMIT, Database,
    archive::numbers,
    gather::{Canceled, Gatherer},
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{history::Broadcast, store_error::StoreError},
};

/// The attempts after which a waiting event no longer holds up the later events of its channel.
pub const HOLDING_ATTEMPTS: u32 = 3;

/// When an event is due that waits for an older one.
const HELD: i64 = i64::MAX;

/// The most events that one transaction drops.
const MAX_DROPPED: usize = 1_000;

/// The number of the lock of the first part of the channels, which writers of its events hold.
const FIRST_LOCK: i64 = 64;

/// The outbox in a [`Database`]. Cloning is cheap.
#[derive(Clone)]
pub struct Outbox {
    database: Database,
    /// The sizes of the transactions that drop events.
    drops: Arc<Batch>,
    outcomes: Arc<Gatherer<Outcome, ()>>,
}

/// What was announced of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Announced {
    /// Whether the beginning was announced.
    pub is_live: bool,
    /// The highest count that was announced; 0: none.
    pub peak: u32,
    /// When it was announced.
    pub peak_announced_at: Timestamp,
    /// The highest milestone that was announced; 0: none.
    pub milestone: u32,
    /// The end that was announced.
    pub ended_at: Option<Timestamp>,
}

/// A broadcast whose end was not announced yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The channel.
    pub channel: ChannelId,
    /// The start by which the broadcast became known. It identifies the broadcast.
    pub first_start: Timestamp,
    /// What was announced.
    pub announced: Announced,
    /// The broadcast as it is known now. `None`: it is no longer kept.
    pub broadcast: Option<Broadcast>,
    /// Whether a node sees that it goes on. It has lasted for as long as that node has observed its part.
    pub goes_on: bool,
}

/// An event to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The id, which is the same on every node.
    pub id: String,
    /// The body of the request.
    pub body: String,
}

/// A change of what was announced of a broadcast.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The broadcast, and what was announced of it before.
    pub open: Open,
    /// What is announced now.
    pub announced: Announced,
    /// The events in order.
    pub events: Vec<NewEvent>,
}

/// An event that waits for a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id of the event.
    pub event: String,
    /// The channel.
    pub channel: ChannelId,
    /// The body of the request.
    pub body: String,
    /// The attempts so far.
    pub attempts: u32,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The channel of the event.
    pub channel: ChannelId,
    /// The event.
    pub event: String,
    /// The receiver.
    pub receiver: String,
    /// How many attempts have failed, and when the next one is due. `None`: the receiver has taken the event, or it is
    /// given up.
    pub again: Option<(u32, Timestamp)>,
    /// When it came.
    pub now: Timestamp,
}

/// How many events wait, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The number of events, counted for each receiver.
    pub events: u64,
    /// When the oldest was added.
    pub oldest: Option<Timestamp>,
}

impl Outbox {
    /// The outbox in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let outcomes = Arc::new(Gatherer::new(Canceled::Runs, CALL_LIMIT));
        Self { database, drops: Arc::new(Batch::new(MAX_DROPPED)), outcomes }
    }

    /// The broadcasts of some parts whose end was not announced yet. With `only_new`, those of which nothing was
    /// announced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(&self, parts: &[u16], only_new: bool) -> Result<Vec<Open>, StoreError> {
        let work = async {
            let statement = format!(
                "SELECT a.channel, a.first_start, a.live, a.peak, a.peak_announced_at, a.milestone, \
                 COALESCE(b.started_at, -1) AS started_at, COALESCE(b.last_on_air, -1) AS last_on_air, \
                 COALESCE(b.seen_by, 0) AS seen_by \
                 FROM announcements a LEFT JOIN broadcasts b ON b.channel = a.channel AND b.started_at = \
                 (SELECT MAX(c.started_at) FROM broadcasts c WHERE c.channel = a.channel \
                 AND c.started_at <= a.first_start) \
                 WHERE a.ended_at = 0 AND a.part IN ({}) AND a.live <= $1 ORDER BY a.channel, a.first_start",
                numbers(parts)
            );
            let query = sqlx::query(AssertSqlSafe(statement)).bind(i16::from(!only_new));
            let rows = query.fetch_all(self.database.pool()).await?;
            let mut found = Vec::new();
            for row in &rows {
                found.extend(open(row)?);
            }
            Ok(found)
        };
        self.database.read(Box::pin(work)).await
    }

    /// Announces: changes what was announced, and adds the events for each receiver. An announcement that another node
    /// has already made is skipped, and so is that of an end if the broadcast goes on. Returns the number of those made.
    ///
    /// # Errors
    /// When the database fails. Then nothing was announced, or the answer was lost.
    pub async fn announce(
        &self,
        announcements: &[Announcement],
        receivers: &[String],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.database.write(Box::pin(self.announce_all(announcements, receivers, now))).await
    }

    async fn announce_all(
        &self,
        announcements: &[Announcement],
        receivers: &[String],
        now: Timestamp,
    ) -> Result<usize, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        // All nodes lock the parts in the same order.
        let parts: BTreeSet<u16> = announcements.iter().map(|one| one.open.channel.part()).collect();
        for part in parts {
            self.database.lock(&mut transaction, FIRST_LOCK + i64::from(part)).await?;
        }
        let mut made = 0;
        for announcement in announcements {
            if !advance(&mut transaction, announcement).await? {
                continue;
            }
            made += 1;
            let channel = &announcement.open.channel;
            let row =
                sqlx::query("SELECT COALESCE(MAX(number), 0) AS last FROM deliveries WHERE channel = $1")
                    .bind(channel.as_str().to_owned())
                    .fetch_one(&mut *transaction)
                    .await?;
            let last: i64 = row.try_get("last")?;
            for (number, event) in (last + 1..).zip(&announcement.events) {
                for receiver in receivers {
                    add(&mut transaction, channel, number, event, receiver, now).await?;
                }
            }
            for receiver in receivers {
                release(&mut transaction, channel, receiver, now).await?;
            }
        }
        transaction.commit().await?;
        Ok(made)
    }

    /// Forgets a broadcast of which nothing more is to be announced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, open: &Open) -> Result<(), StoreError> {
        let work = sqlx::query("DELETE FROM announcements WHERE channel = $1 AND first_start = $2")
            .bind(open.channel.as_str().to_owned())
            .bind(millis(open.first_start))
            .execute(self.database.pool());
        self.database.write(Box::pin(work)).await.map(drop)
    }

    /// The events of some parts that are due for a receiver, those that are due longest first, without those of some
    /// channels. There may be several of a channel.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due(
        &self,
        parts: &[u16],
        receiver: &str,
        without: &[ChannelId],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let places: String = (0..without.len()).map(|nth| format!(", ${}", nth + 4)).collect();
        let work = async {
            // No channel has an empty name.
            let statement = format!(
                "SELECT event, channel, body, attempts FROM deliveries WHERE receiver = $1 AND due_at <= $2 \
                 AND part IN ({}) AND channel NOT IN (''{places}) ORDER BY due_at, number LIMIT $3",
                numbers(parts)
            );
            let mut query = sqlx::query(AssertSqlSafe(statement))
                .bind(receiver.to_owned())
                .bind(millis(now))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX));
            for channel in without {
                query = query.bind(channel.as_str().to_owned());
            }
            let rows = query.fetch_all(self.database.pool()).await?;
            let mut due = Vec::new();
            for row in &rows {
                due.extend(delivery(row)?);
            }
            Ok(due)
        };
        self.database.read(Box::pin(work)).await
    }

    /// Writes the outcomes of deliveries that [`Outbox::settle`] gets, forever. Those that arrive together are one
    /// transaction.
    pub async fn run(&self) {
        let write = |outcomes: Vec<Outcome>| async move {
            self.database.write(Box::pin(self.settle_all(&outcomes))).await?;
            Ok(vec![(); outcomes.len()])
        };
        self.outcomes.run(write).await;
    }

    /// Writes the outcome of a delivery, while [`Outbox::run`] runs. The next event of the channel is due then, unless
    /// another one holds it.
    ///
    /// # Errors
    /// When the database fails. The outcome may have been written.
    pub async fn settle(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.outcomes.call(outcome).await
    }

    async fn settle_all(&self, outcomes: &[Outcome]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        // All nodes lock the parts in the same order.
        let parts: BTreeSet<u16> = outcomes.iter().map(|outcome| outcome.channel.part()).collect();
        for part in parts {
            self.database.lock(&mut transaction, FIRST_LOCK + i64::from(part)).await?;
        }
        for Outcome { channel, event, receiver, again, now } in outcomes {
            let statement = match again {
                None => "DELETE FROM deliveries WHERE event = $1 AND receiver = $2",
                Some(_) => {
                    "UPDATE deliveries SET attempts = $3, due_at = $4 \
                     WHERE event = $1 AND receiver = $2 AND attempts < $3"
                }
            };
            let mut statement = sqlx::query(statement).bind(event.clone()).bind(receiver.clone());
            if let Some((attempts, due_at)) = again {
                statement = statement.bind(i64::from(*attempts)).bind(millis(*due_at));
            }
            statement.execute(&mut *transaction).await?;
            release(&mut transaction, channel, receiver, *now).await?;
        }
        transaction.commit().await
    }

    /// Removes some of the events for a receiver that were added before `before`, and of the oldest ones beyond `most`.
    /// Returns their number; 0: there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_oldest(
        &self,
        parts: &[u16],
        receiver: &str,
        before: Timestamp,
        most: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let work = self.database.write(Box::pin(self.drop_oldest_of(parts, receiver, before, most, now)));
        self.drops.run(self.drops.size(), work).await
    }

    async fn drop_oldest_of(
        &self,
        parts: &[u16],
        receiver: &str,
        before: Timestamp,
        most: u64,
        now: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        let parts: BTreeSet<u16> = parts.iter().copied().collect();
        for part in &parts {
            self.database.lock(&mut transaction, FIRST_LOCK + i64::from(*part)).await?;
        }
        let step = self.drops.size();
        let mut dropped = delete_old(&mut transaction, &numbers_of(&parts), receiver, before, step).await?;
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT COUNT(*) AS events FROM deliveries WHERE receiver = $1 AND part IN ({})",
            numbers_of(&parts)
        )));
        let events: i64 =
            row.bind(receiver.to_owned()).fetch_one(&mut *transaction).await?.try_get("events")?;
        let excess = u64::try_from(events).unwrap_or_default().saturating_sub(most);
        let step = usize::try_from(excess).unwrap_or(usize::MAX).min(step.saturating_sub(dropped.len()));
        if step > 0 {
            dropped.extend(delete_oldest(&mut transaction, &parts, receiver, step).await?);
        }
        let number = dropped.len();
        // The events that the dropped ones held up.
        for name in dropped.into_iter().collect::<BTreeSet<_>>() {
            if let Ok(channel) = ChannelId::parse(&name) {
                release(&mut transaction, &channel, receiver, now).await?;
            }
        }
        transaction.commit().await?;
        Ok(u64::try_from(number).unwrap_or(u64::MAX))
    }

    /// Removes what nobody asks for any more: events for receivers that are not `configured`, and what was announced of
    /// broadcasts that ended before `ended_before`.
    ///
    /// # Errors
    /// When the database fails. Then a part of it may have been removed.
    pub async fn clean(
        &self,
        parts: &[u16],
        configured: &[String],
        added_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<(), StoreError> {
        let parts = numbers(parts);
        let statement =
            format!("DELETE FROM announcements WHERE ended_at > 0 AND ended_at < $1 AND part IN ({parts})");
        let delete = sqlx::query(AssertSqlSafe(statement)).bind(millis(ended_before));
        self.database.write(Box::pin(delete.execute(self.database.pool()))).await?;
        let mut receiver = String::new();
        while let Some(next) = self.database.read(Box::pin(self.receiver_after(&receiver))).await? {
            receiver = next;
            if configured.contains(&receiver) {
                // Its old events are dropped one by one, so that later ones of their channels are sent.
                continue;
            }
            loop {
                let step = self.drops.size();
                let delete = async {
                    let mut transaction = self.database.begin().await?;
                    let deleted = delete_old(&mut transaction, &parts, &receiver, added_before, step).await?;
                    transaction.commit().await?;
                    Ok(deleted.len())
                };
                let deleted = self.drops.run(step, self.database.write(Box::pin(delete))).await?;
                if deleted < step {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next receiver with events, in the order of their hashes.
    async fn receiver_after(&self, receiver: &str) -> Result<Option<String>, sqlx::Error> {
        let row =
            sqlx::query("SELECT COALESCE(MIN(receiver), '') AS receiver FROM deliveries WHERE receiver > $1")
                .bind(receiver.to_owned())
                .fetch_one(self.database.pool())
                .await?;
        let next: String = row.try_get("receiver")?;
        Ok((!next.is_empty()).then_some(next))
    }

    /// How many events of some parts wait for a receiver.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn backlog(&self, parts: &[u16], receiver: &str) -> Result<Backlog, StoreError> {
        let work = async {
            let statement = format!(
                "SELECT COUNT(*) AS events, COALESCE(MIN(created_at), -1) AS oldest FROM deliveries \
                 WHERE receiver = $1 AND part IN ({})",
                numbers(parts)
            );
            let query = sqlx::query(AssertSqlSafe(statement)).bind(receiver.to_owned());
            let row = query.fetch_one(self.database.pool()).await?;
            let events: i64 = row.try_get("events")?;
            Ok(Backlog { events: u64::try_from(events).unwrap_or_default(), oldest: time(&row, "oldest")? })
        };
        self.database.read(Box::pin(work)).await
    }
}

/// Parts as the list of an `IN`.
fn numbers_of(parts: &BTreeSet<u16>) -> String {
    numbers(&parts.iter().copied().collect::<Vec<_>>())
}

/// Deletes at most `most` events that were added before an instant. Returns their channels.
async fn delete_old(
    transaction: &mut Transaction<'_, Any>,
    parts: &str,
    receiver: &str,
    before: Timestamp,
    most: usize,
) -> Result<Vec<String>, sqlx::Error> {
    let old = format!(
        "SELECT event FROM deliveries WHERE receiver = $1 AND part IN ({parts}) AND created_at < $2 LIMIT {most}"
    );
    let statement =
        format!("DELETE FROM deliveries WHERE receiver = $1 AND event IN ({old}) RETURNING channel");
    let query = sqlx::query(AssertSqlSafe(statement)).bind(receiver.to_owned()).bind(millis(before));
    let rows = query.fetch_all(&mut **transaction).await?;
    rows.iter().map(|row| row.try_get("channel")).collect()
}

/// Deletes the `number` oldest events of some parts. Returns their channels.
async fn delete_oldest(
    transaction: &mut Transaction<'_, Any>,
    parts: &BTreeSet<u16>,
    receiver: &str,
    number: usize,
) -> Result<Vec<String>, sqlx::Error> {
    // The oldest of all parts are among the oldest of each, which an index has in order.
    let of_part = |part: &u16| {
        format!(
            "SELECT * FROM (SELECT event, created_at, number FROM deliveries WHERE receiver = $1 AND part = {part} \
             ORDER BY created_at, number LIMIT {number}) AS part{part}"
        )
    };
    let of_parts: Vec<String> = parts.iter().map(of_part).collect();
    let statement = format!(
        "DELETE FROM deliveries WHERE receiver = $1 AND event IN (SELECT event FROM ({}) AS oldest \
         ORDER BY created_at, number LIMIT {number}) RETURNING channel",
        of_parts.join(" UNION ALL ")
    );
    let rows =
        sqlx::query(AssertSqlSafe(statement)).bind(receiver.to_owned()).fetch_all(&mut **transaction).await?;
    rows.iter().map(|row| row.try_get("channel")).collect()
}

/// Changes what was announced of a broadcast. Returns whether that was still what it was when it was read.
async fn advance(
    transaction: &mut Transaction<'_, Any>,
    Announcement { open, announced, .. }: &Announcement,
) -> Result<bool, sqlx::Error> {
    let before = &open.announced;
    let going_on = "SELECT 1 FROM broadcasts WHERE channel = $6 AND started_at = $12 AND last_on_air = $13";
    let end = if announced.ended_at.is_some() { format!(" AND EXISTS ({going_on})") } else { String::new() };
    let statement = format!(
        "UPDATE announcements SET live = $1, peak = $2, peak_announced_at = $3, milestone = $4, ended_at = $5 \
         WHERE channel = $6 AND first_start = $7 AND live = $8 AND peak = $9 AND peak_announced_at = $10 \
         AND milestone = $11 AND ended_at = 0{end}"
    );
    let mut query = sqlx::query(AssertSqlSafe(statement))
        .bind(i16::from(announced.is_live))
        .bind(i64::from(announced.peak))
        .bind(millis(announced.peak_announced_at))
        .bind(i64::from(announced.milestone))
        .bind(announced.ended_at.map_or(0, millis))
        .bind(open.channel.as_str().to_owned())
        .bind(millis(open.first_start))
        .bind(i16::from(before.is_live))
        .bind(i64::from(before.peak))
        .bind(millis(before.peak_announced_at))
        .bind(i64::from(before.milestone));
    if let (Some(_), Some(broadcast)) = (announced.ended_at, open.broadcast) {
        query = query.bind(millis(broadcast.started_at)).bind(millis(broadcast.last_on_air));
    }
    Ok(query.execute(&mut **transaction).await?.rows_affected() > 0)
}

async fn add(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    number: i64,
    event: &NewEvent,
    receiver: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO deliveries (event, receiver, part, channel, number, body, created_at, due_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(event.id.clone())
    .bind(receiver.to_owned())
    .bind(i16::try_from(channel.part()).unwrap_or_default())
    .bind(channel.as_str().to_owned())
    .bind(number)
    .bind(event.body.clone())
    .bind(millis(now))
    .bind(HELD)
    .execute(&mut **transaction)
    .await
    .map(drop)
}

/// Makes the oldest held event of a channel due, unless another one holds it.
async fn release(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    receiver: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "UPDATE deliveries SET due_at = $1 WHERE channel = $2 AND receiver = $3 AND number = (SELECT MIN(number) \
         FROM deliveries WHERE channel = $2 AND receiver = $3 AND due_at = {HELD}) AND NOT EXISTS (SELECT 1 \
         FROM deliveries holder WHERE holder.channel = $2 AND holder.receiver = $3 \
         AND holder.attempts < {HOLDING_ATTEMPTS} AND holder.due_at < {HELD})"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(millis(now))
        .bind(channel.as_str().to_owned())
        .bind(receiver.to_owned())
        .execute(&mut **transaction)
        .await
        .map(drop)
}

/// A row of [`Outbox::open`]. A channel name that this version does not accept is skipped.
fn open(row: &AnyRow) -> Result<Option<Open>, sqlx::Error> {
    let Ok(channel) = ChannelId::parse(row.try_get("channel")?) else { return Ok(None) };
    let first_start = time(row, "first_start")?.unwrap_or_default();
    let announced = Announced {
        is_live: row.try_get::<i16, _>("live")? > 0,
        peak: count(row, "peak")?,
        peak_announced_at: time(row, "peak_announced_at")?.unwrap_or_default(),
        milestone: count(row, "milestone")?,
        ended_at: None,
    };
    let broadcast = match (time(row, "started_at")?, time(row, "last_on_air")?) {
        (Some(started_at), Some(last_on_air)) if last_on_air >= first_start => {
            Some(Broadcast { started_at, last_on_air })
        }
        _ => None,
    };
    let goes_on = broadcast.is_some() && row.try_get::<i64, _>("seen_by")? != 0;
    Ok(Some(Open { channel, first_start, announced, broadcast, goes_on }))
}

fn delivery(row: &AnyRow) -> Result<Option<Delivery>, sqlx::Error> {
    let Ok(channel) = ChannelId::parse(row.try_get("channel")?) else { return Ok(None) };
    Ok(Some(Delivery {
        event: row.try_get("event")?,
        channel,
        body: row.try_get("body")?,
        attempts: count(row, "attempts")?,
    }))
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// The instant in a column; `None` if it is negative.
fn time(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    let millis: i64 = row.try_get(column)?;
    Ok(u64::try_from(millis).ok().map(Timestamp::from_millis))
}

fn count(row: &AnyRow, column: &str) -> Result<u32, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}
