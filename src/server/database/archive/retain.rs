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

    /// Keeps the figures of broadcasts that have ended. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete(&self, now: Timestamp) -> Result<bool, StoreError> {
        let most = self.batches.ended.size();
        let complete = self.database.write(Box::pin(self.complete_ended(now, most)));
        self.batches.ended.run(most, complete).await
    }

    async fn complete_ended(&self, now: Timestamp, most: usize) -> Result<bool, sqlx::Error> {
        let mut after = (0_i64, String::new());
        loop {
            let rows = sqlx::query(
                "SELECT channel, started_at, last_on_air FROM broadcasts \
                 WHERE figures IS NULL AND last_on_air < $1 AND (last_on_air, channel) > ($2, $3) \
                 ORDER BY last_on_air, channel LIMIT $4",
            )
            .bind(millis((now - GRACE).minus_millis(FINAL_AFTER_MS)))
            .bind(after.0)
            .bind(after.1.clone())
            .bind(limit(most))
            .fetch_all(self.database.pool())
            .await?;
            let is_last = rows.len() < most;
            let Some(last) = rows.last() else { return Ok(false) };
            after = (last.try_get("last_on_air")?, last.try_get("channel")?);
            // Broadcasts whose rows are damaged stay. They must not keep later ones from being completed.
            if self.complete_some(&rows, now).await? > 0 || is_last {
                return Ok(!is_last);
            }
        }
    }

    /// Keeps the figures of the broadcasts in these rows. Returns how many of them.
    async fn complete_some(&self, rows: &[AnyRow], now: Timestamp) -> Result<usize, sqlx::Error> {
        let mut completed = 0;
        for row in rows {
            let name: String = row.try_get("channel")?;
            let Ok(channel) = ChannelId::parse(&name) else { continue };
            let broadcast =
                Broadcast { started_at: time(row, "started_at")?, last_on_air: time(row, "last_on_air")? };
            let figures = match self.broadcast_figures(&channel, broadcast, now).await {
                Err(error @ sqlx::Error::Decode(_)) => {
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
            completed += 1;
        }
        Ok(completed)
    }
}
