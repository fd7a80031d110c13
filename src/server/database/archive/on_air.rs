//! Broadcasts: what the spans on air of all nodes come to.
//!
//! Most spans lengthen the last broadcast of their channel by some seconds, every few seconds and for every channel on air.
//! One statement does that for many channels. It touches only broadcasts for which [`broadcast::merge`] would do the same.

use std::collections::BTreeMap;

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Archive, announce, millis, pieces, time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{
            Broadcast, Span,
            broadcast::{self, GRACE},
        },
        store_error::StoreError,
    },
};

impl Archive {
    /// Stores that channels were on air in spans of time. Broadcasts follow from them by [`broadcast::merge`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_on_air(&self, spans: &[(ChannelId, Span)]) -> Result<(), StoreError> {
        self.database.write(Box::pin(self.note_all_on_air(spans))).await
    }

    async fn note_all_on_air(&self, spans: &[(ChannelId, Span)]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        self.database.lock(&mut transaction, 1).await?;
        // A statement changes a row once, so it gets one span of each channel.
        let mut newest: BTreeMap<&ChannelId, Span> = BTreeMap::new();
        for (channel, span) in spans {
            let known = newest.entry(channel).or_insert(*span);
            if span.from > known.from {
                *known = *span;
            }
        }
        let newest: Vec<(&ChannelId, Span)> = newest.into_iter().collect();
        let mut lengthened = Vec::new();
        for piece in pieces(&newest) {
            lengthened.extend(lengthen(&mut transaction, piece).await?);
        }
        lengthened.sort_unstable();
        for (channel, span) in spans {
            let is_done = lengthened.binary_search_by(|name| name.as_str().cmp(channel.as_str())).is_ok()
                && newest
                    .binary_search_by_key(&channel, |(channel, _)| channel)
                    .is_ok_and(|at| newest[at].1 == *span);
            if !is_done {
                let begun = merge(&mut transaction, channel, *span).await?;
                if let (true, Some(started_at)) = (self.announces, begun) {
                    announce::register(&mut transaction, channel, started_at).await?;
                }
            }
        }
        transaction.commit().await
    }
}

/// Lengthens the last broadcasts of channels to the ends of these spans, where the spans begin in them. Returns the
/// channels whose broadcasts are longer now.
async fn lengthen(
    transaction: &mut Transaction<'_, Any>,
    spans: &[(&ChannelId, Span)],
) -> Result<Vec<String>, sqlx::Error> {
    let row = |at: usize| {
        let at = 3 * at + 1;
        format!("(CAST(${at} AS TEXT), CAST(${} AS BIGINT), CAST(${} AS BIGINT))", at + 1, at + 2)
    };
    let rows: Vec<String> = (0..spans.len()).map(row).collect();
    // `column1` to `column3`, as both databases name them: the channel, the start and the end of a span.
    let statement = format!(
        "UPDATE broadcasts SET last_on_air = span.column3, figures = NULL FROM (VALUES {}) AS span \
         WHERE broadcasts.channel = span.column1 AND broadcasts.started_at = (SELECT MAX(near.started_at) \
         FROM broadcasts AS near WHERE near.channel = span.column1 AND near.started_at <= span.column3 + {}) \
         AND broadcasts.started_at <= span.column2 AND broadcasts.last_on_air >= span.column2 \
         AND broadcasts.last_on_air < span.column3 RETURNING channel",
        rows.join(", "),
        GRACE.as_millis()
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (channel, span) in spans {
        query = query.bind(channel.as_str().to_owned()).bind(millis(span.from)).bind(millis(span.to));
    }
    let rows = query.fetch_all(&mut **transaction).await?;
    rows.iter().map(|row| row.try_get("channel")).collect()
}

/// Merges a span with the broadcasts around it. Returns the start of a broadcast that is new.
async fn merge(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    span: Span,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let known = near(transaction, channel, span).await?;
    let merged = broadcast::merge(&known, span);
    if merged.replaces == [merged.broadcast] {
        return Ok(None);
    }
    for replaced in merged.replaces.iter().filter(|one| one.started_at != merged.broadcast.started_at) {
        sqlx::query("DELETE FROM broadcasts WHERE channel = $1 AND started_at = $2")
            .bind(channel.as_str().to_owned())
            .bind(millis(replaced.started_at))
            .execute(&mut **transaction)
            .await?;
    }
    sqlx::query(
        "INSERT INTO broadcasts (channel, started_at, last_on_air) VALUES ($1, $2, $3) \
         ON CONFLICT (channel, started_at) DO UPDATE SET last_on_air = excluded.last_on_air, figures = NULL",
    )
    .bind(channel.as_str().to_owned())
    .bind(millis(merged.broadcast.started_at))
    .bind(millis(merged.broadcast.last_on_air))
    .execute(&mut **transaction)
    .await?;
    Ok(merged.replaces.is_empty().then_some(merged.broadcast.started_at))
}

/// The broadcasts of a channel that a span could belong to.
async fn near(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    span: Span,
) -> Result<Vec<Broadcast>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT started_at, last_on_air FROM broadcasts WHERE channel = $1 AND started_at <= $2 AND last_on_air >= $3",
    )
    .bind(channel.as_str().to_owned())
    .bind(millis(span.to + GRACE))
    .bind(millis(span.from - GRACE))
    .fetch_all(&mut **transaction)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Broadcast { started_at: time(row, "started_at")?, last_on_air: time(row, "last_on_air")? })
        })
        .collect()
}
