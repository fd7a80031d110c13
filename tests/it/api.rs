//! The JSON API over HTTP: names, fields, statuses and headers that clients rely on.

use std::{sync::Arc, time::Duration};

use aforo::{
    domain::Timestamp,
    server::clock::{Clock, ManualClock},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{FailingStore, TestApp, viewer};

#[tokio::test]
async fn a_join_returns_the_ids_the_count_and_the_heartbeat_interval() {
    let app = TestApp::start().await;
    let (one, page) = (viewer(), viewer());
    let body = json!({"channelId": "Ana", "viewerId": one, "sessionId": page, "hidden": false});
    let answer: Value = app.post("/api/viewer/join", &body).await.json().await.unwrap();
    assert_eq!(
        answer,
        json!({"viewerId": one, "sessionId": page, "count": 1, "stale": false, "heartbeatIntervalMs": 30_000})
    );
    assert_eq!(app.count("ana").await, 1, "channel names are case-insensitive");
}

#[tokio::test]
async fn a_join_without_ids_returns_new_ids() {
    let app = TestApp::start().await;
    let answer: Value =
        app.post("/api/viewer/join", &json!({"channelId": "ana"})).await.json().await.unwrap();
    let id: Uuid = answer["viewerId"].as_str().unwrap().parse().unwrap();
    assert!(!id.is_nil());
    assert_eq!(answer["sessionId"], answer["viewerId"], "the session id defaults to the viewer id");
    assert_eq!(app.leave("ana", id).await, json!({"ok": true}));
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn null_fields_count_as_missing_and_unknown_fields_are_ignored() {
    let app = TestApp::start().await;
    let body =
        json!({"channelId": "ana", "viewerId": null, "sessionId": null, "hidden": null, "color": "red"});
    assert_eq!(app.post("/api/viewer/join", &body).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_heartbeat_returns_the_count_and_whether_the_session_counts() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    app.join("ana", viewer()).await;
    assert_eq!(app.heartbeat("ana", one).await, json!({"count": 2, "stale": false, "active": true}));
    app.leave("ana", one).await;
    assert_eq!(app.heartbeat("ana", one).await, json!({"count": 1, "stale": false, "active": false}));
    assert_eq!(app.join("ana", one).await["count"], 2);
    assert_eq!(app.heartbeat("ana", one).await["active"], true);
}

#[tokio::test]
async fn a_heartbeat_of_an_unknown_session_creates_it() {
    let app = TestApp::start().await;
    assert_eq!(app.heartbeat("ana", viewer()).await, json!({"count": 1, "stale": false, "active": true}));
}

#[tokio::test]
async fn two_pages_of_one_browser_are_one_viewer_until_the_last_leaves() {
    let app = TestApp::start().await;
    let (one, first, second) = (viewer(), viewer(), viewer());
    let page = |session: Uuid| json!({"channelId": "ana", "viewerId": one, "sessionId": session});
    app.post("/api/viewer/join", &page(first)).await;
    app.post("/api/viewer/join", &page(second)).await;
    assert_eq!(app.count("ana").await, 1);
    app.post("/api/viewer/leave", &page(first)).await;
    assert_eq!(app.count("ana").await, 1);
    app.post("/api/viewer/leave", &page(second)).await;
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn every_spelling_of_an_id_is_the_same_viewer() {
    let app = TestApp::start().await;
    let one = viewer();
    for spelling in [
        one.to_string(),
        one.simple().to_string(),
        one.braced().to_string(),
        one.urn().to_string(),
        one.to_string().to_uppercase(),
    ] {
        let body = json!({"channelId": "ana", "viewerId": spelling});
        assert_eq!(app.post("/api/viewer/join", &body).await.status(), StatusCode::OK, "{spelling}");
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn a_leave_may_be_sent_as_a_beacon() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let body = json!({"channelId": "ana", "viewerId": one}).to_string();
    let leave = app.client.post(format!("{}/api/viewer/leave", app.base));
    let response = leave.header("content-type", "text/plain;charset=UTF-8").body(body).send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"ok": true}));
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn leaving_an_unknown_session_returns_the_same_as_leaving_a_known_one() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    assert_eq!(app.leave("ana", viewer()).await, json!({"ok": true}));
    assert_eq!(app.leave("nobody-was-here", viewer()).await, json!({"ok": true}));
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn a_lease_ends_after_60_seconds_and_on_a_hidden_page_after_150() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    app.join("ana", viewer()).await;
    let hidden = json!({"channelId": "ana", "viewerId": viewer(), "hidden": true});
    app.post("/api/viewer/heartbeat", &hidden).await;
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(app.count("ana").await, 2);
    clock.advance(Duration::from_millis(1));
    assert_eq!(app.count("ana").await, 1);
    clock.advance(Duration::from_secs(90));
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn the_count_may_be_requested_by_path_or_query_and_adds_no_viewer() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        for path in ["/api/viewer/count/ana", "/api/viewer/count?channelId=ana"] {
            let response = app.get(path).await;
            assert_eq!(response.headers()["cache-control"], "no-store");
            let answer: Value = response.json().await.unwrap();
            assert!(
                answer["asOf"].as_u64().unwrap() > 1_700_000_000_000,
                "asOf is in milliseconds: {answer}"
            );
            assert_eq!(
                (&answer["channelId"], &answer["count"], &answer["stale"]),
                (&json!("ana"), &json!(0), &json!(false))
            );
            assert_eq!(answer["live"], Value::Null, "without live signals nothing is known");
            assert_eq!(answer.as_object().unwrap().len(), 5);
        }
    }
}

#[tokio::test]
async fn counts_are_returned_in_the_requested_order() {
    let app = TestApp::start().await;
    app.join("bob", viewer()).await;
    let answer: Value = app.get("/api/viewer/counts?channels=ana,BOB,bob,eva").await.json().await.unwrap();
    let counts = answer["counts"].as_array().unwrap();
    let listed: Vec<_> =
        counts.iter().map(|count| (count["channelId"].clone(), count["count"].clone())).collect();
    assert_eq!(listed, [(json!("ana"), json!(0)), (json!("bob"), json!(1)), (json!("eva"), json!(0))]);
    let all = (0..1_000).map(|n| format!("channel-{n}")).collect::<Vec<_>>().join(",");
    let answer: Value = app.get(&format!("/api/viewer/counts?channels={all}")).await.json().await.unwrap();
    assert_eq!(answer["counts"].as_array().unwrap().len(), 1_000);
    let response = app.get(&format!("/api/viewer/counts?channels={all},one-more")).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn live_channels_are_sorted_by_viewers() {
    let app = TestApp::start().await;
    for (channel, viewers) in [("ana", 1), ("bob", 3), ("eva", 2), ("gone", 1)] {
        for _ in 0..viewers {
            app.join(channel, viewer()).await;
        }
    }
    let leaver = viewer();
    app.join("left", leaver).await;
    app.leave("left", leaver).await;
    let live = async |query: &str| -> Vec<(String, u64)> {
        let answer: Value = app.get(&format!("/api/viewer/live{query}")).await.json().await.unwrap();
        let listed = |channel: &Value| {
            (channel["channelId"].as_str().unwrap().to_owned(), channel["count"].as_u64().unwrap())
        };
        answer["channels"].as_array().unwrap().iter().map(listed).collect()
    };
    let all = [("bob", 3), ("eva", 2), ("ana", 1), ("gone", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(live("").await, all);
    assert_eq!(live("?limit=2").await, all[..2]);
    for limit in ["0", "1001", "-1", "many", ""] {
        let response = app.get(&format!("/api/viewer/live?limit={limit}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{limit}");
    }
}

#[tokio::test]
async fn every_site_may_read_counts() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/api/viewer/count/ana").await.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn an_unknown_count_is_a_503_with_retry_after_and_without_internals() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    for path in ["/api/viewer/count/ana", "/api/viewer/count?channelId=ana"] {
        let response = app.get(path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key("retry-after"));
        let body = response.text().await.unwrap();
        assert!(body.contains(r#""code":"unavailable""#), "{body}");
        assert!(!body.contains("MISCONF") && !body.contains("hunter2"), "{body}");
    }
}

#[tokio::test]
async fn operations_accepted_during_an_outage_are_written_afterwards() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    let (stays, leaves, comes) = (viewer(), viewer(), viewer());
    app.join("ana", stays).await;
    app.join("ana", leaves).await;
    store.set_broken(true);
    assert_eq!(app.heartbeat("ana", stays).await, json!({"count": 2, "stale": true, "active": true}));
    let joined = app.join("ana", comes).await;
    assert_eq!(
        (&joined["count"], &joined["stale"]),
        (&json!(2), &json!(true)),
        "the last known count is stale"
    );
    app.join("ana", viewer()).await;
    assert_eq!(app.leave("ana", leaves).await, json!({"ok": true}));
    assert_eq!(app.heartbeat("ana", leaves).await["active"], false);
    let mut stream = app.sse("sse/ana").await;
    assert_eq!(stream.data().await["stale"], true);
    store.set_broken(false);
    while stream.data().await["stale"] == true {}
    assert_eq!(app.count("ana").await, 3);
    assert_eq!(app.heartbeat("ana", leaves).await["active"], false, "the session that left does not count");
}

#[tokio::test]
async fn healthz_does_not_depend_on_the_store() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
}
