//! Broadcasts: what the spans on air of all nodes come to.
//!
//! Most spans lengthen the last broadcast of their channel, every half a minute and for every channel on air. One
//! statement does that for many channels. It touches only broadcasts for which [`broadcast::merge`] would do the same.
//!
//! A live signal can say that it began at any time before it was first observed. So a broadcast that was over by then stays
//! as it is: its end may have been announced. What is observed later is a new broadcast after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Archive, OnAir, Sight, millis, pieces, seen::Seen, time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{
            Broadcast, Span,
            broadcast::{self, GRACE, Merged},
        },
        store_error::StoreError,
    },
};

/// The largest error expected in the start of a live signal, since earlier versions did not convert it to the clock of the
/// counts.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How far two nodes may disagree on the start of the same signal, in milliseconds: each converts it to the clock of the
/// counts.
const SAME_START_MS: u64 = 1_000;

impl OnAir {
    /// The span without the time up to the end of broadcasts that were over before it was observed.
    fn own_span(&self, near: &[Broadcast]) -> Span {
        let Span { from, to } = self.span;
        let is_over = |broadcast: &&Broadcast| broadcast.ended_at(self.observed_from).is_some();
        // Where the signal began with the broadcast, or in it, and lasts, only the observation has ended.
        let lasts = |broadcast: &Broadcast| {
            let began = broadcast.started_at;
            began.as_millis().abs_diff(from.as_millis()) <= SAME_START_MS
                || began <= from && from + CLOCK_DIFFERENCE <= broadcast.last_on_air
        };
        let over = near.iter().filter(is_over).filter(|broadcast| !lasts(broadcast));
        let after = over.map(|broadcast| broadcast.last_on_air + GRACE + Duration::from_millis(1));
        Span { from: after.fold(from, Timestamp::max), to }
    }

    /// The column `seen_by`.
    fn seen_by(&self) -> i64 {
        match self.sight {
            Sight::GoesOn(node) => node.cast_signed(),
            Sight::Ended | Sight::Glimpse => 0,
        }
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
        for on_air in spans.iter().filter(|on_air| on_air.sight != Sight::Glimpse) {
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
        // What one span of a channel has changed is read again for the next one.
        let mut others = others;
        while !others.is_empty() {
            let mut channels = BTreeSet::new();
            let (firsts, rest) = others.into_iter().partition(|on_air| channels.insert(&on_air.channel));
            self.merge_each(transaction, firsts, &seen).await?;
            others = rest;
        }
        Ok(())
    }

    /// Merges spans of different channels with the broadcasts around them, and registers broadcasts that are new.
    async fn merge_each(
        &self,
        transaction: &mut Transaction<'_, Any>,
        spans: Vec<&OnAir>,
        seen: &Seen,
    ) -> Result<(), sqlx::Error> {
        for spans in pieces(&spans) {
            let near = self.near(transaction, spans, seen).await?;
            let mut changes = Changes::default();
            for on_air in spans {
                let near = near.get(on_air.channel.as_str()).map(Vec::as_slice);
                changes.add(on_air, near.unwrap_or_default());
            }
            self.apply(transaction, &changes).await?;
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
        // The channel, the start and the end of a span, who sees it, and from when on it was observed.
        let statement = format!(
            "UPDATE broadcasts SET last_on_air = span.column3, seen_by = span.column4, figures = NULL \
             FROM {} AS span \
             WHERE broadcasts.channel = span.column1 AND broadcasts.started_at = (SELECT MAX(near.started_at) \
             FROM broadcasts AS near WHERE near.channel = span.column1 AND near.started_at <= span.column3 + {}) \
             AND broadcasts.started_at <= span.column2 AND broadcasts.last_on_air >= span.column2 \
             AND broadcasts.last_on_air < span.column3 AND broadcasts.last_on_air >= span.column5 - {} \
             RETURNING channel",
            self.table(spans.len(), 4),
            GRACE.as_millis(),
            GRACE.as_millis()
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for on_air in spans {
            let Span { from, to } = on_air.span;
            query = query.bind(on_air.channel.as_str().to_owned()).bind(millis(from)).bind(millis(to));
            query = query.bind(on_air.seen_by()).bind(millis(on_air.observed_from));
        }
        let rows = query.fetch_all(&mut **transaction).await?;
        rows.iter().map(|row| row.try_get("channel")).collect()
    }

    /// The broadcasts that each span could belong to, by their channels.
    async fn near(
        &self,
        transaction: &mut Transaction<'_, Any>,
        spans: &[&OnAir],
        seen: &Seen,
    ) -> Result<BTreeMap<String, Vec<Known>>, sqlx::Error> {
        // In this order SQLite searches the broadcasts of each span by their key.
        let statement = format!(
            "SELECT broadcasts.channel, started_at, last_on_air, seen_by FROM {} AS span CROSS JOIN broadcasts \
             WHERE broadcasts.channel = span.column1 AND started_at <= span.column2 AND last_on_air >= span.column3",
            self.table(spans.len(), 2)
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for OnAir { channel, span, .. } in spans {
            query = query.bind(channel.as_str().to_owned()).bind(millis(span.to + GRACE));
            // A broadcast is lengthened by this much at most.
            query = query.bind(millis(span.from - GRACE - GRACE));
        }
        let mut near = BTreeMap::<String, Vec<Known>>::new();
        for row in query.fetch_all(&mut **transaction).await? {
            let name: String = row.try_get("channel")?;
            let Some(on_air) = spans.iter().find(|on_air| on_air.channel.as_str() == name) else { continue };
            let written =
                Broadcast { started_at: time(&row, "started_at")?, last_on_air: time(&row, "last_on_air")? };
            let seen_by = row.try_get("seen_by")?;
            // A span that is over says itself up to when the broadcast went on that it ends.
            let is_its_end = on_air.sight == Sight::Ended
                && written.continues_with(on_air.span)
                && written.last_on_air <= on_air.span.to;
            let broadcast =
                if is_its_end { written } else { seen.lengthened(&on_air.channel, seen_by, written) };
            let known = Known { broadcast, seen_by, is_written: broadcast == written };
            near.entry(name).or_default().push(known);
        }
        Ok(near)
    }

    /// Writes changes, those of each kind with one statement.
    async fn apply(
        &self,
        transaction: &mut Transaction<'_, Any>,
        changes: &Changes<'_>,
    ) -> Result<(), sqlx::Error> {
        for some in pieces(&changes.seen) {
            let statement = format!(
                "UPDATE broadcasts SET seen_by = now.column3 FROM {} AS now \
                 WHERE broadcasts.channel = now.column1 AND broadcasts.started_at = now.column2",
                self.table(some.len(), 2)
            );
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
                query.bind(one.channel.as_str().to_owned()).bind(millis(one.started_at)).bind(one.seen_by)
            });
            query.execute(&mut **transaction).await?;
        }
        for some in pieces(&changes.replaced) {
            let is_one = |nth: usize| {
                let [channel, start] = [1, 2].map(|place| self.database.place(2 * nth + place));
                format!("channel = {channel} AND started_at = {start}")
            };
            let any: Vec<String> = (0..some.len()).map(is_one).collect();
            let statement = format!("DELETE FROM broadcasts WHERE {}", any.join(" OR "));
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, (channel, start)| {
                query.bind(channel.as_str().to_owned()).bind(millis(*start))
            });
            query.execute(&mut **transaction).await?;
        }
        for some in pieces(&changes.present) {
            let statement = format!(
                "INSERT INTO broadcasts (channel, started_at, last_on_air, seen_by) VALUES {} \
                 ON CONFLICT (channel, started_at) DO UPDATE SET last_on_air = excluded.last_on_air, \
                 seen_by = excluded.seen_by, figures = NULL",
                self.places(some.len(), 4)
            );
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
                let query = query.bind(one.channel.as_str().to_owned()).bind(millis(one.started_at));
                query.bind(millis(one.last_on_air)).bind(one.seen_by)
            });
            query.execute(&mut **transaction).await?;
        }
        if self.announces {
            self.register(transaction, &changes.begun).await?;
        }
        Ok(())
    }
}

/// What spans on air change in the broadcasts.
#[derive(Default)]
struct Changes<'s> {
    /// Broadcasts of which only who sees them is new.
    seen: Vec<Present<'s>>,
    /// The starts of broadcasts that have become a part of another one.
    replaced: Vec<(&'s ChannelId, Timestamp)>,
    /// Broadcasts that are new or longer.
    present: Vec<Present<'s>>,
    /// The starts of those that are new.
    begun: Vec<(&'s ChannelId, Timestamp)>,
}

/// The row of a broadcast.
struct Present<'s> {
    channel: &'s ChannelId,
    started_at: Timestamp,
    last_on_air: Timestamp,
    seen_by: i64,
}

impl<'s> Changes<'s> {
    /// Adds what a span changes in the broadcasts around it.
    fn add(&mut self, on_air: &'s OnAir, near: &[Known]) {
        let known: Vec<Broadcast> = near.iter().map(|known| known.broadcast).collect();
        let (channel, span) = (&on_air.channel, on_air.own_span(&known));
        if on_air.sight == Sight::Glimpse {
            return self.add_glimpse(channel, span, near, &known);
        }
        let merged = broadcast::merge(&known, span);
        let Broadcast { started_at, last_on_air } = merged.broadcast;
        // Who has seen the last instant on air says whether it goes on.
        let is_newest = last_on_air == span.to;
        let last = near.iter().find(|known| known.broadcast.last_on_air == last_on_air);
        let seen_by =
            if is_newest { on_air.seen_by() } else { last.map(|known| known.seen_by).unwrap_or_default() };
        let present = Present { channel, started_at, last_on_air, seen_by };
        if merged.replaces == [merged.broadcast] && near.iter().all(|known| known.is_written) {
            if is_newest {
                self.seen.push(present);
            }
            return;
        }
        self.replace(&merged, present);
    }

    /// Adds what a glimpse changes: a broadcast that its owner does not see can be new or longer, and any can have begun
    /// earlier.
    fn add_glimpse(&mut self, channel: &'s ChannelId, span: Span, near: &[Known], known: &[Broadcast]) {
        let seen = near.iter().filter(|known| known.seen_by != 0 && known.broadcast.continues_with(span));
        let seen = seen.max_by_key(|known| known.broadcast.last_on_air);
        let to = seen.map_or(span.to, |seen| span.to.min(seen.broadcast.last_on_air));
        let merged = broadcast::merge(known, Span { from: span.from.min(to), to });
        if merged.replaces == [merged.broadcast] {
            return;
        }
        let Broadcast { started_at, last_on_air } = merged.broadcast;
        let last = near.iter().find(|known| known.broadcast.last_on_air == last_on_air);
        let seen_by = last.map(|known| known.seen_by).unwrap_or_default();
        self.replace(&merged, Present { channel, started_at, last_on_air, seen_by });
    }

    /// Puts a broadcast in place of those that it was merged from.
    fn replace(&mut self, merged: &Merged, present: Present<'s>) {
        let Present { channel, started_at, .. } = present;
        let starts = merged.replaces.iter().map(|replaced| replaced.started_at);
        self.replaced.extend(starts.filter(|start| *start != started_at).map(|start| (channel, start)));
        if merged.replaces.is_empty() {
            self.begun.push((channel, started_at));
        }
        self.present.push(present);
    }
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
