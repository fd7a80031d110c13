//! Typical bugs of viewer counters, tested through the calls of pages.

use std::{sync::Arc, time::Duration};

use aforo::{
    domain::Timestamp,
    server::clock::{Clock, ManualClock},
};
use futures::{StreamExt, future::join_all, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::{PATIENCE, RedisServer, Sampler, TestApp, viewer};

/// Sends a call of one page, with its session id.
async fn page(app: &TestApp, call: &str, viewer: Uuid, session: Uuid) -> Value {
    let body = json!({"channelId": "ana", "viewerId": viewer, "sessionId": session});
    let response = app.post(&format!("/api/viewer/{call}"), &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

/// Two independent nodes: one with the embedded store, one with Redis.
async fn nodes() -> (RedisServer, [TestApp; 2]) {
    let redis = RedisServer::start().await;
    let nodes = [TestApp::start().await, TestApp::with_redis(&redis).await];
    (redis, nodes)
}

#[tokio::test]
async fn streams_neither_extend_nor_end_a_lease() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let one = viewer();
    app.join("ana", one).await;
    for _ in 0..8 {
        // The stream of the page breaks and is reopened, while heartbeats arrive.
        let mut stream = app.sse("sse/ana").await;
        assert_eq!(stream.data().await["count"], 1);
        drop(stream);
        clock.advance(Duration::from_secs(25));
        assert_eq!(app.heartbeat("ana", one).await["count"], 1);
    }
    // Now the stream stays open, but no heartbeat arrives.
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(app.count("ana").await, 1);
    clock.advance(Duration::from_millis(1));
    stream.until(0).await;
}

#[tokio::test]
async fn fast_reloads_never_count_a_viewer_twice() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        let one = viewer();
        let mut session = viewer();
        page(app, "join", one, session).await;
        let sampler = Sampler::on(app, "sse/ana").await;
        for reload in 0..15 {
            let next = viewer();
            // The leave of the old page and the join of the new page are sent at the same time.
            if reload % 2 == 0 {
                page(app, "join", one, next).await;
                page(app, "leave", one, session).await;
            } else {
                tokio::join!(page(app, "leave", one, session), page(app, "join", one, next));
            }
            session = next;
            sleep(Duration::from_millis(40)).await;
        }
        sampler.until_fresh("ana", 1).await;
        let samples = sampler.samples();
        assert!(samples.iter().all(|sample| sample.count <= Some(1)), "{samples:?}");
    }
}

#[tokio::test]
async fn a_late_leave_of_the_old_page_does_not_end_the_new_page() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        let (one, old, new) = (viewer(), viewer(), viewer());
        page(app, "join", one, old).await;
        let sampler = Sampler::on(app, "sse/ana").await;
        sampler.until_fresh("ana", 1).await;
        page(app, "join", one, new).await;
        page(app, "leave", one, old).await;
        assert_eq!(app.count("ana").await, 1);
        // A heartbeat of the old page that was still in flight does not bring it back.
        assert_eq!(page(app, "heartbeat", one, old).await["active"], false);
        assert_eq!(
            page(app, "heartbeat", one, new).await,
            json!({"count": 1, "stale": false, "active": true})
        );
        page(app, "leave", one, new).await;
        sampler.until_fresh("ana", 0).await;
        let samples = sampler.samples();
        let counts: Vec<_> = samples.iter().map(|sample| sample.count.unwrap()).collect();
        assert_eq!(counts, [1, 0], "no other counts in between");
    }
}

#[tokio::test]
async fn concurrent_joins_of_one_viewer_do_not_change_the_count() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        join_all((0..5).map(|_| app.join("ana", viewer()))).await;
        let one = viewer();
        app.join("ana", one).await;
        let sampler = Sampler::on(app, "sse/ana").await;
        sampler.until_fresh("ana", 6).await;
        let answers: Vec<_> =
            stream::iter(0..200).map(|_| app.join("ana", one)).buffer_unordered(20).collect().await;
        assert!(answers.iter().all(|answer| answer["count"] == 6 && answer["stale"] == false));
        sleep(Duration::from_millis(300)).await;
        let samples = sampler.samples();
        assert!(samples.iter().all(|sample| sample.count == Some(6)), "{samples:?}");
    }
}

#[tokio::test]
async fn the_response_to_a_join_includes_the_join() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        for n in 1..=30 {
            assert_eq!(app.join("ana", viewer()).await["count"], n);
        }
        let alone = join_all((0..30).map(async |n| app.join(&format!("alone-{n}"), viewer()).await)).await;
        assert!(alone.iter().all(|answer| answer["count"] == 1), "{alone:?}");
    }
}

#[tokio::test]
async fn sixty_viewers_behind_one_address_count_as_sixty() {
    let app = TestApp::start().await;
    let class: Vec<_> = (0..60).map(|_| viewer()).collect();
    for (n, pupil) in (1..).zip(&class) {
        assert_eq!(app.join("ana", *pupil).await["count"], n, "no viewer is refused");
    }
    for pupil in &class {
        assert_eq!(app.heartbeat("ana", *pupil).await, json!({"count": 60, "stale": false, "active": true}));
    }
}

#[tokio::test]
async fn a_channel_that_ends_and_returns_is_not_mistaken_for_a_loss() {
    let redis = RedisServer::start().await;
    let flags =
        ["--heartbeat-interval=500", "--timeout=2", "--hidden-timeout=2", "--redis-url", &redis.url()];
    let (one, two) = (TestApp::with(&flags).await, TestApp::with(&flags).await);
    let samplers = [Sampler::on(&one, "sse/ana").await, Sampler::on(&two, "sse/ana").await];
    for _ in 0..2 {
        one.join("ana", viewer()).await;
        for count in [1, 0] {
            join_all(samplers.iter().map(|sampler| sampler.until_fresh("ana", count))).await;
        }
        while redis.keys(0).iter().any(|key| key.contains("{ana}")) {
            sleep(Duration::from_millis(50)).await;
        }
        // Long enough for nodes to read the channel after its end.
        sleep(Duration::from_millis(500)).await;
    }
    for sampler in &samplers {
        let samples = sampler.samples();
        assert!(samples.iter().all(|sample| !sample.stale), "{samples:?}");
    }
}

#[tokio::test]
async fn all_keys_of_a_channel_expire_after_its_last_viewer() {
    let redis = RedisServer::start().await;
    let flags =
        ["--heartbeat-interval=500", "--timeout=1", "--hidden-timeout=1", "--redis-url", &redis.url()];
    let app = TestApp::with(&flags).await;
    let (vanishes, leaves_twice, leaves_before) = (viewer(), viewer(), viewer());
    let stream = app.sse("sse/ana").await;
    app.leave("ana", leaves_before).await;
    join_all([vanishes, leaves_twice, leaves_before].map(|viewer| app.join("ana", viewer))).await;
    app.leave("ana", leaves_twice).await;
    app.leave("ana", leaves_twice).await;
    drop(stream);
    let expired = async {
        while redis.keys(0).iter().any(|key| key.contains("{ana}")) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, expired).await.expect("all keys are gone");
    assert_eq!(app.count("ana").await, 0);
    for key in redis.keys(0) {
        assert!(
            redis.request::<i64>(&["PTTL", &key]) > 0,
            "the keys of the list of channels expire too: {key}"
        );
    }
}

/// A viewer's entry in Redis is bounded, so that no beat of it becomes slow.
#[tokio::test]
async fn leaves_of_counted_sessions_do_not_grow_the_entry_of_a_viewer() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    let one = viewer();
    for _ in 0..100 {
        let session = viewer();
        page(&app, "join", one, session).await;
        page(&app, "leave", one, session).await;
    }
    let entries = redis.request::<Vec<Vec<u8>>>(&["HVALS", "aforo:{ana}:sessions"]);
    let longest = entries.iter().map(Vec::len).max();
    assert_eq!(longest, Some(16 * 21), "sixteen leaves of 21 bytes each");
    let session = viewer();
    assert_eq!(page(&app, "join", one, session).await["count"], 1);
    assert_eq!(page(&app, "leave", one, session).await["ok"], true);
    assert_eq!(app.count("ana").await, 0);
}
