//! The statistics of channels: broadcasts, history and summaries over HTTP, and who may see them.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Sse, TestApp, viewer};

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
    let none = app.get("/api/channel/ana/summary?range=broadcast").await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    let problem: Value = none.json().await.unwrap();
    assert_eq!(
        (&problem["code"], &problem["title"]),
        (&json!("not-found"), &json!("Not found")),
        "{problem}"
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
    // All days, as the joins may be before and after midnight.
    let (mut site, mut embeds) = (0, BTreeMap::new());
    for point in history["points"].as_array().unwrap() {
        site += point["newViewers"]["site"].as_u64().unwrap();
        for (host, new) in point["newViewers"]["embeds"].as_object().unwrap() {
            *embeds.entry(host.clone()).or_insert(0) += new.as_u64().unwrap();
        }
    }
    assert_eq!(site, 1);
    assert_eq!(json!(embeds), json!({"news.example": 2, "other": 1, "partner.example": 2}));
}

#[tokio::test]
async fn a_point_of_the_history_names_eight_hosts() {
    let app = TestApp::with(&["--stats=public"]).await;
    for n in 0..12_u32 {
        for _ in 0..=n / 6 {
            let body =
                json!({"channelId": "ana", "viewerId": viewer(), "embeddedIn": format!("{n:02}.example")});
            let joined = app.client.post(format!("{}/api/viewer/join", app.base)).json(&body).send();
            assert_eq!(joined.await.unwrap().status(), StatusCode::OK);
        }
    }
    broadcast(&app, "ana", |one| one["uniques"] == 18).await;
    let history = json_of(&app, "/api/channel/ana/history?step=86400").await;
    let (mut total, mut most) = (0, 0);
    for point in history["points"].as_array().unwrap() {
        let embeds = point["newViewers"]["embeds"].as_object().unwrap();
        total += embeds.values().map(|new| new.as_u64().unwrap()).sum::<u64>();
        most = most.max(embeds.keys().filter(|host| *host != "other").count());
    }
    assert_eq!((total, most), (18, 8), "{history}");
}

/// The data of the next event of a kind.
async fn next(events: &mut Sse, kind: &str) -> Value {
    loop {
        let event = events.next().await.expect("the stream goes on");
        if event.event == kind {
            return serde_json::from_str(&event.data).unwrap();
        }
    }
}

#[tokio::test]
async fn a_stream_carries_the_figures_of_the_present_broadcast() {
    let app = TestApp::with(&["--stats=public"]).await;
    let mut events = app.sse("sse/ana?stats=1").await;
    assert_eq!(next(&mut events, "figures").await, Value::Null, "the channel has had no broadcast");
    app.join("ana", viewer()).await;
    // The figures of a broadcast that has just begun have no peak until its first second is written.
    let mut first = next(&mut events, "figures").await;
    while first["peak"].is_null() {
        assert_eq!((&first["channelId"], &first["endedAt"]), (&json!("ana"), &Value::Null));
        first = next(&mut events, "figures").await;
    }
    assert_eq!(
        (&first["channelId"], &first["peak"], &first["endedAt"]),
        (&json!("ana"), &json!(1), &Value::Null)
    );
    app.join("ana", viewer()).await;
    while next(&mut events, "figures").await["peak"] != 2 {}
    app.join("ana", viewer()).await;
    while next(&mut events, "message").await["count"] != 3 {}
}

#[tokio::test]
async fn private_statistics_need_the_operators_token_or_a_link() {
    let app = TestApp::with(&["--api-token=the-token-of-the-operator"]).await;
    app.join("ana", viewer()).await;
    let paths = ["broadcasts", "history", "history.csv", "summary"];
    let refused = async |path: &str, token: Option<&str>| {
        let request = app.client.get(format!("{}{path}", app.base));
        let request = token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        response.json::<Value>().await.unwrap()
    };
    for path in paths {
        let of = |channel: &str| format!("/api/channel/{channel}/{path}");
        let known = refused(&of("ana"), None).await;
        assert_eq!(known["code"], "unauthorized");
        assert_eq!(
            known,
            refused(&of("never-seen"), Some("a wrong token")).await,
            "nothing tells them apart"
        );
        refused(&format!("{}?token=the-token-of-the-operator", of("ana")), None).await;
        let request =
            app.client.get(format!("{}{}", app.base, of("ana"))).bearer_auth("the-token-of-the-operator");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    assert_eq!(refused("/api/viewer/sse/ana?stats=1", None).await["code"], "unauthorized");
    assert_eq!(app.get("/api/viewer/count/ana").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn invalid_queries_are_problems() {
    let app = TestApp::with(&["--stats=public"]).await;
    for path in [
        "broadcasts?limit=0",
        "broadcasts?limit=101",
        "broadcasts?limit=x",
        "broadcasts?before=yesterday",
        "history?from=5&to=5",
        "history?from=6&to=5",
        "history?step=0",
        "history?step=1",
        "history?step=90000",
        "history?tz=Mars/Olympus",
        "history?from=2026-01-01",
        "history.csv?tz=",
        "summary?range=1y",
    ] {
        let response = app.get(&format!("/api/channel/ana/{path}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "malformed", "{path}");
    }
    let response = app.get("/api/channel/a%20b/broadcasts").await;
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "invalid-channel");
}

#[tokio::test]
async fn the_history_as_csv_has_instants_in_the_asked_zone() {
    let app = TestApp::with(&["--stats=public"]).await;
    let path = "history.csv?from=2026-03-29T00:00:00Z&to=2026-03-29T03:00:00Z&step=3600&tz=Europe/Madrid";
    let response = app.get(&format!("/api/channel/ana/{path}")).await;
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    assert!(response.headers()["content-disposition"].to_str().unwrap().contains("ana-history.csv"));
    assert_eq!(
        response.text().await.unwrap(),
        "at,min,average,max,observed,newViewers\r\n2026-03-29T01:00:00+01:00,,,,0.0000,0\r\n\
         2026-03-29T03:00:00+02:00,,,,0.0000,0\r\n2026-03-29T04:00:00+02:00,,,,0.0000,0\r\n"
    );
}

#[tokio::test]
async fn with_live_signals_a_broadcast_goes_from_the_signal_to_its_end() {
    let token = "the-token-of-the-operator";
    let app = TestApp::with(&["--stats=public", "--live=signal", &format!("--api-token={token}")]).await;
    let signal = async |live: bool| {
        let request = app.client.put(format!("{}/api/channel/ana/live", app.base)).bearer_auth(token);
        let response = request.json(&json!({"live": live})).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json::<Value>().await.unwrap()
    };
    app.join("ana", viewer()).await;
    app.join("eva", viewer()).await;
    let since = signal(true).await["startedAt"].clone();
    let present = broadcast(&app, "ana", |one| one["watchSeconds"].as_f64() > Some(1.0)).await;
    assert_eq!((&present["startedAt"], &present["endedAt"]), (&since, &Value::Null), "{present}");
    assert_eq!(present["peak"], 1);
    signal(false).await;
    // Broadcasts are cut at whole seconds.
    sleep(Duration::from_secs(2)).await;
    app.join("ana", viewer()).await;
    sleep(Duration::from_secs(6)).await;
    let after = broadcast(&app, "ana", |_| true).await;
    assert_eq!(after["peak"], 1, "who joins off air is not in the broadcast: {after}");
    assert_eq!(
        json_of(&app, "/api/channel/eva/broadcasts").await["broadcasts"],
        json!([]),
        "eva was never on air"
    );
}

#[tokio::test]
async fn the_programs_of_the_operator_read_for_many_channels_at_once() {
    let token = "the-token-of-the-operator";
    let app = TestApp::with(&[&format!("--api-token={token}")]).await;
    let read = async |number: u32| {
        let address = format!("{}/api/channel/ana-{number}/history", app.base);
        app.client.get(address).bearer_auth(token).send().await.unwrap().status()
    };
    let statuses = join_all((0..60).map(read)).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
}
