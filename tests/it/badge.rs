//! The badge as an image, as JSON and as text.

use futures::future::join_all;
use reqwest::{Response, StatusCode, header::ACCEPT_LANGUAGE};
use serde_json::{Value, json};

use crate::support::{FailingStore, TestApp, viewer};

async fn get(app: &TestApp, path: &str, language: &str) -> Response {
    app.client.get(format!("{}{path}", app.base)).header(ACCEPT_LANGUAGE, language).send().await.unwrap()
}

#[tokio::test]
async fn the_image_shows_the_count_in_the_requested_language() {
    let app = TestApp::start().await;
    // The name contains a part that looks like a file extension.
    let channel = "ana.svg.tv";
    for (viewers, query, language, label) in [
        (0, "", "es", "0 espectadores"),
        (1, "", "es-AR", "1 espectador"),
        (1, "?locale=en", "es", "1 viewer"),
        (2, "?locale=pt-BR", "en", "2 espectadores"),
        (2, "?locale=tlh", "en", "2 viewers"),
        (2, "", "", "2 espectadores"),
    ] {
        while app.count(channel).await < viewers {
            app.join(channel, viewer()).await;
        }
        let response = get(&app, &format!("/badge/{channel}.svg{query}"), language).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "image/svg+xml; charset=utf-8");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["cross-origin-resource-policy"], "cross-origin");
        assert!(response.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age=5,"));
        assert_eq!(response.headers().contains_key("vary"), !matches!(query, "?locale=en" | "?locale=pt-BR"));
        let image = response.text().await.unwrap();
        assert!(image.contains(&format!("<title>{channel}: {label}</title>")), "{label} in {image}");
        assert!(image.contains(&format!(">{label}</text>")), "{label} in {image}");
        assert!(image.contains(r#"data-state="live""#));
        assert!(
            !image.contains("style"),
            "inline styles would be blocked by a content security policy: {image}"
        );
    }
    assert_eq!(app.count(channel).await, 2, "a badge request adds no viewer");
}

#[tokio::test]
async fn the_image_is_as_wide_as_its_text() {
    let app = TestApp::start().await;
    let number = |image: &str, name: &str| -> u32 {
        let (_, rest) = image.split_once(&format!(r#" {name}=""#)).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let mut widths = Vec::new();
    for viewers in [1, 9, 10, 12] {
        while app.count("ana").await < viewers {
            app.join("ana", viewer()).await;
        }
        let image = get(&app, "/badge/ana.svg?locale=en", "").await.text().await.unwrap();
        assert_eq!(number(&image, "width"), 58 + number(&image, "textLength"));
        widths.push(number(&image, "width"));
    }
    assert!(
        (7..=8).contains(&(widths[2] - widths[1])),
        "an additional digit makes the image wider: {widths:?}"
    );
    assert_eq!(widths[3], widths[2], "the same number of digits has the same width");
}

#[tokio::test]
async fn the_json_follows_the_schema_of_shields_io() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let response = get(&app, "/badge/ANA.json", "en").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"schemaVersion": 1, "label": "viewers", "message": "1", "color": "#dc2626"})
    );
    let response = get(&app, "/badge/nobody.json?locale=es", "en").await;
    assert_eq!(response.json::<Value>().await.unwrap()["message"], "0");
}

#[tokio::test]
async fn the_text_is_the_number_in_plain_digits() {
    let app = TestApp::with(&["--limit-sessions-per-channel=0"]).await;
    for (viewers, language) in [(0, "es"), (1, "en"), (1_234, "en")] {
        while app.count("ana").await < viewers {
            let missing = viewers - app.count("ana").await;
            join_all((0..missing.min(100)).map(|_| app.join("ana", viewer()))).await;
        }
        let response = get(&app, "/badge/Ana.txt?locale=en", language).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(
            response.headers()["cache-control"],
            "public, max-age=5, s-maxage=5, stale-while-revalidate=30"
        );
        assert!(!response.headers().contains_key("vary"), "the text is the same in all languages");
        assert_eq!(response.text().await.unwrap(), viewers.to_string());
    }
}

#[tokio::test]
async fn an_unknown_count_is_a_dash_not_zero() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    let image = get(&app, "/badge/ana.svg", "en").await.text().await.unwrap();
    assert!(image.contains(">—</text>") && image.contains(r#"data-state="unknown""#), "{image}");
    assert!(image.contains("<title>ana: viewer count unavailable</title>"), "{image}");
    let response = get(&app, "/badge/ana.txt", "en").await;
    assert_eq!((response.status(), response.text().await.unwrap().as_str()), (StatusCode::OK, "—"));
    let response = get(&app, "/badge/ana.json", "en").await;
    assert_eq!(response.status(), StatusCode::OK, "the image service shows the message, not the status");
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"schemaVersion": 1, "label": "viewers", "message": "—", "color": "#57534e", "isError": true})
    );
}

#[tokio::test]
async fn invalid_badge_paths_are_problems() {
    let app = TestApp::start().await;
    for (path, status, code) in [
        ("/badge/a%20b.svg", 400, "invalid-channel"),
        ("/badge/.svg", 400, "invalid-channel"),
        ("/badge/.txt", 400, "invalid-channel"),
        ("/badge/%ff.json", 400, "invalid-channel"),
        ("/badge/%3Cscript%3E.svg", 400, "invalid-channel"),
        ("/badge/ana.png", 404, "not-found"),
        ("/badge/ana", 404, "not-found"),
    ] {
        let response = get(&app, path, "es").await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{path}");
    }
}
