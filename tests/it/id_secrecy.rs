//! The promises of `SECURITY.md` about ids: they are secrets, and ending a session requires its ids.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Program, RedisServer, TestApp, viewer};

async fn leave(app: &TestApp, body: &Value) -> (StatusCode, String) {
    let answer = app.post("/api/viewer/leave", body).await;
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_session_ends_only_with_its_viewer_id_and_session_id() {
    let app = TestApp::start().await;
    let (one, session, other) = (viewer(), viewer(), viewer());
    let page = json!({"channelId": "ana", "viewerId": one, "sessionId": session});
    app.post("/api/viewer/join", &page).await;
    app.join("ana", other).await;
    let done = leave(&app, &json!({"channelId": "bob", "viewerId": viewer()})).await;
    for attempt in [
        json!({"channelId": "ana", "viewerId": viewer()}),
        json!({"channelId": "ana", "viewerId": viewer(), "sessionId": viewer()}),
        // Only one of the two ids is known.
        json!({"channelId": "ana", "viewerId": viewer(), "sessionId": session}),
        json!({"channelId": "ana", "viewerId": one, "sessionId": viewer()}),
        json!({"channelId": "ana", "viewerId": one}),
        json!({"channelId": "ana", "viewerId": session, "sessionId": one}),
        // The correct ids in another channel.
        json!({"channelId": "bob", "viewerId": one, "sessionId": session}),
    ] {
        assert_eq!(
            leave(&app, &attempt).await,
            done,
            "the response is the same as for a known session: {attempt}"
        );
        assert_eq!(app.count("ana").await, 2, "{attempt}");
    }
    assert_eq!(leave(&app, &page).await, done);
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn links_and_pages_of_other_sites_cannot_end_a_session() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let query = format!("/api/viewer/leave?channelId=ana&viewerId={one}");
    assert_eq!(app.get(&query).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let post = |query: &str| app.client.post(format!("{}{query}", app.base));
    let answer = post(&query).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "the query string is ignored");
    let body = json!({"channelId": "ana", "viewerId": one}).to_string();
    let foreign = post("/api/viewer/leave").header("origin", "https://evil.example");
    let answer = foreign.header("content-type", "text/plain").body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(app.count("ana").await, 1);
}

/// Asserts that a text contains none of these ids in any spelling.
fn assert_hides(ids: &[Uuid], text: &str, what: &str) {
    let text = text.to_ascii_lowercase();
    for id in ids {
        for spelling in [id.to_string(), id.simple().to_string()] {
            assert!(!text.contains(&spelling), "{id} is in {what}: {text}");
        }
    }
}

#[tokio::test]
async fn ids_are_in_no_response_to_others_and_in_no_log_above_debug() {
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
    // A response to a viewer contains its own ids only.
    let own = page("join", ids[4], ids[5]).await.text().await.unwrap();
    assert_hides(&ids[..4], &own, "the response to another viewer");
    for call in ["heartbeat", "leave"] {
        seen += &page(call, ids[4], ids[5]).await.text().await.unwrap();
    }
    // Error responses and their log lines contain no ids either.
    seen += &page("joins", ids[4], ids[5]).await.text().await.unwrap();
    for invalid in [
        json!({"channelId": "a b", "viewerId": ids[0]}),
        json!({"channelId": "ana", "viewerId": format!("{}0", ids[0])}),
    ] {
        seen += &server.post("/api/viewer/join", &invalid).await.text().await.unwrap();
    }
    redis.kill();
    page("heartbeat", ids[0], ids[1]).await;
    page("leave", ids[2], ids[3]).await;
    server.wait_for_log("WARN").await;
    redis.run().await;
    // Redis has restarted without data, and the remaining session is replayed.
    stream.until_fresh(1).await;
    for path in [
        "/",
        "/ana",
        "/embed/ana",
        "/embed/ana?counter=1",
        "/overlay/ana?milestones=5",
        "/badge/ana.txt",
        "/oembed",
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
    assert!(seen.contains("viewer-counter") && seen.contains("aforo_beats_total"), "all responses were read");
    assert_hides(&ids, &seen, "the responses");
    server.signal("TERM");
    server.wait_for_log("shutting down").await;
    let log = server.log();
    assert!(log.contains("INFO") && log.contains("WARN"), "{log}");
    assert_hides(&ids, &log, "the log");
}

#[test]
fn no_endpoint_takes_an_id_in_its_url() {
    let document: Value = serde_json::from_str(include_str!("../../src/server/http/openapi.json")).unwrap();
    let calls = document["paths"].as_object().unwrap();
    for (path, methods) in calls {
        for (_, call) in methods.as_object().unwrap() {
            let parameters = call["parameters"].as_array().into_iter().flatten();
            let in_url = parameters.filter(|parameter| parameter["in"] != "header");
            for name in in_url.filter_map(|parameter| parameter["name"].as_str()) {
                let known = [
                    "channelId",
                    "channels",
                    "limit",
                    "file",
                    "locale",
                    "url",
                    "format",
                    "maxwidth",
                    "maxheight",
                    "before",
                    "from",
                    "to",
                    "step",
                    "tz",
                    "range",
                    "stats",
                    // Opens the statistics of a channel, and names nobody.
                    "token",
                ];
                assert!(known.contains(&name), "{path} takes {name}");
            }
        }
    }
}
