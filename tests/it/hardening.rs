//! Invalid input: every case gets its specific problem, none a 500, and none changes a count.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{TestApp, viewer};

const CALLS: [&str; 3] = ["/api/viewer/join", "/api/viewer/heartbeat", "/api/viewer/leave"];

/// Sends a request with any body.
async fn send(
    app: &TestApp,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> Response {
    let request = app.client.request(method, format!("{}{path}", app.base));
    request.header("content-type", content_type).body(body.into()).send().await.unwrap()
}

/// Asserts that the response is the problem with this status and code, without internal details.
async fn assert_problem(response: Response, status: u16, code: &str, case: &str) {
    assert_eq!(response.status().as_u16(), status, "{case}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{case}");
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{case}");
    assert_eq!(body["type"], "about:blank");
    assert!(body["title"].is_string());
    for internal in ["::", "struct", "panicked", "src/"] {
        assert!(!body.to_string().contains(internal), "{case}: {body}");
    }
}

#[tokio::test]
async fn bodies_other_than_json_objects_are_malformed() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let deep = format!("{{\"channelId\":{}", "[".repeat(2_000));
    let cases: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        br#"["ana","6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10"]"#, // serde could read the fields by position
        b"\"ana\"",
        b"{\"channelId\":\"ana\"",
        b"{\"channelId\":\"ana\",}",
        b"channelId=ana",
        b"\xff\xfe{}",
        deep.as_bytes(),
    ];
    for path in CALLS {
        for body in cases {
            let response = send(&app, Method::POST, path, "application/json", body).await;
            assert_problem(
                response,
                400,
                "malformed",
                &format!("{path} {:?}", String::from_utf8_lossy(body)),
            )
            .await;
        }
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn missing_fields_and_wrong_types_are_malformed() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    for (path, body) in [
        (CALLS[0], json!({})),
        (CALLS[0], json!({"channelId": null})),
        (CALLS[0], json!({"channelId": 5})),
        (CALLS[0], json!({"channelId": ["ana"]})),
        (CALLS[0], json!({"channelId": {"name": "ana"}})),
        (CALLS[0], json!({"channelId": "ana", "viewerId": 1})),
        (CALLS[0], json!({"channelId": "ana", "sessionId": true})),
        (CALLS[0], json!({"channelId": "ana", "hidden": "yes"})),
        (CALLS[1], json!({"channelId": "ana"})),
        (CALLS[1], json!({"viewerId": one})),
        (CALLS[1], json!({"channelId": "ana", "viewerId": null})),
        (CALLS[2], json!({"channelId": "ana"})),
        (CALLS[2], json!({"channelId": "ana", "viewerId": {}})),
    ] {
        assert_problem(app.post(path, &body).await, 400, "malformed", &format!("{path} {body}")).await;
    }
    let twice = format!(r#"{{"channelId":"ana","viewerId":"{one}","viewerId":"{}"}}"#, viewer());
    let response = send(&app, Method::POST, CALLS[0], "application/json", twice).await;
    assert_problem(response, 400, "malformed", "the same field twice").await;
    assert_eq!(app.count("ana").await, 1);
}

/// Line breaks and control characters could forge log lines and stream events, and separators could forge store keys.
const INVALID_CHANNELS: [&str; 18] = [
    "",
    " ",
    "ana ",
    "a b",
    "a/b",
    "a:b",
    "{ana}",
    "*",
    "ana\n",
    "ana\r\ndata: forged",
    "a\u{0}b",
    "a\u{7f}b",
    "a\u{202e}b",
    "señal",
    "ａｎａ",
    "a%20b",
    "<script>",
    "🎥",
];

#[tokio::test]
async fn invalid_channel_names_are_rejected_everywhere() {
    let app = TestApp::start().await;
    let too_long = "z".repeat(65);
    for channel in INVALID_CHANNELS.into_iter().chain([too_long.as_str()]) {
        for path in CALLS {
            let body = json!({"channelId": channel, "viewerId": viewer()});
            assert_problem(
                app.post(path, &body).await,
                400,
                "invalid-channel",
                &format!("{path} {channel:?}"),
            )
            .await;
        }
        let query = format!("{}/api/viewer/count", app.base);
        let response = app.client.get(query).query(&[("channelId", channel)]).send().await.unwrap();
        assert_problem(response, 400, "invalid-channel", &format!("count {channel:?}")).await;
    }
    for path in ["viewer/count", "viewer/sse", "channel/follow"] {
        for channel in ["a%20b", "a%0Ab", "a%0D%0Ab", "%00", "%ff", "%E2%80%AE", "ana%2Fbob", &too_long] {
            let response = app.get(&format!("/api/{path}/{channel}")).await;
            assert_problem(response, 400, "invalid-channel", &format!("{path}/{channel}")).await;
        }
    }
    assert_eq!(
        app.join(&"z".repeat(64), viewer()).await["count"],
        1,
        "a channel name may have 64 characters"
    );
}

#[tokio::test]
async fn nil_and_garbage_ids_are_rejected() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let too_long = "6fa1c0de".repeat(400);
    for id in [
        "",
        "null",
        "undefined",
        "00000000-0000-0000-0000-000000000000",
        "6fa1c0de-94a1-4b1e-8a53",
        "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a1g",
        "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10\n",
        " 6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10",
        "' OR 1=1 --",
        too_long.as_str(),
    ] {
        for path in CALLS {
            let body = json!({"channelId": "ana", "viewerId": id});
            assert_problem(app.post(path, &body).await, 400, "invalid-viewer", &format!("{path} {id:?}"))
                .await;
            let body = json!({"channelId": "ana", "viewerId": one, "sessionId": id});
            assert_problem(
                app.post(path, &body).await,
                400,
                "invalid-viewer",
                &format!("{path} session {id:?}"),
            )
            .await;
        }
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn the_body_limit_is_configurable() {
    let body = |bytes: usize| {
        let empty = json!({"channelId": "ana", "viewerId": viewer(), "padding": ""}).to_string();
        let padding = "x".repeat(bytes - empty.len());
        let body = empty.replace("\"padding\":\"\"", &format!("\"padding\":\"{padding}\""));
        assert_eq!(body.len(), bytes);
        body
    };
    for (setting, fits, is_too_large) in [
        ("--limit-body-bytes=4096", 4_096, Some(4_097)),
        ("--limit-body-bytes=512", 512, Some(513)),
        ("--limit-body-bytes=100000", 100_000, Some(100_001)),
        ("--limit-body-bytes=0", 3_000_000, None),
    ] {
        let app = TestApp::with(&[setting]).await;
        for path in CALLS.into_iter().chain(["/api/channel/follow"]) {
            let response = send(&app, Method::POST, path, "application/json", body(fits)).await;
            assert_eq!(response.status(), StatusCode::OK, "{setting}: {path}");
            if let Some(bytes) = is_too_large {
                let response = send(&app, Method::POST, path, "application/json", body(bytes)).await;
                assert_problem(response, 413, "body-too-large", path).await;
            }
        }
    }
}

#[tokio::test]
async fn the_body_limit_applies_with_and_without_content_length() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let megabyte =
        json!({"channelId": "ana", "viewerId": viewer(), "padding": "x".repeat(1 << 20)}).to_string();
    for path in CALLS {
        let response = send(&app, Method::POST, path, "application/json", megabyte.clone()).await;
        assert_problem(response, 413, "body-too-large", path).await;

        let chunks = (0..10).map(|_| Ok::<_, std::io::Error>("x".repeat(1_000)));
        let chunked =
            app.client.post(format!("{}{path}", app.base)).header("content-type", "application/json");
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        assert_problem(chunked.body(body).send().await.unwrap(), 413, "body-too-large", path).await;
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn other_content_types_are_unsupported() {
    let app = TestApp::start().await;
    let body = json!({"channelId": "ana", "viewerId": viewer()}).to_string();
    for content_type in [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/html",
        "application/jsonp",
        "",
        "nonsense",
    ] {
        for path in CALLS {
            let response = send(&app, Method::POST, path, content_type, body.clone()).await;
            assert_problem(response, 415, "unsupported-media-type", &format!("{path} {content_type:?}"))
                .await;
        }
    }
    // Any page of any site can send text/plain. Such a request may end a session, whose ids it must know, but not start
    // one.
    for path in [CALLS[0], CALLS[1]] {
        let response = send(&app, Method::POST, path, "text/plain", body.clone()).await;
        assert_problem(response, 415, "unsupported-media-type", path).await;
    }
    let response = send(&app, Method::POST, CALLS[0], "Application/JSON; charset=utf-8", body).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn other_methods_are_rejected_with_an_allow_header() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let body = json!({"channelId": "ana", "viewerId": one}).to_string();
    for path in CALLS {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let response = send(&app, method.clone(), path, "application/json", body.clone()).await;
            // OPTIONS is for CORS preflight requests.
            assert_eq!(response.headers()["allow"], "POST,OPTIONS", "{method} {path}");
            assert_problem(response, 405, "method-not-allowed", &format!("{method} {path}")).await;
        }
    }
    for path in [
        "/api/viewer/count?channelId=ana",
        "/api/viewer/count/ana",
        "/api/viewer/sse/ana",
        "/api/viewer/sse?channels=ana",
    ] {
        let response = send(&app, Method::POST, path, "application/json", body.clone()).await;
        assert_eq!(response.headers()["allow"], "GET,HEAD", "{path}");
        assert_problem(response, 405, "method-not-allowed", path).await;
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn invalid_queries_are_rejected() {
    let app = TestApp::start().await;
    for query in ["", "?", "?channel=ana", "?channelId=ana&channelId=bob", "?CHANNELID=ana"] {
        assert_problem(app.get(&format!("/api/viewer/count{query}")).await, 400, "malformed", query).await;
    }
    let many = vec!["ana"; 51].join(",");
    for query in ["", "?channel=ana", &format!("?channels={many}")] {
        assert_problem(app.get(&format!("/api/viewer/sse{query}")).await, 400, "malformed", query).await;
    }
    for query in ["?channels=", "?channels=ana,", "?channels=ana,b%20b", "?channels=,"] {
        assert_problem(app.get(&format!("/api/viewer/sse{query}")).await, 400, "invalid-channel", query)
            .await;
    }
}

#[tokio::test]
async fn unknown_endpoints_are_not_found() {
    let app = TestApp::start().await;
    for path in [
        "/api/",
        "/api/viewer",
        "/api/viewer/",
        "/api/viewer/joins",
        "/api/viewer/join/ana",
        "/api/viewer/count/a/b",
    ] {
        assert_problem(app.get(path).await, 404, "not-found", path).await;
    }
}
