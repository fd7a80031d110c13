//! Origins that may count viewers, and the content security policies of pages.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{TestApp, viewer};

const HOST: (&str, &str) = ("Host", "live.test");

async fn join(app: &TestApp, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client.post(format!("{}/api/viewer/join", app.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.json(&json!({"channelId": "ana", "viewerId": viewer()})).send().await.unwrap()
}

async fn options(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client.request(Method::OPTIONS, format!("{}{path}", app.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn own_pages_programs_and_allowed_origins_may_count_viewers() {
    let flags = ["--allowed-origins=https://partner.example,null"];
    let app = TestApp::with(&flags).await;
    let allowed: &[&[(&str, &str)]] = &[
        &[],
        &[HOST, ("Origin", "https://live.test")],
        &[HOST, ("Origin", "http://LIVE.test")],
        &[HOST, ("Origin", "https://partner.example"), ("Sec-Fetch-Site", "cross-site")],
        &[HOST, ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")],
        // A proxy has rewritten the host, but the browser says that the request is same-origin.
        &[("Host", "10.0.0.1:3000"), ("Origin", "https://live.test"), ("Sec-Fetch-Site", "same-origin")],
        &[HOST, ("Sec-Fetch-Site", "none")],
    ];
    for headers in allowed {
        assert_eq!(join(&app, headers).await.status(), StatusCode::OK, "{headers:?}");
    }
    assert_eq!(app.count("ana").await, allowed.len() as u64);
}

#[tokio::test]
async fn other_origins_are_rejected() {
    let app = TestApp::start().await;
    for headers in [
        &[HOST, ("Origin", "https://evil.example")][..],
        &[HOST, ("Origin", "https://live.test.evil.example")],
        &[HOST, ("Origin", "https://live.test:8443")],
        &[HOST, ("Origin", "null")],
        &[HOST, ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
        &[HOST, ("Sec-Fetch-Site", "cross-site")],
    ] {
        let refused = join(&app, headers).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert!(!refused.headers().contains_key("access-control-allow-origin"));
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "origin-not-allowed");
    }
    // Bodies that need no CORS preflight are rejected too.
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        for call in ["join", "heartbeat", "leave"] {
            let url = format!("{}/api/viewer/{call}", app.base);
            let request = app.client.post(url).header("Content-Type", media_type);
            let body = json!({"channelId": "ana", "viewerId": viewer()}).to_string();
            let refused = request.header("Origin", "https://evil.example").body(body).send().await.unwrap();
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{call} as {media_type}");
        }
    }
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn scripts_of_every_site_may_read_counts() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for path in [
        "viewer/count/ana",
        "viewer/count?channelId=ana",
        "viewer/counts?channels=ana",
        "viewer/live",
        "channel/followers?channelId=ana",
    ] {
        let response = app.get(&format!("/api/{path}")).await;
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{path}");
    }
}

/// The headers that scripts of every site may send to calls that read.
const READ_HEADERS: &str =
    "content-type, cache-control, last-event-id, x-requested-with, traceparent, tracestate";

/// The paths that scripts of every site may read.
const READS: [&str; 12] = [
    "/api/viewer/count/ana",
    "/api/viewer/count?channelId=ana",
    "/api/viewer/counts?channels=ana",
    "/api/viewer/live",
    "/api/viewer/ping",
    "/api/viewer/sse/ana",
    "/api/viewer/sse?channels=ana",
    "/api/channel/followers?channelId=ana",
    "/api/openapi.json",
    "/badge/ana.json",
    "/badge/ana.svg",
    "/oembed",
];

#[tokio::test]
async fn scripts_of_every_site_may_add_headers_to_their_reads() {
    let app = TestApp::start().await;
    for path in READS {
        let is_list = path.starts_with("/api/viewer/counts");
        for method in ["GET", "HEAD", "POST"].into_iter().filter(|method| is_list || *method != "POST") {
            let headers = [
                ("Origin", "https://other.example"),
                ("Access-Control-Request-Method", method),
                ("Access-Control-Request-Headers", "cache-control,last-event-id"),
            ];
            let answer = options(&app, path, &headers).await;
            assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{method} {path}");
            let methods = if is_list { "GET, HEAD, POST" } else { "GET, HEAD" };
            for (name, value) in [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-methods", methods),
                ("access-control-allow-headers", READ_HEADERS),
                ("access-control-max-age", "86400"),
            ] {
                assert_eq!(answer.headers()[name], value, "{name} of {method} {path}");
            }
            let vary = answer.headers().get("vary").map(|value| value.to_str().unwrap());
            let expected = (!is_list).then_some("origin, access-control-request-method");
            assert_eq!(vary, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_preflights_of_reads_are_answered_for_every_site() {
    let app = TestApp::start().await;
    let origin = ("Origin", "https://other.example");
    let asks = |method| ("Access-Control-Request-Method", method);
    let refused: [&[(&str, &str)]; 5] =
        [&[], &[origin], &[asks("GET")], &[origin, asks("POST")], &[origin, asks("get")]];
    for path in READS.into_iter().filter(|path| !path.starts_with("/api/viewer/counts")) {
        for headers in refused {
            let answer = options(&app, path, headers).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{headers:?} {path}");
            assert_eq!(answer.headers()["allow"], "GET,HEAD", "{headers:?} {path}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{headers:?} {path}");
        }
    }
    // These are not for scripts of every site.
    for path in [
        "/api/viewer/join",
        "/api/viewer/heartbeat",
        "/api/viewer/leave",
        "/api/channel/follow",
        "/api/channel/follow/ana",
        "/api/channel/ana/broadcasts",
        "/api/channel/ana/anomalies",
        "/healthz",
        "/metrics",
    ] {
        let answer = options(&app, path, &[origin, asks("GET")]).await;
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
        let methods = answer.headers().get("access-control-allow-methods");
        assert!(methods.is_none_or(|methods| methods == "POST"), "{path}");
    }
}

#[tokio::test]
async fn allowed_origins_get_cors_headers() {
    let app = TestApp::with(&["--allowed-origins=https://partner.example"]).await;
    let preflight = async |origin: &str| {
        let url = format!("{}/api/viewer/join", app.base);
        let request = app.client.request(Method::OPTIONS, url).header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        request.header("Access-Control-Request-Headers", "content-type").send().await.unwrap()
    };
    let answer = preflight("https://partner.example").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://partner.example");
    assert_eq!(answer.headers()["access-control-allow-headers"], "content-type");
    let answer = preflight("https://evil.example").await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    let joined = join(&app, &[HOST, ("Origin", "https://partner.example")]).await;
    assert_eq!(joined.headers()["access-control-allow-origin"], "https://partner.example");
    assert!(!joined.headers().contains_key("access-control-expose-headers"));
}

#[tokio::test]
async fn scripts_of_other_sites_see_the_headers_of_errors_that_they_may_read() {
    let app = TestApp::with(&["--allowed-origins=https://partner.example", "--limit-joins-burst=1"]).await;
    let headers = [HOST, ("Origin", "https://partner.example")];
    let refused = async {
        loop {
            let answer = join(&app, &headers).await;
            if answer.status() == 429 {
                return answer;
            }
        }
    };
    let refused = refused.await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.headers()["access-control-expose-headers"], "retry-after, x-request-id");
    let unreadable = app.get("/api/viewer/count/a%20b").await;
    assert_eq!(unreadable.status(), 400);
    assert_eq!(unreadable.headers()["access-control-expose-headers"], "retry-after, x-request-id");
    let own = join(&app, &[HOST]).await;
    assert_eq!((own.status().as_u16(), own.headers().get("access-control-expose-headers")), (429, None));
}

#[tokio::test]
async fn only_embeds_may_be_framed() {
    let app = TestApp::with(&["--embed-frame-ancestors='self' https://partner.example"]).await;
    let header = async |path: &str, name: &str| {
        let response = app.get(path).await;
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let policy = async |path: &str| header(path, "content-security-policy").await.unwrap();
    assert!(policy("/embed/ana").await.contains("frame-ancestors 'self' https://partner.example"));
    assert!(
        TestApp::start().await.get("/embed/ana").await.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors *")
    );
    for path in
        ["/", "/ana", "/overlay/ana", "/no/such/page", "/api/viewer/count/ana", "/robots.txt", "/healthz"]
    {
        assert!(policy(path).await.contains("frame-ancestors 'none'"), "{path}");
        assert!(policy(path).await.contains("default-src 'none'"), "{path}");
        assert_eq!(header(path, "x-content-type-options").await.as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header(path, "x-frame-options").await, None, "{path}");
    }
}

#[tokio::test]
async fn every_inline_script_has_the_nonce_of_its_response() {
    let app = TestApp::start().await;
    let mut nonces = Vec::new();
    for path in ["/", "/ana", "/embed/ana?counter=1", "/ana"] {
        let response = app.get(path).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        let html = response.text().await.unwrap();
        for script in html.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            // A script of this site by its path needs no nonce.
            assert!(
                tag.contains(&format!("nonce=\"{nonce}\"")) || tag.contains(" src=\"/"),
                "{path}: <script{tag}>"
            );
        }
        assert!(!html.contains(" style=\"") && !html.contains("<style"), "{path} has no inline styles");
        nonces.push(nonce);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 4, "a nonce is used once");
}
