//! `GET /api/channel/{channel}/anomalies`: what the operator is told of waves of joins, and who may read it.

use std::{sync::Arc, time::Duration};

use aforo::{
    domain::{Policy, Timestamp},
    server::{
        clock::{Clock, ManualClock},
        store::MemoryStore,
    },
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{FailingStore, TestApp, viewer};

const TOKEN: &str = "operator-token-0123456789";
const START: u64 = 1_790_000_000_000;

async fn get(app: &TestApp, channel: &str) -> Response {
    let url = format!("{}/api/channel/{channel}/anomalies", app.base);
    app.client.get(url).bearer_auth(TOKEN).send().await.unwrap()
}

async fn report(app: &TestApp, channel: &str) -> Value {
    let answer = get(app, channel).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    answer.json().await.unwrap()
}

/// A server whose clock the test advances.
async fn app() -> (TestApp, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
    let shared: Arc<dyn Clock> = clock.clone();
    let store = Arc::new(MemoryStore::new(Arc::clone(&shared), Policy::default().lease_rules()));
    let flags = [format!("--api-token={TOKEN}"), "--stats=public".to_owned()];
    let app = TestApp::with_store_and_clock(store, shared, &flags.each_ref().map(String::as_str)).await;
    (app, clock)
}

#[tokio::test]
async fn a_wave_that_ends_in_the_same_second_is_told_and_changes_no_count() {
    let (app, clock) = app().await;
    let viewers: Vec<Uuid> = (0..40).map(|_| viewer()).collect();
    for viewer in &viewers {
        app.join("ana", *viewer).await;
    }
    let before = report(&app, "ana").await;
    // Calls are recorded as of their arrival, which was a moment before they were handled.
    let since = before["since"].as_u64().unwrap();
    assert!((START - 60_000..=START).contains(&since), "{since}");
    assert_eq!(before["isComplete"], json!(true));
    assert_eq!((&before["waves"], &before["hours"]), (&json!([]), &json!([])));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(30));
        for viewer in &viewers {
            app.heartbeat("ana", *viewer).await;
        }
    }
    assert_eq!(app.count("ana").await, 40);
    assert_eq!(report(&app, "ana").await["waves"][0]["score"], "open");
    for viewer in &viewers {
        app.leave("ana", *viewer).await;
    }
    clock.advance(Duration::from_secs(60));
    let after = report(&app, "ana").await;
    let wave = &after["waves"][0];
    let hour = START / 3_600_000 * 3_600_000;
    for (field, value) in [
        ("from", json!(since)),
        ("joins", json!(40)),
        ("usualJoins", json!(0.0)),
        ("followed", json!(40)),
        ("ended", json!(40)),
        ("score", json!("likely")),
        ("explanation", Value::Null),
    ] {
        assert_eq!(wave[field], value, "{field}");
    }
    let most = |group: &Value| group["sessions"].as_u64().is_some_and(|sessions| sessions >= 24);
    assert!(most(&wave["endedTogether"]) && most(&wave["sameLength"]), "{wave}");
    assert!(wave["share"].as_f64().unwrap() >= 0.6, "{wave}");
    assert_eq!(after["hours"], json!([{"at": hour, "joins": 40, "likelyInvented": 40}]));
    assert_eq!(report(&app, "ana").await["waves"], after["waves"], "reading changes nothing");
    let metrics = app.get("/metrics").await.text().await.unwrap();
    for line in ["aforo_likely_invented_waves_total 1", "aforo_likely_invented_joins_total 40"] {
        assert!(metrics.lines().any(|metric| metric == line), "{line} in {metrics}");
    }
    let text = after.to_string();
    assert!(viewers.iter().all(|viewer| !text.contains(&viewer.to_string())), "no ids");
}

#[tokio::test]
async fn only_the_operator_may_read_it() {
    let (app, _) = app().await;
    for path in ["/api/channel/ana/anomalies", "/api/channel/a%20b/anomalies"] {
        let refused = app.get(path).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}, although statistics are public");
        let query = app.get(&format!("{path}?token={TOKEN}")).await;
        assert_eq!(query.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(get(&app, "a%20b").await.status(), StatusCode::BAD_REQUEST);
    let nothing = report(&app, "ana").await;
    assert_eq!((&nothing["since"], &nothing["waves"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn beside_a_shared_store_a_node_does_not_say_that_it_has_seen_all() {
    let flags = [format!("--api-token={TOKEN}")];
    let store = FailingStore::new();
    let app = TestApp::with_store_and_flags(store, &flags.each_ref().map(String::as_str)).await;
    app.join("ana", viewer()).await;
    assert_eq!(report(&app, "ana").await["isComplete"], json!(false));
}
