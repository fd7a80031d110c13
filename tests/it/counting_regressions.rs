//! Ways in which counters elsewhere have gone wrong, tried on ours as a page's calls come in.

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

/// A page of a viewer: sends a call with its session.
async fn page(app: &TestApp, call: &str, viewer: Uuid, session: Uuid) -> Value {
    let body = json!({"channelId": "ana", "viewerId": viewer, "sessionId": session});
    let response = app.post(&format!("/api/viewer/{call}"), &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

/// The embedded store and Redis, each behind a node.
async fn nodes() -> (RedisServer, [TestApp; 2]) {
    let redis = RedisServer::start().await;
    let nodes = [TestApp::start().await, TestApp::with_redis(&redis).await];
    (redis, nodes)
}

#[tokio::test]
async fn beats_decide_who_is_there_and_streams_neither_keep_nor_end_anyone() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let one = viewer();
    app.join("ana", one).await;
    for _ in 0..8 {
        // The page's stream breaks and is opened again, while beats come through.
        let mut stream = app.sse("sse/ana").await;
        assert_eq!(stream.data().await["count"], 1);
        drop(stream);
        clock.advance(Duration::from_secs(25));
        assert_eq!(app.heartbeat("ana", one).await["count"], 1);
    }
    // Now the stream stays, and no beat comes through.
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(app.count("ana").await, 1);
    clock.advance(Duration::from_millis(1));
    stream.until(0).await;
}

#[tokio::test]
async fn fast_reloads_never_make_one_viewer_two() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        let one = viewer();
        let mut session = viewer();
        page(app, "join", one, session).await;
        let sampler = Sampler::on(app, "sse/ana").await;
        for reload in 0..15 {
            let next = viewer();
            // The old page's leave and the new page's join are on their way together.
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
async fn the_old_pages_leave_after_the_new_pages_join_ends_the_old_page_only() {
    let (_redis, nodes) = nodes().await;
    for app in &nodes {
        let (one, old, new) = (viewer(), viewer(), viewer());
        page(app, "join", one, old).await;
        let sampler = Sampler::on(app, "sse/ana").await;
        sampler.until_fresh("ana", 1).await;
        page(app, "join", one, new).await;
        page(app, "leave", one, old).await;
        assert_eq!(app.count("ana").await, 1);
        // A beat of the old page that was still on its way does not bring it back.
        assert_eq!(page(app, "heartbeat", one, old).await["active"], false);
        assert_eq!(
            page(app, "heartbeat", one, new).await,
            json!({"count": 1, "stale": false, "active": true})
        );
        page(app, "leave", one, new).await;
        sampler.until_fresh("ana", 0).await;
        let samples = sampler.samples();
        let counts: Vec<_> = samples.iter().map(|sample| sample.count.unwrap()).collect();
        assert_eq!(counts, [1, 0], "nothing in between");
    }
}

#[tokio::test]
async fn two_hundred_joins_of_one_viewer_twenty_at_a_time_are_invisible() {
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
async fn who_joins_is_in_the_count_of_the_very_answer() {
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
async fn sixty_viewers_behind_one_address_are_sixty() {
    let app = TestApp::start().await;
    let class: Vec<_> = (0..60).map(|_| viewer()).collect();
    for (n, pupil) in (1..).zip(&class) {
        assert_eq!(app.join("ana", *pupil).await["count"], n, "none is refused");
    }
    for pupil in &class {
        assert_eq!(app.heartbeat("ana", *pupil).await, json!({"count": 60, "stale": false, "active": true}));
    }
}

#[tokio::test]
async fn a_channel_that_ends_and_comes_back_later_is_not_taken_for_lost() {
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
        // Long enough to be read after it.
        sleep(Duration::from_millis(500)).await;
    }
    for sampler in &samplers {
        let samples = sampler.samples();
        assert!(samples.iter().all(|sample| !sample.stale), "{samples:?}");
    }
}

#[tokio::test]
async fn whatever_order_things_end_in_nothing_of_the_channel_remains() {
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
    let nothing_remains = async {
        while redis.keys(0).iter().any(|key| key.contains("{ana}")) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, nothing_remains).await.expect("all keys are gone");
    assert_eq!(app.count("ana").await, 0);
    for key in redis.keys(0) {
        assert!(redis.request::<i64>(&["PTTL", &key]) > 0, "the list's entries end too: {key}");
    }
}
