//! Looks at the configured database without changing it: whether it can be used, and what a start would do to its tables.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};
use tokio::time::timeout;

use super::{
    CALL_LIMIT, Kind, OpenError,
    cause::{self, Cause},
    migrations::{migrator, tables},
    open::postgres_place,
};
use crate::server::config::DatabaseConfig;

/// The migrations that were applied, from the table of the library. The cast changes nothing in a table that the library
/// has written.
const APPLIED_SQLITE: &str = "SELECT version, CAST(checksum AS BLOB) FROM _sqlx_migrations ORDER BY version";
const APPLIED_POSTGRES: &str = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";

/// The tables in a database.
enum Found {
    /// The names of all tables and views. No migration was applied.
    Tables(Vec<String>),
    /// The number and the checksum of each migration that was applied.
    Applied(Vec<(i64, Vec<u8>)>),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The kind of the database.
    pub kind: Kind,
    /// The database for people, without its password.
    pub place: String,
    /// The state of its tables.
    pub tables: Tables,
}

/// The state of the tables, and so what a start does with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// There is no file yet. A start creates it.
    NoFile,
    /// There are no tables. A start creates them.
    None,
    /// The tables are of an earlier version. A start migrates them.
    Earlier {
        /// The number of the last migration that was applied.
        from: i64,
        /// The number of the last migration of this version.
        to: i64,
    },
    /// The tables are of this version.
    Current,
}

/// Looks at the configured database.
///
/// # Errors
/// Why the server could not use it, as a text without its password.
pub async fn inspect(config: &DatabaseConfig) -> Result<Inspection, String> {
    match config {
        DatabaseConfig::Sqlite(file) => {
            let file_error = |source| OpenError::File { file: file.clone(), source }.to_string();
            let (kind, place) = (Kind::Sqlite, file.display().to_string());
            let tables = if is_usable(file).map_err(file_error)? {
                let found = timeout(CALL_LIMIT, sqlite(file)).await;
                judge(kind, &place, found.unwrap_or(Err(sqlx::Error::PoolTimedOut)))?
            } else {
                Tables::NoFile
            };
            Ok(Inspection { kind, place, tables })
        }
        DatabaseConfig::Postgres(url) => {
            let (kind, place) = (Kind::Postgres, postgres_place(url));
            let found = timeout(CALL_LIMIT, postgres(url)).await;
            let Postgres { found, can_create, is_read_only } = match found {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return Err(unusable(kind, &place, &error)),
                Err(_elapsed) => return Err(format!("cannot use the database {place}: no response in time")),
            };
            let tables = judge(kind, &place, Ok(found))?;
            if is_read_only {
                return Err(format!(
                    "cannot use the database {place}: it takes no writes, as a replica does; set DATABASE_URL to the \
                     primary"
                ));
            }
            if tables != Tables::Current && !can_create {
                return Err(format!(
                    "cannot use the database {place}: its user may not create tables; let it, or set another user in \
                     DATABASE_URL"
                ));
            }
            Ok(Inspection { kind, place, tables })
        }
    }
}

/// Whether the file exists. If not, it can be created.
fn is_usable(file: &Path) -> io::Result<bool> {
    let mut folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let exists = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    // A start creates missing folders, too.
    while !folder.exists() && folder.pop() {}
    if folder.as_os_str().is_empty() {
        folder = PathBuf::from(".");
    }
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // SQLite keeps its log in a file beside the database.
    access(&folder, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(exists)
}

async fn sqlite(file: &Path) -> Result<Found, sqlx::Error> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    // Without a log nobody has the file open, and SQLite needs no file beside it to read.
    let options =
        SqliteConnectOptions::new().filename(file).read_only(true).immutable(!Path::new(&log).exists());
    let mut connection: SqliteConnection = options.connect().await?;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
            .fetch_all(&mut connection)
            .await?;
    let found = if tables.iter().any(|name| name == "_sqlx_migrations") {
        Found::Applied(sqlx::query_as(APPLIED_SQLITE).fetch_all(&mut connection).await?)
    } else {
        Found::Tables(tables)
    };
    connection.close().await?;
    Ok(found)
}

/// What was found in PostgreSQL.
struct Postgres {
    found: Found,
    can_create: bool,
    is_read_only: bool,
}

async fn postgres(url: &str) -> Result<Postgres, sqlx::Error> {
    let mut connection: PgConnection = url.parse::<PgConnectOptions>()?.connect().await?;
    let is_read_only: String =
        sqlx::query_scalar("SHOW transaction_read_only").fetch_one(&mut connection).await?;
    sqlx::query("SET default_transaction_read_only = on").execute(&mut connection).await?;
    let has_tables: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut connection)
        .await?;
    let can_create: Option<bool> =
        sqlx::query_scalar("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            .fetch_one(&mut connection)
            .await?;
    let found = if has_tables {
        Found::Applied(sqlx::query_as(APPLIED_POSTGRES).fetch_all(&mut connection).await?)
    } else {
        let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() \
                     UNION ALL SELECT viewname::text FROM pg_views WHERE schemaname = current_schema()";
        Found::Tables(sqlx::query_scalar(names).fetch_all(&mut connection).await?)
    };
    connection.close().await?;
    Ok(Postgres { found, can_create: can_create == Some(true), is_read_only: is_read_only == "on" })
}

/// What a start would do with these tables.
fn judge(kind: Kind, place: &str, found: Result<Found, sqlx::Error>) -> Result<Tables, String> {
    let applied = match found {
        Ok(Found::Tables(names)) => {
            // PostgreSQL tells names in quotes apart by their case.
            let is_own = |name: &String, own: &str| match kind {
                Kind::Sqlite => name.eq_ignore_ascii_case(own),
                Kind::Postgres => name == own,
            };
            let own = tables().find(|own| names.iter().any(|name| is_own(name, own)));
            return own.map_or(Ok(Tables::None), |own| {
                Err(format!(
                    "cannot use the database {place}: it has a table {own} of another program; set DATABASE_URL to \
                     another database"
                ))
            });
        }
        Ok(Found::Applied(applied)) if applied.is_empty() => return Ok(Tables::None),
        Ok(Found::Applied(applied)) => applied,
        Err(error) => return Err(unusable(kind, place, &error)),
    };
    let migrator = migrator(kind);
    for (version, checksum) in &applied {
        match migrator.iter().find(|migration| migration.version == *version) {
            None => {
                return Err(OpenError::Newer { place: place.to_owned(), version: *version }.to_string());
            }
            Some(migration) if *migration.checksum != **checksum => {
                return Err(format!(
                    "cannot use the database {place}: its tables do not match this program (migration {version}); set \
                     DATABASE_URL to another database, or restore a backup"
                ));
            }
            Some(_) => {}
        }
    }
    let from = applied.iter().map(|(version, _)| *version).max().unwrap_or_default();
    let to = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    Ok(if applied.len() < migrator.iter().count() { Tables::Earlier { from, to } } else { Tables::Current })
}

fn unusable(kind: Kind, place: &str, error: &sqlx::Error) -> String {
    let reason = cause::text(error);
    match Cause::of(kind, error) {
        Cause::SetUp(advice) | Cause::Damaged(advice) => {
            OpenError::Unusable { place: place.to_owned(), reason, advice }.to_string()
        }
        // A start goes on without the database, and tries again.
        Cause::Transient | Cause::Statement => {
            format!("the database {place} is away: {reason}; a node without it counts, but keeps nothing")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::server::database::Database;

    /// The names and contents of the files in a folder.
    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_look_tells_what_a_start_would_do_and_changes_nothing() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("aforo.db");
        let config = DatabaseConfig::Sqlite(file.clone());
        let look = async || inspect(&config).await.map(|found| found.tables);

        assert_eq!(look().await, Ok(Tables::NoFile));
        assert_eq!(contents(folder.path()), []);
        let deep = DatabaseConfig::Sqlite(folder.path().join("a/b/aforo.db"));
        assert_eq!(inspect(&deep).await.unwrap().tables, Tables::NoFile);
        assert_eq!(contents(folder.path()), []);

        fs::write(&file, "").unwrap();
        assert_eq!(look().await, Ok(Tables::None));

        // While a node has the file open, and after it has closed it.
        let database = Database::open(&config).await.unwrap();
        assert_eq!(look().await, Ok(Tables::Current));
        database.close().await;
        drop(database);
        let before = contents(folder.path());
        assert_eq!(look().await, Ok(Tables::Current));
        assert_eq!(contents(folder.path()), before);
    }

    #[test]
    fn tables_of_other_versions_are_told_apart() {
        let all: Vec<_> = migrator(Kind::Sqlite)
            .iter()
            .map(|migration| (migration.version, migration.checksum.to_vec()))
            .collect();
        let last = all.last().unwrap().0;
        let judged = |applied: Vec<_>| judge(Kind::Sqlite, "aforo.db", Ok(Found::Applied(applied)));
        assert_eq!(judged(vec![]), Ok(Tables::None));
        assert_eq!(judged(vec![all[0].clone()]), Ok(Tables::Earlier { from: 1, to: last }));
        assert_eq!(judged(all.clone()), Ok(Tables::Current));
        let newer = judged([&all[..], &[(last + 1, vec![7])]].concat()).unwrap_err();
        assert!(newer.contains("a later version") && newer.contains(&(last + 1).to_string()), "{newer}");
        let other = judged(vec![(1, vec![7])]).unwrap_err();
        assert!(other.contains("do not match this program"), "{other}");
        let with = |name: &str| judge(Kind::Sqlite, "aforo.db", Ok(Found::Tables(vec![name.to_owned()])));
        assert_eq!(with("notes"), Ok(Tables::None));
        let other = with("Followers").unwrap_err();
        assert!(other.contains("table followers of another program"), "{other}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("aforo.db");
        fs::write(&file, "this is not a database, but long enough to look at as one ".repeat(20)).unwrap();
        let error = inspect(&DatabaseConfig::Sqlite(file)).await.unwrap_err();
        assert!(error.contains("not a database") && error.contains("DATABASE_URL"), "{error}");
        let error = inspect(&DatabaseConfig::Sqlite(folder.path().to_owned())).await.unwrap_err();
        assert!(error.contains("cannot use the database file"), "{error}");
        let below_a_file = folder.path().join("aforo.db/aforo.db");
        assert!(inspect(&DatabaseConfig::Sqlite(below_a_file)).await.is_err());
    }
}
