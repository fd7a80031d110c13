//! Announcing: the broadcasts whose end was not announced yet, what was announced of them, and the events that follow. The
//! announcements of one call are one transaction, without those that another node has made meanwhile.

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction, any::AnyRow};

use super::{
    Outbox, count,
    held::{HELD, release},
    millis, optional_time,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{database::archive::numbers, history::Broadcast, store_error::StoreError},
};

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

impl Outbox {
    /// The broadcasts of some parts whose end was not announced yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(&self, parts: &[u16]) -> Result<Vec<Open>, StoreError> {
        self.read_open(parts, "").await
    }

    /// Those of which nothing was announced. A broadcast that began after `patient_from` is left out while the end of an
    /// earlier one of its channel was not announced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_new(&self, parts: &[u16], patient_from: Timestamp) -> Result<Vec<Open>, StoreError> {
        let patient_from = millis(patient_from);
        let is_first = "NOT EXISTS (SELECT 1 FROM announcements e WHERE e.channel = a.channel AND e.ended_at = 0 \
                        AND e.first_start < a.first_start)";
        let condition = format!("AND a.live = 0 AND (a.first_start < {patient_from} OR {is_first})");
        self.read_open(parts, &condition).await
    }

    async fn read_open(&self, parts: &[u16], condition: &str) -> Result<Vec<Open>, StoreError> {
        let work = async {
            let statement = format!(
                "SELECT a.channel, a.first_start, a.live, a.peak, a.peak_announced_at, a.milestone, \
                 COALESCE(b.started_at, -1) AS started_at, COALESCE(b.last_on_air, -1) AS last_on_air, \
                 COALESCE(b.seen_by, 0) AS seen_by \
                 FROM announcements a LEFT JOIN broadcasts b ON b.channel = a.channel AND b.started_at = \
                 (SELECT MAX(c.started_at) FROM broadcasts c WHERE c.channel = a.channel \
                 AND c.started_at <= a.first_start) \
                 WHERE a.ended_at = 0 AND a.part IN ({}) {condition} ORDER BY a.channel, a.first_start",
                numbers(parts)
            );
            let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(self.database.pool()).await?;
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
        let parts = announcements.iter().map(|one| one.open.channel.part()).collect();
        let mut transaction = self.begin(&parts).await?;
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

/// A row of [`Outbox::open`]. A channel name that this version does not accept is skipped.
fn open(row: &AnyRow) -> Result<Option<Open>, sqlx::Error> {
    let Ok(channel) = ChannelId::parse(row.try_get("channel")?) else { return Ok(None) };
    let first_start = optional_time(row, "first_start")?.unwrap_or_default();
    let announced = Announced {
        is_live: row.try_get::<i16, _>("live")? > 0,
        peak: count(row, "peak")?,
        peak_announced_at: optional_time(row, "peak_announced_at")?.unwrap_or_default(),
        milestone: count(row, "milestone")?,
        ended_at: None,
    };
    let broadcast = match (optional_time(row, "started_at")?, optional_time(row, "last_on_air")?) {
        (Some(started_at), Some(last_on_air)) if last_on_air >= first_start => {
            Some(Broadcast { started_at, last_on_air })
        }
        _ => None,
    };
    let goes_on = broadcast.is_some() && row.try_get::<i64, _>("seen_by")? != 0;
    Ok(Some(Open { channel, first_start, announced, broadcast, goes_on }))
}
