//! Recording by real nodes over Redis and PostgreSQL: what it costs a beat, how old the figures are, and what becomes of
//! them when a node ends.

mod ends;

use std::time::Duration;

use aforo::server::clock::{Clock, SystemClock};
use futures::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Postgres, RedisServer, TestApp, viewer};

/// Starts a node over a Redis server and a database in PostgreSQL.
async fn node(redis: &RedisServer, database: &str) -> TestApp {
    let database = format!("--database-url={database}");
    TestApp::with(&["--redis-url", &redis.url(), &database, "--stats=public"]).await
}

/// The present broadcast of a channel, if a node shows one.
async fn present(app: &TestApp) -> Option<Value> {
    let body: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
    body["broadcasts"].get(0).filter(|figures| figures["endedAt"].is_null()).cloned()
}

/// Up to when figures tell, in milliseconds since the epoch: watch time is average × observed time.
fn told_until(figures: &Value) -> Option<f64> {
    let number = |name: &str| figures[name].as_f64();
    let seconds = number("watchSeconds")? / number("average")? / number("observed")?;
    Some(number("startedAt")? + seconds * 1_000.0)
}

#[tokio::test]
async fn the_figures_of_a_present_broadcast_are_at_most_ten_seconds_old_on_every_node() {
    let redis = RedisServer::start().await;
    let database = Postgres::shared().await.database().await;
    let nodes = [node(&redis, &database).await, node(&redis, &database).await];
    let (viewers, clock) = ([viewer(), viewer(), viewer()], SystemClock::start());
    for (nth, viewer) in viewers.iter().enumerate() {
        nodes[nth % 2].join("ana", *viewer).await;
    }
    // In each round both nodes show figures that tell more than before.
    let mut before = 0.0;
    for round in 0..3 {
        let began = Instant::now();
        let ends = loop {
            let figures = join_all(nodes.iter().map(present)).await;
            let now = clock.now().as_millis() as f64;
            let ends: Vec<f64> = figures.iter().flatten().filter_map(told_until).collect();
            let has_all = |figures: &Value| figures["peak"] == 3 && figures["uniques"] == 3;
            let is_fresh = |end: &f64| *end > before && now - end <= 10_000.0;
            if ends.len() == 2 && ends.iter().all(is_fresh) && figures.iter().flatten().all(has_all) {
                break ends;
            }
            assert!(began.elapsed() < PATIENCE, "round {round}: {figures:?} at {now}");
            sleep(Duration::from_millis(250)).await;
        };
        before = ends.iter().copied().fold(0.0, f64::max);
    }
}

/// Far shorter than the pause between two samples of the node that records a channel.
#[tokio::test]
async fn a_broadcast_of_a_moment_is_kept_whichever_node_took_its_calls() {
    let redis = RedisServer::start().await;
    let database = Postgres::shared().await.database().await;
    let nodes = [node(&redis, &database).await, node(&redis, &database).await];
    let channels: Vec<String> = (0..32).map(|nth| format!("moment{nth}")).collect();
    for (nth, channel) in channels.iter().enumerate() {
        let (node, viewer) = (&nodes[nth % 2], viewer());
        node.join(channel, viewer).await;
        node.leave(channel, viewer).await;
    }
    let has_broadcast = async |channel: &String| {
        let path = format!("/api/channel/{channel}/broadcasts");
        let body: Value = nodes[0].get(&path).await.json().await.unwrap();
        body["broadcasts"].as_array().is_some_and(|all| all.len() == 1 && all[0]["peak"] == 1)
    };
    let all = async {
        for channel in &channels {
            while !has_broadcast(channel).await {
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    timeout(PATIENCE, all).await.expect("every broadcast is kept");
}

#[tokio::test]
async fn recording_adds_no_command_of_redis_to_a_beat() {
    const BEATS: u32 = 400;
    let redis = RedisServer::start().await;
    let app = node(&redis, &Postgres::shared().await.database().await).await;
    let someone = viewer();
    app.join("ana", someone).await;
    let began = Instant::now();
    while present(&app).await.is_none() {
        assert!(began.elapsed() < PATIENCE, "the channel is recorded");
        sleep(Duration::from_millis(100)).await;
    }
    // What the node calls by itself in a second: samples, lists and the roll call.
    let (began, calls) = (Instant::now(), redis.calls());
    sleep(Duration::from_secs(5)).await;
    let each_second = (redis.calls() - calls) as f64 / began.elapsed().as_secs_f64();
    let (began, calls) = (Instant::now(), redis.calls());
    for _ in 0..BEATS {
        app.heartbeat("ana", someone).await;
    }
    let of_node = each_second * began.elapsed().as_secs_f64();
    let of_beats = (redis.calls() - calls) as f64 - of_node;
    // The rate of the node's own calls is not known exactly.
    let allowed = f64::from(BEATS) + of_node * 0.5 + 10.0;
    assert!(of_beats <= allowed, "{of_beats} calls for {BEATS} beats; {each_second} a second without them");
    assert!(of_beats >= f64::from(BEATS) * 0.5, "the beats are counted: {of_beats}");
}
