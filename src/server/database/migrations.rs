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
    (4, "webhooks", include_str!("migrations/0004_webhooks.sql")),
];

/// The migrations for a kind of database.
pub(super) fn migrator(kind: Kind) -> Migrator {
    let migration = |(version, description, statements): &(i64, &'static str, &'static str)| {
        let statements = AssertSqlSafe(for_kind(statements, kind)).into_sql_str();
        Migration::new(*version, (*description).into(), MigrationType::Simple, statements, false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
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
