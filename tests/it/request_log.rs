//! Request ids in responses and in the log, and the other content of the log.

use std::collections::HashSet;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Program, TestApp, viewer};

fn request_id(answer: &Response) -> String {
    answer.headers()["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_response_has_a_unique_request_id() {
    let app = TestApp::start().await;
    let mut ids = HashSet::new();
    let paths =
        ["/", "/ana", "/healthz", "/api/viewer/count/ana", "/api/viewer/sse/ana", "/api/none", "/a/b/c"];
    for path in paths {
        ids.insert(request_id(&app.get(path).await));
    }
    ids.insert(request_id(&app.post("/api/viewer/join", &json!({})).await));
    assert_eq!(ids.len(), paths.len() + 1, "{ids:?}");
}

#[tokio::test]
async fn a_client_may_choose_a_valid_request_id() {
    let app = TestApp::start().await;
    let returned = async |id: &str| {
        let request = app.client.get(format!("{}/healthz", app.base)).header("x-request-id", id);
        request_id(&request.send().await.unwrap())
    };
    for id in ["edge-7_2.1", "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10"] {
        assert_eq!(returned(id).await, id);
    }
    for id in ["two words", "a=b", "\"", "ñ", &"x".repeat(65)] {
        assert_ne!(returned(id).await, id);
    }
}

/// Sends a call with a request id, forwarded for the address 203.0.113.9.
async fn beat(server: &Program, call: &str, body: &Value) -> StatusCode {
    let request = server.client.post(format!("{}/api/viewer/{call}", server.base));
    let request = request.header("x-request-id", format!("my-{call}"));
    request.header("x-forwarded-for", "203.0.113.9").json(body).send().await.unwrap().status()
}

/// Asserts that the log contains no client addresses. One line contains the address of the server.
fn assert_no_addresses(log: &str) {
    for line in log.lines().filter(|line| !line.contains("serving http")) {
        for address in ["127.0.0.1", "203.0.113"] {
            assert!(!line.contains(address), "{line}");
        }
    }
}

#[tokio::test]
async fn the_json_log_has_channel_viewer_and_request_id() {
    let settings = [("LOG_FORMAT", "json"), ("RUST_LOG", "debug"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let server = Program::start(&settings).await;
    let one = viewer();
    for call in ["join", "heartbeat", "leave"] {
        let body = json!({"channelId": "ana", "viewerId": one});
        assert_eq!(beat(&server, call, &body).await, StatusCode::OK);
        server.wait_for_log(&format!("[VIEWER] {call}")).await;
    }
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for call in ["join", "heartbeat", "leave"] {
        let message = json!(format!("[VIEWER] {call}"));
        let line = lines.iter().find(|line| line["fields"]["message"] == message).expect(call);
        assert_eq!(line["level"], "DEBUG");
        assert_eq!(line["fields"]["channel"], "ana");
        assert_eq!(line["fields"]["viewer"], json!(one));
        assert_eq!(line["fields"]["count"], json!(u32::from(call != "leave")));
        assert_eq!(line["span"], json!({"name": "request", "id": format!("my-{call}")}));
    }
    assert_no_addresses(&log);
}

#[tokio::test]
async fn the_text_log_has_channel_viewer_and_request_id() {
    // An empty `NO_COLOR` means nothing. The log has no colors because it goes into a file.
    let settings = [
        ("RUST_LOG", "debug"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("LIMIT_JOINS_BURST", "1"),
        ("NO_COLOR", ""),
    ];
    let server = Program::start(&settings).await;
    let one = viewer();
    beat(&server, "join", &json!({"channelId": "ana", "viewerId": one})).await;
    server.wait_for_log("route=\"/api/viewer/join\" status=200").await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("[VIEWER] join")).unwrap();
    for part in ["request{id=\"my-join\"}", "channel=ana", &format!("viewer={one}"), "count=1"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!log.contains('\u{1b}'), "{log}");
    assert_no_addresses(&log);
}
