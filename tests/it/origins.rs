//! Origins that may count viewers, and the content security policies of pages.

use reqwest::{Response, StatusCode};
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
    let url = format!("{}/api/viewer/counts", app.base);
    let preflight =
        app.client.request(reqwest::Method::OPTIONS, url).header("Origin", "https://other.example");
    let response = preflight.header("Access-Control-Request-Method", "POST").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.headers()["access-control-allow-headers"], "content-type");
}

#[tokio::test]
async fn allowed_origins_get_cors_headers() {
    let app = TestApp::with(&["--allowed-origins=https://partner.example"]).await;
    let preflight = async |origin: &str| {
        let url = format!("{}/api/viewer/join", app.base);
        let request = app.client.request(reqwest::Method::OPTIONS, url).header("Origin", origin);
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
