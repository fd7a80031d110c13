//! The log of renewals over a real Redis: heartbeats of a busy node, while nodes die, leave and shut down.

use std::time::Duration;

use aforo::{
    domain::Act,
    server::{
        redis::RedisRunner,
        store::{Store, remote::RemoteStore},
    },
};
use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    contract::{
        attend,
        rules::{RULES, op, write},
    },
    support::{PATIENCE, Program, RedisServer, acl_line, viewer},
};

/// The lease of a heartbeat, in milliseconds.
const LEASE: u64 = 60_000;

/// The number of viewers. Each sends heartbeats without a pause.
const VIEWERS: usize = 40;

async fn node(redis: &RedisServer) -> Program {
    Program::start(&[("REDIS_URL", &redis.url())]).await
}

/// Viewers that have joined.
async fn crowd(node: &Program) -> Vec<Uuid> {
    let viewers: Vec<_> = (0..VIEWERS).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| node.join("ana", *viewer))).await;
    viewers
}

/// Does something while all viewers send heartbeats.
async fn under_load<T>(node: &Program, viewers: &[Uuid], act: impl Future<Output = T>) -> T {
    let load = join_all(viewers.iter().map(|viewer| async move {
        loop {
            let beat = node.heartbeat("ana", *viewer).await;
            assert_eq!((&beat["stale"], &beat["active"]), (&json!(false), &json!(true)));
        }
    }));
    tokio::select! {
        done = act => done,
        _ = load => unreachable!("heartbeats go on for ever"),
    }
}

/// The logs that are not written to their channels yet.
fn logs(redis: &RedisServer) -> Vec<String> {
    redis.keys(0).into_iter().filter(|key| key.starts_with("aforo:{log ")).collect()
}

async fn until(is_met: impl Fn() -> bool) {
    let met = async {
        while !is_met() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, met).await.expect("it happens in time");
}

/// The time of Redis in milliseconds.
fn now(redis: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) = redis.command("TIME");
    seconds * 1_000 + micros / 1_000
}

/// When the first lease of a viewer in the channel ends.
fn first_end(redis: &RedisServer) -> u64 {
    let leases: Vec<(Vec<u8>, u64)> = redis.command("ZRANGE aforo:{ana}:viewers 0 -1 WITHSCORES");
    assert_eq!(leases.len(), VIEWERS);
    leases.into_iter().map(|(_, end)| end).min().unwrap()
}

#[tokio::test]
async fn heartbeats_under_load_are_logged_and_soon_in_their_channel() {
    let redis = RedisServer::start().await;
    let node = node(&redis).await;
    let viewers = crowd(&node).await;
    under_load(&node, &viewers, until(|| !logs(&redis).is_empty())).await;
    let since = now(&redis);
    let beats = join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    assert!(beats.iter().all(|beat| *beat == json!({"count": VIEWERS, "stale": false, "active": true})));
    until(|| logs(&redis).is_empty() && first_end(&redis) >= since + LEASE).await;
    assert_eq!(node.count("ana").await, 40);
}

#[tokio::test]
async fn a_node_that_is_killed_loses_no_heartbeat() {
    let redis = RedisServer::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let viewers = crowd(&one).await;
    // The other node attends too.
    two.heartbeat("ana", viewers[0]).await;
    let stopped = async {
        loop {
            under_load(&one, &viewers, until(|| !logs(&redis).is_empty())).await;
            let since = now(&redis);
            join_all(viewers.iter().map(|viewer| one.heartbeat("ana", *viewer))).await;
            // Stopped, the node can't write them.
            one.signal("STOP");
            if !logs(&redis).is_empty() && first_end(&redis) < since + LEASE {
                break since;
            }
            one.signal("CONT");
        }
    };
    let since = timeout(PATIENCE, stopped).await.expect("the node is stopped before it writes its log");
    one.kill();
    until(|| logs(&redis).is_empty() && first_end(&redis) >= since + LEASE).await;
    assert_eq!(two.count("ana").await, 40);
}

#[tokio::test]
async fn an_answer_under_load_has_all_that_its_node_has_answered() {
    let redis = RedisServer::start().await;
    let node = node(&redis).await;
    let viewers = crowd(&node).await;
    let change = async {
        for _ in 0..10 {
            until(|| !logs(&redis).is_empty()).await;
            let new = viewer();
            let count = async || node.heartbeat("ana", viewers[0]).await["count"].clone();
            assert_eq!(node.join("ana", new).await["count"], 41);
            assert_eq!(count().await, 41);
            node.leave("ana", new).await;
            assert_eq!(count().await, 40);
        }
    };
    under_load(&node, &viewers, change).await;
}

#[tokio::test]
async fn a_leave_through_another_node_is_heeded_under_load() {
    let redis = RedisServer::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let viewers = crowd(&one).await;
    let (leaving, staying) = viewers.split_at(10);
    let leave = async {
        for viewer in leaving {
            until(|| !logs(&redis).is_empty()).await;
            let beat = one.heartbeat("ana", *viewer).await;
            assert_eq!(beat["active"], true);
            two.leave("ana", *viewer).await;
            assert_eq!(one.heartbeat("ana", *viewer).await["active"], false);
        }
    };
    under_load(&one, staying, leave).await;
    until(|| logs(&redis).is_empty()).await;
    assert_eq!((one.count("ana").await, two.count("ana").await), (30, 30));
    assert_eq!(redis.command::<usize>("ZCARD aforo:{leaves}"), leaving.len());
    join_all(leaving.iter().map(|viewer| two.join("ana", *viewer))).await;
    assert_eq!(redis.command::<usize>("ZCARD aforo:{leaves}"), 0, "they have come back");
}

#[tokio::test]
async fn a_node_that_shuts_down_writes_its_log_first() {
    let redis = RedisServer::start().await;
    let mut node = node(&redis).await;
    let viewers = crowd(&node).await;
    under_load(&node, &viewers, until(|| !logs(&redis).is_empty())).await;
    let since = now(&redis);
    join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    node.signal("TERM");
    assert!(node.wait_for_exit().await.success());
    assert_eq!(logs(&redis), Vec::<String>::new());
    assert!(first_end(&redis) >= since + LEASE);
}

#[tokio::test]
async fn a_user_who_may_not_log_counts_as_before() {
    let redis = RedisServer::start().await;
    let allowed = acl_line("secret");
    let words: Vec<_> = allowed.iter().map(String::as_str).filter(|word| *word != "+rpush").collect();
    redis.request::<()>(&words);
    let url = format!("redis://aforo:secret@127.0.0.1:{}", redis.port);
    let node = Program::start(&[("REDIS_URL", &url)]).await;
    let viewers = crowd(&node).await;
    let tried = || redis.command::<String>("INFO commandstats").contains("cmdstat_zmscore");
    under_load(&node, &viewers, until(tried)).await;
    let since = now(&redis);
    let beats = join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    assert!(beats.iter().all(|beat| *beat == json!({"count": VIEWERS, "stale": false, "active": true})));
    assert!(first_end(&redis) >= since + LEASE);
    assert_eq!(logs(&redis), Vec::<String>::new());
}

#[tokio::test]
async fn the_sessions_that_have_left_are_freed_in_small_steps() {
    let redis = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "aforo", RULES);
    attend(1, &store).await;
    let fill = "for i = 1, 2500 do redis.call('ZADD', KEYS[1], 1, i) end";
    redis.request::<()>(&["EVAL", fill, "1", "aforo:{leaves}"]);
    let join = Act::Join { lease: RULES.longest_lease };
    write(&store, "ana", &[op(1, 1, join), op(2, 2, join), op(2, 2, Act::Leave)]).await;
    assert_eq!(redis.command::<usize>("ZCARD aforo:{leaves}"), 1_501, "a write frees at most 1,000");
    store.sweep().await.unwrap();
    assert_eq!(redis.command::<usize>("ZCARD aforo:{leaves}"), 1);
}
