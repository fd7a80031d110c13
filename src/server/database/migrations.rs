//! The tables, as a sequence of migrations. A migration that was released never changes; a change is a new migration.

use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::Kind;

/// The migrations in order, each with its number, a description and its statements.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "followers", include_str!("migrations/0001_followers.sql")),
    (2, "history", include_str!("migrations/0002_history.sql")),
    (3, "signals", include_str!("migrations/0003_signals.sql")),
    (4, "webhooks", include_str!("migrations/0004_webhooks.sql")),
    (5, "held", include_str!("migrations/0005_held.sql")),
    (6, "ended publishers", include_str!("migrations/0006_ended_publishers.sql")),
    (7, "outbox by age", include_str!("migrations/0007_outbox_by_age.sql")),
];

/// The migrations for a kind of database.
pub(super) fn migrator(kind: Kind) -> Migrator {
    Migrator::with_migrations(migrations(kind))
}

/// The names of the tables that the migrations create.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    let created = MIGRATIONS.iter().flat_map(|(_, _, statements)| statements.split("CREATE TABLE ").skip(1));
    created.filter_map(|rest| rest.split_whitespace().next())
}

fn migrations(kind: Kind) -> Vec<Migration> {
    let migration = |(version, description, statements): &(i64, &'static str, &'static str)| {
        let statements = AssertSqlSafe(for_kind(statements, kind)).into_sql_str();
        Migration::new(*version, (*description).into(), MigrationType::Simple, statements, false)
    };
    MIGRATIONS.iter().map(migration).collect()
}

/// The statements with the words of a kind of database: `BYTES` is its type for bytes, and `ORDERED BY KEY` stores a
/// table in the order of its primary key where that is an option.
fn for_kind(statements: &str, kind: Kind) -> String {
    let (bytes, ordered) = match kind {
        Kind::Sqlite => ("BLOB", "WITHOUT ROWID"),
        Kind::Postgres => ("BYTEA", ""),
    };
    statements.replace("BYTES", bytes).replace("ORDERED BY KEY", ordered)
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        domain::{ChannelId, ViewerId},
        server::{
            config::DatabaseConfig,
            database::{Database, DatabaseFollowers},
            follows::Followers,
        },
    };

    /// A database as every earlier version left it, with a follower.
    #[tokio::test]
    async fn a_database_of_an_earlier_version_is_migrated_and_keeps_its_data() {
        for version in 0..=MIGRATIONS.len() {
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("aforo.db");
            let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
            let mut connection = options.connect().await.unwrap();
            let earlier = migrations(Kind::Sqlite).into_iter().take(version).collect();
            Migrator::with_migrations(earlier).run_direct(None, &mut connection, false).await.unwrap();
            if version > 0 {
                for statement in [
                    "INSERT INTO identity VALUES (1, '00000000-0000-4000-8000-000000000007')",
                    "INSERT INTO followers VALUES ('ana', x'00000000000040008000000000000001')",
                    "INSERT INTO follower_counts VALUES ('ana', 1)",
                ] {
                    sqlx::query(statement).execute(&mut connection).await.unwrap();
                }
            }
            connection.close().await.unwrap();

            let database = Database::open(&DatabaseConfig::Sqlite(file)).await.unwrap();
            assert!(database.is_available());
            let followers = DatabaseFollowers::new(database.clone());
            let ana = ChannelId::parse("ana").unwrap();
            let viewer = ViewerId::parse("00000000-0000-4000-8000-000000000001").unwrap();
            let asked = async {
                assert_eq!(followers.has(&ana, viewer).await.unwrap(), version > 0, "version {version}");
                assert_eq!(followers.count(&ana).await.unwrap(), u32::from(version > 0));
                followers.set(&ana, viewer, true).await.unwrap();
                assert_eq!(followers.count(&ana).await.unwrap(), 1);
            };
            tokio::select! {
                () = followers.run() => unreachable!("it runs forever"),
                () = asked => {}
            }
            let is_kept = database.id().unwrap().to_string().ends_with("000000000007");
            assert_eq!(is_kept, version > 0);
        }
    }
}
