//! Databases that can't be used: the program ends with status 2 and one message, which says what to set.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tempfile::TempDir;

use super::{TestDatabase, must_follow};
use crate::support::{Postgres, Program, RedisServer, TestApp, postgres::PASSWORD, viewer};

/// A migration of a later version of the program.
const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (999999, 'later', true, 'x', 1)";

/// A migration that another program has applied.
const FOREIGN: &str = "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1";

/// Asserts that the program refuses to start with this database, and says these words.
async fn assert_refusal(url: &str, words: &[&str]) {
    let (status, log) = Program::fail_unprivileged(&[("DATABASE_URL", url)]).await;
    assert_eq!(status.code(), Some(2), "{url}: {log}");
    let message =
        log.lines().find(|line| line.starts_with("aforo: ")).unwrap_or_else(|| panic!("{url}: {log}"));
    for word in words.iter().chain(&["DATABASE_URL"]) {
        assert!(message.contains(word), "{word:?} in {message}");
    }
    assert!(!log.contains(PASSWORD), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Creates a database with a follower, as a program that ended left it.
async fn create(url: &str) {
    let app = TestApp::with(&[&format!("--database-url={url}")]).await;
    must_follow(&app, "ana", viewer()).await;
    app.stop().await;
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn an_unusable_sqlite_file_is_one_clear_error() {
    let folder = TempDir::new().unwrap();
    let url = |path: &Path| format!("sqlite:{}", path.display());

    // The folder can't be written, and there is no file yet.
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o555);
    assert_refusal(&url(&closed.join("aforo.db")), &["closed", "writable"]).await;
    assert_refusal(&url(&closed.join("sub/aforo.db")), &["closed", "writable"]).await;
    set_mode(&closed, 0o755);

    // A file where the folder should be, and a folder where the file should be.
    fs::write(folder.path().join("a-file"), "").unwrap();
    assert_refusal(&url(&folder.path().join("a-file/aforo.db")), &["a-file"]).await;
    assert_refusal(&url(folder.path()), &["directory"]).await;

    // A database that can be read only, or whose folder can be read only.
    let kept = folder.path().join("kept");
    let file = kept.join("aforo.db");
    create(&url(&file)).await;
    set_mode(&file, 0o444);
    assert_refusal(&url(&file), &["aforo.db", "writable"]).await;
    set_mode(&file, 0o000);
    assert_refusal(&url(&file), &["aforo.db", "writable"]).await;
    set_mode(&file, 0o600);
    set_mode(&kept, 0o555);
    assert_refusal(&url(&file), &["aforo.db", "writable"]).await;
    set_mode(&kept, 0o755);

    // No database, and a damaged one.
    for text in ["no database\n".to_owned(), "no database\n".repeat(1_000)] {
        let other = folder.path().join("notes.txt");
        fs::write(&other, &text).unwrap();
        assert_refusal(&url(&other), &["notes.txt", "not a database"]).await;
        assert_eq!(fs::read_to_string(&other).unwrap(), text, "the file is not changed");
    }
    let mut bytes = fs::read(&file).unwrap();
    bytes[100..4096].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    assert_refusal(&url(&file), &["aforo.db", "malformed", "backup"]).await;
}

#[tokio::test]
async fn the_message_names_data_dir_where_it_decides() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a-file"), "").unwrap();
    let data = folder.path().join("a-file").display().to_string();
    let (status, log) = Program::fail_unprivileged(&[("DATA_DIR", &data)]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("DATA_DIR") && log.contains("a-file"), "{log}");
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let folder = TempDir::new().unwrap();
    let server = Postgres::shared().await;
    let urls = [
        format!("sqlite:{}/aforo.db", folder.path().display()),
        server.database().await,
        format!("sqlite:{}/other.db", folder.path().display()),
        server.database().await,
    ];
    for url in &urls {
        create(url).await;
    }
    for (url, change) in urls.iter().zip([LATER, LATER, FOREIGN, FOREIGN]) {
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await.unwrap();
            sqlx::query(AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        } else {
            crate::support::postgres::execute(url, &change.replace("'x'", "'x'::bytea")).await;
        }
        let words =
            if change == LATER { ["later version", "999999"] } else { ["migration 1", "do not match"] };
        assert_refusal(url, &words).await;
        let database = TestDatabase::at(url);
        assert_eq!(database.number("SELECT count(*) FROM followers").await, 1, "nothing is lost");
    }
}

#[tokio::test]
async fn a_database_with_such_a_table_of_another_program_is_refused() {
    const TABLE: &str = "CREATE TABLE followers (name text)";
    let folder = TempDir::new().unwrap();
    let sqlite = format!("sqlite:{}/site.db", folder.path().display());
    let mut connection = SqliteConnection::connect(&format!("{sqlite}?mode=rwc")).await.unwrap();
    sqlx::query(TABLE).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let postgres = Postgres::shared().await.database().await;
    crate::support::postgres::execute(&postgres, TABLE).await;
    for url in [&sqlite, &postgres] {
        assert_refusal(url, &["followers", "already exists", "do not match"]).await;
    }
}

#[tokio::test]
async fn an_unusable_postgres_is_one_clear_error() {
    let server = Postgres::shared().await;
    let right = server.database().await;
    let name = right.rsplit('/').next().unwrap();
    let wrong = right.replace(PASSWORD, "wrong");
    assert_refusal(&wrong, &["password authentication failed", "check the user and the password"]).await;
    assert_refusal(&server.url("nowhere"), &["nowhere", "does not exist", "create that database"]).await;
    // A user without the right to create tables.
    server.execute(name, &format!("CREATE ROLE reader_{name} LOGIN PASSWORD '{PASSWORD}'")).await;
    let reader = right.replace("aforo:", &format!("reader_{name}:"));
    assert_refusal(&reader, &["permission denied", "create tables"]).await;
}

#[tokio::test]
async fn a_node_with_another_database_than_the_others_is_refused() {
    let redis = RedisServer::start().await;
    let (folder, url) = (TempDir::new().unwrap(), redis.url());
    let database = |name: &str| format!("sqlite:{}/{name}.db", folder.path().display());
    let first = Program::start(&[("REDIS_URL", &url), ("DATABASE_URL", &database("one"))]).await;
    let settings = [("REDIS_URL", url.as_str()), ("DATABASE_URL", &database("two"))];
    let (status, log) = Program::fail(&settings).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.lines().any(|line| line.starts_with("aforo: DATABASE_URL: the other nodes")), "{log}");
    // With the same database it starts, and so does a node with another prefix.
    let _second = Program::start(&[("REDIS_URL", &url), ("DATABASE_URL", &database("one"))]).await;
    let other =
        [("REDIS_URL", url.as_str()), ("DATABASE_URL", &database("two")), ("REDIS_KEY_PREFIX", "other")];
    let _stranger = Program::start(&other).await;
    drop(first);
}
