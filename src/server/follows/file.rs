//! Followers in a file of this node, beside the embedded store of leases: a redb database in `DATA_DIR`. What was
//! answered is on the disk, and a power cut leaves the file whole.
//!
//! One thread writes, so that however many follow at once, the threads that serve files are not taken by those who wait
//! for the disk: what has gathered while a transaction was written is the next one. Reads wait for no write.

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

/// The file's name.
const FILE: &str = "followers.redb";

/// Channel → the ids of its followers.
const FOLLOWERS: MultimapTableDefinition<'_, &str, &[u8; 16]> = MultimapTableDefinition::new("followers");

/// The most that waits to be written, and the most of a transaction. What is over it is refused.
const MOST: usize = 1_024;

/// Followers in a file.
pub struct FileFollowers {
    database: Arc<Database>,
    /// The thread that writes, and the way to it. Both are taken at the end.
    writer: Option<(mpsc::Sender<Wish>, thread::JoinHandle<()>)>,
}

/// Who is to be a follower or none, and who wants to know how many there are then.
struct Wish {
    channel: ChannelId,
    viewer: ViewerId,
    follows: bool,
    answer: oneshot::Sender<Result<u32, StoreError>>,
}

impl FileFollowers {
    /// Opens the file in a folder; both are made if they aren't there.
    ///
    /// # Errors
    /// What the system says: the folder can't be written, or another process has the file open.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let database = Arc::new(Database::create(folder.join(FILE))?);
        // Reading needs a table that is there.
        let transaction = database.begin_write()?;
        transaction.open_multimap_table(FOLLOWERS)?;
        transaction.commit()?;
        let (wishes, waiting) = mpsc::channel(MOST);
        let own = Arc::clone(&database);
        let thread =
            thread::Builder::new().name("followers".to_owned()).spawn(move || write(&own, waiting))?;
        Ok(Self { database, writer: Some((wishes, thread)) })
    }

    /// Reads the database where it may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let done = spawn_blocking(move || work(&database)).await;
        done.map_err(refused)?.map_err(refused)
    }
}

/// What was asked for is written, and the file is free for the next who opens it.
impl Drop for FileFollowers {
    fn drop(&mut self) {
        if let Some((wishes, thread)) = self.writer.take() {
            drop(wishes);
            if thread.join().is_err() {
                tracing::error!("the writer of followers has panicked");
            }
        }
    }
}

#[async_trait]
impl Followers for FileFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { channel: channel.clone(), viewer, follows, answer };
        let gone = || StoreError::Unreachable("the writer of followers has ended".to_owned());
        let (wishes, _) = self.writer.as_ref().ok_or_else(gone)?;
        wishes.try_send(wish).map_err(|error| StoreError::Unreachable(error.to_string()))?;
        answered.await.map_err(|_| gone())?
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        let channel = channel.clone();
        self.read(move |database| {
            let table = database.begin_read()?.open_multimap_table(FOLLOWERS)?;
            let viewer = viewer.uuid();
            let wanted = viewer.as_bytes();
            // A set of values has no look-up. They are in order, so that half of them are looked at.
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

/// Writes until nobody can wish any more.
fn write(database: &Database, mut waiting: mpsc::Receiver<Wish>) {
    let mut wishes = Vec::new();
    while waiting.blocking_recv_many(&mut wishes, MOST) > 0 {
        let counts = write_all(database, &wishes).map_err(refused);
        for (nth, Wish { answer, .. }) in wishes.drain(..).enumerate() {
            let count = counts.as_ref().map(|counts| counts[nth]).map_err(Clone::clone);
            // Whoever asked may be gone; it has been done all the same.
            let _gone = answer.send(count);
        }
    }
}

/// Writes all of them in one transaction; how many followers there are after each.
fn write_all(database: &Database, wishes: &[Wish]) -> Result<Vec<u32>, Error> {
    let transaction = database.begin_write()?;
    let (mut is_changed, mut counts) = (false, Vec::with_capacity(wishes.len()));
    for Wish { channel, viewer, follows, .. } in wishes {
        let (changed, count) = set(&transaction, channel.as_str(), viewer.uuid().as_bytes(), *follows)?;
        is_changed |= changed;
        counts.push(count);
    }
    // What changes nothing needs no disk.
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

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn those_who_wait_for_the_disk_are_bounded_and_keep_nobody_else_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(2).build().unwrap();
        runtime.block_on(async {
            let file = FileFollowers::open(folder.path()).unwrap();
            let ana = ChannelId::parse("ana").unwrap();
            let someone = || ViewerId::new(Uuid::new_v4()).unwrap();
            let first = someone();
            file.set(&ana, first, true).await.unwrap();
            // As a disk does that takes its time.
            let slow = file.database.begin_write().unwrap();
            let many = join_all((0..3 * MOST).map(|_| file.set(&ana, someone(), true)));
            let meanwhile = async {
                tokio::task::yield_now().await;
                let others = async {
                    spawn_blocking(|| ()).await.unwrap();
                    (file.has(&ana, first).await.unwrap(), file.count(&ana).await.unwrap())
                };
                let others = timeout(PATIENCE, others).await;
                slow.abort().unwrap();
                others
            };
            let (many, others) = tokio::join!(many, meanwhile);
            assert_eq!(others.expect("reads and files don't wait"), (true, 1));
            let mut counts: Vec<u32> = many.into_iter().filter_map(Result::ok).collect();
            counts.sort_unstable();
            assert!((MOST..=2 * MOST).contains(&counts.len()), "{} were accepted", counts.len());
            let last = u32::try_from(counts.len()).unwrap() + 1;
            assert_eq!(counts, (2..=last).collect::<Vec<_>>(), "each is told its own count");
            assert_eq!(file.count(&ana).await.unwrap(), last);
        });
    }
}
