//! The database: everything that is kept for longer than a viewer stays. It is SQLite in a file, or PostgreSQL.
//!
//! Promises:
//! - **Independence**: no beat, count or stream waits for the database. Whatever uses it has its own answer for the time
//!   that it is away.
//! - **Bounded waiting**: every call returns within [`CALL_LIMIT`], whatever happens to the database.
//! - **One schema**: the tables are created and migrated at the first contact. A database of a later version is refused.
//!
//! Statements use what SQLite and PostgreSQL have in common, with `$1` for parameters.

mod archive;
mod followers;
mod migrations;
mod open;
mod outbox;

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use sqlx::{Any, AnyPool, Transaction};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

pub use self::{
    archive::{Archive, Kept, Retention, Row, RowKind, part_key},
    followers::DatabaseFollowers,
    open::OpenError,
    outbox::{Announced, Announcement, Backlog, Delivery, HOLDING_ATTEMPTS, NewEvent, Open, Outbox},
};
use super::store_error::StoreError;

/// How long a call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(4);

/// The pause between two checks of the database.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The database of a node. Cloning is cheap.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: AnyPool,
    kind: Kind,
    /// The id of the database. Set once its tables are up to date.
    id: OnceLock<Uuid>,
    /// Whether the last call succeeded. After a failed write only a write counts.
    is_available: AtomicBool,
    has_failed_write: AtomicBool,
}

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

    /// Whether the database is available, by the last call.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.0.is_available.load(Ordering::Relaxed)
    }

    /// Checks the database at an interval, forever. Creates and migrates the tables if that was not possible yet.
    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(self.check())
    }

    async fn check(self) {
        loop {
            if self.0.id.get().is_none() {
                match timeout(CALL_LIMIT, self.prepare().boxed()).await {
                    Ok(Ok(())) => tracing::info!("database available"),
                    Ok(Err(error)) => tracing::warn!(%error, "database not usable; retrying"),
                    Err(_elapsed) => tracing::warn!("database does not respond; retrying"),
                }
            } else if self.0.has_failed_write.load(Ordering::Relaxed) {
                let _noted = self.write(self.touch().boxed()).await;
            } else {
                let _noted = self.read(self.ping().boxed()).await;
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Runs statements that only read.
    ///
    /// # Errors
    /// When the database is away, refuses a statement or needs longer than [`CALL_LIMIT`].
    pub async fn read<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        let result = self.limited(work).await;
        if result.is_err() || !self.0.has_failed_write.load(Ordering::Relaxed) {
            self.note(result.is_ok());
        }
        result
    }

    /// Runs statements that write. `work` commits its own transaction.
    ///
    /// # Errors
    /// When the database is away, refuses a statement or needs longer than [`CALL_LIMIT`]. After that time the
    /// transaction may have been committed.
    pub async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let result = self.limited(work).await;
        self.0.has_failed_write.store(result.is_err(), Ordering::Relaxed);
        self.note(result.is_ok());
        result
    }

    /// The connections, for statements that only read.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    /// Begins a transaction that writes. SQLite has one such transaction at a time.
    ///
    /// # Errors
    /// When the database is away or busy.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.0.kind {
            // Without IMMEDIATE, a transaction that reads first fails when another one has written since.
            Kind::Sqlite => self.0.pool.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres => self.0.pool.begin().await,
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

    async fn limited<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        if self.0.id.get().is_none() {
            return Err(StoreError::Unreachable("no contact with the database yet".to_owned()));
        }
        match timeout(CALL_LIMIT, work).await {
            Ok(result) => result.map_err(|error| store_error(&error)),
            Err(_elapsed) => Err(StoreError::Unreachable("the database did not respond in time".to_owned())),
        }
    }

    fn note(&self, is_available: bool) {
        let was_available = self.0.is_available.swap(is_available, Ordering::Relaxed);
        match (was_available, is_available) {
            (true, false) => tracing::warn!("database unavailable"),
            (false, true) => tracing::info!("database available again"),
            _ => {}
        }
    }

    async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(self.pool()).await.map(drop)
    }

    /// Writes a value that is there already.
    async fn touch(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE identity SET id = id").execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

/// The error of a call, as the rest of the server knows it.
fn store_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(refusal) if !is_passing(refusal.code().as_deref()) => {
            StoreError::Refused(refusal.to_string())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            StoreError::Refused(error.to_string())
        }
        other => StoreError::Unreachable(other.to_string()),
    }
}

/// Whether an error code of the database stands for a state that passes: a busy SQLite file, or a PostgreSQL server that
/// starts or stops.
fn is_passing(code: Option<&str>) -> bool {
    matches!(code, Some("5" | "6" | "261" | "517" | "57P01" | "57P02" | "57P03"))
}
