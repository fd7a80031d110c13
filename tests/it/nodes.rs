//! Several programs of ours over one Redis: what the end of one does to the others.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Program, RedisServer, Sampler, viewer};

/// A node whose viewers are gone so many seconds after their last beat.
async fn node(redis: &RedisServer, seconds: &str) -> Program {
    let settings = [
        ("REDIS_URL", &*redis.url()),
        ("VIEWER_HEARTBEAT_INTERVAL", "1000"),
        ("VIEWER_TIMEOUT", seconds),
        ("VIEWER_HIDDEN_TIMEOUT", seconds),
    ];
    Program::start(&settings).await
}

#[tokio::test]
async fn the_viewers_of_a_node_that_was_killed_stay_as_long_as_they_beat_elsewhere() {
    let redis = RedisServer::start().await;
    let (one, two) = (node(&redis, "10").await, node(&redis, "10").await);
    let viewers: Vec<_> = (0..10).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| one.join("ana", *viewer))).await;
    let sampler = Sampler::on(&two, "sse/ana").await;
    sampler.until_fresh("ana", 10).await;
    one.kill();
    for _ in 0..4 {
        for viewer in &viewers {
            let beat = two.heartbeat("ana", *viewer).await;
            assert_eq!(beat, json!({"count": 10, "stale": false, "active": true}));
        }
        sleep(Duration::from_millis(500)).await;
    }
    let again = node(&redis, "10").await;
    assert_eq!(again.count("ana").await, 10, "starting clears nothing, and adopts nothing");
    for viewer in &viewers {
        again.heartbeat("ana", *viewer).await;
    }
    let samples = sampler.samples();
    assert!(samples.iter().all(|sample| sample.count == Some(10) && !sample.stale), "{samples:?}");
}

#[tokio::test]
async fn the_viewers_of_a_node_that_was_killed_are_gone_when_their_leases_end() {
    let redis = RedisServer::start().await;
    let (one, two) = (node(&redis, "2").await, node(&redis, "2").await);
    join_all((0..10).map(|_| one.join("ana", viewer()))).await;
    let sampler = Sampler::on(&two, "sse/ana").await;
    one.kill();
    sampler.until_fresh("ana", 0).await;
    let _starting_brings_nobody_back = node(&redis, "2").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(two.count("ana").await, 0);
}
