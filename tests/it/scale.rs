//! The load on Redis with many channels, viewers and streams, and without any.

use std::time::{Duration, Instant};

use aforo::{
    domain::{Act, ChannelId, LeaseRules, Op, SessionId, ViewerId},
    server::{
        redis::RedisRunner,
        store::{Batch, MAX_OPS, Store, remote::RemoteStore},
    },
};
use futures::{StreamExt, future::join_all, stream};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::{PATIENCE, RedisServer, TestApp, viewer};

#[tokio::test]
async fn the_number_of_redis_calls_does_not_grow_with_the_streams() {
    let redis = RedisServer::start().await;
    let flags = ["--limit-streams-per-address=0", "--limit-connections-per-address=0"];
    let app = TestApp::with(&[&["--redis-url", &redis.url()], &flags[..]].concat()).await;
    app.join("ana", viewer()).await;
    let calls_with = async |number: usize| {
        let mut streams = join_all((0..number).map(|_| app.sse("sse/ana"))).await;
        for stream in &mut streams {
            stream.data().await;
        }
        let (before, began) = (redis.calls(), Instant::now());
        sleep(Duration::from_secs(2)).await;
        let calls = redis.calls() - before;
        // In two seconds. On a busy machine the pause is longer.
        calls * 2_000 / u64::try_from(began.elapsed().as_millis()).unwrap()
    };
    let (few, many) = (calls_with(10).await, calls_with(1_000).await);
    assert!(many <= few + few / 5 + 2, "{few} calls for 10 streams, {many} for 1,000");
}

#[tokio::test]
async fn an_idle_node_sends_few_commands() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--heartbeat-interval=500", "--timeout=1", "--hidden-timeout=1"];
    let usual = ["--cleanup-interval=1", "--count-update-interval=1000"];
    let app = TestApp::with(&[&flags[..], &usual].concat()).await;
    let viewers: Vec<_> = (0..20).map(|_| viewer()).collect();
    let streams = join_all((0..5).map(async |n| app.sse(&format!("sse/channel-{n}")).await)).await;
    for (n, viewer) in viewers.iter().enumerate() {
        app.join(&format!("channel-{}", n % 5), *viewer).await;
    }
    app.leave("channel-0", viewers[0]).await;
    drop(streams);
    let monitor = redis.monitor().await;
    // Once a second the node renews its share in the channels, lists the live ones and reads their counts. At each half of
    // the update interval it attends the roll call and checks some channels.
    let is_quiet = |calls: usize| calls <= 3 * (3 + 4) + 6;
    let quiet = async {
        loop {
            let before = monitor.commands().len();
            sleep(Duration::from_secs(3)).await;
            let commands = monitor.commands();
            let calls = commands[before..].iter().filter(|command| command.contains("EVAL")).count();
            if is_quiet(calls) {
                return;
            }
        }
    };
    timeout(PATIENCE, quiet).await.expect("the node becomes idle");
}

/// The durations of the slow script calls since the last invocation, in ms.
fn slow_calls(redis: &RedisServer) -> Vec<u64> {
    let entries: Vec<Vec<redis::Value>> = redis.command("SLOWLOG GET -1");
    redis.command::<()>("SLOWLOG RESET");
    let call = |entry: Vec<redis::Value>| {
        let words: Vec<Vec<u8>> = redis::from_redis_value(entry[3].clone()).unwrap();
        let micros: u64 = redis::from_redis_value(entry[2].clone()).unwrap();
        // The log also contains the commands inside scripts.
        words[0].starts_with(b"EVAL").then_some(micros / 1_000)
    };
    entries.into_iter().filter_map(call).collect()
}

/// Asserts that at most half of the calls were slow. Redis measures wall-clock time, so on a busy machine some calls
/// appear slow. A call whose cost grows with the number of viewers is always slow.
fn assert_fast(redis: &RedisServer, calls: u64) {
    let slow = slow_calls(redis);
    println!("{} of {calls} calls took 5 ms or more", slow.len());
    assert!(2 * slow.len() as u64 <= calls, "of {calls} calls: {slow:?}");
}

#[tokio::test]
async fn a_channel_of_200_000_viewers_never_blocks_redis_even_when_it_ends() {
    const VIEWERS: usize = 200_000;
    const LEASE: Duration = Duration::from_secs(10);
    // Not longer than any lease, so that the sweep keeps no viewer whose lease is over.
    const RULES: LeaseRules = LeaseRules { longest_lease: LEASE, leave_memory: Duration::from_secs(1) };
    let redis = RedisServer::start().await;
    redis.command::<()>("CONFIG SET slowlog-log-slower-than 5000");
    redis.command::<()>("CONFIG SET slowlog-max-len 10000");
    let store = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "test", RULES);
    let crowded = ChannelId::parse("crowded").unwrap();
    let other = ChannelId::parse("other").unwrap();
    let join = |lease| {
        let uuid = Uuid::new_v4();
        Op {
            viewer: ViewerId::new(uuid).unwrap(),
            session: SessionId::new(uuid).unwrap(),
            act: Act::Join { lease },
        }
    };
    // Wait for the connection.
    while store.counts(std::slice::from_ref(&other)).await[0].is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let mut end = None;
    for _ in 0..VIEWERS / MAX_OPS {
        let lease = end.map_or(LEASE, |end: Instant| end.saturating_duration_since(Instant::now()));
        end.get_or_insert_with(|| Instant::now() + LEASE);
        let ops = (0..MAX_OPS).map(|_| join(lease.max(Duration::from_secs(1)))).collect();
        store.write(&[Batch { channel: crowded.clone(), ops }]).await[0].as_ref().unwrap();
    }
    assert_fast(&redis, (VIEWERS / MAX_OPS) as u64);
    // Single writes and readings, while the channel is full and while all its leases end.
    let mut calls = 0;
    loop {
        let batch = Batch { channel: other.clone(), ops: std::iter::once(join(LEASE)).collect() };
        store.write(&[batch]).await[0].as_ref().unwrap();
        calls += 2;
        if store.counts(std::slice::from_ref(&crowded)).await[0].as_ref().unwrap().count == 0 {
            break;
        }
        sleep(Duration::from_millis(2)).await;
    }
    assert_fast(&redis, calls);
    // The keys outlive the leases, so that sweeps empty them before Redis has to free them in one step.
    for key in ["viewers", "sessions"] {
        let left_ms: i64 = redis.command(&format!("PTTL test:{{crowded}}:{key}"));
        assert!(left_ms > 300_000, "{key} expire in {left_ms} ms");
    }
    let before = redis.calls();
    store.sweep().await.unwrap();
    let calls = redis.calls() - before;
    assert_fast(&redis, calls);
    // The sweep works in many small calls instead of one slow call.
    assert!(calls >= (VIEWERS / MAX_OPS) as u64, "{calls} calls");
    assert_eq!(redis.command::<usize>("ZCARD test:{crowded}:viewers"), 0, "all viewers are removed");
}

#[tokio::test]
async fn many_channels_are_swept_in_few_calls_and_a_damaged_one_stops_no_other() {
    const CHANNELS: usize = 120;
    const CROWD: usize = 2 * MAX_OPS + 100;
    const LEASE: Duration = Duration::from_secs(1);
    const RULES: LeaseRules = LeaseRules { longest_lease: LEASE, leave_memory: LEASE };
    let redis = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "test", RULES);
    let crowded = ChannelId::parse("crowded").unwrap();
    let small: Vec<_> = (0..CHANNELS).map(|n| ChannelId::parse(&format!("small-{n}")).unwrap()).collect();
    let batch = |channel: &ChannelId, viewers: usize| {
        let join = || Op {
            viewer: ViewerId::new(Uuid::new_v4()).unwrap(),
            session: SessionId::new(Uuid::new_v4()).unwrap(),
            act: Act::Join { lease: LEASE },
        };
        Batch { channel: channel.clone(), ops: (0..viewers).map(|_| join()).collect() }
    };
    // Wait for the connection.
    while store.counts(std::slice::from_ref(&crowded)).await[0].is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let mut batches: Vec<_> = small.iter().map(|channel| batch(channel, 1)).collect();
    batches.extend([MAX_OPS, MAX_OPS, CROWD - 2 * MAX_OPS].map(|viewers| batch(&crowded, viewers)));
    for written in store.write(&batches).await {
        written.unwrap();
    }
    // Expired, but not yet gone: the keys outlive the leases.
    for channel in small.iter().chain([&crowded]) {
        redis.command::<()>(&format!("PERSIST test:{{{channel}}}:viewers"));
        redis.command::<()>(&format!("PERSIST test:{{{channel}}}:sessions"));
    }
    redis.command::<()>("SET test:{small-60}:viewers text");
    let has_viewers = async || {
        let readings = store.counts(&[&small[..60], &small[61..]].concat()).await;
        let crowd = store.counts(std::slice::from_ref(&crowded)).await;
        readings.into_iter().chain(crowd).any(|reading| reading.unwrap().count > 0)
    };
    while has_viewers().await {
        sleep(Duration::from_millis(20)).await;
    }
    let before = redis.calls();
    store.sweep().await.unwrap();
    let calls = redis.calls() - before;
    assert!(calls <= 12, "{calls} calls for {CHANNELS} small channels and a large one");
    for channel in small.iter().filter(|channel| channel.as_str() != "small-60").chain([&crowded]) {
        assert_eq!(redis.command::<usize>(&format!("ZCARD test:{{{channel}}}:viewers")), 0, "{channel}");
    }
}

#[tokio::test]
async fn many_small_channels_are_restored_in_few_calls() {
    const CHANNELS: u64 = 10_000;
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let join = async |n: u64| app.join(&format!("channel-{n}"), viewer()).await;
    let joined: Vec<_> = stream::iter(0..CHANNELS).map(join).buffer_unordered(200).collect().await;
    assert!(joined.iter().all(|answer| answer["count"] == 1));
    // One watched channel is enough to notice the loss.
    let mut stream = app.sse("sse/channel-0").await;
    stream.until_fresh(1).await;
    let before = redis.calls();
    let started = Instant::now();
    redis.command::<()>("FLUSHALL");
    let restored = async {
        while redis.command::<u64>("DBSIZE") < 2 * CHANNELS {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, restored).await.expect("all channels are restored");
    let (calls, took) = (redis.calls() - before, started.elapsed());
    println!("restored after {took:?} and {calls} calls");
    assert!(calls < CHANNELS / 10, "{calls} calls for {CHANNELS} channels");
    drop(stream);
    for n in [0, CHANNELS / 2, CHANNELS - 1] {
        app.sse(&format!("sse/channel-{n}")).await.until_fresh(1).await;
    }
    let live = async {
        let live: Value = app.get("/api/viewer/live?limit=1000").await.json().await.unwrap();
        live["channels"].as_array().unwrap().len()
    };
    assert_eq!(live.await, 1_000, "the list of live channels is restored too");
}
