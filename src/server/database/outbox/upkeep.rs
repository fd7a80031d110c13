//! Upkeep: how many events wait, and the removal of what is too old, too much or asked for by nobody. A transaction drops
//! at most [`MAX_DROPPED`] events.

use std::collections::BTreeSet;

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Outbox, held::release, millis, optional_time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{database::archive::numbers, store_error::StoreError},
};

/// The most events that one transaction drops.
pub(super) const MAX_DROPPED: usize = 1_000;

/// How many events wait, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The number of events, counted for each receiver.
    pub events: u64,
    /// When the oldest was added.
    pub oldest: Option<Timestamp>,
}

impl Outbox {
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
        let parts = parts.iter().copied().collect();
        let mut transaction = self.begin(&parts).await?;
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
            Ok(Backlog {
                events: u64::try_from(events).unwrap_or_default(),
                oldest: optional_time(&row, "oldest")?,
            })
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
