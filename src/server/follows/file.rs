//! Followers in a file of this node, for use with the embedded store of leases: a redb database in `DATA_DIR`. A change
//! is on disk when its call returns, and a power failure does not damage the file.
//!
//! A dedicated thread writes, so that writes waiting for the disk do not occupy the blocking threads that serve files.
//! The changes that arrive during a transaction form the next transaction. Reads do not wait for writes.

use std::{fs, path::Path, sync::Arc, thread};

use async_trait::async_trait;
use redb::{
    Database, Error, MultimapTableDefinition, ReadableDatabase, ReadableMultimapTable, WriteTransaction,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::Followers;
use crate::{
    domain::{ChannelId, ViewerId},
    server::store_error::StoreError,
};

/// The name of the file.
const FILE: &str = "followers.redb";

/// Channel → the ids of its followers.
const FOLLOWERS: MultimapTableDefinition<'_, &str, &[u8; 16]> = MultimapTableDefinition::new("followers");

/// The most queued changes, and the most changes in a transaction. Further changes are refused.
const MAX_QUEUED: usize = 1_024;

/// Followers in a file.
pub struct FileFollowers {
    database: Arc<Database>,
    /// The queue of changes and the thread that writes them. Taken on drop.
    writer: Option<(mpsc::Sender<Change>, thread::JoinHandle<()>)>,
}

/// A change of one follower, with the channel for its result.
struct Change {
    channel: ChannelId,
    viewer: ViewerId,
    follows: bool,
    response: oneshot::Sender<Result<u32, StoreError>>,
}

impl FileFollowers {
    /// Opens the file in a folder. Creates both if they do not exist.
    ///
    /// # Errors
    /// When the folder can't be written, or another process has the file open.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let database = Arc::new(Database::create(folder.join(FILE))?);
        // Reads require that the table exists.
        let transaction = database.begin_write()?;
        transaction.open_multimap_table(FOLLOWERS)?;
        transaction.commit()?;
        let (changes, queue) = mpsc::channel(MAX_QUEUED);
        let own = Arc::clone(&database);
        let thread = thread::Builder::new().name("followers".to_owned()).spawn(move || write(&own, queue))?;
        Ok(Self { database, writer: Some((changes, thread)) })
    }

    /// Reads the database on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let result = spawn_blocking(move || work(&database)).await;
        result.map_err(refused)?.map_err(refused)
    }
}

/// Writes the queued changes and closes the file.
impl Drop for FileFollowers {
    fn drop(&mut self) {
        if let Some((changes, thread)) = self.writer.take() {
            drop(changes);
            if thread.join().is_err() {
                tracing::error!("the writer of followers panicked");
            }
        }
    }
}

#[async_trait]
impl Followers for FileFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let (response, received) = oneshot::channel();
        let change = Change { channel: channel.clone(), viewer, follows, response };
        let ended = || StoreError::Unreachable("the writer of followers has ended".to_owned());
        let (changes, _) = self.writer.as_ref().ok_or_else(ended)?;
        changes.try_send(change).map_err(|error| StoreError::Unreachable(error.to_string()))?;
        received.await.map_err(|_| ended())?
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        let channel = channel.clone();
        self.read(move |database| {
            let table = database.begin_read()?.open_multimap_table(FOLLOWERS)?;
            let viewer = viewer.uuid();
            let wanted = viewer.as_bytes();
            // redb has no lookup in a set of values. They are sorted, so the search ends at the first larger value.
            for follower in table.get(channel.as_str())? {
                let follower = follower?;
                if follower.value() >= wanted {
                    return Ok(follower.value() == wanted);
                }
            }
            Ok(false)
        })
        .await
    }

    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        let channel = channel.clone();
        self.read(move |database| {
            let table = database.begin_read()?.open_multimap_table(FOLLOWERS)?;
            Ok(to_u32(table.get(channel.as_str())?.len()))
        })
        .await
    }
}

/// Writes changes until the queue is closed.
fn write(database: &Database, mut queue: mpsc::Receiver<Change>) {
    let mut changes = Vec::new();
    while queue.blocking_recv_many(&mut changes, MAX_QUEUED) > 0 {
        let counts = write_all(database, &changes).map_err(refused);
        for (nth, Change { response, .. }) in changes.drain(..).enumerate() {
            let count = counts.as_ref().map(|counts| counts[nth]).map_err(Clone::clone);
            // The request may have been canceled. The change is written regardless.
            let _canceled = response.send(count);
        }
    }
}

/// Writes changes in one transaction. Returns the number of followers after each change.
fn write_all(database: &Database, changes: &[Change]) -> Result<Vec<u32>, Error> {
    let transaction = database.begin_write()?;
    let (mut is_changed, mut counts) = (false, Vec::with_capacity(changes.len()));
    for Change { channel, viewer, follows, .. } in changes {
        let (changed, count) = set(&transaction, channel.as_str(), viewer.uuid().as_bytes(), *follows)?;
        is_changed |= changed;
        counts.push(count);
    }
    // Without a change there is nothing to write to disk.
    if is_changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(counts)
}

fn refused(error: impl ToString) -> StoreError {
    StoreError::Refused(error.to_string())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::{runtime::Builder, time::timeout};
    use uuid::Uuid;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn changes_that_wait_for_the_disk_are_bounded_and_do_not_block_reads() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(2).build().unwrap();
        runtime.block_on(async {
            let file = FileFollowers::open(folder.path()).unwrap();
            let ana = ChannelId::parse("ana").unwrap();
            let someone = || ViewerId::new(Uuid::new_v4()).unwrap();
            let first = someone();
            file.set(&ana, first, true).await.unwrap();
            // An open write transaction simulates a slow disk.
            let slow = file.database.begin_write().unwrap();
            let changes = join_all((0..3 * MAX_QUEUED).map(|_| file.set(&ana, someone(), true)));
            let meanwhile = async {
                tokio::task::yield_now().await;
                let reads = async {
                    spawn_blocking(|| ()).await.unwrap();
                    (file.has(&ana, first).await.unwrap(), file.count(&ana).await.unwrap())
                };
                let reads = timeout(TIMEOUT, reads).await;
                slow.abort().unwrap();
                reads
            };
            let (changes, reads) = tokio::join!(changes, meanwhile);
            assert_eq!(reads.expect("reads do not wait"), (true, 1));
            let mut counts: Vec<u32> = changes.into_iter().filter_map(Result::ok).collect();
            counts.sort_unstable();
            assert!((MAX_QUEUED..=2 * MAX_QUEUED).contains(&counts.len()), "{} were accepted", counts.len());
            let last = u32::try_from(counts.len()).unwrap() + 1;
            assert_eq!(counts, (2..=last).collect::<Vec<_>>(), "each call returns its own count");
            assert_eq!(file.count(&ana).await.unwrap(), last);
        });
    }
}
