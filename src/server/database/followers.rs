//! Followers in the database. Changes that arrive together are written in one transaction.

use async_trait::async_trait;
use sqlx::{Any, Row, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::Database;
use crate::{
    domain::{ChannelId, ViewerId},
    server::{follows::Followers, store_error::StoreError},
};

/// The most queued changes, and the most changes in a transaction. Further changes are refused.
const MAX_QUEUED: usize = 1_024;

/// The followers of channels in a [`Database`].
pub struct DatabaseFollowers {
    database: Database,
    changes: mpsc::Sender<Change>,
}

/// A change of one follower, with the channel for its result.
struct Change {
    channel: ChannelId,
    viewer: ViewerId,
    follows: bool,
    response: oneshot::Sender<Result<u32, StoreError>>,
}

impl DatabaseFollowers {
    /// Starts the task that writes changes. It ends when the value is dropped and all changes are written.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let (changes, queue) = mpsc::channel(MAX_QUEUED);
        tokio::spawn(write(database.clone(), queue));
        Self { database, changes }
    }
}

#[async_trait]
impl Followers for DatabaseFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let (response, received) = oneshot::channel();
        let change = Change { channel: channel.clone(), viewer, follows, response };
        self.changes.try_send(change).map_err(|error| StoreError::Unreachable(error.to_string()))?;
        received.await.map_err(|_| StoreError::Unreachable("the writer of followers has ended".to_owned()))?
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM followers WHERE channel = $1 AND viewer = $2")
            .bind(channel.as_str().to_owned())
            .bind(id(viewer));
        let row = self.database.read(query.fetch_optional(self.database.pool())).await?;
        Ok(row.is_some())
    }

    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        let query = sqlx::query("SELECT followers FROM follower_counts WHERE channel = $1")
            .bind(channel.as_str().to_owned());
        let row = self.database.read(query.fetch_optional(self.database.pool())).await?;
        row.map_or(Ok(0), |row| row.try_get("followers").map(to_u32))
            .map_err(|error| super::store_error(&error))
    }
}

/// Writes changes until the queue is closed.
async fn write(database: Database, mut queue: mpsc::Receiver<Change>) {
    let mut changes = Vec::new();
    while queue.recv_many(&mut changes, MAX_QUEUED).await > 0 {
        // All nodes lock the channels in the same order. The changes of one channel stay in their order.
        changes.sort_by(|one, other| one.channel.cmp(&other.channel));
        let counts = database.write(write_all(&database, &changes)).await;
        for (nth, Change { response, .. }) in changes.drain(..).enumerate() {
            let count = counts.as_ref().map(|counts| counts[nth]).map_err(Clone::clone);
            // The request may have been canceled. The change is written regardless.
            let _canceled = response.send(count);
        }
    }
}

/// Writes changes in one transaction. Returns the number of followers after each change.
async fn write_all(database: &Database, changes: &[Change]) -> Result<Vec<u32>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let mut counts = Vec::with_capacity(changes.len());
    for change in changes {
        counts.push(set(&mut transaction, change).await?);
    }
    transaction.commit().await?;
    Ok(counts)
}

async fn set(transaction: &mut Transaction<'_, Any>, change: &Change) -> Result<u32, sqlx::Error> {
    let statement = if change.follows {
        "INSERT INTO followers (channel, viewer) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM followers WHERE channel = $1 AND viewer = $2"
    };
    let changed = sqlx::query(statement)
        .bind(change.channel.as_str().to_owned())
        .bind(id(change.viewer))
        .execute(&mut **transaction)
        .await?
        .rows_affected();
    let statement = match (changed, change.follows) {
        (0, _) => "SELECT followers FROM follower_counts WHERE channel = $1",
        (_, true) => {
            "INSERT INTO follower_counts (channel, followers) VALUES ($1, 1) \
             ON CONFLICT (channel) DO UPDATE SET followers = follower_counts.followers + 1 RETURNING followers"
        }
        (_, false) => {
            "UPDATE follower_counts SET followers = followers - 1 WHERE channel = $1 RETURNING followers"
        }
    };
    let row = sqlx::query(statement)
        .bind(change.channel.as_str().to_owned())
        .fetch_optional(&mut **transaction)
        .await?;
    let count = row.map_or(Ok(0), |row| row.try_get("followers").map(to_u32))?;
    if count == 0 && changed > 0 {
        sqlx::query("DELETE FROM follower_counts WHERE channel = $1 AND followers <= 0")
            .bind(change.channel.as_str().to_owned())
            .execute(&mut **transaction)
            .await?;
    }
    Ok(count)
}

fn id(viewer: ViewerId) -> Vec<u8> {
    viewer.uuid().as_bytes().to_vec()
}

fn to_u32(count: i64) -> u32 {
    u32::try_from(count).unwrap_or_default()
}
