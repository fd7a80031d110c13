//! `aforo check` and `aforo health`: what they find, what they print, and that they change nothing.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::support::{
    Postgres, Program, RedisCluster, RedisServer, TestApp, Upstash, free_port, postgres::is_root, stub_site,
    viewer,
};

/// A password that must not appear in any output.
const SECRET: &str = "hunter2";

/// What a run of the program has printed.
struct Answer {
    code: Option<i32>,
    text: String,
    /// The problems, one line each.
    problems: Vec<String>,
}

/// Runs the program with only these settings. The default database is in `folder`.
fn run(words: &[&str], folder: &Path, settings: &[(&str, &str)]) -> Answer {
    // Root must be held to the rights of files like other users.
    let command: &[&str] = if is_root() { &["setpriv", "--bounding-set=-all"] } else { &[] };
    let line = [command, &[env!("CARGO_BIN_EXE_aforo")], words].concat();
    let path = std::env::var_os("PATH").unwrap();
    let Output { status, stdout, stderr } = Command::new(line[0])
        .args(&line[1..])
        .env_clear()
        .env("PATH", path)
        .env("DATA_DIR", folder.join("data"))
        .envs(settings.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    for output in [&text, &errors] {
        assert!(!output.contains(SECRET) && !output.contains("panicked"), "{output}");
    }
    let problems = errors.lines().skip(1).map(|line| line.trim_start_matches("  - ").to_owned()).collect();
    assert!(
        errors.is_empty() || ["aforo: ", "error: "].iter().any(|start| errors.starts_with(start)),
        "{errors}"
    );
    Answer { code: status.code(), text, problems }
}

/// Checks these settings with a site in `folder` and a free port.
fn check(folder: &Path, settings: &[(&str, &str)]) -> Answer {
    let site = stub_site("stub");
    let addr = format!("127.0.0.1:{}", free_port());
    let defaults = [("LEPTOS_SITE_ROOT", site.path().to_str().unwrap()), ("LEPTOS_SITE_ADDR", &addr)];
    run(&["check"], folder, &[&defaults[..], settings].concat())
}

/// Asserts that settings are fine, and returns what the check says.
fn assert_fine(folder: &Path, settings: &[(&str, &str)]) -> String {
    let answer = check(folder, settings);
    assert_eq!((answer.code, answer.problems), (Some(0), vec![]), "{}", answer.text);
    answer.text
}

/// Asserts that a check finds one problem, with these words.
fn assert_problem(folder: &Path, settings: &[(&str, &str)], words: &[&str]) {
    let answer = check(folder, settings);
    assert_eq!(answer.code, Some(2), "{}", answer.text);
    assert_eq!(answer.problems.len(), 1, "{:#?}", answer.problems);
    for word in words {
        assert!(answer.problems[0].contains(word), "{word:?} in {:?}", answer.problems);
    }
}

/// All files below a folder with their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.push((path, Vec::new()));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn it_says_what_the_server_would_do_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let settings = [
        ("VIEWER_TIMEOUT", "90"),
        ("LIMIT_STREAMS", "0"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8"),
        ("API_TOKEN", "hunter2-hunter2-hunter2"),
        ("STATS", "public"),
    ];
    let text = assert_fine(folder.path(), &settings);
    for expected in [
        concat!("Aforo      ", env!("CARGO_PKG_VERSION")),
        "Address    http://127.0.0.1:",
        "build stub",
        "Store      memory of the process",
        "data/aforo.db; the start creates the file",
        "a session counts for 90 s after a beat, 150 s when hidden",
        "of one address: 300 new sessions at once, then 2 a second",
        "of this node: no limit of open streams; 4096 bytes",
        "2 trusted networks",
        "everyone may see statistics",
        "API_TOKEN is set",
        "LIVE_HOOK_SECRET is not set",
        "VIEWER_TIMEOUT=90",
        "API_TOKEN=(secret)",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert_eq!(contents(folder.path()), []);
}

#[test]
fn it_warns_of_what_is_unwise() {
    let folder = TempDir::new().unwrap();
    certify(folder.path(), (2020, 4_000));
    let text = assert_fine(
        folder.path(),
        &[
            ("API_TOKEN", SECRET),
            ("LIVE_HOOK_SECRET", SECRET),
            ("TLS_CERT", "cert.pem"),
            ("TLS_KEY", "key.pem"),
            ("STREAM_URL_TEMPLATE", "http://cdn.example:8080/{channel}/index.m3u8"),
        ],
    );
    for expected in [
        "Warnings   API_TOKEN is shorter than 16 characters",
        "LIVE_HOOK_SECRET is shorter than 16 characters",
        "STREAM_URL_TEMPLATE is an http:// address",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert!(!assert_fine(folder.path(), &[]).contains("Warnings"));
}

#[test]
fn empty_variables_change_nothing() {
    let folder = TempDir::new().unwrap();
    let settings = ["VIEWER_TIMEOUT", "REDIS_URL", "WEBHOOK_URLS", "API_TOKEN", "TLS_CERT", "LIVE"];
    let text = assert_fine(folder.path(), &settings.map(|name| (name, "")));
    assert!(settings.iter().all(|name| !text.contains(&format!("{name}="))), "{text}");
}

#[test]
fn it_finds_all_problems_at_once() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/aforo.db"), "no database\n".repeat(1_000)).unwrap();
    let before = contents(folder.path());
    let port = free_port();
    let redis = format!("redis://aforo:{SECRET}@127.0.0.1:{port}");
    let answer = run(
        &["check"],
        folder.path(),
        &[
            ("LEPTOS_SITE_ADDR", "192.0.2.1:80"),
            ("LEPTOS_SITE_ROOT", "no-such-folder"),
            ("VIEWER_TIMEOUT", "soon"),
            ("LIMIT_STREAMS", "-1"),
            ("VIEWER_CLEANUP_INTERVAL", "0"),
            ("TLS_CERT", "no-certificate.pem"),
            ("TLS_KEY", "no-key.pem"),
            ("REDIS_URL", &redis),
        ],
    );
    assert_eq!(answer.code, Some(2));
    for expected in [
        "VIEWER_TIMEOUT is \"soon\"",
        "LIMIT_STREAMS is \"-1\"",
        "VIEWER_CLEANUP_INTERVAL",
        "TLS_CERT, TLS_KEY: no-certificate.pem",
        "LEPTOS_SITE_ADDR: cannot listen on 192.0.2.1:80",
        "LEPTOS_SITE_ROOT: cannot read the site files from no-such-folder",
        &format!("REDIS_URL: cannot use Redis at 127.0.0.1:{port}: "),
        "DATABASE_URL: cannot use the database ",
    ] {
        assert!(
            answer.problems.iter().any(|it| it.contains(expected)),
            "{expected} in {:#?}",
            answer.problems
        );
    }
    assert_eq!(answer.problems.len(), 8, "{:#?}", answer.problems);
    assert_eq!(contents(folder.path()), before);

    // A part with wrong settings is not tried with their defaults.
    let answer = check(
        folder.path(),
        &[("DATABASE_URL", "mysql://aforo:hunter2@db/aforo"), ("REDIS_URL", "http://x")],
    );
    assert_eq!(answer.problems.len(), 2, "{:#?}", answer.problems);
    assert_eq!(answer.text.matches("not tried").count(), 2, "{}", answer.text);
}

#[test]
fn flags_may_stand_before_and_after_the_word() {
    let folder = TempDir::new().unwrap();
    for words in [["check", "--timeout=soon"], ["--timeout=soon", "check"]] {
        let answer = run(&words, folder.path(), &[("LEPTOS_SITE_ADDR", "127.0.0.1:0")]);
        let names_flag = |problem: &String| problem.contains("VIEWER_TIMEOUT (--timeout) is \"soon\"");
        assert!(answer.code == Some(2) && answer.problems.iter().any(names_flag), "{:?}", answer.problems);
    }
    assert_eq!(run(&["check", "--nope"], folder.path(), &[]).code, Some(2));
}

// The fake Upstash server runs in this process, and must answer while the program is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn it_tries_every_store_and_writes_no_key() {
    let folder = TempDir::new().unwrap();
    let redis = RedisServer::start().await;
    redis.add_user(SECRET, &[]);
    let url = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let text = assert_fine(folder.path(), &[("REDIS_URL", &url)]);
    assert!(text.contains(&format!("Redis at 127.0.0.1:{}, keys begin with aforo", redis.port)), "{text}");
    assert!(text.contains("it answers, and takes scripts"), "{text}");
    assert!(redis.keys(0).is_empty());

    redis.request::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let text = assert_fine(folder.path(), &[("REDIS_URL", &url)]);
    assert!(text.contains("maxmemory-policy is allkeys-lru; set noeviction"), "{text}");

    let wrong = format!("redis://aforo:{SECRET}x@127.0.0.1:{}", redis.port);
    assert_problem(folder.path(), &[("REDIS_URL", &wrong)], &["REDIS_URL", "cannot use Redis at 127.0.0.1"]);
    // A user without the right to run scripts.
    redis.request::<()>(&["ACL", "SETUSER", "aforo", "-eval", "-evalsha"]);
    assert_problem(folder.path(), &[("REDIS_URL", &url)], &["REDIS_URL", "cannot use Redis"]);

    let cluster = RedisCluster::start(0).await;
    let text = assert_fine(folder.path(), &[("REDIS_URL", &cluster.urls())]);
    assert!(text.contains("Redis Cluster at 127.0.0.1:"), "{text}");

    let upstash = Upstash::start().await;
    let token = |token: &str| {
        [("UPSTASH_REDIS_REST_URL", upstash.url.clone()), ("UPSTASH_REDIS_REST_TOKEN", token.to_owned())]
    };
    let settings = token(crate::support::upstash::TOKEN);
    let text = assert_fine(folder.path(), &settings.each_ref().map(|(name, value)| (*name, &**value)));
    assert!(text.contains("Upstash, keys begin with aforo"), "{text}");
    let settings = token(SECRET);
    assert_problem(
        folder.path(),
        &settings.each_ref().map(|(name, value)| (*name, &**value)),
        &["UPSTASH_REDIS_REST_TOKEN", "cannot use Upstash"],
    );
}

#[tokio::test]
async fn it_looks_at_sqlite_without_changing_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let url = format!("sqlite:{}", file.display());
    let settings = [("DATABASE_URL", &*url)];

    let app = TestApp::with(&[&format!("--database-url={url}")]).await;
    app.join("ana", viewer()).await;
    let text = assert_fine(folder.path(), &settings);
    assert!(text.contains("the tables are up to date"), "{text}");
    app.stop().await;
    let before = contents(folder.path());
    assert!(assert_fine(folder.path(), &settings).contains("the tables are up to date"));
    assert_eq!(contents(folder.path()), before);

    let mut permissions = fs::metadata(folder.path()).unwrap().permissions();
    permissions.set_mode(0o555);
    fs::set_permissions(folder.path(), permissions.clone()).unwrap();
    assert_problem(folder.path(), &settings, &["DATABASE_URL", "aforo.db", "writable"]);
    permissions.set_mode(0o755);
    fs::set_permissions(folder.path(), permissions).unwrap();

    let mut connection = SqliteConnection::connect(&url.replace("sqlite:", "sqlite://")).await.unwrap();
    for (statement, is_problem, words) in [
        ("DELETE FROM _sqlx_migrations WHERE version > 1", false, "migrates the tables from version 1 to "),
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (999999, 'later', true, 'x', 1)",
            true,
            "a later version",
        ),
        ("DELETE FROM _sqlx_migrations WHERE version > 1", false, "migrates the tables"),
        ("UPDATE _sqlx_migrations SET checksum = 'x'", true, "do not match this program"),
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        if is_problem {
            assert_problem(folder.path(), &settings, &["DATABASE_URL", words]);
        } else {
            let text = assert_fine(folder.path(), &settings);
            assert!(text.contains(words), "{words:?} in {text}");
        }
    }
}

#[tokio::test]
async fn it_looks_at_postgres_without_changing_it() {
    let folder = TempDir::new().unwrap();
    let postgres = Postgres::shared().await;
    let url = postgres.database().await;
    let name = url.rsplit('/').next().unwrap();
    let text = assert_fine(folder.path(), &[("DATABASE_URL", &url)]);
    assert!(text.contains(&format!("{name} of PostgreSQL at 127.0.0.1")), "{text}");
    assert!(text.contains("the start creates the tables"), "{text}");
    // Nothing was created, so it says the same again.
    assert_eq!(assert_fine(folder.path(), &[("DATABASE_URL", &url)]).lines().count(), text.lines().count());
    TestApp::with(&[&format!("--database-url={url}")]).await.stop().await;
    let text = assert_fine(folder.path(), &[("DATABASE_URL", &url)]);
    assert!(text.contains("the tables are up to date"), "{text}");

    let role = format!("CREATE ROLE check_{name} LOGIN PASSWORD '{SECRET}'");
    postgres.execute(name, &role).await;
    let other = postgres.database().await;
    let other = other.rsplit('/').next().unwrap();
    let without_rights = format!("postgres://check_{name}:{SECRET}@127.0.0.1:{}/{other}", postgres.port);
    let denied = format!("REVOKE CREATE ON SCHEMA public FROM PUBLIC, check_{name}");
    postgres.execute(other, &denied).await;
    assert_problem(folder.path(), &[("DATABASE_URL", &without_rights)], &["may not create tables"]);
    let none = format!("postgres://check_{name}:{SECRET}@127.0.0.1:{}/no_such_database", postgres.port);
    assert_problem(folder.path(), &[("DATABASE_URL", &none)], &["no_such_database", "create that database"]);
    let away = format!("postgres://aforo:{SECRET}@127.0.0.1:{}/aforo", free_port());
    assert_problem(folder.path(), &[("DATABASE_URL", &away)], &["DATABASE_URL", "is away"]);
    let shared = postgres.database().await;
    postgres.execute(shared.rsplit('/').next().unwrap(), "CREATE TABLE signals (name text)").await;
    assert_problem(folder.path(), &[("DATABASE_URL", &shared)], &["table signals of another program"]);
}

/// Writes a certificate for these years, and its key.
fn certify(folder: &Path, years: (i32, i32)) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn it_looks_at_the_dates_of_the_certificate() {
    let folder = TempDir::new().unwrap();
    let settings = [("TLS_CERT", "cert.pem"), ("TLS_KEY", "key.pem")];
    certify(folder.path(), (2020, 4_000));
    let text = assert_fine(folder.path(), &settings);
    assert!(text.contains("https://") && text.contains("TLS and HTTP/2 with the certificate"), "{text}");
    certify(folder.path(), (2020, 2_021));
    assert_problem(folder.path(), &settings, &["TLS_CERT", "has expired"]);
    certify(folder.path(), (3_000, 4_000));
    assert_problem(folder.path(), &settings, &["TLS_CERT", "not valid yet"]);
    // The key of another certificate.
    let other = TempDir::new().unwrap();
    certify(other.path(), (2020, 4_000));
    fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
    assert_problem(folder.path(), &settings, &["TLS_CERT, TLS_KEY", "cannot be used together"]);
}

#[test]
fn an_address_in_use_is_told_and_is_no_problem() {
    let folder = TempDir::new().unwrap();
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = node.local_addr().unwrap().to_string();
    assert!(assert_fine(folder.path(), &[("LEPTOS_SITE_ADDR", &addr)]).contains("in use now"));
}

#[tokio::test]
async fn health_asks_the_server_of_this_machine() {
    let folder = TempDir::new().unwrap();
    certify(folder.path(), (2020, 2_021));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = [("TLS_CERT", file("cert.pem")), ("TLS_KEY", file("key.pem"))];
    let tls = tls.each_ref().map(|(name, value)| (*name, &**value));
    for settings in [&[][..], &tls[..]] {
        let server = Program::start(settings).await;
        let addr = server.base.split("://").nth(1).unwrap();
        for host in ["127.0.0.1", "0.0.0.0"] {
            let addr = addr.replace("127.0.0.1", host);
            let answer =
                run(&["health"], folder.path(), &[settings, &[("LEPTOS_SITE_ADDR", &*addr)]].concat());
            assert_eq!((answer.code, &*answer.text), (Some(0), ""), "{host}");
        }
        let addr = addr.to_owned();
        server.kill();
        let answer = run(&["health"], folder.path(), &[settings, &[("LEPTOS_SITE_ADDR", &*addr)]].concat());
        assert_eq!(answer.code, Some(1));
    }
}

#[tokio::test]
async fn the_history_of_the_demo_takes_valid_names_and_a_new_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.db");
    let write = |name: &str| run(&["demo-history", file.to_str().unwrap(), name], folder.path(), &[]);
    assert_eq!(write("not a name").code, Some(2));
    assert!(!file.exists());
    let written = write("aurora");
    assert_eq!(written.code, Some(0));
    let viewers: u32 = written.text.trim().strip_prefix("aurora ").unwrap().parse().unwrap();
    assert!(viewers > 0 && file.exists());
    let mut database = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let ends = sqlx::query_scalar("SELECT figures FROM broadcasts ORDER BY started_at");
    let ends: Vec<Option<String>> = ends.fetch_all(&mut database).await.unwrap();
    assert!(matches!(&ends[..], [Some(_), None]), "an earlier broadcast and one that goes on: {ends:?}");
    database.close().await.unwrap();
    let before = fs::read(&file).unwrap();
    assert_eq!(write("aurora").code, Some(2));
    assert_eq!(fs::read(&file).unwrap(), before);
}
