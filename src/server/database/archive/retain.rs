//! Retention: removes what is no longer kept, and completes what is final.

use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{Archive, COARSE_MS, floor, limit, millis, part_key, pieces, time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{Broadcast, broadcast::GRACE},
        store_error::StoreError,
    },
};

/// The most channels that one call cleans.
pub(super) const CHANNELS: usize = 50;

/// The most broadcasts that one call completes.
pub(super) const BROADCASTS: usize = 50;

/// How long after its end the figures of a broadcast are final, unless minutes arrive late.
const FINAL_AFTER_MS: u32 = 600_000;

/// How long the kinds of rows are kept. `None`: for good.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Minutes, in milliseconds.
    pub minutes_ms: u64,
    /// Rows of 5 minutes, in milliseconds.
    pub fine_ms: u64,
    /// Sketches of viewers, in milliseconds.
    pub viewers_ms: u64,
    /// Rows of 15 minutes and broadcasts, in milliseconds.
    pub all_ms: Option<u64>,
}

impl Retention {
    /// Minutes for 48 hours, rows of 5 minutes for 90 days, viewers for 31 days, and everything else for `days` if that
    /// is a limit.
    #[must_use]
    pub fn days(days: Option<u32>) -> Self {
        const DAY: u64 = 24 * 3_600_000;
        let all_ms = days.map(|days| u64::from(days) * DAY);
        let shortened = |span: u64| all_ms.map_or(span, |all| span.min(all));
        Self {
            minutes_ms: shortened(2 * DAY),
            fine_ms: shortened(90 * DAY),
            viewers_ms: shortened(31 * DAY),
            all_ms,
        }
    }
}

/// A broadcast that has ended, in the order in which they are completed.
#[derive(Default)]
struct Ended {
    last_on_air: i64,
    channel: String,
}

impl Archive {
    /// Removes what is no longer kept of the next channels after `after`. Returns the last of them, or `None` at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clean(
        &self,
        after: &str,
        retention: Retention,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let most = self.batches.channels.size();
        let clean = self.database.write(Box::pin(self.clean_after(after, retention, now, most)));
        self.batches.channels.run(most, clean).await
    }

    async fn clean_after(
        &self,
        after: &str,
        retention: Retention,
        now: Timestamp,
        most: usize,
    ) -> Result<Option<String>, sqlx::Error> {
        let channels =
            sqlx::query("SELECT DISTINCT channel FROM history WHERE channel > $1 ORDER BY channel LIMIT $2")
                .bind(after.to_owned())
                .bind(limit(most))
                .fetch_all(self.database.pool())
                .await?;
        let mut channels: Vec<String> =
            channels.iter().map(|row| row.try_get("channel")).collect::<Result<_, _>>()?;
        let last = channels.last().cloned();
        if after.is_empty() {
            // The parts first: without a row of its own, a channel is taken to have had no viewers where its part has one.
            channels.extend((0..ChannelId::PARTS).map(part_key));
        }
        let mut statements = vec![
            (
                "UPDATE history SET minutes = NULL WHERE step = 300 AND minutes IS NOT NULL AND start",
                retention.minutes_ms,
            ),
            ("DELETE FROM history WHERE step = 300 AND start", retention.fine_ms),
            ("DELETE FROM viewers WHERE start", retention.viewers_ms),
        ];
        if let Some(all) = retention.all_ms {
            statements.push(("DELETE FROM history WHERE start", all));
            statements.push(("DELETE FROM broadcasts WHERE last_on_air", all));
        }
        let mut transaction = self.database.begin().await?;
        for some in pieces(&channels) {
            let [before, names @ ..] =
                &*(1..=some.len() + 1).map(|nth| self.database.place(nth)).collect::<Vec<_>>()
            else {
                continue;
            };
            let condition = format!("< {before} AND channel IN ({})", names.join(", "));
            for (statement, span) in &statements {
                // All rows in a row of 15 minutes go at once: which of them are left says what they are replaced with.
                let before = floor(Timestamp::from_millis(now.as_millis().saturating_sub(*span)), COARSE_MS);
                let query =
                    sqlx::query(AssertSqlSafe(format!("{statement} {condition}"))).bind(millis(before));
                let query = some.iter().fold(query, |query, channel| query.bind(channel.clone()));
                query.execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(last)
    }

    /// Keeps the figures of the broadcasts that have ended. Those with damaged rows are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after = Some(Ended::default());
        while let Some(last) = after {
            let most = self.batches.ended.size();
            let complete = self.database.write(Box::pin(self.complete_after(&last, now, most)));
            after = self.batches.ended.run(most, complete).await?;
        }
        Ok(())
    }

    /// Keeps the figures of up to `most` broadcasts. Returns the last of them if there may be more.
    async fn complete_after(
        &self,
        after: &Ended,
        now: Timestamp,
        most: usize,
    ) -> Result<Option<Ended>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT channel, started_at, last_on_air FROM broadcasts \
             WHERE figures IS NULL AND last_on_air < $1 AND (last_on_air, channel) > ($2, $3) \
             ORDER BY last_on_air, channel LIMIT $4",
        )
        .bind(millis((now - GRACE).minus_millis(FINAL_AFTER_MS)))
        .bind(after.last_on_air)
        .bind(after.channel.clone())
        .bind(limit(most))
        .fetch_all(self.database.pool())
        .await?;
        self.complete_rows(&rows, now).await?;
        let ended = |row: &AnyRow| {
            Ok(Ended { last_on_air: row.try_get("last_on_air")?, channel: row.try_get("channel")? })
        };
        rows.last().filter(|_| rows.len() == most).map(ended).transpose()
    }

    async fn complete_rows(&self, rows: &[AnyRow], now: Timestamp) -> Result<(), sqlx::Error> {
        for row in rows {
            let name: String = row.try_get("channel")?;
            let Ok(channel) = ChannelId::parse(&name) else { continue };
            let broadcast =
                Broadcast { started_at: time(row, "started_at")?, last_on_air: time(row, "last_on_air")? };
            let figures = match self.broadcast_figures(&channel, broadcast, now).await {
                Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
                    tracing::error!(%error, %channel, "what is kept of a broadcast is damaged; it is not completed");
                    continue;
                }
                figures => figures?,
            };
            sqlx::query(
                "UPDATE broadcasts SET figures = $1 \
                 WHERE channel = $2 AND started_at = $3 AND last_on_air = $4 AND figures IS NULL",
            )
            .bind(serde_json::to_string(&figures).map_err(super::damaged)?)
            .bind(name)
            .bind(millis(broadcast.started_at))
            .bind(millis(broadcast.last_on_air))
            .execute(self.database.pool())
            .await?;
        }
        Ok(())
    }
}
