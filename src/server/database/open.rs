//! Opens the configured database: the connections, the tables and the id.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Once, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use sqlx::{
    Connection, Row,
    any::{AnyPoolOptions, install_default_drivers},
    migrate::MigrateError,
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{CALL_LIMIT, Database, Inner, Kind, migrations::migrator};
use crate::server::config::DatabaseConfig;

/// The most connections to the database.
const MAX_CONNECTIONS: u32 = 4;

/// How long a call waits for a connection.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(2);

/// How often the tables are prepared anew after an error. Another process may migrate the same file.
const PREPARE_ATTEMPTS: u32 = 5;

/// The database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the SQLite file can't be created.
    #[error("DATABASE_URL: the folder of {file} can't be created: {source}")]
    Folder {
        /// The file of the database.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not a database, is damaged, or can't be read or written.
    #[error(
        "DATABASE_URL: the database {place} can't be used: {reason}. Check that it is writable and undamaged, or set \
         DATABASE_URL to another one"
    )]
    Unusable {
        /// The database, without its password.
        place: String,
        /// The message of the database.
        reason: String,
    },
    /// The tables are from a later version of this program.
    #[error(
        "DATABASE_URL: the database {place} was used by a later version of this program (it has migration {version}). \
         Start that version, or set DATABASE_URL to another database"
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
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the id of the database is damaged")]
    Id,
}

impl Database {
    /// Opens the configured database and migrates its tables. A PostgreSQL server need not be reachable yet:
    /// [`Database::run`] tries again.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(install_default_drivers);
        let (kind, url, place) = match config {
            DatabaseConfig::Sqlite(file) => {
                if let Some(folder) = file.parent() {
                    let error = |source| OpenError::Folder { file: file.clone(), source };
                    fs::create_dir_all(folder).map_err(error)?;
                }
                let place = file.display().to_string();
                (Kind::Sqlite, format!("sqlite://{place}?mode=rwc"), place)
            }
            DatabaseConfig::Postgres(url) => {
                (Kind::Postgres, url.to_string(), "at the PostgreSQL server".to_owned())
            }
        };
        let unusable = |reason: String| OpenError::Unusable { place: place.clone(), reason };
        let options = AnyPoolOptions::new().max_connections(MAX_CONNECTIONS).acquire_timeout(ACQUIRE_LIMIT);
        let options = match kind {
            // The journal mode is kept in the file. FULL writes a commit to the disk before it is acknowledged.
            Kind::Sqlite => options.after_connect(|connection, _| {
                Box::pin(async move {
                    for pragma in [
                        "PRAGMA busy_timeout = 2000",
                        "PRAGMA journal_mode = WAL",
                        "PRAGMA synchronous = FULL",
                        "PRAGMA journal_size_limit = 67108864",
                    ] {
                        sqlx::query(pragma).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            }),
            Kind::Postgres => options,
        };
        let pool = options.connect_lazy(&url).map_err(|error| unusable(error.to_string()))?;
        let database = Self(Arc::new(Inner {
            pool,
            kind,
            id: OnceLock::new(),
            is_available: AtomicBool::new(false),
            has_failed_write: AtomicBool::new(false),
        }));
        match timeout(CALL_LIMIT, database.prepare()).await {
            Ok(Ok(())) => tracing::info!(?kind, "database opened"),
            Ok(Err(PrepareError::Migrate(MigrateError::VersionMissing(version)))) => {
                return Err(OpenError::Newer { place, version });
            }
            Ok(Err(error)) if kind == Kind::Sqlite => return Err(unusable(error.to_string())),
            Ok(Err(error)) => tracing::warn!(%error, "database not usable yet; retrying"),
            Err(_elapsed) => tracing::warn!("the database does not respond yet; retrying"),
        }
        Ok(database)
    }

    /// Creates and migrates the tables, and reads the id.
    pub(super) async fn prepare(&self) -> Result<(), PrepareError> {
        let mut attempt = 1;
        let id = loop {
            match self.try_prepare().await {
                Ok(id) => break id,
                Err(PrepareError::Migrate(MigrateError::VersionMissing(version))) => {
                    return Err(MigrateError::VersionMissing(version).into());
                }
                Err(error) if attempt == PREPARE_ATTEMPTS => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
            attempt += 1;
        };
        let _already_set = self.0.id.set(id);
        self.note(true);
        Ok(())
    }

    async fn try_prepare(&self) -> Result<Uuid, PrepareError> {
        let mut connection = self.pool().acquire().await?;
        migrator(self.0.kind).run(self.pool()).await?;
        let mut transaction = connection.begin().await?;
        sqlx::query("INSERT INTO identity (only_row, id) VALUES (1, $1) ON CONFLICT DO NOTHING")
            .bind(Uuid::new_v4().to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let row = sqlx::query("SELECT id FROM identity").fetch_one(&mut *connection).await?;
        Uuid::parse_str(row.try_get("id")?).map_err(|_| PrepareError::Id)
    }
}
