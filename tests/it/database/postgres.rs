//! Faults of a real PostgreSQL: away, killed, paused, locked, read-only. Counting goes on, and no acknowledged follow is
//! lost.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::{
    TestDatabase, assert_counting, assert_refused, follow, follows, must_follow, number_on_page, until_ready,
};
use crate::support::{PATIENCE, Postgres, Program, TestApp, postgres::execute, viewer};

/// Starts a node over a database of PostgreSQL, without a limit of follows.
async fn node(url: &str) -> TestApp {
    TestApp::with(&[&format!("--database-url={url}"), "--limit-follows-per-minute=0"]).await
}

/// A server of its own, and the address of its database.
async fn server() -> (Postgres, String) {
    let server = Postgres::start().await;
    let url = server.database().await;
    (server, url)
}

#[tokio::test]
async fn a_node_starts_without_postgres_and_uses_it_when_it_comes() {
    let mut server = Postgres::reserve();
    let app = node(&server.url("postgres")).await;
    until_ready(&app, false).await;
    assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
    assert_counting(&app).await;
    assert_refused(&app, "ana").await;
    assert_eq!(number_on_page(&app, "ana").await, "—", "the number is unknown, not zero");

    server.run().await;
    until_ready(&app, true).await;
    assert_eq!(must_follow(&app, "ana", viewer()).await, 1);
    assert_eq!(number_on_page(&app, "ana").await, "1");
}

#[tokio::test]
async fn a_killed_postgres_delays_no_beat_and_is_used_again_when_it_is_back() {
    let (mut server, url) = server().await;
    let app = node(&url).await;
    assert_eq!(must_follow(&app, "ana", viewer()).await, 1);
    server.kill();
    assert_refused(&app, "ana").await;
    until_ready(&app, false).await;
    assert_counting(&app).await;
    assert_refused(&app, "ana").await;
    assert_eq!(number_on_page(&app, "ana").await, "—");
    server.run().await;
    until_ready(&app, true).await;
    assert_eq!(must_follow(&app, "ana", viewer()).await, 2);
}

#[tokio::test]
async fn a_paused_postgres_delays_no_beat_and_no_page() {
    let (server, url) = server().await;
    let app = node(&url).await;
    must_follow(&app, "ana", viewer()).await;
    server.pause();
    let began = Instant::now();
    let pages = join_all((0..50).map(|_| number_on_page(&app, "ana"))).await;
    assert!(pages.iter().all(|number| number == "—"), "{pages:?}");
    // A page waits for a second at most. The rest is for busy machines.
    assert!(began.elapsed() < Duration::from_secs(6), "sent after {:?}", began.elapsed());
    assert_counting(&app).await;
    // More follows than there are connections; each is answered in time.
    join_all((0..20).map(|_| assert_refused(&app, "ana"))).await;
    until_ready(&app, false).await;
    assert_refused(&app, "ana").await;
    assert_counting(&app).await;
    server.resume();
    until_ready(&app, true).await;
    must_follow(&app, "ana", viewer()).await;
    assert_ne!(number_on_page(&app, "ana").await, "—");
    // The connections that were stuck are closed.
    let connections = async {
        loop {
            let database = TestDatabase::at(&url);
            let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
            if database.number(open).await <= 6 {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, connections).await.expect("few connections are open");
}

#[tokio::test]
async fn a_postgres_that_is_killed_while_it_writes_keeps_every_acknowledged_follow() {
    let (mut server, url) = server().await;
    let app = node(&url).await;
    let (app_, kill) = (&app, Duration::from_millis(700));
    let loops = (0..20).map(|number| async move {
        let mut acknowledged = Vec::new();
        loop {
            let (channel, viewer) = (format!("c{}", number % 3), viewer());
            if follow(app_, &channel, viewer).await.status() != StatusCode::OK {
                return acknowledged;
            }
            acknowledged.push((channel, viewer));
        }
    });
    let killed = async {
        sleep(kill).await;
        server.kill();
    };
    let (acknowledged, ()) = tokio::join!(join_all(loops), killed);
    let acknowledged = acknowledged.concat();
    assert!(acknowledged.len() > 20, "{} follows before the end", acknowledged.len());
    server.run().await;
    until_ready(&app, true).await;
    for (channel, viewer) in &acknowledged {
        assert!(follows(&app, channel, *viewer).await, "{channel} {viewer}");
    }
    let database = TestDatabase::at(&url);
    assert_eq!(
        database.number("SELECT count(*) FROM followers").await,
        database.number("SELECT CAST(sum(followers) AS BIGINT) FROM follower_counts").await,
    );
}

#[tokio::test]
async fn a_locked_channel_delays_no_page_and_no_other_answer_for_long() {
    let database = TestDatabase::postgres().await;
    let app = node(&database.url).await;
    must_follow(&app, "ana", viewer()).await;
    must_follow(&app, "bob", viewer()).await;
    let mut blocker = PgConnection::connect(&database.url).await.unwrap();
    let mut lock = blocker.begin().await.unwrap();
    sqlx::query("UPDATE follower_counts SET followers = followers WHERE channel = 'ana'")
        .execute(&mut *lock)
        .await
        .unwrap();
    assert_refused(&app, "ana").await;
    assert_eq!(number_on_page(&app, "ana").await, "1", "a lock does not hold up readers");
    assert_counting(&app).await;
    lock.rollback().await.unwrap();
    let unlocked = async {
        while follow(&app, "ana", viewer()).await.status() != StatusCode::OK {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, unlocked).await.expect("follows are accepted again");
}

#[tokio::test]
async fn locked_tables_delay_no_beat_and_no_page_for_long() {
    let database = TestDatabase::postgres().await;
    let app = node(&database.url).await;
    must_follow(&app, "ana", viewer()).await;
    let mut blocker = PgConnection::connect(&database.url).await.unwrap();
    let mut lock = blocker.begin().await.unwrap();
    for table in ["LOCK TABLE followers", "LOCK TABLE follower_counts", "LOCK TABLE identity"] {
        sqlx::query(table).execute(&mut *lock).await.unwrap();
    }
    let began = Instant::now();
    let pages = join_all((0..50).map(|_| number_on_page(&app, "ana"))).await;
    assert!(pages.iter().all(|number| number == "—"), "{pages:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "sent after {:?}", began.elapsed());
    assert_refused(&app, "ana").await;
    until_ready(&app, false).await;
    assert_counting(&app).await;
    lock.rollback().await.unwrap();
    until_ready(&app, true).await;
    must_follow(&app, "ana", viewer()).await;
}

#[tokio::test]
async fn long_reads_that_are_stuck_leave_connections_for_others() {
    let database = TestDatabase::postgres().await;
    let flags =
        [&*format!("--database-url={}", database.url), "--stats=public", "--trusted-proxies=127.0.0.1"];
    let app = TestApp::with(&flags).await;
    must_follow(&app, "ana", viewer()).await;
    let mut blocker = PgConnection::connect(&database.url).await.unwrap();
    let mut lock = blocker.begin().await.unwrap();
    sqlx::query("LOCK TABLE broadcasts, history").execute(&mut *lock).await.unwrap();
    // Many more than there are connections. Half of the callers go away.
    let ask = async |number: u64| {
        let url = format!("{}/api/channel/ana/broadcasts", app.base);
        let patience =
            if number.is_multiple_of(2) { Duration::from_millis(100 + number * 10) } else { PATIENCE };
        // An address reads one answer at a time.
        let from = format!("192.0.2.{number}");
        app.client.get(url).header("X-Forwarded-For", from).timeout(patience).send().await
    };
    let asked = join_all((0..60).map(ask));
    let others = async {
        for _ in 0..10 {
            sleep(Duration::from_millis(200)).await;
            must_follow(&app, "ana", viewer()).await;
            assert_ne!(number_on_page(&app, "ana").await, "—");
        }
    };
    let (asked, ()) = tokio::join!(asked, others);
    for answer in asked.into_iter().flatten() {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
    }
    lock.rollback().await.unwrap();
    let answered = async {
        while app.get("/api/channel/ana/broadcasts").await.status() != StatusCode::OK {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("long reads are answered again");
}

#[tokio::test]
async fn a_read_only_postgres_shows_numbers_refuses_follows_and_recovers() {
    let server = Postgres::shared().await;
    let url = server.database().await;
    let name = url.rsplit('/').next().unwrap();
    let app = node(&url).await;
    must_follow(&app, "ana", viewer()).await;
    // As after a fail-over: the connections end, and new ones meet a server that takes no writes.
    let set = async |value: &str| {
        let change = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        server.execute("postgres", &change).await;
    };
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    set("on").await;
    server.execute("postgres", &end).await;
    let refused = async {
        while follow(&app, "ana", viewer()).await.status() == StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("follows are refused");
    until_ready(&app, false).await;
    assert_eq!(number_on_page(&app, "ana").await, "1");
    // The connections that were opened in the meantime stay read-only, until the node opens new ones.
    set("off").await;
    until_ready(&app, true).await;
    assert_eq!(must_follow(&app, "ana", viewer()).await, 2);
}

#[tokio::test]
async fn a_newer_database_that_comes_after_the_start_is_not_used() {
    let (mut server, url) = server().await;
    drop(node(&url).await);
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (999999, 'later', true, 'x', 1)";
    execute(&url, row).await;
    server.kill();
    let program = Program::start(&[("DATABASE_URL", &url)]).await;
    server.run().await;
    program.wait_for_log("later version").await;
    until_ready(&program, false).await;
    assert_refused(&program, "ana").await;
    assert_counting(&program).await;
}

#[tokio::test]
async fn an_outage_writes_few_log_lines_and_no_password() {
    let (mut server, url) = server().await;
    let program = Program::start(&[("DATABASE_URL", &url)]).await;
    must_follow(&program, "ana", viewer()).await;
    server.kill();
    until_ready(&program, false).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        join_all((0..5).map(|_| number_on_page(&program, "ana"))).await;
        sleep(Duration::from_millis(100)).await;
    }
    server.run().await;
    until_ready(&program, true).await;
    let log = program.log();
    assert!(log.contains("database unavailable") && log.contains("database available again"), "{log}");
    assert!(log.lines().count() < 20, "{log}");
    assert!(!log.contains(crate::support::postgres::PASSWORD), "{log}");
}

#[tokio::test]
async fn a_node_ends_in_time_while_postgres_is_paused() {
    let (server, url) = server().await;
    let mut program = Program::start(&[("DATABASE_URL", &url)]).await;
    must_follow(&program, "ana", viewer()).await;
    server.pause();
    let follow = follow(&program, "ana", viewer());
    let end = async {
        sleep(Duration::from_millis(300)).await;
        program.signal("TERM");
    };
    let (response, ()) = tokio::join!(follow, end);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let began = Instant::now();
    assert!(program.wait_for_exit().await.success());
    // 10 s in all, and more on a busy machine.
    assert!(began.elapsed() < Duration::from_secs(15), "ended after {:?}", began.elapsed());
}
