//! Broadcasts: what the spans on air of all nodes come to.
//!
//! Most spans lengthen the last broadcast of their channel, every half a minute and for every channel on air. One
//! statement does that for many channels. It touches only broadcasts for which [`broadcast::merge`] would do the same.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Archive, OnAir, announce, millis, pieces, seen::Seen, time};
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

impl OnAir {
    /// The column `seen_by`.
    fn seen_by(&self) -> i64 {
        self.seen_by.unwrap_or_default().cast_signed()
    }
}

impl Archive {
    /// Stores that channels were on air in spans of time. Broadcasts follow from them by [`broadcast::merge`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_on_air(&self, spans: &[OnAir]) -> Result<(), StoreError> {
        self.database.write(Box::pin(self.note_all_on_air(spans))).await
    }

    async fn note_all_on_air(&self, spans: &[OnAir]) -> Result<(), sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        self.database.lock(&mut transaction, 1).await?;
        self.merge_all(&mut transaction, spans).await?;
        transaction.commit().await
    }

    /// Merges spans with the broadcasts. The transaction must hold the lock of the broadcasts.
    pub(super) async fn merge_all(
        &self,
        transaction: &mut Transaction<'_, Any>,
        spans: &[OnAir],
    ) -> Result<(), sqlx::Error> {
        // A statement changes a row once, so it gets one span of each channel.
        let mut newest: BTreeMap<&ChannelId, &OnAir> = BTreeMap::new();
        for on_air in spans {
            let known = newest.entry(&on_air.channel).or_insert(on_air);
            if on_air.span.from > known.span.from {
                *known = on_air;
            }
        }
        let newest: Vec<&OnAir> = newest.into_values().collect();
        let mut lengthened = Vec::new();
        for piece in pieces(&newest) {
            lengthened.extend(self.lengthen(transaction, piece).await?);
        }
        lengthened.sort_unstable();
        let is_done = |on_air: &&OnAir| {
            let channel = &on_air.channel;
            lengthened.binary_search_by(|name| name.as_str().cmp(channel.as_str())).is_ok()
                && newest
                    .binary_search_by_key(&channel, |newest| &newest.channel)
                    .is_ok_and(|at| newest[at].span == on_air.span)
        };
        let others: Vec<&OnAir> = spans.iter().filter(|on_air| !is_done(on_air)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let parts: BTreeSet<u16> = others.iter().map(|on_air| on_air.channel.part()).collect();
        let seen = Seen::read(&mut **transaction, &parts).await?;
        for on_air in others {
            let begun = merge(transaction, on_air, &seen).await?;
            if let (true, Some(started_at)) = (self.announces, begun) {
                announce::register(transaction, &on_air.channel, started_at).await?;
            }
        }
        Ok(())
    }

    /// Lengthens the last broadcasts of channels to the ends of these spans, where the spans begin in them. Returns the
    /// channels whose broadcasts are longer now.
    async fn lengthen(
        &self,
        transaction: &mut Transaction<'_, Any>,
        spans: &[&OnAir],
    ) -> Result<Vec<String>, sqlx::Error> {
        let row = |at: usize| {
            let [channel, numbers @ ..] = [1, 2, 3, 4].map(|nth| self.database.place(4 * at + nth));
            let numbers = numbers.map(|place| format!("CAST({place} AS BIGINT)")).join(", ");
            format!("(CAST({channel} AS TEXT), {numbers})")
        };
        let rows: Vec<String> = (0..spans.len()).map(row).collect();
        // `column1` to `column4`, as both databases name them: the channel, the start and the end of a span, and who sees it.
        let statement = format!(
            "UPDATE broadcasts SET last_on_air = span.column3, seen_by = span.column4, figures = NULL \
             FROM (VALUES {}) AS span \
             WHERE broadcasts.channel = span.column1 AND broadcasts.started_at = (SELECT MAX(near.started_at) \
             FROM broadcasts AS near WHERE near.channel = span.column1 AND near.started_at <= span.column3 + {}) \
             AND broadcasts.started_at <= span.column2 AND broadcasts.last_on_air >= span.column2 \
             AND broadcasts.last_on_air < span.column3 RETURNING channel",
            rows.join(", "),
            GRACE.as_millis()
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for on_air in spans {
            let Span { from, to } = on_air.span;
            query = query.bind(on_air.channel.as_str().to_owned()).bind(millis(from)).bind(millis(to));
            query = query.bind(on_air.seen_by());
        }
        let rows = query.fetch_all(&mut **transaction).await?;
        rows.iter().map(|row| row.try_get("channel")).collect()
    }
}

/// Merges a span with the broadcasts around it. Returns the start of a broadcast that is new.
async fn merge(
    transaction: &mut Transaction<'_, Any>,
    on_air: &OnAir,
    seen: &Seen,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let (channel, span) = (&on_air.channel, on_air.span);
    let near = near(transaction, channel, span, seen).await?;
    let known: Vec<Broadcast> = near.iter().map(|known| known.broadcast).collect();
    let merged = broadcast::merge(&known, span);
    // Who has seen the last instant on air says whether it goes on.
    let is_newest = merged.broadcast.last_on_air == span.to;
    let last = near.iter().find(|known| known.broadcast.last_on_air == merged.broadcast.last_on_air);
    let seen_by =
        if is_newest { on_air.seen_by() } else { last.map(|known| known.seen_by).unwrap_or_default() };
    if merged.replaces == [merged.broadcast] && near.iter().all(|known| known.is_written) {
        if is_newest {
            sqlx::query("UPDATE broadcasts SET seen_by = $1 WHERE channel = $2 AND started_at = $3")
                .bind(seen_by)
                .bind(channel.as_str().to_owned())
                .bind(millis(merged.broadcast.started_at))
                .execute(&mut **transaction)
                .await?;
        }
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
        "INSERT INTO broadcasts (channel, started_at, last_on_air, seen_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (channel, started_at) DO UPDATE SET last_on_air = excluded.last_on_air, \
         seen_by = excluded.seen_by, figures = NULL",
    )
    .bind(channel.as_str().to_owned())
    .bind(millis(merged.broadcast.started_at))
    .bind(millis(merged.broadcast.last_on_air))
    .bind(seen_by)
    .execute(&mut **transaction)
    .await?;
    Ok(merged.replaces.is_empty().then_some(merged.broadcast.started_at))
}

/// A broadcast that a span could belong to.
struct Known {
    /// The broadcast up to where its node has seen it.
    broadcast: Broadcast,
    /// The node that sees it.
    seen_by: i64,
    /// Whether its row has this end.
    is_written: bool,
}

/// The broadcasts of a channel that a span could belong to.
async fn near(
    transaction: &mut Transaction<'_, Any>,
    channel: &ChannelId,
    span: Span,
    seen: &Seen,
) -> Result<Vec<Known>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT started_at, last_on_air, seen_by FROM broadcasts \
         WHERE channel = $1 AND started_at <= $2 AND last_on_air >= $3",
    )
    .bind(channel.as_str().to_owned())
    .bind(millis(span.to + GRACE))
    // A broadcast is lengthened by this much at most.
    .bind(millis(span.from - GRACE - GRACE))
    .fetch_all(&mut **transaction)
    .await?;
    rows.iter()
        .map(|row| {
            let written =
                Broadcast { started_at: time(row, "started_at")?, last_on_air: time(row, "last_on_air")? };
            let seen_by = row.try_get("seen_by")?;
            let broadcast = seen.lengthened(channel, seen_by, written);
            Ok(Known { broadcast, seen_by, is_written: broadcast == written })
        })
        .collect()
}
