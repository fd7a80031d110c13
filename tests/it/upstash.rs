//! Operation with Upstash: protocol, errors and number of commands.

use std::{process::Command, time::Duration};

use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, TestApp, Upstash, upstash::TOKEN, viewer};

async fn node(upstash: &Upstash, more: &[&str]) -> TestApp {
    let flags = ["--upstash-redis-rest-url", &upstash.url, "--upstash-redis-rest-token", TOKEN];
    TestApp::with(&[&flags, more].concat()).await
}

#[tokio::test]
async fn the_fake_server_works_with_the_client_of_upstash() {
    let upstash = Upstash::start().await;
    let (url, check) = (upstash.url.clone(), "tests/upstash-client/check.mjs");
    let node = move || Command::new("node").args([check, &url, TOKEN]).output();
    let output = tokio::task::spawn_blocking(node).await.unwrap().expect("Node.js is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn busy_and_failed_requests_are_retried() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    for status in [429, 500, 503] {
        upstash.fail(2, status);
        assert_eq!(app.join("ana", viewer()).await["stale"], false, "{status}");
    }
    assert_eq!(app.count("ana").await, 3);
}

#[tokio::test]
async fn an_outage_loses_no_beat() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    let one = viewer();
    app.join("ana", one).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(1).await;
    upstash.fail(u32::MAX, 503);
    assert_eq!(app.heartbeat("ana", one).await, json!({"count": 1, "stale": true, "active": true}));
    app.join("ana", viewer()).await;
    upstash.fail(0, 503);
    stream.until_fresh(2).await;
}

#[tokio::test]
async fn a_wrong_token_is_an_outage() {
    let upstash = Upstash::start().await;
    let flags = ["--upstash-redis-rest-url", &upstash.url, "--upstash-redis-rest-token", "wrong"];
    let app = TestApp::with(&flags).await;
    let joined = app.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(null), &json!(true)));
}

/// Upstash charges by commands, so readiness uses the results of calls that are necessary anyway.
#[tokio::test]
async fn readiness_uses_the_results_of_other_calls_and_few_commands() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    let status = async || app.get("/readyz").await.status().as_u16();
    assert_eq!(status().await, 200);
    let before = upstash.commands();
    for _ in 0..100 {
        assert_eq!(status().await, 200);
    }
    let commands = upstash.commands() - before;
    assert!(commands < 10, "{commands} commands for 100 requests");
    upstash.fail(u32::MAX, 503);
    app.join("ana", viewer()).await;
    assert_eq!(status().await, 503);
    upstash.fail(0, 503);
    let ready = async {
        while status().await != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("ready again");
}

/// With 1,000 viewers in a channel, a viewer-hour costs at most 15 commands. Here, 200 viewers send as many heartbeats
/// per second as 6,000 viewers would, so that a short measurement is enough.
#[tokio::test]
async fn a_viewer_hour_costs_few_commands() {
    let upstash = Upstash::start().await;
    let flags = ["--write-interval=1000", "--count-update-interval=2000", "--heartbeat-interval=1000"];
    let app = node(&upstash, &flags).await;
    let viewers: Vec<_> = (0..200).map(|_| viewer()).collect();
    let _stream = app.sse("sse/ana").await;
    join_all(viewers.iter().map(|viewer| app.join("ana", *viewer))).await;
    let (before, started) = (upstash.commands(), std::time::Instant::now());
    while started.elapsed() < Duration::from_secs(6) {
        join_all(viewers.iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
        sleep(Duration::from_millis(50)).await;
    }
    // One write per second and one reading every two seconds, regardless of the number of viewers.
    let per_hour = (upstash.commands() - before) as f64 / started.elapsed().as_secs_f64() * 3_600.0;
    let per_viewer_hour = per_hour / 1_000.0;
    println!("{per_viewer_hour:.1} commands per viewer-hour at 1,000 viewers");
    assert!(per_viewer_hour <= 15.0, "{per_viewer_hour}");
}
