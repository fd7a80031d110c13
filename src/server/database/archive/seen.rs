//! Up to when nodes have seen the broadcasts that go on.
//!
//! A node writes the end of a broadcast that goes on twice a minute, and the rows of its parts every few seconds. Before
//! these rows it writes which broadcasts have ended. So those that it sees were on air up to where its row says that it has
//! observed their part. When a node was killed or has lost a part, the others lengthen its broadcasts to there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::{Any, AnyConnection, AssertSqlSafe, Executor, Row as _};

use super::{Archive, OnAir, Sight, announce::numbers, millis, part_key, time};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        history::{Broadcast, Span, broadcast::GRACE},
        store_error::StoreError,
    },
};

/// How long after its node has last observed it a broadcast is lengthened by others. A node that observes it does so every
/// half minute.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// The most broadcasts that one transaction lengthens.
pub(super) const BATCH: usize = 512;

/// Up to when each node has observed parts, as far as their rows are not merged yet: by the key of the part and the node.
pub(super) struct Seen(BTreeMap<(String, i64), Vec<Timestamp>>);

impl Seen {
    /// Reads the rows of some parts. Without a transaction, broadcasts must be read afterwards: what a node has written
    /// before its row is in them then.
    pub(super) async fn read<'e>(
        executor: impl Executor<'e, Database = Any>,
        parts: &BTreeSet<u16>,
    ) -> Result<Self, sqlx::Error> {
        let keys: Vec<String> = parts.iter().map(|part| format!(", '{}'", part_key(*part))).collect();
        let parts: Vec<u16> = parts.iter().copied().collect();
        let statement = format!(
            "SELECT channel, node, held_at FROM fresh_minutes \
             WHERE part IN ({}) AND channel IN (''{}) AND held_at > 0",
            numbers(&parts),
            keys.concat()
        );
        let mut seen = BTreeMap::<_, Vec<_>>::new();
        for row in sqlx::query(AssertSqlSafe(statement)).fetch_all(executor).await? {
            let part_and_node = (row.try_get("channel")?, row.try_get("node")?);
            seen.entry(part_and_node).or_default().push(time(&row, "held_at")?);
        }
        Ok(Self(seen))
    }

    /// A broadcast up to where `node` has seen it: the column `seen_by`. Of a later time than [`GRACE`] after its written
    /// end nothing is known.
    pub(super) fn lengthened(&self, channel: &ChannelId, node: i64, broadcast: Broadcast) -> Broadcast {
        let latest = broadcast.last_on_air + GRACE;
        let seen = self.0.get(&(part_key(channel.part()), node)).into_iter().flatten().copied();
        let last_on_air = seen.filter(|at| *at <= latest).fold(broadcast.last_on_air, Timestamp::max);
        Broadcast { last_on_air, ..broadcast }
    }

    /// Whether a node has observed the part of a channel at or after `since`.
    fn has_observed_since(&self, since: Timestamp, channel: &ChannelId, node: i64) -> bool {
        let seen = self.0.get(&(part_key(channel.part()), node));
        seen.is_some_and(|seen| seen.iter().any(|at| *at >= since))
    }
}

impl Archive {
    /// Lengthens broadcasts up to where their nodes have seen them, if those have not observed them for a minute. Must be
    /// called before the rows of that time are merged. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lengthen_abandoned(&self, now: Timestamp) -> Result<bool, StoreError> {
        let before = now - ABANDONED_AFTER;
        let find = async {
            let mut connection = self.database.pool().acquire().await?;
            abandoned(&mut connection, before).await
        };
        if self.database.read(Box::pin(find)).await?.is_empty() {
            return Ok(false);
        }
        let most = self.batches.abandoned.size();
        let lengthen = self.database.write(Box::pin(self.lengthen_found(before, most)));
        self.batches.abandoned.run(most, lengthen).await
    }

    async fn lengthen_found(&self, before: Timestamp, most: usize) -> Result<bool, sqlx::Error> {
        let mut transaction = self.database.begin().await?;
        self.database.lock(&mut transaction, 1).await?;
        // Again, now that no node ends or lengthens them meanwhile.
        let mut spans = abandoned(&mut transaction, before).await?;
        let is_more = spans.len() > most;
        spans.truncate(most);
        self.merge_all(&mut transaction, &spans).await?;
        transaction.commit().await?;
        Ok(is_more)
    }
}

/// What is missing at the ends of broadcasts whose nodes have not observed them since `before`.
async fn abandoned(connection: &mut AnyConnection, before: Timestamp) -> Result<Vec<OnAir>, sqlx::Error> {
    let seen = Seen::read(&mut *connection, &(0..ChannelId::PARTS).collect()).await?;
    let rows = sqlx::query(
        "SELECT channel, started_at, last_on_air, seen_by FROM broadcasts \
         WHERE figures IS NULL AND last_on_air < $1 AND seen_by <> 0",
    )
    .bind(millis(before))
    .fetch_all(connection)
    .await?;
    let mut spans = Vec::new();
    for row in &rows {
        let Ok(channel) = ChannelId::parse(row.try_get("channel")?) else { continue };
        let (started_at, last_on_air) = (time(row, "started_at")?, time(row, "last_on_air")?);
        let node: i64 = row.try_get("seen_by")?;
        let end = seen.lengthened(&channel, node, Broadcast { started_at, last_on_air }).last_on_air;
        if end > last_on_air && !seen.has_observed_since(before, &channel, node) {
            let span = Span::new(last_on_air, end);
            let sight = Sight::GoesOn(node.cast_unsigned());
            spans.push(OnAir { channel, span, observed_from: last_on_air, sight });
        }
    }
    Ok(spans)
}
