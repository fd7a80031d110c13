//! The statistics of channels: broadcasts, history and summaries over HTTP, and who may see them.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, TestApp, viewer};

async fn json_of(app: &TestApp, path: &str) -> Value {
    let response = app.get(path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.unwrap()
}

/// Waits until the present broadcast of a channel satisfies `is_met`.
async fn broadcast(app: &TestApp, channel: &str, is_met: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = json_of(app, &format!("/api/channel/{channel}/broadcasts")).await;
        let newest = answer["broadcasts"][0].clone();
        if !newest.is_null() && is_met(&newest) {
            return newest;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_broadcast_has_its_peak_viewers_and_watch_time() {
    let app = TestApp::with(&["--stats=public"]).await;
    assert_eq!(
        json_of(&app, "/api/channel/ana/broadcasts").await,
        json!({"channelId": "ana", "broadcasts": []})
    );
    let viewers = [viewer(), viewer(), viewer()];
    for viewer in viewers {
        app.join("ana", viewer).await;
    }
    app.leave("ana", viewers[0]).await;
    app.join("ana", viewers[0]).await;
    app.leave("ana", viewers[1]).await;

    let present =
        broadcast(&app, "ana", |one| one["uniques"] == 3 && one["watchSeconds"].as_f64() > Some(4.0)).await;
    assert_eq!((&present["peak"], &present["endedAt"]), (&json!(3), &Value::Null), "{present}");
    let (started, peak_at) = (present["startedAt"].as_u64().unwrap(), present["peakAt"].as_u64().unwrap());
    assert!(started <= peak_at && peak_at < started + 60_000, "{present}");
    let average = present["average"].as_f64().unwrap();
    assert!((1.0..=3.0).contains(&average), "{present}");

    let summary = json_of(&app, "/api/channel/Ana/summary?range=broadcast").await;
    assert_eq!(
        (&summary["channelId"], &summary["range"], &summary["peak"]),
        (&json!("ana"), &json!("broadcast"), &json!(3))
    );
    let day = json_of(&app, "/api/channel/ana/summary").await;
    assert_eq!((&day["range"], &day["peak"], &day["uniques"]), (&json!("24h"), &json!(3), &json!(3)));

    let history = json_of(&app, "/api/channel/ana/history?step=60").await;
    let points = history["points"].as_array().unwrap();
    let new: u64 = points.iter().map(|point| point["newViewers"]["site"].as_u64().unwrap()).sum();
    assert_eq!(new, 3, "a viewer who comes back is not new: {history}");
    assert_eq!(points.iter().filter_map(|point| point["max"].as_u64()).max(), Some(3));
    let unknown = points.first().unwrap();
    assert_eq!(
        (&unknown["min"], &unknown["observed"]),
        (&Value::Null, &json!(0.0)),
        "before the server started"
    );
}

#[tokio::test]
async fn new_viewers_are_told_apart_by_where_they_watch() {
    let app = TestApp::with(&["--stats=public", "--allowed-origins=https://partner.example"]).await;
    app.join("ana", viewer()).await;
    let join = |body: Value, origin: Option<&'static str>| {
        let request = app.client.post(format!("{}/api/viewer/join", app.base)).json(&body);
        origin.map_or(request.try_clone().unwrap(), |origin| request.header(header::ORIGIN, origin)).send()
    };
    let body = |host: Option<&str>| json!({"channelId": "ana", "viewerId": viewer(), "embeddedIn": host});
    for (body, origin) in [
        (body(Some("News.example")), None),
        (body(Some("news.example")), None),
        (body(Some("<script>")), None),
        (body(None), Some("https://partner.example")),
        (body(Some("lies.example")), Some("https://partner.example")),
    ] {
        assert_eq!(join(body, origin).await.unwrap().status(), StatusCode::OK);
    }
    broadcast(&app, "ana", |one| one["uniques"] == 6).await;
    let history = json_of(&app, "/api/channel/ana/history?step=86400").await;
    let point = history["points"].as_array().unwrap().last().unwrap();
    assert_eq!(
        point["newViewers"],
        json!({"site": 1, "embeds": {"news.example": 2, "other": 1, "partner.example": 2}})
    );
}
