//! A real Redis Cluster: where channels are, and what happens when servers change.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{RedisCluster, TestApp, viewer};

/// Channels, at least one on each of the three primaries.
const CHANNELS: [&str; 6] = ["ana", "bob", "eva", "leo", "mia", "zoe"];

/// A node that has found its way around the cluster.
async fn node(cluster: &RedisCluster) -> TestApp {
    let app = TestApp::with(&["--redis-url", &cluster.urls()]).await;
    app.sse("sse/unrelated").await.until_fresh(0).await;
    app
}

#[tokio::test]
async fn channels_are_spread_and_counted_on_every_node() {
    let cluster = RedisCluster::start(0).await;
    let (one, two) = (node(&cluster).await, node(&cluster).await);
    let mut primaries: Vec<_> = CHANNELS.iter().map(|channel| cluster.primary_of(channel)).collect();
    primaries.sort_unstable();
    primaries.dedup();
    assert_eq!(primaries.len(), 3, "the channels of the test are on all primaries");
    for (n, channel) in CHANNELS.iter().enumerate() {
        join_all((0..=n).map(|_| one.join(channel, viewer()))).await;
    }
    let answer: serde_json::Value =
        two.get(&format!("/api/viewer/counts?channels={}", CHANNELS.join(","))).await.json().await.unwrap();
    let counts: Vec<_> =
        answer["counts"].as_array().unwrap().iter().map(|count| count["count"].clone()).collect();
    assert_eq!(counts, (1..=6).map(|n| json!(n)).collect::<Vec<_>>());
    let live: serde_json::Value = two.get("/api/viewer/live").await.json().await.unwrap();
    assert_eq!(live["channels"].as_array().unwrap().len(), 6);
    assert_eq!(live["channels"][0]["channelId"], "zoe");
    for server in &cluster.servers {
        for key in server.command::<Vec<String>>("KEYS *") {
            assert!(server.request::<i64>(&["PTTL", &key]) > 0, "{key} expires");
        }
    }
}

#[tokio::test]
async fn a_primary_that_dies_is_replaced_and_other_channels_do_not_notice() {
    let mut cluster = RedisCluster::start(1).await;
    let app = node(&cluster).await;
    let viewers: Vec<_> = (0..10).map(|_| viewer()).collect();
    for channel in CHANNELS {
        join_all(viewers.iter().map(|viewer| app.join(channel, *viewer))).await;
    }
    let dying = cluster.primary_of("ana");
    let (hit, others): (Vec<_>, Vec<_>) =
        CHANNELS.into_iter().partition(|channel| cluster.primary_of(channel) == dying);
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(10).await;
    cluster.servers[dying].kill();
    for _ in 0..10 {
        for channel in &others {
            assert_eq!(
                app.heartbeat(channel, viewers[0]).await,
                json!({"count": 10, "stale": false, "active": true})
            );
        }
        let beat = app.heartbeat("ana", viewers[0]).await;
        assert_eq!(
            (&beat["count"], &beat["active"]),
            (&json!(10), &json!(true)),
            "maybe stale, never too low"
        );
        sleep(Duration::from_millis(50)).await;
    }
    app.join("ana", viewer()).await;
    let before = stream.until_fresh(11).await;
    assert!(before.iter().all(|count| *count == Some(10)), "{before:?}");
    for channel in hit {
        assert!(app.count(channel).await >= 10);
    }
}

#[tokio::test]
async fn channels_that_move_to_another_primary_are_counted_on() {
    let cluster = RedisCluster::start(0).await;
    let app = node(&cluster).await;
    let viewers: Vec<_> = (0..5).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| app.join("ana", *viewer))).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(5).await;

    let from = cluster.primary_of("ana");
    let to = (from + 1) % 3;
    let id = |server: usize| cluster.servers[server].command::<String>("CLUSTER MYID");
    let slot = cluster.servers[0].request::<u16>(&["CLUSTER", "KEYSLOT", "{ana}"]).to_string();
    cluster.servers[to].request::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    cluster.servers[from].request::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    app.heartbeat("ana", viewers[0]).await;
    let keys = cluster.servers[from].request::<Vec<String>>(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    let port = cluster.servers[to].port.to_string();
    let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    migrate.extend(keys.iter().map(String::as_str));
    cluster.servers[from].request::<String>(&migrate);
    app.heartbeat("ana", viewers[1]).await;
    for server in &cluster.servers {
        server.request::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }

    app.join("ana", viewer()).await;
    let before = stream.until_fresh(6).await;
    assert!(before.iter().all(|count| *count == Some(5)), "{before:?}");
    assert_eq!(cluster.primary_of("ana"), to);
}
