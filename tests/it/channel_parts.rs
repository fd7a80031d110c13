//! Channels in several parts: spread over a cluster, counted as one, and lost in part.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aforo::{
    domain::{Act, LeaseRules},
    server::{
        redis::RedisRunner,
        store::{Reading, Store, remote::RemoteStore},
    },
};
use futures::future::join_all;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    contract::{
        agreed,
        rules::{op, write},
    },
    support::{PATIENCE, Program, RedisCluster, RedisServer, Sampler, TestApp, viewer},
};

/// A node over a cluster that keeps the channel `ana` in eight parts.
async fn node(cluster: &RedisCluster) -> TestApp {
    let app = TestApp::with(&["--redis-url", &cluster.urls(), "--redis-channel-parts", "ana:8"]).await;
    app.sse("sse/unrelated").await.until_fresh(0).await;
    app
}

#[tokio::test]
async fn a_channel_is_spread_over_all_primaries_and_counted_as_one_on_every_node() {
    let cluster = RedisCluster::start(0).await;
    let (one, two) = (node(&cluster).await, node(&cluster).await);
    let viewers: Vec<_> = (0..200).map(|_| viewer()).collect();
    let mut stream = two.sse("sse/ana").await;
    join_all(viewers.iter().map(|viewer| one.join("ana", *viewer))).await;
    // The same viewers again, through the other node: nobody counts twice.
    join_all(viewers.iter().map(|viewer| two.heartbeat("ana", *viewer))).await;
    assert_eq!((one.count("ana").await, two.count("ana").await), (200, 200));
    stream.until_fresh(200).await;
    for server in &cluster.servers {
        let viewers = server.command::<Vec<String>>("KEYS aforo:{ana/8/*}:viewers");
        assert!(!viewers.is_empty(), "each primary keeps a part");
    }
    one.join("bob", viewer()).await;
    assert_eq!(two.count("bob").await, 1);
    let whole = |server: &RedisServer| server.request::<Vec<String>>(&["KEYS", "aforo:{bob}:*"]).len();
    assert_eq!(cluster.servers.iter().map(whole).sum::<usize>(), 2, "another channel is whole");

    join_all(viewers[50..].iter().map(|viewer| two.leave("ana", *viewer))).await;
    stream.until_fresh(50).await;
    assert_eq!((one.count("ana").await, two.count("ana").await), (50, 50));
    let live: Value = one.get("/api/viewer/live").await.json().await.unwrap();
    let listed: Vec<_> = live["channels"].as_array().unwrap().iter().collect();
    assert_eq!((listed.len(), &listed[0]["channelId"], &listed[0]["count"]), (2, &"ana".into(), &50.into()));
}

/// The parts that had no viewer are lost too, and so is one of which only one of its two keys was evicted.
#[tokio::test]
async fn a_lost_part_is_written_again_and_no_incomplete_count_is_live() {
    let cluster = RedisCluster::start(0).await;
    let (one, two) = (node(&cluster).await, node(&cluster).await);
    let viewers: Vec<_> = (0..60).map(|_| viewer()).collect();
    join_all(viewers[..30].iter().map(|viewer| one.join("ana", *viewer))).await;
    join_all(viewers[30..].iter().map(|viewer| two.join("ana", *viewer))).await;
    for kinds in [&["viewers", "sessions"][..], &["viewers"], &["sessions"]] {
        let samplers = [Sampler::on(&one, "sse/ana").await, Sampler::on(&two, "sse/ana").await];
        for sampler in &samplers {
            sampler.until_fresh("ana", 60).await;
        }
        for key in kinds.iter().flat_map(|kind| [2, 5].map(|part| format!("aforo:{{ana/8/{part}}}:{kind}"))) {
            assert!(cluster.servers.iter().any(|server| delete(server, &key)), "{key}");
        }
        // Longer than a mark is trusted.
        sleep(Duration::from_secs(4)).await;
        assert_eq!([fresh_count(&one).await, fresh_count(&two).await], [60, 60]);
        for sampler in &samplers {
            sampler.until_fresh("ana", 60).await;
            let wrong =
                sampler.samples().into_iter().find(|sample| !sample.stale && sample.count != Some(60));
            assert_eq!(wrong, None);
        }
    }
}

/// Deletes the key if it is on this server. Returns whether it was.
fn delete(server: &RedisServer, key: &str) -> bool {
    server.command::<Vec<String>>("KEYS *").iter().any(|name| name == key)
        && server.request::<i64>(&["DEL", key]) == 1
}

/// The count of the channel `ana`, once it is not stale.
async fn fresh_count(app: &TestApp) -> Value {
    let fresh = async {
        loop {
            let answer: Value = app.get("/api/viewer/count/ana").await.json().await.unwrap();
            if answer["stale"] == false {
                return answer["count"].clone();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, fresh).await.unwrap()
}

const RULES: LeaseRules =
    LeaseRules { longest_lease: Duration::from_secs(10), leave_memory: Duration::from_millis(200) };

async fn reading(store: &dyn Store) -> Reading {
    let channel = aforo::domain::ChannelId::parse("ana").unwrap();
    store.counts(&[channel]).await.remove(0).unwrap()
}

#[tokio::test]
async fn the_parts_of_a_channel_live_and_end_together() {
    let server = RedisServer::start().await;
    let runner = RedisRunner::open(&server.url()).unwrap();
    let store = agreed(Arc::new(RemoteStore::in_parts(runner, "test", "4".parse().unwrap(), RULES))).await;
    let ttls = || {
        let ttl = |part| server.request::<i64>(&["PTTL", &format!("test:{{ana/4/{part}}}:sessions")]);
        [0, 1, 2, 3].map(ttl)
    };
    // What creates no session creates no part.
    let shares = server.keys(0);
    let unknown = [Act::LeaveKnown, Act::Renew { lease: RULES.longest_lease }];
    write(&*store, "ana", &unknown.map(|act| op(1, 1, act))).await;
    assert_eq!(server.keys(0), shares);

    let join = Act::Join { lease: RULES.longest_lease };
    let first = write(&*store, "ana", &[op(1, 1, join)]).await.reading;
    assert!(first.mark.is_some() && first.count == 1);
    assert!(ttls().iter().all(|ttl| *ttl > 9_000), "{:?}", ttls());
    // Beats of the one viewer keep all parts, and a sweep takes none of them away.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(13) {
        sleep(Duration::from_millis(500)).await;
        write(&*store, "ana", &[op(1, 1, Act::Heartbeat { lease: RULES.longest_lease })]).await;
        store.sweep().await.unwrap();
        let reading = reading(&*store).await;
        assert_eq!((reading.count, reading.mark), (1, first.mark));
    }
    // A lost part shows, although nobody is in it. The next write creates it.
    server.command::<()>("DEL test:{ana/4/3}:sessions test:{ana/4/3}:viewers");
    sleep(Duration::from_secs(3)).await; // How long a mark is trusted.
    let incomplete = reading(&*store).await;
    assert!(incomplete.mark.is_none() && incomplete.was_away);
    let healed =
        write(&*store, "ana", &[op(1, 1, Act::Heartbeat { lease: RULES.longest_lease })]).await.reading;
    assert!(healed.mark.is_some() && healed.mark != first.mark && !healed.was_away);
    // So does a beat that only renews a session.
    server.command::<()>("DEL test:{ana/4/3}:sessions test:{ana/4/3}:viewers");
    write(&*store, "ana", &[op(1, 1, Act::Renew { lease: RULES.longest_lease })]).await;
    assert!(reading(&*store).await.mark.is_some());

    write(&*store, "ana", &[op(1, 1, Act::Leave)]).await;
    assert_eq!(reading(&*store).await.count, 0);
    let ended = async {
        while !server.keys(0).iter().all(|key| !key.contains("{ana")) {
            sleep(Duration::from_millis(100)).await;
            store.sweep().await.unwrap();
        }
    };
    // Within the longest lease, for which a leave is remembered, and an eighth.
    timeout(Duration::from_secs(12) + PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_node_with_another_number_of_parts_than_the_others_is_refused() {
    let redis = RedisServer::start().await;
    let (url, database) = (redis.url(), format!("sqlite:{}", redis.database().display()));
    let settings =
        |parts| [("REDIS_URL", &*url), ("DATABASE_URL", &*database), ("REDIS_CHANNEL_PARTS", parts)];
    let first = Program::start(&settings("4")).await;
    let second = Program::start(&settings("4")).await;
    let (status, log) = Program::fail(&settings("1")).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("aforo: REDIS_CHANNEL_PARTS: the other nodes of this store have 4,"), "{log}");
    // Those who were killed did not say goodbye, and may come back when their leases are over.
    first.kill();
    second.kill();
    sleep(Duration::from_secs(5)).await;
    let (status, log) = Program::fail(&settings("8")).await;
    assert_eq!(status.code(), Some(2), "{log}");
}

#[tokio::test]
async fn after_a_change_of_the_setting_nobody_counts_twice() {
    let redis = RedisServer::start().await;
    let viewers: Vec<_> = (0..40).map(|_| viewer()).collect();
    for (nth, parts) in ["4", "8", "1", "ana:3"].into_iter().enumerate() {
        let app = TestApp::with(&["--redis-url", &redis.url(), "--redis-channel-parts", parts]).await;
        app.sse("sse/ana").await.until_fresh(0).await;
        // Fewer each time.
        join_all(viewers[nth..].iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
        assert_eq!(app.count("ana").await, 40 - nth as u64, "{parts}");
        app.stop().await;
    }
}

/// The node started while Redis was away.
#[tokio::test]
async fn a_node_that_learns_later_of_another_number_of_parts_shows_no_count_as_live() {
    let redis = RedisServer::start().await;
    let first = TestApp::with(&["--redis-url", &redis.url()]).await;
    first.sse("sse/ana").await.until_fresh(0).await;
    first.join("ana", viewer()).await;
    redis.pause();
    let second = TestApp::with(&["--redis-url", &redis.url(), "--redis-channel-parts", "4"]).await;
    redis.resume();
    // A beat at the wrong node is kept, and does not disturb the others.
    second.join("ana", viewer()).await;
    let refused = async {
        while !second.get("/readyz").await.text().await.unwrap().contains("set REDIS_CHANNEL_PARTS") {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    let answer: Value = second.get("/api/viewer/count/ana").await.json().await.unwrap();
    assert_ne!(answer["stale"], false, "{answer}");
    first.join("ana", viewer()).await;
    first.sse("sse/ana").await.until_fresh(2).await;
    let third = TestApp::with(&["--redis-url", &redis.url()]).await;
    third.sse("sse/ana").await.until_fresh(2).await;
    // When the others end, their setting goes with them, and this node counts.
    first.stop().await;
    third.stop().await;
    second.sse("sse/ana").await.until_fresh(1).await;
}
