//! Readiness, metrics and isolation of panics.

use std::time::Duration;

use aforo::server::limits;
use futures::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{FailingStore, PATIENCE, Postgres, Program, RedisServer, TestApp, viewer};

async fn readiness(app: &TestApp) -> (StatusCode, Value) {
    let response = app.get("/readyz").await;
    (response.status(), response.json().await.unwrap())
}

async fn metrics(app: &TestApp) -> String {
    app.get("/metrics").await.text().await.unwrap()
}

/// The value of a metric; 0 if it is not exported.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn readiness_reports_an_outage_of_the_store_and_liveness_does_not() {
    let mut redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    assert_eq!(readiness(&app).await.0, StatusCode::OK);
    redis.kill();
    let degraded = async {
        loop {
            let (status, body) = readiness(&app).await;
            if status != StatusCode::OK {
                break (status, body);
            }
        }
    };
    let (status, body) = timeout(PATIENCE, degraded).await.expect("degraded");
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::from("degraded")));
    assert_eq!(body["reason"], "store", "{body}");
    assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
    redis.run().await;
    let ready = async {
        while readiness(&app).await.0 != StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("ready again");
}

#[tokio::test]
async fn during_the_shutdown_delay_the_server_is_not_ready_but_serves() {
    let mut server = Program::start(&[("SHUTDOWN_DELAY", "3000")]).await;
    assert_eq!(readiness(&server).await.0, StatusCode::OK);
    server.signal("TERM");
    let ending = async {
        while readiness(&server).await.0 == StatusCode::OK {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ending).await.expect("the server is not ready");
    assert_eq!(readiness(&server).await.1["status"], "ending");
    server.join("ana", viewer()).await;
    assert!(server.wait_for_exit().await.success());
}

#[tokio::test]
async fn events_are_counted_in_metrics() {
    let app = TestApp::with(&["--limit-streams=1"]).await;
    let id = viewer();
    app.join("ana", id).await;
    app.heartbeat("ana", id).await;
    app.heartbeat("ana", id).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    assert_eq!(app.get("/api/viewer/sse/ana").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    app.leave("ana", id).await;
    let text = metrics(&app).await;
    for (name, expected) in [
        ("aforo_beats_total{act=\"join\"}", 1.0),
        ("aforo_beats_total{act=\"heartbeat\"}", 2.0),
        ("aforo_beats_total{act=\"leave\"}", 1.0),
        ("aforo_streams_open", 1.0),
        ("aforo_channels_watched", 1.0),
        ("aforo_limit_rejections_total{limit=\"streams\"}", 1.0),
        ("aforo_http_responses_total{status=\"5xx\"}", 1.0),
        ("aforo_store_errors_total", 0.0),
        ("aforo_panics_total", 0.0),
    ] {
        assert_eq!(value(&text, name), expected, "{name} in\n{text}");
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
    assert!(value(&text, "process_open_fds") > 3.0);
    assert!(value(&text, "aforo_tasks") >= 3.0, "{text}");
}

#[tokio::test]
async fn database_calls_and_outages_are_measured() {
    let mut server = Postgres::start().await;
    let app = TestApp::with(&[&format!("--database-url={}", server.url("postgres"))]).await;
    let follow = json!({"channelId": "ana", "viewerId": viewer(), "follow": true});
    assert_eq!(app.post("/api/channel/follow", &follow).await.status(), StatusCode::OK);
    let text = metrics(&app).await;
    assert_eq!(value(&text, "aforo_database_up"), 1.0, "{text}");
    assert_eq!(value(&text, "aforo_database_errors_total"), 0.0, "{text}");
    assert!(value(&text, "aforo_database_call_duration_seconds_count") > 0.0, "{text}");
    server.kill();
    let until_up = async |expected: f64| {
        while value(&metrics(&app).await, "aforo_database_up") != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(app.post("/api/channel/follow", &follow).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    timeout(PATIENCE, until_up(0.0)).await.expect("the database is away");
    assert!(value(&metrics(&app).await, "aforo_database_errors_total") > 0.0);
    server.run().await;
    timeout(PATIENCE, until_up(1.0)).await.expect("the database is back");
}

#[tokio::test]
async fn store_errors_and_restored_sessions_are_counted() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    for _ in 0..5 {
        app.join("ana", viewer()).await;
    }
    redis.command::<()>("FLUSHALL");
    let restored = async {
        // A reading notices the loss.
        app.get("/api/viewer/count/ana").await;
        while value(&metrics(&app).await, "aforo_restored_total") < 5.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, restored).await.expect("the sessions are restored");
    drop(redis);
    app.join("ana", viewer()).await;
    assert!(value(&metrics(&app).await, "aforo_store_errors_total") > 0.0);
}

#[tokio::test]
async fn a_store_that_refuses_writes_makes_the_node_degraded() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    app.join("ana", viewer()).await;
    redis.command::<()>("CONFIG SET maxmemory 1");
    assert_eq!(app.join("ana", viewer()).await["stale"], true);
    assert_eq!(readiness(&app).await.1["reason"], "store");
    redis.command::<()>("CONFIG SET maxmemory 0");
    let ready = async {
        while readiness(&app).await.0 != StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("ready again");
}

#[tokio::test]
async fn the_log_says_why_the_store_refuses_calls_and_says_it_seldom() {
    let redis = RedisServer::start().await;
    let node = Program::start(&[("REDIS_URL", &redis.url())]).await;
    node.join("ana", viewer()).await;
    redis.command::<()>("CONFIG SET min-replicas-to-write 1");
    for _ in 0..50 {
        assert_eq!(node.join("ana", viewer()).await["stale"], true);
    }
    node.wait_for_log("NOREPLICAS").await;
    let lines = node.log().lines().filter(|line| line.contains("NOREPLICAS")).count();
    assert!(lines < 10, "{lines} lines");
    let (status, body) = readiness(&node).await;
    assert_eq!((status, &body["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("store")));
}

/// As when the program that collects the log hangs.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let mut node = Program::start_with_stuck_log(&[("RUST_LOG", "aforo=debug")]).await;
    // A pipe has 64 KB.
    for _ in 0..1_000 {
        node.join("ana", viewer()).await;
    }
    assert_eq!(node.get("/healthz").await.status(), StatusCode::OK);
    node.signal("TERM");
    assert!(node.wait_for_exit().await.success());
}

#[tokio::test]
async fn an_outage_is_visible_in_metrics_without_any_stream() {
    let mut redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    assert_eq!(value(&metrics(&app).await, "aforo_store_up"), 1.0);
    redis.kill();
    let away = async {
        while value(&metrics(&app).await, "aforo_store_up") > 0.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, away).await.expect("the outage is visible");
    assert!(value(&metrics(&app).await, "aforo_store_errors_total") > 0.0);
}

#[tokio::test]
async fn failed_calls_are_counted_as_errors_and_not_in_the_durations() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    app.join("ana", viewer()).await;
    let before = metrics(&app).await;
    store.set_broken(true);
    for _ in 0..10 {
        app.join("ana", viewer()).await;
    }
    let after = metrics(&app).await;
    let grown = |name: &str| value(&after, name) - value(&before, name);
    assert_eq!(grown("aforo_store_call_duration_seconds_count"), 0.0);
    assert!(grown("aforo_store_errors_total") >= 10.0);
}

/// Prometheus computes a rate from two samples, so an alert would miss the first increase of a counter that did not
/// exist before.
#[tokio::test]
async fn counters_are_exported_from_the_start() {
    let text = metrics(&TestApp::start().await).await;
    for name in limits::NAMES {
        let line = format!("aforo_limit_rejections_total{{limit=\"{name}\"}} 0");
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    for name in
        ["aforo_store_errors_total", "aforo_panics_total", "aforo_robots_total", "aforo_restored_total"]
    {
        assert!(text.contains(&format!("{name} 0")), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_channels_or_paths() {
    let app = TestApp::start().await;
    let touch = async |number: u32| {
        app.join(&format!("c{number}"), viewer()).await;
        app.get(&format!("/api/viewer/count/c{number}")).await;
        app.get(&format!("/no/such/{number}")).await;
        app.get(&format!("/api/no/such/{number}")).await;
    };
    touch(0).await;
    let before = metrics(&app).await.lines().count();
    stream::iter(1..1_000).for_each_concurrent(32, touch).await;
    let after = metrics(&app).await.lines().count();
    assert!(after <= before + 20, "{before} lines, then {after}");
}

#[tokio::test]
async fn a_panic_is_a_500_of_only_that_request() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    app.join("ana", viewer()).await;
    store.set_panicking(true);
    let response = app.get("/api/viewer/count/ana").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], "internal");
    assert!(!body.to_string().contains("panic"), "{body}");
    store.set_panicking(false);
    assert_eq!(app.count("ana").await, 1);
    assert_eq!(value(&metrics(&app).await, "aforo_panics_total"), 1.0);
}

#[tokio::test]
async fn the_reader_is_restarted_after_a_panic() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    app.join("ana", viewer()).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    store.set_panicking(true);
    let restarted = async {
        while value(&metrics(&app).await, "aforo_loop_restarts_total{loop=\"reader\"}") < 1.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, restarted).await.expect("the reader is restarted");
    store.set_panicking(false);
    app.join("ana", viewer()).await;
    stream.until(2).await;
}
