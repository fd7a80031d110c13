//! Several nodes over one Redis: killed and cut-off nodes, and nodes with different key formats.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::{PATIENCE, Program, RedisServer, Sample, Sampler, TestApp, TestRunner, viewer};

/// Starts a node with a lease of `seconds`.
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
async fn viewers_of_a_killed_node_stay_counted_by_heartbeats_to_another_node() {
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
    let restarted = node(&redis, "10").await;
    assert_eq!(restarted.count("ana").await, 10, "the start of a node does not change the count");
    for viewer in &viewers {
        restarted.heartbeat("ana", *viewer).await;
    }
    let samples = sampler.samples();
    assert!(samples.iter().all(|sample| sample.count == Some(10) && !sample.stale), "{samples:?}");
}

#[tokio::test]
async fn viewers_of_a_killed_node_expire_with_their_leases() {
    let redis = RedisServer::start().await;
    let (one, two) = (node(&redis, "2").await, node(&redis, "2").await);
    join_all((0..10).map(|_| one.join("ana", viewer()))).await;
    let sampler = Sampler::on(&two, "sse/ana").await;
    one.kill();
    sampler.until_fresh("ana", 0).await;
    let _restarted = node(&redis, "2").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(two.count("ana").await, 0);
}

/// Until its next roll call, a node with a new connection does not know whether the store has lost anything.
#[tokio::test]
async fn a_reconnect_does_not_undo_a_leave_through_another_node() {
    let redis = RedisServer::start().await;
    let (one, two) = (TestApp::with_redis(&redis).await, TestApp::with_redis(&redis).await);
    for app in [&one, &two] {
        app.sse("sse/ana").await.until_fresh(0).await;
    }
    let mut answered = 0;
    for _ in 0..20 {
        let viewer = viewer();
        one.join("ana", viewer).await;
        two.leave("ana", viewer).await;
        // This node may still be connecting, and write the leave then. Scores of viewers who have left are negative.
        while redis.command::<i64>("ZCOUNT aforo:{ana}:viewers 1 +inf") > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        redis.command::<i64>("CLIENT KILL TYPE normal SKIPME yes");
        sleep(Duration::from_millis(100)).await;
        // Where the store could not be called, the node answers with its own knowledge.
        let beat = one.heartbeat("ana", viewer).await;
        if beat["stale"] == false {
            answered += 1;
            assert_eq!(beat["active"], false, "{beat}");
        }
    }
    assert!(answered > 5, "{answered} beats reached the store");
    one.sse("sse/ana").await.until_fresh(0).await;
}

/// The store remembers the leave of an unknown session for ten seconds. The node that received the leave remembers it
/// for longer, and repeats it when the other node writes the join.
#[tokio::test]
async fn a_cut_off_node_does_not_bring_back_sessions_that_left_elsewhere() {
    let redis = RedisServer::start().await;
    let runner = TestRunner::to(&redis);
    let (cut_off, other) =
        (TestApp::with_runner(runner.clone(), &[]).await, TestApp::with_redis(&redis).await);
    let (stays, leaves) = (viewer(), viewer());
    cut_off.join("ana", stays).await;
    let samplers = [Sampler::on(&cut_off, "sse/ana").await, Sampler::on(&other, "sse/ana").await];
    for sampler in &samplers {
        sampler.until_fresh("ana", 1).await;
    }
    runner.set_cut(true);
    cut_off.join("ana", leaves).await;
    // Longer than the error of the estimated clock skew.
    sleep(Duration::from_millis(200)).await;
    other.leave("ana", leaves).await;
    sleep(Duration::from_secs(11)).await;
    cut_off.heartbeat("ana", stays).await;
    runner.set_cut(false);
    // The join is written now, and the leave is repeated within the next roll calls. Each count is read from the store.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let count: Value = other.get("/api/viewer/count/ana").await.json().await.unwrap();
        assert!(count["stale"] == true || count["count"] == 1, "{count}");
        sleep(Duration::from_millis(3)).await;
    }
    for sampler in &samplers {
        let samples = sampler.samples();
        let is_wrong = |sample: &&Sample| !sample.stale && sample.count > Some(1);
        assert_eq!(samples.iter().find(is_wrong), None, "{samples:?}");
        sampler.until_fresh("ana", 1).await;
    }
}

#[tokio::test]
async fn after_an_outage_no_node_shows_a_count_that_lacks_what_another_has_to_replay() {
    let redis = RedisServer::start().await;
    let runner = TestRunner::to(&redis);
    let (one, two) = (TestApp::with_runner(runner.clone(), &[]).await, TestApp::with_redis(&redis).await);
    let viewers: Vec<_> = (0..60).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| one.join("ana", *viewer))).await;
    let sampler = Sampler::on(&two, "sse/ana").await;
    sampler.until_fresh("ana", 60).await;
    let before = sampler.samples().len();
    let began = Instant::now();
    // This node's leaves wait in the node, not in its connection.
    runner.set_cut(true);
    redis.pause();
    join_all(viewers[..40].iter().map(|viewer| one.leave("ana", *viewer))).await;
    sleep(Duration::from_secs(4).saturating_sub(began.elapsed())).await;
    // The other node has the store back earlier.
    redis.resume();
    let until = began + Duration::from_secs(6);
    let mut is_back = false;
    while !is_back {
        is_back = Instant::now() >= until;
        if is_back {
            runner.set_cut(false);
        }
        let count: Value = two.get("/api/viewer/count/ana").await.json().await.unwrap();
        assert!(count["stale"] == true || count["count"] == 20, "{count}");
        sleep(Duration::from_millis(20)).await;
    }
    sampler.until_fresh("ana", 20).await;
    let is_wrong = |sample: &&Sample| !sample.stale && ![Some(20), Some(60)].contains(&sample.count);
    let samples = sampler.samples();
    assert_eq!(samples[before..].iter().find(is_wrong), None, "{samples:?}");
}

/// Redis executes the join when it resumes, although its node has long taken it for failed.
#[tokio::test]
async fn who_joins_and_leaves_while_redis_is_suspended_is_not_counted_when_it_resumes() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let (stays, leaves) = (viewer(), viewer());
    app.join("ana", stays).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(1).await;
    let began = Instant::now();
    redis.pause();
    app.join("ana", leaves).await;
    app.leave("ana", leaves).await;
    // A call that is as late as this is not taken as of the time it was sent.
    sleep(Duration::from_secs(11).saturating_sub(began.elapsed())).await;
    redis.resume();
    stream.until_fresh(1).await;
    // The number of leases that end after the time in the key.
    let known: u64 = redis.command("ZCOUNT aforo:{ana}:viewers 0 +inf");
    assert_eq!(known, 1, "a lease of the viewer who has left");
}

/// A rolling upgrade and a rollback.
#[tokio::test]
async fn nodes_with_different_key_formats_show_no_wrong_count() {
    const FLAGS: [&str; 4] =
        ["--heartbeat-interval=1000", "--timeout=10", "--hidden-timeout=10", "--cleanup-interval=1"];
    let redis = RedisServer::start().await;
    let viewers: Vec<_> = (0..5).map(|_| viewer()).collect();
    let beat = async |app: &TestApp, viewers: &[Uuid]| {
        join_all(viewers.iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
    };
    // A count that is not stale includes all viewers, on every node.
    let assert_correct = |sampler: &Sampler, least: u64| {
        let samples = sampler.samples();
        let is_wrong = |sample: &&Sample| !sample.stale && sample.count.is_none_or(|count| count < least);
        assert_eq!(samples.iter().find(is_wrong), None, "{samples:?}");
    };

    let present = TestApp::with_runner(TestRunner::to(&redis), &FLAGS).await;
    beat(&present, &viewers[..3]).await;
    let on_present = Sampler::on(&present, "sse/ana").await;
    on_present.until_fresh("ana", 3).await;
    let later = TestApp::with_runner(TestRunner::with_later_format(&redis), &FLAGS).await;
    beat(&later, &viewers[3..]).await;
    let on_later = Sampler::on(&later, "sse/ana").await;
    for _ in 0..8 {
        beat(&present, &viewers[..3]).await;
        beat(&later, &viewers[3..]).await;
        sleep(Duration::from_millis(500)).await;
    }
    assert_correct(&on_present, 3);
    assert_correct(&on_later, 5);

    // The viewers of the old node send their heartbeats to the new one, and the old one stops.
    beat(&later, &viewers).await;
    present.stop().await;
    let complete = async {
        while later.get("/api/viewer/count/ana").await.json::<Value>().await.unwrap()["stale"] != false {
            beat(&later, &viewers).await;
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, complete).await.expect("the new node counts all viewers");
    on_later.until_fresh("ana", 5).await;
    assert_correct(&on_later, 5);

    // The rollback.
    let present = TestApp::with_runner(TestRunner::to(&redis), &FLAGS).await;
    let on_present = Sampler::on(&present, "sse/ana").await;
    // Longer than a lease: the store then lacks the heartbeats that the old node has accepted and cannot write.
    for _ in 0..25 {
        beat(&present, &viewers[..3]).await;
        beat(&later, &viewers[3..]).await;
        sleep(Duration::from_millis(500)).await;
    }
    assert_correct(&on_later, 5);
    later.stop().await;
    let complete = async {
        while present.get("/api/viewer/count/ana").await.json::<Value>().await.unwrap()["stale"] != false {
            beat(&present, &viewers).await;
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, complete).await.expect("the old node counts all viewers again");
    on_present.until_fresh("ana", 5).await;
    // The viewers of the node that stopped count again with their next beats. The own viewers were never missing.
    assert_correct(&on_present, 3);
}

/// The node that takes the heartbeat knows the leave but not the join after it.
#[tokio::test]
async fn a_session_that_joined_again_through_a_killed_node_is_restored() {
    let redis = RedisServer::start().await;
    let killed = Program::start(&[("REDIS_URL", &redis.url())]).await;
    let app = TestApp::with_redis(&redis).await;
    let there = viewer();
    app.join("ana", there).await;
    app.leave("ana", there).await;
    killed.join("ana", there).await;
    assert_eq!(app.heartbeat("ana", there).await["active"], true);
    killed.kill();
    redis.command::<()>("FLUSHALL");
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until_fresh(2).await;
}

/// The one node replays its leave, while the other has not noticed the loss and has the later join.
#[tokio::test]
async fn a_beat_between_the_replays_of_two_nodes_ends_no_session() {
    let redis = RedisServer::start().await;
    let slow = ["--redis-url", &redis.url(), "--count-update-interval", "10000"];
    let (one, two) = (TestApp::with(&slow).await, TestApp::with_redis(&redis).await);
    let there = viewer();
    for _ in 0..5 {
        one.join("ana", there).await;
        two.leave("ana", there).await;
        // Longer than the error of the estimated clock skew.
        sleep(Duration::from_millis(200)).await;
        one.join("ana", there).await;
        two.sse("sse/ana").await.until_fresh(1).await;
        redis.command::<()>("FLUSHALL");
        while redis.command::<usize>("EXISTS aforo:{ana}:sessions") == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(one.heartbeat("ana", there).await["active"], true);
        two.sse("sse/ana").await.until_fresh(1).await;
        one.leave("ana", there).await;
        two.sse("sse/ana").await.until_fresh(0).await;
    }
}
