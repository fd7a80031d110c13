//! The overlay page as the server renders it, before its script runs.

use reqwest::{StatusCode, header::ACCEPT_LANGUAGE};

use crate::support::{FailingStore, TestApp, viewer};

async fn html(app: &TestApp, path: &str) -> String {
    app.get(path).await.text().await.unwrap()
}

#[tokio::test]
async fn the_page_contains_the_count_and_nothing_of_the_site() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        app.join("ana", viewer()).await;
    }
    let response = app.get("/overlay/Ana").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = response.text().await.unwrap();
    assert!(html.contains(r#"<span class="viewer-counter__number">3</span>"#), "{html}");
    assert!(
        html.contains(r#"data-state="live""#) && html.contains(r#"aria-label="3 espectadores""#),
        "{html}"
    );
    assert!(html.contains(r#"data-channel="ana""#) && html.contains(r#"data-count="3""#), "{html}");
    for other in
        ["<header", "<h1", "<a ", "<form", "<video", "stylesheet", "leptos-island", "wasm", "preload"]
    {
        assert!(!html.contains(other), "{other} in {html}");
    }
    assert!(html.contains(r#"<meta name="robots" content="noindex">"#), "{html}");
    assert!(html.contains("background: transparent"), "the styles are not escaped: {html}");
    assert_eq!(app.count("ana").await, 3, "an overlay adds no viewer");
}

#[tokio::test]
async fn a_channel_without_viewers_has_none() {
    let app = TestApp::start().await;
    let html = html(&app, "/overlay/ana").await;
    assert!(html.contains(r#"<span class="viewer-counter__number">0</span>"#), "{html}");
}

#[tokio::test]
async fn an_unknown_count_is_a_dash() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    let html = html(&app, "/overlay/ana").await;
    assert!(html.contains(r#"data-state="unknown""#), "{html}");
    assert!(html.contains(r#"<span class="viewer-counter__number">—</span>"#), "{html}");
    assert!(!html.contains("data-count"), "{html}");
}

#[tokio::test]
async fn milestones_are_numbers_and_everything_else_is_ignored() {
    let app = TestApp::start().await;
    for (query, expected) in [
        ("", r#"data-milestones="""#),
        ("?milestones=", r#"data-milestones="""#),
        ("?milestones=500,100,1000", r#"data-milestones="100 500 1000""#),
        ("?milestones=0,-1,x,7,7,1e9,%22%3E%3Cscript%3E", r#"data-milestones="7""#),
    ] {
        let response = app.get(&format!("/overlay/ana{query}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        let html = response.text().await.unwrap();
        assert!(html.contains(expected), "{expected} for {query} in {html}");
    }
}

#[tokio::test]
async fn the_language_is_that_of_the_query_or_of_the_browser() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for (query, language, lang, label) in [
        ("", "en", "en", "1 viewer"),
        ("?locale=es", "en", "es", "1 espectador"),
        ("?locale=pt-BR&milestones=5", "en", "pt", "1 espectador"),
        ("?locale=tlh", "en", "en", "1 viewer"),
    ] {
        let request =
            app.client.get(format!("{}/overlay/ana{query}", app.base)).header(ACCEPT_LANGUAGE, language);
        let html = request.send().await.unwrap().text().await.unwrap();
        assert!(html.contains(&format!(r#"<html lang="{lang}">"#)), "{query}: {html}");
        assert!(html.contains(&format!(r#"aria-label="{label}""#)), "{query}: {html}");
    }
    let html = app.client.get(format!("{}/ana?locale=en", app.base)).header(ACCEPT_LANGUAGE, "es");
    let html = html.send().await.unwrap().text().await.unwrap();
    assert!(html.contains(r#"<html lang="es">"#), "only overlays have the parameter");
}

#[tokio::test]
async fn an_invalid_channel_is_not_found_and_says_so() {
    let app = TestApp::start().await;
    for path in ["/overlay/a%20b", "/overlay/%3Cscript%3E", "/overlay/a/b"] {
        let response = app.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let html = response.text().await.unwrap();
        assert!(!html.contains("/overlay.js"), "{path}: {html}");
        assert_eq!(html.contains("overlay__error"), path != "/overlay/a/b", "{path}: {html}");
    }
}

#[tokio::test]
async fn the_policy_allows_the_styles_of_obs_and_no_foreign_script() {
    let app = TestApp::start().await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let response = app.get("/overlay/ana").await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        for directive in [
            "default-src 'none';",
            &format!("script-src 'self' 'nonce-{nonce}';"),
            // With a nonce among the sources of styles, browsers would ignore 'unsafe-inline'.
            "style-src 'unsafe-inline';",
            "connect-src 'self';",
            "base-uri 'none';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(directive), "{directive} in {policy}");
        }
        assert!(!policy.contains("wasm"), "{policy}");
        let html = response.text().await.unwrap();
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(html.contains(&format!(r#"nonce="{nonce}""#)), "{html}");
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1], "a nonce is used once");
}
