//! What webhooks need of the archive: broadcasts that are to be announced, and their peaks.
//!
//! A broadcast is registered in the transaction that makes it known, so no crash can lose its announcement.

use std::fmt::Write as _;

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Archive, millis, pieces, time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{Broadcast, Figures, Minute, Peak},
        store_error::StoreError,
    },
};

impl Archive {
    /// Has broadcasts registered for announcement when they begin.
    #[must_use]
    pub fn announcing(mut self) -> Self {
        self.announces = true;
        self
    }

    /// Registers broadcasts of some parts that began before announcements were switched on, if they were on air after
    /// `since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register_present(&self, parts: &[u16], since: Timestamp) -> Result<(), StoreError> {
        let present = self.unregistered(since);
        let is_missing = |channel: &ChannelId| parts.contains(&channel.part());
        if self.database.read(Box::pin(present)).await?.iter().any(|(channel, _)| is_missing(channel)) {
            self.database.write(Box::pin(self.register_all(parts, since))).await?;
        }
        Ok(())
    }

    async fn register_all(&self, parts: &[u16], since: Timestamp) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        // No broadcast begins meanwhile, so each is registered once.
        self.database.lock(&mut transaction, 1).await?;
        let mut found = self.unregistered(since).await?;
        found.retain(|(channel, _)| parts.contains(&channel.part()));
        let found: Vec<_> = found.iter().map(|(channel, start)| (channel, *start)).collect();
        self.register(&mut transaction, &found).await?;
        transaction.commit().await
    }

    /// Registers broadcasts for announcement, by their channels and starts.
    pub(super) async fn register(
        &self,
        transaction: &mut Transaction<'_, Any>,
        broadcasts: &[(&ChannelId, Timestamp)],
    ) -> Result<(), sqlx::Error> {
        for some in pieces(broadcasts) {
            let statement = format!(
                "INSERT INTO announcements (channel, first_start, part) VALUES {} ON CONFLICT DO NOTHING",
                self.places(some.len(), 3)
            );
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, (channel, start)| {
                let part = i16::try_from(channel.part()).unwrap_or_default();
                query.bind(channel.as_str().to_owned()).bind(millis(*start)).bind(part)
            });
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }

    /// The channels and starts of broadcasts that were on air after `since` and are not registered.
    async fn unregistered(&self, since: Timestamp) -> Result<Vec<(ChannelId, Timestamp)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT channel, started_at FROM broadcasts WHERE figures IS NULL AND last_on_air > $1 AND NOT EXISTS \
             (SELECT 1 FROM announcements WHERE announcements.channel = broadcasts.channel \
             AND first_start BETWEEN started_at AND last_on_air)",
        )
        .bind(millis(since))
        .fetch_all(self.database.pool())
        .await?;
        let mut found = Vec::new();
        for row in &rows {
            if let Ok(channel) = ChannelId::parse(row.try_get("channel")?) {
                found.push((channel, time(row, "started_at")?));
            }
        }
        Ok(found)
    }

    /// The peaks of the minutes that the nodes have recorded lately in some parts, from the minute of `since` on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recent_peaks(
        &self,
        parts: &[u16],
        since: Timestamp,
    ) -> Result<Vec<(ChannelId, Peak)>, StoreError> {
        let work = async {
            let statement = format!(
                "SELECT channel, data FROM fresh_minutes WHERE part IN ({}) AND start >= $1",
                numbers(parts)
            );
            let rows = sqlx::query(AssertSqlSafe(statement))
                .bind(millis(Minute::start_of(since)))
                .fetch_all(self.database.pool())
                .await?;
            let mut peaks = Vec::new();
            for row in &rows {
                // The rows of parts have names that no channel has. Damaged minutes are reported when they are merged.
                let channel = ChannelId::parse(row.try_get("channel")?);
                let minute = Minute::decode(&row.try_get::<Vec<u8>, _>("data")?);
                if let (Ok(channel), Ok(minute)) = (channel, minute) {
                    peaks.extend(minute.peak().map(|peak| (channel, peak)));
                }
            }
            Ok(peaks)
        };
        self.database.read(Box::pin(work)).await
    }

    /// The figures of a broadcast, computed anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn figures_of(
        &self,
        channel: &ChannelId,
        broadcast: Broadcast,
        now: Timestamp,
    ) -> Result<Figures, StoreError> {
        self.database.read(Box::pin(self.broadcast_figures(channel, broadcast, now))).await
    }
}

/// Parts as the list of an `IN`. Of no parts: a list that matches nothing.
pub(in crate::server::database) fn numbers(parts: &[u16]) -> String {
    parts.iter().fold("-1".to_owned(), |mut list, part| {
        // Writing to a string can't fail.
        let _written = write!(list, ",{part}");
        list
    })
}
