//! The database: everything that is kept for longer than a viewer stays. It is SQLite in a file, or PostgreSQL.
//!
//! Promises:
//! - **Independence**: no beat, count or stream waits for the database. Whatever uses it has its own answer for the time
//!   that it is away.
//! - **Bounded waiting**: every call returns within [`CALL_LIMIT`], whatever happens to the database. While it is known
//!   to be away, calls fail at once.
//! - **One schema**: the tables are created and migrated at the first contact. A database of a later version is refused.
//!
//! A check decides whether the database is available: every two seconds, and soon after each failed call. So one
//! refused statement, or one slow query, does not make the database unavailable.
//!
//! Statements use what SQLite and PostgreSQL have in common, with `$1` for parameters.

mod archive;
mod batch;
mod cause;
mod columns;
mod followers;
mod gather;
mod inspect;
mod migrations;
mod open;
mod outbox;
mod report;
mod signals;

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use sqlx::{Any, AnyPool, ConnectOptions, Connection, Transaction, any::AnyConnectOptions};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use uuid::Uuid;

pub use self::{
    archive::{Archive, Kept, OnAir, Retention, Row, RowKind, Sight, joins_key, part_key},
    batch::Batch,
    followers::DatabaseFollowers,
    inspect::{Inspection, Tables, inspect},
    open::OpenError,
    outbox::{Announced, Announcement, Backlog, Delivery, HOLDING_ATTEMPTS, NewEvent, Open, Outbox, Outcome},
    signals::DatabaseSignals,
};
use self::{
    cause::Cause,
    open::{FileId, PrepareError},
    report::Reporter,
};
use super::{metrics::Metrics, store_error::StoreError};

/// How long a call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(4);

/// The pause between two checks of the database.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The pause before the check that follows a failed call.
const CHECK_PAUSE: Duration = Duration::from_millis(100);

/// How long the database may take to respond to a check.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The most long reads at a time. The other connections are for short calls.
const MAX_LONG_READS: usize = 2;

/// How long a long read waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(2);

/// How long a failed write counts as an outage if no other write follows.
const FAILED_WRITE_TTL: Duration = Duration::from_secs(10);

/// How long closing connections may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The database of a node. Cloning is cheap.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: AnyPool,
    /// How to connect.
    options: AnyConnectOptions,
    kind: Kind,
    /// The database for people, without its password.
    place: String,
    /// The file of SQLite.
    file: Option<(PathBuf, OnceLock<FileId>)>,
    /// The id of the database. Set once its tables are up to date.
    id: OnceLock<Uuid>,
    /// Whether reads succeeded at the last check.
    can_read: AtomicBool,
    /// Whether writes succeeded when they were last checked.
    can_write: AtomicBool,
    /// Whether a write has failed since writes were last checked.
    has_failed_write: AtomicBool,
    /// Whether the last check of writes found that another process keeps the file of SQLite busy.
    was_busy: AtomicBool,
    /// When a write failed, unless another one has succeeded since.
    failed_write: Mutex<Option<Instant>>,
    /// Whether a call met damaged data.
    is_damaged: AtomicBool,
    /// Asks for a check.
    check: Notify,
    /// The first contact, if it was not over when the server started.
    contact: Mutex<Option<Contact>>,
    /// A permit for each long read.
    long_reads: Arc<Semaphore>,
    /// Connections that were opened before this instant are not used again: new ones may reach another server under the
    /// same name.
    renewal: Renewal,
    reporter: Reporter,
    metrics: OnceLock<Metrics>,
}

type Renewal = Arc<Mutex<Option<Instant>>>;

type Contact = JoinHandle<Result<(), PrepareError>>;

/// The kind of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQLite, in a file of this machine.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Database {
    /// The id that the database got when it was created. `None` before the first contact.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.0.id.get().copied()
    }

    /// The kind of the database.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the database took reads and writes at the last check, no write has failed lately, and no call met damaged
    /// data. (On a disk that is nearly full, the small write of a check may succeed where others fail.)
    #[must_use]
    pub fn is_available(&self) -> bool {
        let failed_lately = || self.0.failed_write.lock().is_some_and(|at| at.elapsed() < FAILED_WRITE_TTL);
        let is_checked = self.0.can_read.load(SeqCst) && self.0.can_write.load(SeqCst);
        is_checked && !self.0.is_damaged.load(SeqCst) && !failed_lately()
    }

    /// Records calls and the availability in these metrics, from now on.
    pub fn measure(&self, metrics: Metrics) {
        metrics.database_up(self.is_available());
        let _only_once = self.0.metrics.set(metrics);
    }

    /// Checks the database at an interval, forever. Creates and migrates the tables if that was not possible yet.
    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                // A call that has failed asks for a check before the interval is over.
                if timeout(CHECK_INTERVAL, self.0.check.notified()).await.is_ok() {
                    sleep(CHECK_PAUSE).await;
                }
                if self.0.id.get().is_none() {
                    self.make_contact().await;
                } else {
                    self.check().await;
                }
                if let Some(metrics) = self.0.metrics.get() {
                    metrics.database_up(self.is_available());
                }
            }
        })
    }

    /// Runs statements that only read.
    ///
    /// # Errors
    /// [`StoreError::Away`] when the database is away or needs longer than [`CALL_LIMIT`]; [`StoreError::Refused`] when a
    /// statement is not valid.
    pub async fn read<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        self.read_until(Instant::now() + CALL_LIMIT, work).await
    }

    /// As [`Database::read`], but no longer than until `until`.
    async fn read_until<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        if !self.0.can_read.load(SeqCst) {
            return Err(StoreError::Away("it does not respond".to_owned()));
        }
        self.call(until, work).await
    }

    /// Runs statements that read many rows, a few calls at a time, so that strangers who ask for much leave connections for
    /// others. They run to their end when the caller has gone: a canceled read would still keep its connection busy.
    ///
    /// # Errors
    /// As [`Database::read`]; [`StoreError::Away`] also when too many long reads wait.
    pub async fn read_long<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = timeout(TURN_LIMIT, Arc::clone(&self.0.long_reads).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(StoreError::Away("too many long reads wait".to_owned()));
        };
        let database = self.clone();
        let read = tokio::spawn(async move {
            let result = database.read(work).await;
            drop(turn);
            result
        });
        read.await.unwrap_or_else(|_panicked| Err(StoreError::Away("the read was abandoned".to_owned())))
    }

    /// Runs statements that write. `work` commits its own transaction.
    ///
    /// # Errors
    /// [`StoreError::Away`] when the database is away, refuses writes or needs longer than [`CALL_LIMIT`]; the
    /// transaction may have been committed then. [`StoreError::Refused`] when a statement is not valid.
    pub async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        self.write_until(Instant::now() + CALL_LIMIT, work).await
    }

    /// As [`Database::write`], but no longer than until `until`.
    async fn write_until<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        if !(self.0.can_read.load(SeqCst) && self.0.can_write.load(SeqCst)) {
            return Err(StoreError::Away("it does not respond or refuses writes".to_owned()));
        }
        let result = self.call(until, work).await;
        if matches!(result, Err(StoreError::Away(_))) {
            self.0.has_failed_write.store(true, SeqCst);
            *self.0.failed_write.lock() = Some(Instant::now());
        } else {
            *self.0.failed_write.lock() = None;
        }
        result
    }

    /// The connections, for statements that only read.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    /// The placeholder of the `nth` parameter, counted from 1, in a statement with many parameters. They must be bound in
    /// this order: for SQLite it has no number, because SQLite searches all names of parameters for each numbered one.
    fn place(&self, nth: usize) -> String {
        match self.0.kind {
            Kind::Sqlite => "?".to_owned(),
            Kind::Postgres => format!("${nth}"),
        }
    }

    /// Begins a transaction that writes. SQLite has one such transaction at a time. On PostgreSQL each statement sees
    /// what was committed before it.
    ///
    /// # Errors
    /// When the database is away or busy.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let begin = match self.0.kind {
            // Without IMMEDIATE, a transaction that reads first fails when another one has written since.
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let pool = self.0.pool.clone();
        // In a task of its own, because a BEGIN that is canceled before its response leaves a connection of PostgreSQL
        // in an open transaction.
        let begun = tokio::spawn(async move { pool.begin_with(begin).await }).await;
        begun.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Closes all connections. SQLite then moves what is in its log into its file.
    pub async fn close(&self) {
        let _closed_by_the_system = timeout(CLOSE_LIMIT, self.0.pool.close()).await;
    }

    /// Runs a call until `until` at the latest, and records its outcome.
    async fn call<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let result = timeout_at(until, work).await;
        let error = match result {
            Ok(Ok(done)) => {
                if let Some(metrics) = self.0.metrics.get() {
                    metrics.database_call(began.elapsed());
                }
                return Ok(done);
            }
            Ok(Err(error)) => match Cause::of(self.0.kind, &error) {
                Cause::Statement => {
                    self.count_failure();
                    return Err(StoreError::Refused(cause::text(&error)));
                }
                Cause::Damaged(advice) => {
                    self.note_damage(&error, advice);
                    cause::text(&error)
                }
                Cause::Transient | Cause::SetUp(_) => cause::text(&error),
            },
            Err(_elapsed) => "no response in time".to_owned(),
        };
        self.count_failure();
        self.0.reporter.failed_call(&error);
        self.0.check.notify_one();
        Err(StoreError::Away(error))
    }

    fn count_failure(&self) {
        if let Some(metrics) = self.0.metrics.get() {
            metrics.database_failed();
        }
    }

    /// Waits until no other transaction holds the lock. It is held to the end of the transaction. SQLite has one
    /// transaction that writes anyway.
    async fn lock(&self, transaction: &mut Transaction<'_, Any>, lock: i64) -> Result<(), sqlx::Error> {
        /// Separates these locks from those of other programs in the same database.
        const SPACE: i64 = 0x61_66_6f_72_6f << 8;
        if self.kind() == Kind::Postgres {
            sqlx::query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)")
                .bind(SPACE + lock)
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }

    fn note_damage(&self, error: &sqlx::Error, advice: &str) {
        if !self.0.is_damaged.swap(true, SeqCst) {
            let (place, error) = (&self.0.place, cause::text(error));
            tracing::error!("the database {place} is damaged: {error}; {advice}");
        }
    }

    /// Waits for the first contact, or makes another attempt.
    async fn make_contact(&self) {
        let pending = self.0.contact.lock().take();
        let contact = match pending {
            Some(contact) => contact.await.unwrap_or(Err(PrepareError::Ended)),
            None => self.prepare().boxed().await,
        };
        if let Err(error) = contact {
            self.0.reporter.away(&error.to_string());
        }
    }

    /// Checks whether the database can be read, and, after a write has failed, whether it can be written.
    async fn check(&self) {
        let checked =
            async |check: BoxFuture<'_, Result<(), sqlx::Error>>| match timeout(CHECK_LIMIT, check).await {
                Ok(result) => result.map_err(|error| cause::text(&error)),
                Err(_elapsed) => Err("no response in time".to_owned()),
            };
        let mut result = self.check_file();
        if result.is_ok() {
            result = checked(self.ping().boxed()).await;
        }
        self.0.can_read.store(result.is_ok(), SeqCst);
        if result.is_ok() && self.0.has_failed_write.swap(false, SeqCst) {
            // Idle connections may be to a server that takes no writes, although the server that has taken over does.
            *self.0.renewal.lock() = Some(Instant::now());
            let written = timeout(CHECK_LIMIT, self.touch()).await;
            // Another process that writes much is no reason to refuse all calls. Each has its own limit.
            let is_busy = self.0.kind == Kind::Sqlite
                && written.as_ref().map_or(true, |written| written.as_ref().is_err_and(cause::is_busy));
            let was_busy = self.0.was_busy.swap(is_busy, SeqCst);
            result = match written {
                Ok(Err(error)) => Err(cause::text(&error)),
                Err(_elapsed) => Err("no response in time".to_owned()),
                Ok(Ok(())) => Ok(()),
            };
            if result.is_err() {
                self.0.has_failed_write.store(true, SeqCst);
            }
            if is_busy && !was_busy {
                self.0.check.notify_one();
                return;
            }
            self.0.can_write.store(result.is_ok(), SeqCst);
        }
        match result {
            Ok(()) => self.0.reporter.back(),
            Err(error) => {
                self.0.reporter.away(&self.diagnosis().await.unwrap_or(error));
                *self.0.renewal.lock() = Some(Instant::now());
            }
        }
    }

    /// Why no connection can be opened, if that is the case. (The connections for calls tell only that it took too long.)
    async fn diagnosis(&self) -> Option<String> {
        if self.0.kind == Kind::Sqlite {
            return None;
        }
        match timeout(CLOSE_LIMIT, self.0.options.connect()).await {
            Ok(Err(error)) => Some(cause::text(&error)),
            Ok(Ok(connection)) => {
                let _closed_by_the_server = timeout(CLOSE_LIMIT, connection.close()).await;
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Reads from a table.
    async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT only_row FROM identity").execute(self.pool()).await.map(drop)
    }

    /// Writes a value that is there already.
    async fn touch(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE identity SET id = id").execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Checks that the file of SQLite is still the file that was opened. Writes to a deleted file would be lost.
    fn check_file(&self) -> Result<(), String> {
        match &self.0.file {
            Some((path, opened)) if opened.get().copied() != FileId::of(path).ok() => {
                Err("its file was removed or replaced; restart the program".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::server::config::DatabaseConfig;

    #[tokio::test]
    async fn a_file_that_another_writer_keeps_busy_takes_writes_unless_it_stays_busy() {
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let takes_writes = async || {
            database.0.has_failed_write.store(true, SeqCst);
            database.check().await;
            database.0.can_write.load(SeqCst)
        };
        let writer = database.begin().await.unwrap();
        assert!(takes_writes().await, "it is busy for the first time");
        assert!(!takes_writes().await, "it is still busy");
        writer.rollback().await.unwrap();
        assert!(takes_writes().await);
    }
}
