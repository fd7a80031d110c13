//! Followers in a file of this node, beside the embedded store of leases: a redb database in `DATA_DIR`. What was
//! answered is on the disk, and a power cut leaves the file whole.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use redb::{
    Database, Error, MultimapTableDefinition, ReadableDatabase, ReadableMultimapTable, WriteTransaction,
};
use tokio::task::spawn_blocking;

use super::Followers;
use crate::{
    domain::{ChannelId, ViewerId},
    server::store::StoreError,
};

/// The file's name.
const FILE: &str = "followers.redb";

/// Channel → the ids of its followers.
const FOLLOWERS: MultimapTableDefinition<'_, &str, &[u8; 16]> = MultimapTableDefinition::new("followers");

/// Followers in a file.
pub struct FileFollowers(Arc<Database>);

impl FileFollowers {
    /// Opens the file in a folder; both are made if they aren't there.
    ///
    /// # Errors
    /// What the system says: the folder can't be written, or another process has the file open.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let database = Database::create(folder.join(FILE))?;
        // Reading needs a table that is there.
        let transaction = database.begin_write()?;
        transaction.open_multimap_table(FOLLOWERS)?;
        transaction.commit()?;
        Ok(Self(Arc::new(database)))
    }

    /// Works on the database where it may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.0);
        let done = spawn_blocking(move || work(&database)).await;
        done.map_err(|error| StoreError::Refused(error.to_string()))?
            .map_err(|error| StoreError::Refused(error.to_string()))
    }
}

#[async_trait]
impl Followers for FileFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let channel = channel.clone();
        self.with(move |database| {
            let transaction = database.begin_write()?;
            let (changed, count) = set(&transaction, channel.as_str(), viewer.uuid().as_bytes(), follows)?;
            // What changes nothing needs no disk.
            if changed {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(count)
        })
        .await
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        let channel = channel.clone();
        self.with(move |database| {
            // A set of values has no look-up; whether one can be put in tells the same, and is taken back.
            let transaction = database.begin_write()?;
            let (changes, _) = set(&transaction, channel.as_str(), viewer.uuid().as_bytes(), true)?;
            transaction.abort()?;
            Ok(!changes)
        })
        .await
    }

    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        let channel = channel.clone();
        self.with(move |database| {
            let table = database.begin_read()?.open_multimap_table(FOLLOWERS)?;
            Ok(to_u32(table.get(channel.as_str())?.len()))
        })
        .await
    }
}

fn set(
    transaction: &WriteTransaction,
    channel: &str,
    viewer: &[u8; 16],
    follows: bool,
) -> Result<(bool, u32), Error> {
    let mut table = transaction.open_multimap_table(FOLLOWERS)?;
    let (was, is) = if follows {
        (table.insert(channel, viewer)?, true)
    } else {
        (table.remove(channel, viewer)?, false)
    };
    let count = table.get(channel)?.len();
    Ok((was != is, to_u32(count)))
}

fn to_u32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
