//! What `SECURITY.md` promises about ids: they are secrets, and only who knows one can end its sessions.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Program, RedisServer, TestApp, viewer};

async fn leave(app: &TestApp, body: &Value) -> (StatusCode, String) {
    let answer = app.post("/api/viewer/leave", body).await;
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn nobody_removes_a_viewer_without_its_ids() {
    let app = TestApp::start().await;
    let (one, session, other) = (viewer(), viewer(), viewer());
    let page = json!({"channelId": "ana", "viewerId": one, "sessionId": session});
    app.post("/api/viewer/join", &page).await;
    app.join("ana", other).await;
    let done = leave(&app, &json!({"channelId": "bob", "viewerId": viewer()})).await;
    for attempt in [
        json!({"channelId": "ana", "viewerId": viewer()}),
        json!({"channelId": "ana", "viewerId": viewer(), "sessionId": viewer()}),
        // A viewer that knows another's session, and the other way round.
        json!({"channelId": "ana", "viewerId": viewer(), "sessionId": session}),
        json!({"channelId": "ana", "viewerId": one, "sessionId": viewer()}),
        json!({"channelId": "ana", "viewerId": one}),
        json!({"channelId": "ana", "viewerId": session, "sessionId": one}),
        // The right ids in another channel.
        json!({"channelId": "bob", "viewerId": one, "sessionId": session}),
    ] {
        assert_eq!(leave(&app, &attempt).await, done, "it is answered as if it had been there: {attempt}");
        assert_eq!(app.count("ana").await, 2, "{attempt}");
    }
    assert_eq!(leave(&app, &page).await, done);
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn no_address_and_no_page_of_another_site_ends_a_session() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let query = format!("/api/viewer/leave?channelId=ana&viewerId={one}");
    assert_eq!(app.get(&query).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let post = |query: &str| app.client.post(format!("{}{query}", app.base));
    let answer = post(&query).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "a query is not looked at");
    let body = json!({"channelId": "ana", "viewerId": one}).to_string();
    let foreign = post("/api/viewer/leave").header("origin", "https://evil.example");
    let answer = foreign.header("content-type", "text/plain").body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(app.count("ana").await, 1);
}

/// Fails if a text holds an id in any spelling.
fn assert_hides(ids: &[Uuid], text: &str, what: &str) {
    let text = text.to_ascii_lowercase();
    for id in ids {
        for spelling in [id.to_string(), id.simple().to_string()] {
            assert!(!text.contains(&spelling), "{id} is in {what}: {text}");
        }
    }
}

#[tokio::test]
async fn ids_are_shown_to_nobody_and_logged_at_debug_alone() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let server = Program::start(&[("REDIS_URL", &url), ("RUST_LOG", "info")]).await;
    let ids: Vec<Uuid> = (0..6).map(|_| viewer()).collect();
    let page = |call: &str, viewer: Uuid, session: Uuid| {
        let body = json!({"channelId": "ana", "viewerId": viewer, "sessionId": session});
        let (server, path) = (&server, format!("/api/viewer/{call}"));
        async move { server.post(&path, &body).await }
    };
    let mut stream = server.sse("sse?channels=ana,bob").await;
    page("join", ids[0], ids[1]).await;
    page("join", ids[2], ids[3]).await;
    let mut seen = String::new();
    let mut two = false;
    while !two {
        let data = stream.data().await;
        two = data["count"] == 2;
        seen += &data.to_string();
    }
    // A viewer's own ids come back to it; nobody else's do.
    let own = page("join", ids[4], ids[5]).await.text().await.unwrap();
    assert_hides(&ids[..4], &own, "the answer to another viewer");
    for call in ["heartbeat", "leave"] {
        seen += &page(call, ids[4], ids[5]).await.text().await.unwrap();
    }
    // What goes wrong is told and logged without them as well.
    seen += &page("joins", ids[4], ids[5]).await.text().await.unwrap();
    for wrong in [
        json!({"channelId": "a b", "viewerId": ids[0]}),
        json!({"channelId": "ana", "viewerId": format!("{}0", ids[0])}),
    ] {
        seen += &server.post("/api/viewer/join", &wrong).await.text().await.unwrap();
    }
    redis.kill();
    page("heartbeat", ids[0], ids[1]).await;
    page("leave", ids[2], ids[3]).await;
    server.wait_for_log("WARN").await;
    redis.run().await;
    // Redis has come back empty, and who is left is written again.
    stream.until_fresh(1).await;
    for path in [
        "/",
        "/ana",
        "/embed/ana",
        "/embed/ana?counter=1",
        "/api/viewer/count/ana",
        "/api/viewer/counts?channels=ana,bob",
        "/api/viewer/live",
        "/api/openapi.json",
        "/metrics",
        "/readyz",
        "/no/such/page",
    ] {
        seen += &server.get(path).await.text().await.unwrap();
    }
    assert!(seen.contains("viewer-counter") && seen.contains("aforo_beats_total"), "the search sees it all");
    assert_hides(&ids, &seen, "what the server has said");
    server.signal("TERM");
    server.wait_for_log("ending").await;
    let log = server.log();
    assert!(log.contains("INFO") && log.contains("WARN"), "{log}");
    assert_hides(&ids, &log, "the log");
}

#[test]
fn no_call_takes_an_id_in_its_address() {
    let document: Value = serde_json::from_str(include_str!("../../src/server/http/openapi.json")).unwrap();
    let calls = document["paths"].as_object().unwrap();
    for (path, methods) in calls {
        for (_, call) in methods.as_object().unwrap() {
            let parameters = call["parameters"].as_array().into_iter().flatten();
            let in_address = parameters.filter(|parameter| parameter["in"] != "header");
            for name in in_address.filter_map(|parameter| parameter["name"].as_str()) {
                assert!(
                    ["channelId", "channels", "limit", "file", "locale"].contains(&name),
                    "{path} takes {name}"
                );
            }
        }
    }
}
