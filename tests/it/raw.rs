//! Malformed HTTP requests, sent as raw bytes: targets, hosts, framing and heads. Each gets a complete error response.

use aforo::api::Code;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{FailingStore, PATIENCE, TestApp};

/// Sends bytes and reads the response until the connection is closed.
async fn exchange(app: &TestApp, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    // The server may close the connection during the write.
    if connection.write_all(bytes).await.is_ok() {
        let _ended = connection.shutdown().await;
    }
    let mut answer = Vec::new();
    let read =
        timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("the connection is closed");
    drop(read);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asserts that the response is the problem with this code, with the headers of all responses.
fn assert_problem(answer: &str, code: Code, what: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", code.status())), "{what}: {head}");
    assert_common_headers(head, what);
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {body}"));
    assert_eq!(body["code"], json!(code), "{what}");
}

fn assert_common_headers(head: &str, what: &str) {
    for name in
        ["x-request-id: ", "x-content-type-options: ", "content-security-policy: ", "referrer-policy: "]
    {
        assert!(head.contains(name), "{what} has no {name}: {head}");
    }
}

/// The number of responses with this class of status in the metrics.
async fn responses(app: &TestApp, status: &str) -> u64 {
    let metrics = app.get("/metrics").await.text().await.unwrap();
    let start = format!("aforo_http_responses_total{{status=\"{status}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn request_targets_other_than_paths_are_malformed() {
    let app = TestApp::start().await;
    let before = responses(&app, "4xx").await;
    let lines = ["CONNECT a:80", "CONNECT a.test:443", "GET healthz", "OPTIONS *", "GET *", "POST a.test:80"];
    for line in lines {
        let answer = exchange(&app, format!("{line} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes()).await;
        assert_problem(&answer, Code::Malformed, line);
    }
    assert_eq!(responses(&app, "4xx").await - before, lines.len() as u64);
    // An absolute target contains a host and a path.
    let answer = exchange(&app, b"GET http://b.test:81/healthz HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_request_must_name_exactly_one_host() {
    let app = TestApp::start().await;
    for hosts in
        ["", "Host: a\r\nHost: a\r\n", "Host: \r\n", "Host: a/b\r\n", "Host: a b\r\n", "Host: u@a\r\n"]
    {
        for target in ["/healthz", "http://a/healthz"] {
            let answer = exchange(&app, format!("GET {target} HTTP/1.1\r\n{hosts}\r\n").as_bytes()).await;
            assert_problem(&answer, Code::Malformed, hosts);
        }
    }
    let answer = exchange(&app, b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn unreadable_request_heads_get_a_complete_error_response() {
    let app = TestApp::start().await;
    let before = responses(&app, "4xx").await;
    let long = format!("GET /api/viewer/counts?channels={} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(65_000));
    let header = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "a".repeat(200_000));
    for head in [&long, &header] {
        assert_problem(&exchange(&app, head.as_bytes()).await, Code::HeadTooLarge, &head[..30]);
    }
    for head in ["no http\r\n\r\n", "GET / HTTP/1.1\r\nno header\r\n\r\n", "GET / HTTP/3.1\r\n\r\n"] {
        assert_problem(&exchange(&app, head.as_bytes()).await, Code::Malformed, head);
    }
    assert_eq!(responses(&app, "4xx").await - before, 5);
    // The same after a valid request on the connection.
    let two = "GET /api/none HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut connection = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    connection.write_all(two.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(timeout(PATIENCE, connection.read_buf(&mut answer)).await.unwrap().unwrap() > 0);
    }
    assert_problem(&String::from_utf8(answer).unwrap(), Code::NotFound, two);
    connection.write_all(b"no http\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    connection.shutdown().await.unwrap();
    timeout(PATIENCE, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_problem(&String::from_utf8(answer).unwrap(), Code::Malformed, "after a valid request");
}

#[tokio::test]
async fn a_panic_gets_a_complete_error_response() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_panicking(true);
    let before = responses(&app, "5xx").await;
    let answer =
        exchange(&app, b"GET /api/viewer/count/ana HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n").await;
    assert_problem(&answer, Code::Internal, "panic");
    assert!(answer.contains("x-request-id: mine"), "{answer}");
    assert_eq!(responses(&app, "5xx").await - before, 1);
}

#[tokio::test]
async fn a_body_declared_too_large_is_rejected_without_reading_it() {
    let app = TestApp::start().await;
    for path in ["viewer/join", "viewer/heartbeat", "viewer/leave", "channel/follow", "viewer/counts"] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut connection = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
            let head = format!(
                "POST /api/{path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{expect}Content-Length: 1000000\r\n\r\n"
            );
            connection.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            timeout(PATIENCE, connection.read_to_end(&mut answer))
                .await
                .expect("the connection is closed")
                .unwrap();
            assert_problem(&String::from_utf8(answer).unwrap(), Code::BodyTooLarge, path);
        }
    }
}

#[tokio::test]
async fn ambiguous_body_lengths_close_the_connection() {
    let app = TestApp::start().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = async |headers: &str, body: &str| {
        let head = format!(
            "POST /api/viewer/join HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{headers}\r\n"
        );
        exchange(&app, format!("{head}{body}{smuggled}").as_bytes()).await
    };
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let answer = answers(headers, "2\r\n{}\r\n0\r\n\r\n").await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "the connection is closed: {answer}");
        assert_problem(&answer, Code::Malformed, headers);
        assert!(answer.contains("connection: close"), "{answer}");
    }
    for (headers, body) in [
        ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: 2, 2\r\n", "{}"),
        ("Transfer-Encoding: identity\r\n", "{}"),
        ("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "no length\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "2\r\n{}garbage0\r\n\r\n"),
    ] {
        let answer = answers(headers, body).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers:?} {body:?}: {answer}");
        assert_problem(&answer, Code::Malformed, headers);
    }
}

#[tokio::test]
async fn a_post_returns_the_counts_of_a_thousand_long_names() {
    let app = TestApp::start().await;
    let names: Vec<_> = (0..1_000).map(|number| format!("{number:064}")).collect();
    app.join(&names[7], crate::support::viewer()).await;
    let post =
        || app.client.post(format!("{}/api/viewer/counts", app.base)).header("origin", "https://b.example");
    let encoded = format!("channels={}", names.join("%2C"));
    let plain = format!("channels={}", names.join(","));
    let form = "application/x-www-form-urlencoded";
    let bodies =
        [(form, encoded), (form, plain), ("application/json", json!({"channels": names}).to_string())];
    for (media_type, body) in bodies {
        let answer = post().header("content-type", media_type).body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let counts: Value = answer.json().await.unwrap();
        let listed = counts["counts"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[7]["count"], &listed[8]["count"]), (1_000, &json!(1), &json!(0)));
    }
    for (media_type, body, status) in [
        (form, format!("channels={}", vec!["a"; 1_001].join(",")), 400),
        ("application/json", json!({"channels": vec!["a"; 1_001]}).to_string(), 400),
        (form, "channel=a".to_owned(), 400),
        ("application/json", "[]".to_owned(), 400),
        ("text/plain", "channels=a".to_owned(), 415),
        (form, "a".repeat(128 * 1024 + 1), 413),
    ] {
        let answer = post().header("content-type", media_type).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

/// A chunk takes far more memory than the byte that it may have.
#[tokio::test]
async fn a_body_of_tiny_chunks_is_read() {
    let app = TestApp::start().await;
    let body = "channels=ana,bob";
    let chunks: String = body.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    let answer = exchange(
        &app,
        format!(
            "POST /api/viewer/counts HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{chunks}0\r\n\r\n"
        )
        .as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""channelId":"bob""#), "{answer}");
}
