//! Limits per address: a real crowd behind one address is accepted, and a fake crowd is not.

use futures::{StreamExt, future::join_all, stream};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{RedisServer, TestApp, builder, viewer};

/// A node with the default limits. The test client is a trusted proxy, so that it can send from many addresses.
async fn node(more: &[&str]) -> TestApp {
    let own = [
        "--trusted-proxies=127.0.0.1",
        "--limit-joins-burst=300",
        "--limit-joins-per-second=2",
        "--limit-new-channels-per-minute=30",
    ];
    let flags: Vec<_> = own.iter().chain(more).copied().collect();
    TestApp::with(&flags).await
}

async fn beat(app: &TestApp, from: &str, call: &str, channel: &str, id: Uuid) -> Response {
    app.client
        .post(format!("{}/api/viewer/{call}", app.base))
        .header("X-Forwarded-For", from)
        .json(&json!({"channelId": channel, "viewerId": id}))
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_classroom_behind_one_address_is_never_refused() {
    let app = node(&[]).await;
    let pupils: Vec<_> = (0..60).map(|_| viewer()).collect();
    for call in ["join", "heartbeat", "heartbeat", "join", "heartbeat"] {
        let beats = pupils.iter().map(|id| beat(&app, "192.0.2.1", call, "lesson", *id));
        for response in join_all(beats).await {
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
    assert_eq!(app.count("lesson").await, 60);
}

#[tokio::test]
async fn a_fake_crowd_is_held_to_the_limits() {
    let app = node(&[]).await;
    app.join("ana", viewer()).await;
    let began = std::time::Instant::now();
    let forged = stream::iter(0..4_000).map(|_| beat(&app, "192.0.2.1", "join", "ana", viewer()));
    let mut refused = 0;
    let mut answers = forged.buffer_unordered(32);
    while let Some(response) = answers.next().await {
        match response.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                refused += 1;
                assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
                assert_eq!(response.json::<Value>().await.unwrap()["code"], "limit-reached");
            }
            other => panic!("{other}"),
        }
    }
    let most = 1 + 300 + 2 * (began.elapsed().as_secs() + 1);
    let count = app.count("ana").await;
    assert!(count <= most, "{count} of {most} at most");
    assert!(refused >= 4_000 - most, "{refused}");
    // Other addresses are unaffected.
    assert_eq!(beat(&app, "192.0.2.2", "join", "ana", viewer()).await.status(), StatusCode::OK);
    assert_eq!(app.count("ana").await, count + 1);
}

/// Sends a call from one address with the given ids. Returns the status.
async fn call(app: &TestApp, call: &str, channel: &str, viewer: Uuid, session: Uuid) -> StatusCode {
    let body = json!({"channelId": channel, "viewerId": viewer, "sessionId": session});
    let request = app.client.post(format!("{}/api/viewer/{call}", app.base)).json(&body);
    request.header("X-Forwarded-For", "192.0.2.66").send().await.unwrap().status()
}

#[tokio::test]
async fn many_viewers_with_one_session_id_are_held_to_the_limits() {
    let app = node(&[]).await;
    let session = viewer();
    for name in ["join", "heartbeat"] {
        let calls = stream::iter(0..1_000).map(|_| call(&app, name, "ana", viewer(), session));
        let refused = calls
            .buffer_unordered(50)
            .filter(|status| std::future::ready(*status == StatusCode::TOO_MANY_REQUESTS));
        assert!(refused.count().await > 600, "{name}");
    }
    // The burst, and the joins that the rate admits during the test.
    assert!((300..400).contains(&app.count("ana").await), "{}", app.count("ana").await);
}

#[tokio::test]
async fn refused_joins_and_unknown_leaves_store_no_lasting_keys() {
    let redis = RedisServer::start().await;
    let app = node(&["--redis-url", &redis.url()]).await;
    let [known, session] = [viewer(), viewer()];
    assert_eq!(call(&app, "join", "ana", known, session).await, StatusCode::OK);
    let (before, mut accepted) = (redis.keys(0), 0);
    for n in 0..400 {
        let (channel, someone) = (format!("nobody-{n}"), viewer());
        assert_eq!(call(&app, "leave", &channel, someone, someone).await, StatusCode::OK);
        accepted += usize::from(call(&app, "join", &channel, someone, someone).await == StatusCode::OK);
        app.count(&channel).await;
    }
    let mut lasting = 0;
    for key in redis.keys(0).iter().filter(|key| !before.contains(key) && key.contains("nobody-")) {
        lasting += usize::from(redis.request::<i64>(&["PTTL", key]) > 10_000);
    }
    assert!(accepted < 200, "{accepted} channels were accepted; the limit is 30 per minute");
    assert!(lasting <= 2 * accepted, "{lasting} keys of {accepted} channels");
    assert_eq!(call(&app, "leave", "ana", known, session).await, StatusCode::OK);
    assert_eq!(app.count("ana").await, 0, "a counted session may always leave");
}

#[tokio::test]
async fn leaves_of_new_sessions_use_bounded_memory() {
    let redis = RedisServer::start().await;
    let app = TestApp::with(&["--redis-url", &redis.url(), "--limit-joins-burst=0"]).await;
    let someone = viewer();
    app.join("ana", someone).await;
    let leaves = stream::iter(0..2_000).map(|_| call(&app, "leave", "ana", someone, viewer()));
    assert!(leaves.buffer_unordered(50).all(|status| async move { status == StatusCode::OK }).await);
    assert_eq!(app.count("ana").await, 1, "the page that did not leave still counts");
    let longest = redis.request::<Vec<Vec<u8>>>(&["HVALS", "aforo:{ana}:sessions"]);
    assert!(longest.iter().all(|value| value.len() <= 32 * 21), "{:?}", longest.iter().map(Vec::len).max());
}

#[tokio::test]
async fn heartbeats_of_unknown_sessions_are_held_to_the_join_limits() {
    let app = node(&["--limit-joins-burst=2", "--limit-joins-per-second=1"]).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(beat(&app, "192.0.2.1", "heartbeat", "ana", viewer()).await.status());
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}

#[tokio::test]
async fn a_node_that_has_just_started_refuses_no_counted_session() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let old = node(&["--redis-url", &url, "--limit-joins-burst=0"]).await;
    let crowd: Vec<_> = (0..100).map(|_| viewer()).collect();
    join_all(crowd.iter().map(|id| beat(&old, "192.0.2.1", "join", "ana", *id))).await;
    old.stop().await;
    let new = node(&["--redis-url", &url, "--limit-joins-burst=1", "--limit-joins-per-second=1"]).await;
    for call in ["heartbeat", "join", "heartbeat"] {
        for response in join_all(crowd.iter().map(|id| beat(&new, "192.0.2.1", call, "ana", *id))).await {
            assert_eq!(response.status(), StatusCode::OK);
            if call == "heartbeat" {
                assert_eq!(response.json::<Value>().await.unwrap()["active"], true);
            }
        }
    }
    assert_eq!(new.count("ana").await, 100);
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(beat(&new, "192.0.2.1", "join", "ana", viewer()).await.status());
    }
    assert!(strangers.contains(&StatusCode::TOO_MANY_REQUESTS), "{strangers:?}");
}

#[tokio::test]
async fn a_flood_of_refused_calls_refuses_no_counted_session_of_the_same_address() {
    const EVERY: usize = 400;
    let redis = RedisServer::start().await;
    let url = redis.url();
    let old = node(&["--redis-url", &url]).await;
    let counted: Vec<_> = (0..20).map(|_| viewer()).collect();
    for id in &counted {
        assert_eq!(beat(&old, "192.0.2.1", "join", "ana", *id).await.status(), StatusCode::OK);
    }
    for name in ["join", "heartbeat"] {
        // A node that does not know the sessions.
        let new = node(&["--redis-url", &url, "--limit-joins-burst=1", "--limit-joins-per-second=1"]).await;
        let calls = stream::iter(0..counted.len() * EVERY).map(async |nth| {
            let known = (nth % EVERY == EVERY - 1).then(|| counted[nth / EVERY]);
            let id = known.unwrap_or_else(viewer);
            (known.is_some(), beat(&new, "192.0.2.1", name, "ana", id).await.status())
        });
        let statuses: Vec<_> = calls.buffer_unordered(50).collect().await;
        let (known, unknown): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|(is_known, _)| *is_known);
        assert!(known.iter().all(|(_, status)| *status == StatusCode::OK), "{name}: {known:?}");
        let refused = unknown.iter().filter(|(_, status)| *status == StatusCode::TOO_MANY_REQUESTS).count();
        assert!(refused > 7_000, "{name}: {refused}");
    }
}

#[tokio::test]
async fn the_number_of_sessions_per_address_and_channel_is_limited() {
    let app = node(&["--limit-sessions-per-channel=10"]).await;
    let mut inside = Vec::new();
    for _ in 0..10 {
        let id = viewer();
        assert_eq!(beat(&app, "192.0.2.1", "join", "ana", id).await.status(), StatusCode::OK);
        inside.push(id);
    }
    let refused = beat(&app, "192.0.2.1", "join", "ana", viewer()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(beat(&app, "192.0.2.2", "join", "ana", viewer()).await.status(), StatusCode::OK);
    assert_eq!(beat(&app, "192.0.2.1", "join", "bob", viewer()).await.status(), StatusCode::OK);
    // A counted session may stay, and a leave makes room for another one.
    assert_eq!(beat(&app, "192.0.2.1", "heartbeat", "ana", inside[0]).await.status(), StatusCode::OK);
    beat(&app, "192.0.2.1", "leave", "ana", inside[0]).await;
    assert_eq!(beat(&app, "192.0.2.1", "join", "ana", viewer()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_number_of_new_channels_per_address_is_limited() {
    let app = node(&["--limit-new-channels-per-minute=5"]).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        statuses.push(beat(&app, "192.0.2.1", "join", &format!("c{number}"), viewer()).await.status());
    }
    assert_eq!(statuses[..5], [StatusCode::OK; 5]);
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    for number in 100..104 {
        let channel = format!("c{number}");
        assert_eq!(beat(&app, "192.0.2.2", "join", &channel, viewer()).await.status(), StatusCode::OK);
        assert_eq!(beat(&app, "192.0.2.1", "join", &channel, viewer()).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn joins_of_channels_with_viewers_use_up_no_new_channels() {
    let redis = RedisServer::start().await;
    for store in [None, Some(format!("--redis-url={}", redis.url()))] {
        let mut flags = vec!["--limit-new-channels-per-minute=5"];
        flags.extend(store.as_deref());
        let app = node(&flags).await;
        for number in 0..20 {
            let (channel, from) = (format!("live{number}"), format!("198.51.100.{number}"));
            assert_eq!(beat(&app, &from, "join", &channel, viewer()).await.status(), StatusCode::OK);
            assert_eq!(beat(&app, "192.0.2.1", "join", &channel, viewer()).await.status(), StatusCode::OK);
        }
        let mut statuses = Vec::new();
        for number in 0..6 {
            statuses.push(beat(&app, "192.0.2.1", "join", &format!("new{number}"), viewer()).await.status());
        }
        assert_eq!(statuses[..5], [StatusCode::OK; 5], "{store:?}");
        assert_eq!(statuses[5], StatusCode::TOO_MANY_REQUESTS, "{store:?}");
    }
}

#[tokio::test]
async fn viewers_who_join_a_new_channel_together_do_not_evade_the_limit() {
    let redis = RedisServer::start().await;
    let app = node(&["--limit-new-channels-per-minute=5", "--redis-url", &redis.url()]).await;
    let began = std::time::Instant::now();
    let mut opened = 0;
    for number in 0..40 {
        let channel = format!("c{number}");
        let from = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"];
        let joins = from.map(|from| beat(&app, from, "join", &channel, viewer()));
        opened +=
            usize::from(join_all(joins).await.iter().any(|response| response.status() == StatusCode::OK));
    }
    let most = 2 * (5 + usize::try_from(began.elapsed().as_secs()).unwrap() / 12 + 1);
    assert!(opened <= most, "{opened} channels of {most} at most");
}

#[tokio::test]
async fn refused_joins_use_up_no_new_channels() {
    let app = node(&["--limit-joins-burst=20", "--limit-joins-per-second=1"]).await;
    for _ in 0..20 {
        beat(&app, "192.0.2.1", "join", "ana", viewer()).await;
    }
    let mut refused = 0;
    for number in 0..60 {
        let response = beat(&app, "192.0.2.1", "join", &format!("c{number}"), viewer()).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused += 1;
            let problem = response.json::<Value>().await.unwrap();
            assert_eq!(problem["detail"], "too many new sessions from this address");
        }
    }
    assert!(refused > 0);
}

async fn follow(app: &TestApp, from: &str, channel: &str) -> Response {
    app.client
        .post(format!("{}/api/channel/follow", app.base))
        .header("X-Forwarded-For", from)
        .json(&json!({"channelId": channel, "viewerId": viewer(), "follow": true}))
        .send()
        .await
        .unwrap()
}

async fn followers(app: &TestApp, channel: &str) -> u64 {
    let answer = app.get(&format!("/api/channel/followers?channelId={channel}")).await;
    answer.json::<Value>().await.unwrap()["followers"].as_u64().unwrap()
}

#[tokio::test]
async fn a_classroom_that_follows_at_once_is_not_refused() {
    let app = node(&[]).await;
    for response in join_all((0..60).map(|_| follow(&app, "192.0.2.1", "ana"))).await {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(followers(&app, "ana").await, 60);
}

#[tokio::test]
async fn follows_are_limited_per_address() {
    let app = node(&[]).await;
    let began = std::time::Instant::now();
    let mut answers = stream::iter(0..1_000).map(|_| follow(&app, "192.0.2.1", "ana")).buffer_unordered(32);
    let mut refused = 0;
    while let Some(response) = answers.next().await {
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused += 1;
            assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
            assert_eq!(response.json::<Value>().await.unwrap()["code"], "limit-reached");
        } else {
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
    // The rate admits one more per second.
    let most = 60 + began.elapsed().as_secs() + 1;
    let count = followers(&app, "ana").await;
    assert!(count >= 60 && count <= most, "{count} of {most} at most");
    assert_eq!(refused, 1_000 - count);
    assert_eq!(follow(&app, "192.0.2.2", "ana").await.status(), StatusCode::OK);
    let metrics = app.get("/metrics").await.text().await.unwrap();
    let expected_line = format!("aforo_limit_rejections_total{{limit=\"follows\"}} {refused}");
    assert!(metrics.lines().any(|line| line == expected_line), "{expected_line} in\n{metrics}");
}

#[tokio::test]
async fn a_false_x_forwarded_for_does_not_evade_the_limit_of_follows() {
    let app = TestApp::with(&["--limit-follows-per-minute=2"]).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        statuses.push(follow(&app, &format!("192.0.2.{number}"), "ana").await.status());
    }
    assert_eq!(statuses[..2], [StatusCode::OK; 2]);
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    // The same limit applies to the form of the page.
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let form = app.client.post(format!("{}/api/channel/follow", app.base)).body("channelId=ana");
        let form = form.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
        statuses.push(form.status());
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}

#[tokio::test]
async fn follows_are_unlimited_if_the_limit_is_zero() {
    let app = TestApp::with(&["--limit-follows-per-minute=0"]).await;
    for response in join_all((0..200).map(|_| follow(&app, "192.0.2.1", "ana"))).await {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(followers(&app, "ana").await, 200);
}

#[tokio::test]
async fn robots_are_not_counted() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for agent in
        ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Twitterbot/1.0"]
    {
        for call in ["join", "heartbeat"] {
            let request = app.client.post(format!("{}/api/viewer/{call}", app.base));
            let body = json!({"channelId": "ana", "viewerId": viewer()});
            let answer = request.header("User-Agent", agent).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.json::<Value>().await.unwrap()["count"], 1);
        }
    }
    assert_eq!(app.count("ana").await, 1);
    let metrics = app.get("/metrics").await.text().await.unwrap();
    for expected_line in [
        "aforo_robots_total 4",
        "aforo_beats_total{act=\"join\"} 1",
        "aforo_beats_total{act=\"heartbeat\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line == expected_line), "{expected_line} in\n{metrics}");
    }
}

#[tokio::test]
async fn an_address_that_takes_no_answers_gets_no_more_statistics_and_others_do() {
    let app = node(&["--stats=public"]).await;
    // The window of these clients takes a small part of an answer.
    let client = builder().http2_prior_knowledge().http2_initial_stream_window_size(1_000).build().unwrap();
    let history = async |from: &str| {
        let url = format!("{}/api/channel/ana/history?step=60", app.base);
        client.get(url).header("X-Forwarded-For", from).send().await.unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..4 {
        let response = history("192.0.2.1").await;
        assert_eq!(response.status(), StatusCode::OK);
        unread.push(response);
    }
    let refused = history("192.0.2.1").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    let page = app.client.get(format!("{}/ana/stats", app.base)).header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(page.send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(history("192.0.2.2").await.status(), StatusCode::OK, "other addresses are not affected");
    let whole = unread.pop().unwrap().json::<Value>().await.unwrap();
    assert!(whole["points"].as_array().unwrap().len() > 1_400);
    assert_eq!(history("192.0.2.1").await.status(), StatusCode::OK);
}
