//! Opens the configured database: the connections, the tables and the id.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Once, OnceLock, atomic::AtomicBool, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures::FutureExt;
use parking_lot::Mutex;
use sqlx::{
    Any, AnyConnection, ConnectOptions, Connection, Executor, Row,
    any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers},
    migrate::MigrateError,
    pool::PoolOptions,
    postgres::PgConnectOptions,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{
    CALL_LIMIT, Database, Inner, Kind, MAX_LONG_READS, Renewal,
    cause::{self, Cause},
    migrations::migrator,
    report::Reporter,
};
use crate::server::config::DatabaseConfig;

/// The most connections to the database.
const MAX_CONNECTIONS: u32 = 6;

/// How long a call waits for a connection.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);

/// How long PostgreSQL works on a statement, in ms. Shorter than [`CALL_LIMIT`], so that the server does not go on with
/// statements that nobody waits for.
const STATEMENT_LIMIT: &str = "SET statement_timeout = 3000";

/// How long a transaction of PostgreSQL may wait for its next statement, in ms. The locks of a node that was cut off end
/// with it.
const IDLE_LIMIT: &str = "SET idle_in_transaction_session_timeout = 10000";

/// How long a connection is used. Shorter than the default, so that all connections reach another server soon after a
/// fail-over by name.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How long a connection may take to become idle before it is closed.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// How long SQLite waits for the lock of another process, in ms.
const BUSY_LIMIT: &str = "PRAGMA busy_timeout = 3000";

/// The size to which SQLite cuts its log, in bytes.
const LOG_LIMIT: &str = "PRAGMA journal_size_limit = 67108864";

/// The pause between two attempts to prepare the tables of SQLite. Another process may create the same file at the same
/// instant.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the first contact with PostgreSQL may take, the migration of large tables included.
const CONTACT_LIMIT: Duration = Duration::from_secs(600);

/// The database can't be used. The texts say what to set.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SQLite file or its folder can't be created or opened.
    #[error(
        "cannot use the database file {file}: {source}; make the file and its folder writable for the user that runs \
         this program, or set DATA_DIR or DATABASE_URL to another place"
    )]
    File {
        /// The file of the database.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The database refuses this program, is no database, or is damaged.
    #[error("cannot use the database {place}: {reason}; {advice}")]
    Unusable {
        /// The database, without its password.
        place: String,
        /// The message of the database.
        reason: String,
        /// What an operator can do.
        advice: &'static str,
    },
    /// The tables are from a later version of this program.
    #[error(
        "the database {place} was used by a later version of this program, which has migration {version}; start that \
         version, or set DATABASE_URL to another database"
    )]
    Newer {
        /// The database, without its password.
        place: String,
        /// The number of a migration that this version does not know.
        version: i64,
    },
}

/// Why the tables are not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// An operator must act.
    #[error(transparent)]
    Final(#[from] OpenError),
    /// The cause may pass.
    #[error("{0}")]
    Transient(String),
    /// The attempt was abandoned.
    #[error("the first contact was abandoned")]
    Ended,
}

/// An error of an attempt.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the id of the database is damaged")]
    Id,
}

/// What tells a file from another one under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

impl Database {
    /// Opens the configured database and migrates its tables. If it is away or busy, the result is an unavailable
    /// database, and [`Database::run`] tries again.
    ///
    /// # Errors
    /// When the database can't be used until an operator acts.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        let database = Self::new(config)?;
        // In a task of its own, because a migration of large tables must go on while the server already works.
        let preparing = database.clone();
        let mut contact = tokio::spawn(async move { preparing.prepare().boxed().await });
        let outcome = match database.kind() {
            Kind::Sqlite => Ok((&mut contact).await),
            Kind::Postgres => timeout(CALL_LIMIT, &mut contact).await,
        };
        match outcome {
            Ok(Ok(Ok(()))) => tracing::info!(kind = ?database.kind(), "database opened"),
            Ok(Ok(Err(PrepareError::Final(error)))) => return Err(error),
            Ok(Ok(Err(error))) => database.0.reporter.away(&error.to_string()),
            Ok(Err(_panicked)) => database.0.reporter.away(&PrepareError::Ended.to_string()),
            Err(_elapsed) => {
                database.0.reporter.away("no response in time");
                *database.0.contact.lock() = Some(contact);
            }
        }
        Ok(database)
    }

    /// The configured database before the first contact, which [`Database::run`] makes.
    ///
    /// # Errors
    /// When the configured address or file can't be used.
    pub fn new(config: &DatabaseConfig) -> Result<Self, OpenError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(install_default_drivers);
        let (kind, url, place, file) = match config {
            DatabaseConfig::Sqlite(file) => {
                let error = |source| OpenError::File { file: file.clone(), source };
                let path = create(file).map_err(error)?;
                let url = sqlite_url(&path).map_err(error)?;
                (Kind::Sqlite, url, file.display().to_string(), Some((path, OnceLock::new())))
            }
            DatabaseConfig::Postgres(url) => (Kind::Postgres, url.to_string(), postgres_place(url), None),
        };
        let options = url.parse::<AnyConnectOptions>().map_err(|error| OpenError::Unusable {
            place: place.clone(),
            reason: error.to_string(),
            advice: "check DATABASE_URL",
        })?;
        let renewal = Renewal::default();
        Ok(Self(Arc::new(Inner {
            pool: pool_options(kind, Arc::clone(&renewal)).connect_lazy_with(options.clone()),
            options,
            kind,
            place,
            file,
            id: OnceLock::new(),
            can_read: AtomicBool::new(false),
            can_write: AtomicBool::new(false),
            was_busy: AtomicBool::default(),
            has_failed_write: AtomicBool::new(false),
            failed_write: Mutex::new(None),
            is_damaged: AtomicBool::new(false),
            check: Notify::new(),
            contact: Mutex::new(None),
            long_reads: Arc::new(Semaphore::new(MAX_LONG_READS)),
            renewal,
            reporter: Reporter::default(),
            metrics: OnceLock::new(),
        })))
    }

    /// Creates and migrates the tables, and reads the id.
    pub(super) async fn prepare(&self) -> Result<(), PrepareError> {
        let began = Instant::now();
        let id = loop {
            let result = match timeout(CONTACT_LIMIT, self.try_prepare()).await {
                Ok(Ok(id)) => break id,
                Ok(Err(error)) => self.classified(error),
                Err(_elapsed) => PrepareError::Transient("no response in time".to_owned()),
            };
            // PostgreSQL itself makes nodes wait for each other.
            let is_last = self.0.kind == Kind::Postgres || began.elapsed() > CALL_LIMIT;
            if is_last || matches!(result, PrepareError::Final(_)) {
                return Err(result);
            }
            sleep(PAUSE).await;
        };
        if let Some((path, opened)) = &self.0.file {
            let id = FileId::of(path).map_err(|error| PrepareError::Transient(error.to_string()))?;
            let _already_set = opened.set(id);
        }
        let _already_set = self.0.id.set(id);
        self.0.can_read.store(true, SeqCst);
        self.0.can_write.store(true, SeqCst);
        self.0.reporter.back();
        Ok(())
    }

    /// One attempt, over a connection of its own: its statements may take long, and its errors are exact.
    async fn try_prepare(&self) -> Result<Uuid, AttemptError> {
        let connecting = timeout(CALL_LIMIT, self.0.options.connect()).await;
        let mut connection = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let id = match self.0.kind {
            Kind::Sqlite => {
                sqlx::query(BUSY_LIMIT).execute(&mut connection).await?;
                // The journal mode is kept in the file.
                sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await?;
                // One transaction for everything, since SQLite's migrations don't wait for those of other processes.
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                migrator(self.0.kind).run_direct(None, &mut *transaction, false).await?;
                let id = identity(&mut transaction).await?;
                transaction.commit().await?;
                id
            }
            Kind::Postgres => {
                migrator(self.0.kind).run_direct(None, &mut connection, false).await?;
                identity(&mut connection).await?
            }
        };
        let _closed_by_the_server = timeout(CALL_LIMIT, connection.close()).await;
        id
    }

    /// Whether an error is final, and what an operator can do.
    fn classified(&self, error: AttemptError) -> PrepareError {
        let (kind, place) = (self.0.kind, self.0.place.clone());
        let (cause, reason) = match &error {
            AttemptError::Migrate(MigrateError::VersionMissing(version)) => {
                return OpenError::Newer { place, version: *version }.into();
            }
            AttemptError::Migrate(error) => (Cause::of_migration(kind, error), error.to_string()),
            AttemptError::Database(error) => (Cause::of(kind, error), cause::text(error)),
            AttemptError::Id => {
                (Cause::Damaged("restore a backup, or set DATABASE_URL to another one"), error.to_string())
            }
        };
        match cause {
            Cause::Transient | Cause::Statement => PrepareError::Transient(reason),
            Cause::SetUp(advice) | Cause::Damaged(advice) => {
                OpenError::Unusable { place, reason, advice }.into()
            }
        }
    }
}

/// Reads the id of the database. Creates it if there is none.
async fn identity(connection: &mut AnyConnection) -> Result<Result<Uuid, AttemptError>, sqlx::Error> {
    sqlx::query("INSERT INTO identity (only_row, id) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(Uuid::new_v4().to_string())
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query("SELECT id FROM identity").fetch_one(&mut *connection).await?;
    Ok(Uuid::parse_str(row.try_get("id")?).map_err(|_| AttemptError::Id))
}

/// The options of the connections for calls.
fn pool_options(kind: Kind, renewal: Renewal) -> PoolOptions<Any> {
    let settings = match kind {
        // A commit is on the disk before it is acknowledged: that is the default of `synchronous`.
        Kind::Sqlite => [BUSY_LIMIT, LOG_LIMIT],
        Kind::Postgres => [STATEMENT_LIMIT, IDLE_LIMIT],
    };
    AnyPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_LIMIT)
        .max_lifetime(MAX_AGE)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for setting in settings {
                    connection.execute(setting).await?;
                }
                Ok(())
            })
        })
        .before_acquire(move |_, connection| {
            let is_old = renewal.lock().is_some_and(|at| connection.age > at.elapsed());
            Box::pin(async move { Ok(!is_old) })
        })
        // A connection whose server is gone would otherwise be kept until the system gives up, after a quarter of an
        // hour. And the library can't use a connection of SQLite again whose transaction was ended by a full disk.
        .after_release(|connection, _| {
            Box::pin(async move {
                let is_alive = timeout(RELEASE_LIMIT, connection.ping()).await.is_ok_and(|pong| pong.is_ok());
                Ok(is_alive && !connection.is_in_transaction())
            })
        })
}

/// Creates the file and its folder if they don't exist, and checks that the file can be read and written. Returns its
/// path in the file system.
fn create(file: &Path) -> io::Result<PathBuf> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let path = fs::canonicalize(folder)?.join(name);
    // Others may not read it: the ids of viewers are secrets.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    Ok(path)
}

/// The address of a file for the library. The file must exist already, so that a file that is removed later is not
/// silently created again.
fn sqlite_url(path: &Path) -> io::Result<String> {
    let path = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
    let mut url = "sqlite://".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url += &format!("%{byte:02X}");
        }
    }
    Ok(url + "?mode=rw")
}

/// A PostgreSQL database for people.
pub(super) fn postgres_place(url: &str) -> String {
    let Ok(options) = url.parse::<PgConnectOptions>() else { return "of PostgreSQL".to_owned() };
    let (host, port) = (options.get_host(), options.get_port());
    // Without a name the database is named like the user.
    let name = options.get_database().unwrap_or_else(|| options.get_username());
    format!("{name} of PostgreSQL at {host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_encoded() {
        let url = |path: &str| sqlite_url(Path::new(path)).unwrap();
        assert_eq!(url("/var/lib/a-b_c.db"), "sqlite:///var/lib/a-b_c.db?mode=rw");
        assert_eq!(url("/a b/50%#?ñ"), "sqlite:///a%20b/50%25%23%3F%C3%B1?mode=rw");
    }

    #[test]
    fn messages_contain_no_password() {
        let place = postgres_place("postgres://ana:hunter2@db.example:5433/kept?password=hunter2");
        assert_eq!(place, "kept of PostgreSQL at db.example:5433");
        assert_eq!(
            postgres_place("postgres://ana:hunter2@db.example"),
            "ana of PostgreSQL at db.example:5432"
        );
    }
}
