//! Faults of real Redis servers. Clients get no error and no live count that is too low, and a correct count
//! afterwards.

use std::{fs, os::unix::fs::symlink, sync::Arc, time::Duration};

use aforo::{
    domain::{ChannelId, Policy, Timestamp},
    server::{clock::ManualClock, redis::RedisRunner, store::remote::RemoteStore},
};
use futures::future::join_all;
use redis::{Client, Value};
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::support::{PATIENCE, Program, RedisServer, Sampler, TestApp, viewer};

/// Starts a node with viewers in a channel.
async fn with_viewers(redis: &RedisServer, number: u64) -> (TestApp, Vec<Uuid>) {
    let app = TestApp::with_redis(redis).await;
    let viewers: Vec<_> = (0..number).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| app.join("ana", *viewer))).await;
    assert_eq!(app.count("ana").await, number);
    (app, viewers)
}

#[tokio::test]
async fn a_node_starts_without_redis_and_recovers_when_redis_starts() {
    let mut redis = RedisServer::reserve();
    let app = TestApp::with_redis(&redis).await;
    assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
    assert_eq!(app.get("/ana").await.status(), StatusCode::OK);
    assert_eq!(app.get("/api/viewer/count/ana").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let joined = app.join("ana", viewer()).await;
    assert_eq!(
        (&joined["count"], &joined["stale"]),
        (&json!(null), &json!(true)),
        "the count is unknown, not zero"
    );
    let mut stream = app.sse("sse/ana").await;
    redis.run().await;
    stream.until_fresh(1).await;
}

#[tokio::test]
async fn a_redis_restarted_without_data_is_restored_without_waiting_for_beats() {
    let mut redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 20).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(20).await;

    redis.kill();
    let beat = app.heartbeat("ana", viewers[0]).await;
    assert_eq!(beat, json!({"count": 20, "stale": true, "active": true}));
    app.leave("ana", viewers[1]).await;
    app.join("ana", viewer()).await;
    app.join("ana", viewer()).await;
    redis.run().await;

    let before = stream.until_fresh(21).await;
    assert!(
        before.iter().all(|count| *count == Some(20)),
        "the count may be stale but is never too low: {before:?}"
    );
    assert_eq!(
        app.heartbeat("ana", viewers[1]).await["active"],
        false,
        "the session that left does not count"
    );
}

#[tokio::test]
async fn every_node_notices_an_emptied_redis_although_no_connection_broke() {
    let redis = RedisServer::start().await;
    let (one, _) = with_viewers(&redis, 5).await;
    let two = TestApp::with_redis(&redis).await;
    for _ in 0..5 {
        two.join("ana", viewer()).await;
    }
    let mut streams = [one.sse("sse/ana").await, two.sse("sse/ana").await];
    for stream in &mut streams {
        stream.until_fresh(10).await;
    }
    redis.command::<()>("FLUSHALL");
    for app in [&one, &two] {
        // No viewer beats: open streams are enough to notice the loss.
        let restored = async {
            while redis.command::<Vec<String>>("KEYS *").is_empty() || app.count("ana").await != 10 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, restored).await.expect("the data is restored");
    }
}

#[tokio::test]
async fn a_paused_redis_delays_no_response_for_long_and_loses_no_beat() {
    let redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 5).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(5).await;
    redis.command::<()>("CLIENT PAUSE 4000 ALL");
    let answers = join_all(viewers.iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
    assert!(
        answers.iter().all(|answer| *answer == json!({"count": 5, "stale": true, "active": true})),
        "{answers:?}"
    );
    app.join("ana", viewer()).await;
    let before = stream.until_fresh(6).await;
    assert!(before.iter().all(|count| *count == Some(5)), "{before:?}");
}

#[tokio::test]
async fn repeatedly_killed_connections_are_not_visible_to_clients() {
    let redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 50).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(50).await;
    for viewer in &viewers[..20] {
        redis.command::<Value>("CLIENT KILL TYPE normal SKIPME yes");
        let beat = app.heartbeat("ana", *viewer).await;
        assert_eq!((&beat["count"], &beat["active"]), (&json!(50), &json!(true)));
    }
    app.join("ana", viewer()).await;
    let before = stream.until_fresh(51).await;
    assert!(before.iter().all(|count| *count >= Some(50)), "{before:?}");
}

#[tokio::test]
async fn an_idle_connection_closed_by_redis_is_not_visible_to_clients() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    redis.command::<()>("CONFIG SET timeout 1");
    for n in 1..=2 {
        sleep(Duration::from_millis(2_500)).await;
        let joined = app.join("ana", viewer()).await;
        assert_eq!((&joined["count"], &joined["stale"]), (&json!(n), &json!(false)));
    }
}

#[tokio::test]
async fn a_redis_out_of_memory_loses_no_beat() {
    let redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 5).await;
    redis.command::<()>("CONFIG SET maxmemory 1");
    assert_eq!(app.heartbeat("ana", viewers[0]).await, json!({"count": 5, "stale": true, "active": true}));
    app.join("ana", viewer()).await;
    let mut stream = app.sse("sse/ana").await;
    redis.command::<()>("CONFIG SET maxmemory 0");
    let before = stream.until_fresh(6).await;
    assert!(before.iter().all(|count| *count == Some(5)), "{before:?}");
}

#[tokio::test]
async fn writes_during_a_demotion_are_replayed_after_the_promotion() {
    let (redis, primary) = (RedisServer::start().await, RedisServer::start().await);
    let (app, viewers) = with_viewers(&redis, 5).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(5).await;
    redis.command::<()>(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    let beat = app.heartbeat("ana", viewers[0]).await;
    assert_eq!((&beat["count"], &beat["active"]), (&json!(5), &json!(true)));
    app.join("ana", viewer()).await;
    redis.command::<()>("REPLICAOF NO ONE");
    let before = stream.until_fresh(6).await;
    assert!(before.iter().all(|count| *count == Some(5)), "{before:?}");
}

#[tokio::test]
async fn a_node_reconnects_to_the_new_primary_after_a_demotion() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("name");
    let (mut old, mut new) = (RedisServer::reserve(), RedisServer::reserve());
    let sockets = [old.add_socket(), new.add_socket()];
    old.run().await;
    new.run().await;
    symlink(&sockets[0], &name).unwrap();
    let app = TestApp::with(&["--redis-url", &format!("unix:{}", name.display())]).await;
    app.sse("sse/ana").await.until_fresh(0).await;
    app.join("ana", viewer()).await;
    assert!(!old.keys(0).is_empty());

    fs::remove_file(&name).unwrap();
    symlink(&sockets[1], &name).unwrap();
    old.command::<()>(&format!("REPLICAOF 127.0.0.1 {}", new.port));
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until_fresh(2).await;
    assert_eq!(new.command::<usize>("ZCARD aforo:{ana}:viewers"), 2);
}

#[tokio::test]
async fn a_server_that_never_answers_delays_no_response_for_long() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let app = TestApp::with(&["--redis-url", &url]).await;
    let _accepting = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok(connection) = silent.accept().await {
            connections.push(connection);
        }
    });
    for _ in 0..3 {
        assert_eq!(app.join("ana", viewer()).await["stale"], true);
        assert_eq!(app.get("/ana").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn flushed_scripts_are_sent_again() {
    let redis = RedisServer::start().await;
    let (app, _) = with_viewers(&redis, 1).await;
    redis.command::<()>("SCRIPT FLUSH");
    let joined = app.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn every_key_expires() {
    let redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 3).await;
    app.leave("ana", viewers[0]).await;
    app.heartbeat("bob", viewers[1]).await;
    let keys = redis.command::<Vec<String>>("KEYS *");
    assert!(keys.len() >= 6, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("aforo:{"), "{key}");
        assert!(redis.request::<i64>(&["PTTL", &key]) > 0, "{key} expires");
    }
}

/// Nodes read a channel every second or two. A node that has read a count and then finds no channel assumes a loss.
#[tokio::test]
async fn the_keys_of_a_channel_expire_at_least_one_second_after_the_last_lease() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let app = TestApp::with(&[
        "--redis-url",
        &url,
        "--heartbeat-interval=8000",
        "--timeout=16",
        "--hidden-timeout=16",
    ])
    .await;
    let key = "aforo:{ana}:viewers";
    let someone = viewer();
    for _ in 0..6 {
        app.heartbeat("ana", someone).await;
        let leases = redis.request::<Vec<(Vec<u8>, f64)>>(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
        // Redis 6.2 has no PEXPIRETIME.
        let expires = "local now = redis.call('TIME')
            return redis.call('PTTL', KEYS[1]) + now[1] * 1000 + math.floor(now[2] / 1000)";
        let expires = redis.request::<f64>(&["EVAL", expires, "1", key]);
        let after = expires - leases[0].1;
        assert!(after >= 1_000.0, "the keys expire {after} ms after the last lease");
        sleep(Duration::from_millis(350)).await;
    }
}

#[tokio::test]
async fn concurrent_beats_are_written_in_groups() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    app.join("warm-up", viewer()).await;
    let before = redis.calls();
    join_all((0..400).map(|n| app.join(["ana", "bob", "eva"][n % 3], viewer()))).await;
    let calls = redis.calls() - before;
    assert!(calls < 200, "{calls} calls for 400 joins");
    assert_eq!(app.count("ana").await, 134);
}

#[tokio::test]
async fn a_write_interval_reduces_the_number_of_calls() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--write-interval=300", "--count-update-interval=4000"];
    let app = TestApp::with(&flags).await;
    let monitor = redis.monitor().await;
    for _ in 0..5 {
        join_all((0..20).map(|_| app.join("ana", viewer()))).await;
    }
    let commands = monitor.commands();
    let calls =
        commands.iter().filter(|command| command.contains("EVAL") && command.contains("{ana}")).count();
    // The first write is immediate, and each further write takes the beats of one interval. The channel is also read once
    // a second, and entered into the list once.
    assert!((2..=20).contains(&calls), "{calls} calls for 100 joins");
    assert_eq!(app.count("ana").await, 100);
}

#[tokio::test]
async fn a_change_on_one_node_is_shown_on_the_streams_of_another() {
    let redis = RedisServer::start().await;
    let (one, two) = (TestApp::with_redis(&redis).await, TestApp::with_redis(&redis).await);
    let mut stream = two.sse("sse/ana").await;
    stream.until_fresh(0).await;
    let viewer = viewer();
    one.join("ana", viewer).await;
    stream.until_fresh(1).await;
    two.leave("ana", viewer).await;
    one.sse("sse/ana").await.until_fresh(0).await;
}

#[tokio::test]
async fn stopping_a_node_ends_no_session() {
    let redis = RedisServer::start().await;
    let (one, viewers) = with_viewers(&redis, 10).await;
    let two = TestApp::with_redis(&redis).await;
    let mut stream = two.sse("sse/ana").await;
    stream.until_fresh(10).await;
    one.stop().await;
    for viewer in viewers {
        assert_eq!(two.heartbeat("ana", viewer).await, json!({"count": 10, "stale": false, "active": true}));
    }
    let _starting_clears_nothing = TestApp::with_redis(&redis).await;
    assert_eq!(two.count("ana").await, 10);
}

#[tokio::test]
async fn after_a_loss_the_last_operation_wins_in_any_order_of_replay() {
    let redis = RedisServer::start().await;
    let (one, two) = (TestApp::with_redis(&redis).await, TestApp::with_redis(&redis).await);
    let (there, gone): (Vec<_>, Vec<_>) = (0..12).map(|_| (viewer(), viewer())).unzip();
    for (there, gone) in there.iter().zip(&gone) {
        one.join("ana", *there).await;
        one.join("ana", *gone).await;
        two.leave("ana", *there).await;
        sleep(Duration::from_millis(5)).await;
        one.join("ana", *there).await;
        two.leave("ana", *gone).await;
    }
    let mut streams = [one.sse("sse/ana").await, two.sse("sse/ana").await];
    for stream in &mut streams {
        stream.until_fresh(12).await;
    }
    redis.command::<()>("FLUSHALL");
    for app in [&one, &two] {
        let restored = async {
            while redis.command::<usize>("EXISTS aforo:{ana}:viewers") == 0 || app.count("ana").await != 12 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, restored).await.expect("the data is restored");
        // Exactly the viewers whose last operation was a join count. (The others are not checked with heartbeats: on a
        // busy machine, their leaves may have been forgotten after ten seconds, and the heartbeats would count.)
        for viewer in &there {
            let beat = app.heartbeat("ana", *viewer).await;
            assert_eq!((&beat["count"], &beat["active"]), (&json!(12), &json!(true)));
        }
    }
}

#[tokio::test]
async fn damaged_keys_affect_only_their_channel_and_are_repaired() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let viewers = [viewer(), viewer()];
    for channel in ["ana", "bob"] {
        join_all(viewers.iter().map(|viewer| app.join(channel, *viewer))).await;
    }
    for damage in
        ["SET aforo:{ana}:viewers text", "SET aforo:{ana}:sessions text", "HSET aforo:{ana}:sessions x y"]
    {
        let mut stream = app.sse("sse/bob").await;
        stream.until_fresh(2).await;
        redis.command::<Value>(damage);
        if damage.starts_with("HSET") {
            let known = redis.request::<Vec<Vec<u8>>>(&["HKEYS", "aforo:{ana}:sessions"]);
            for field in known.iter().filter(|field| field.len() == 14) {
                let connection = &mut Client::open(redis.url()).unwrap().get_connection().unwrap();
                redis::cmd("HSET").arg("aforo:{ana}:sessions").arg(field).arg("?").exec(connection).unwrap();
            }
        }
        let both = join_all(["ana", "bob"].map(|channel| app.heartbeat(channel, viewers[0]))).await;
        assert_eq!(both[1], json!({"count": 2, "stale": false, "active": true}), "{damage}");
        app.sse("sse/ana").await.until_fresh(2).await;
    }
}

#[tokio::test]
async fn damaged_keys_that_channels_share_are_replaced() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let ana = ChannelId::parse("ana").unwrap();
    let names = (0..).map(|nth| ChannelId::parse(&format!("c{nth}")).unwrap());
    let mut others = names.filter(|other| other.part() == ana.part());
    let viewer = viewer();
    app.join("ana", viewer).await;
    let bucket = format!("aforo:{{live {}}}", ana.part());
    for (key, kind) in [("aforo:{nodes}", "hash"), ("aforo:{shares}", "hash"), (&*bucket, "zset")] {
        redis.request::<()>(&["SET", key, "text"]);
        let beat = app.heartbeat("ana", viewer).await;
        assert_eq!((&beat["count"], &beat["active"]), (&json!(1), &json!(true)), "{key}: {beat}");
        // This enters a channel into the bucket.
        app.join(others.next().unwrap().as_str(), viewer).await;
        app.sse("sse/ana").await.until_fresh(1).await;
        let replaced = async {
            while redis.request::<String>(&["TYPE", key]) != kind {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, replaced).await.unwrap_or_else(|_| panic!("{key} is replaced"));
    }
    let listed = async {
        loop {
            let live: serde_json::Value = app.get("/api/viewer/live").await.json().await.unwrap();
            if live["channels"].as_array().is_some_and(|channels| !channels.is_empty()) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, listed).await.expect("the live list has the channel again");
}

#[tokio::test]
async fn nodes_with_different_clocks_count_the_same() {
    let redis = RedisServer::start().await;
    let node = async |hours: u64| {
        let runner = RedisRunner::open(&redis.url()).unwrap();
        let store = RemoteStore::new(runner, "aforo", Policy::default().lease_rules());
        let clock = ManualClock::new(Timestamp::from_millis(1_790_000_000_000 + hours * 3_600_000));
        let database = format!("--database-url=sqlite:{}", redis.database().display());
        TestApp::with_store_and_clock(Arc::new(store), Arc::new(clock), &[&database]).await
    };
    let (one, two) = (node(0).await, node(5).await);
    for app in [&one, &two] {
        app.join("ana", viewer()).await;
    }
    assert_eq!((one.count("ana").await, two.count("ana").await), (2, 2));
    let mut streams = [one.sse("sse/ana").await, two.sse("sse/ana").await];
    redis.command::<()>("FLUSHALL");
    for app in [&one, &two] {
        app.join("ana", viewer()).await;
    }
    for stream in &mut streams {
        stream.until_fresh(4).await;
    }
}

#[tokio::test]
async fn the_count_stays_correct_while_connections_are_killed_and_redis_pauses() {
    const VIEWERS: u64 = 300;
    let redis = RedisServer::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--heartbeat-interval=1000", "--timeout=8", "--hidden-timeout=8"];
    let app = TestApp::with(&flags).await;
    let viewers: Vec<_> = (0..VIEWERS).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| app.join("ana", *viewer))).await;
    let sampler = Sampler::on(&app, "sse/ana").await;
    sampler.until_fresh("ana", VIEWERS).await;
    let trouble = async {
        for second in 0..12 {
            if second % 5 == 1 {
                redis.command::<()>("CLIENT PAUSE 1500 ALL");
            }
            redis.command::<Value>("CLIENT KILL TYPE normal SKIPME yes");
            sleep(Duration::from_secs(1)).await;
        }
    };
    let beats = async {
        loop {
            let answers = join_all(viewers.iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
            assert!(answers.iter().all(|answer| answer["active"] == true && answer["count"] == VIEWERS));
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = trouble => {}
        () = beats => {}
    }
    sampler.until_fresh("ana", VIEWERS).await;
    let samples = sampler.samples();
    assert!(samples.iter().all(|sample| sample.count == Some(VIEWERS)), "{samples:?}");
}

#[tokio::test]
async fn the_first_call_after_an_idle_period_or_a_disconnect_succeeds() {
    let redis = RedisServer::start().await;
    let nodes = join_all((0..20).map(async |_| TestApp::with_redis(&redis).await)).await;
    for (n, node) in nodes.iter().enumerate() {
        node.sse(&format!("sse/channel-{n}")).await.until_fresh(0).await;
    }
    redis.command::<()>("CONFIG SET timeout 1");
    sleep(Duration::from_millis(3_000)).await;
    let joins = nodes.iter().enumerate();
    let joins =
        join_all(joins.map(async |(n, node)| node.join(&format!("channel-{n}"), viewer()).await)).await;
    assert!(joins.iter().all(|answer| answer["count"] == 1 && answer["stale"] == false), "{joins:?}");
    for n in 2..=21 {
        redis.command::<Value>("CLIENT KILL TYPE normal SKIPME yes");
        nodes[0].join("channel-0", viewer()).await;
        nodes[0].sse("sse/channel-0").await.until_fresh(n).await;
    }
}

#[tokio::test]
async fn expired_leases_in_a_dump_do_not_count() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--heartbeat-interval=1000", "--timeout=3"];
    let app = TestApp::with(&flags).await;
    join_all((0..20).map(|_| app.join("ana", viewer()))).await;
    redis.command::<()>("SAVE");
    redis.kill();
    sleep(Duration::from_secs(3)).await;
    redis.run().await;
    assert_eq!(redis.command::<usize>("ZCARD aforo:{ana}:viewers"), 20, "the leases are in the dump");
    let another = TestApp::with(&flags).await;
    for node in [&app, &another] {
        node.sse("sse/ana").await.until_fresh(0).await;
    }
}

#[tokio::test]
async fn joins_and_leaves_after_a_dump_are_replayed_when_it_is_loaded() {
    let mut redis = RedisServer::start().await;
    let (app, viewers) = with_viewers(&redis, 20).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(20).await;
    // Long enough for the node to read the identity of the Redis server.
    sleep(Duration::from_millis(500)).await;
    redis.command::<()>("SAVE");
    for viewer in &viewers[..5] {
        app.leave("ana", *viewer).await;
    }
    app.join("ana", viewer()).await;
    redis.kill();
    app.leave("ana", viewers[5]).await;
    redis.run().await;
    stream.until_fresh(15).await;
    assert_eq!(app.count("ana").await, 15);
}

#[tokio::test]
async fn a_channel_that_lost_a_key_is_restored() {
    let redis = RedisServer::start().await;
    let (one, two) = (TestApp::with_redis(&redis).await, TestApp::with_redis(&redis).await);
    for node in [&one, &two] {
        join_all((0..5).map(|_| node.join("ana", viewer()))).await;
    }
    let samplers = [Sampler::on(&one, "sse/ana").await, Sampler::on(&two, "sse/ana").await];
    for key in ["viewers", "sessions"] {
        for sampler in &samplers {
            sampler.until_fresh("ana", 10).await;
        }
        redis.command::<()>(&format!("DEL aforo:{{ana}}:{key}"));
        let restored = async {
            while redis.command::<usize>("ZCARD aforo:{ana}:viewers") != 10
                || redis.command::<usize>("HLEN aforo:{ana}:sessions") != 11
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, restored).await.expect("the data is restored");
        for sampler in &samplers {
            sampler.until_fresh("ana", 10).await;
            let samples = sampler.samples();
            assert!(samples.iter().all(|sample| sample.count == Some(10)), "{key}: {samples:?}");
        }
    }
}

#[tokio::test]
async fn evicted_channels_are_restored_without_waiting_for_beats() {
    const CHANNELS: usize = 20;
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let channels: Vec<_> = (0..CHANNELS).map(|n| format!("channel-{n}")).collect();
    for channel in &channels {
        join_all((0..10).map(|_| app.join(channel, viewer()))).await;
    }
    let sampler = Sampler::on(&app, &format!("sse?channels={}", channels.join(","))).await;
    for channel in &channels {
        sampler.until_fresh(channel, 10).await;
    }
    let ours = || redis.keys(0).iter().filter(|key| key.contains("{channel")).count();
    let all = ours();
    // Foreign keys fill the memory, and Redis may evict any key.
    redis.command::<()>("CONFIG SET maxmemory-policy allkeys-random");
    let filling = "x".repeat(10_000);
    for n in 0..200 {
        redis.request::<()>(&["SET", &format!("another's-{n}"), &filling]);
    }
    let memory: String = redis.command("INFO memory");
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let limit = used.trim().parse::<u64>().unwrap() - 1_000_000;
    redis.command::<()>(&format!("CONFIG SET maxmemory {limit}"));
    assert!(ours() < all, "some keys were evicted");
    redis.command::<()>("CONFIG SET maxmemory 0");

    let restored = async {
        while ours() < all {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, restored).await.expect("the data is restored");
    for channel in &channels {
        sampler.until_fresh(channel, 10).await;
    }
    let samples = sampler.samples();
    assert!(samples.iter().all(|sample| sample.count == Some(10)), "{samples:?}");
}

#[tokio::test]
async fn an_outage_writes_few_log_lines() {
    let mut redis = RedisServer::start().await;
    let program = Program::start(&[("REDIS_URL", &redis.url())]).await;
    let viewers: Vec<_> = (0..20).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| program.join("ana", *viewer))).await;
    redis.kill();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        join_all(viewers.iter().map(|viewer| program.heartbeat("ana", *viewer))).await;
        sleep(Duration::from_millis(100)).await;
    }
    redis.run().await;
    program.sse("sse/ana").await.until_fresh(20).await;
    program.join("ana", viewer()).await;
    program.sse("sse/ana").await.until_fresh(21).await;
    let log = program.log();
    assert!(log.contains("can't connect") && log.lines().count() < 15, "{log}");
}
