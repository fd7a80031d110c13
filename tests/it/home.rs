//! What is live now, on the home page and where there is no page; and where streams are played.

use reqwest::StatusCode;

use crate::support::{FailingStore, TestApp, viewer};

async fn html(app: &TestApp, path: &str) -> String {
    app.get(path).await.text().await.unwrap()
}

#[tokio::test]
async fn live_channels_are_listed_most_viewers_first() {
    let app = TestApp::start().await;
    for (channel, viewers) in [("ana", 1), ("eva.tv", 3), ("luz", 2)] {
        for _ in 0..viewers {
            app.join(channel, viewer()).await;
        }
    }
    for (path, status) in [("/", StatusCode::OK), ("/no/such/page", StatusCode::NOT_FOUND)] {
        let response = app.get(path).await;
        assert_eq!(response.status(), status);
        let html = response.text().await.unwrap();
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} in {html}"));
        assert!(at(r#"href="/eva.tv""#) < at(r#"href="/luz""#));
        assert!(at(r#"href="/luz""#) < at(r#"href="/ana""#));
        assert!(html.contains(r#"<viewer-counter channel="eva.tv" count="3">"#), "{html}");
        assert!(html.contains(r#"aria-label="3 espectadores""#), "{html}");
    }
    assert_eq!(app.count("ana").await, 1, "reading the list counts nobody");
}

#[tokio::test]
async fn where_nobody_watches_it_says_how_to_start_and_what_is_unknown_is_said_to_be() {
    let store = FailingStore::new();
    let app = TestApp::over(store.clone()).await;
    assert!(html(&app, "/").await.contains("Nadie está mirando nada todavía."));
    store.set_broken(true);
    let html = html(&app, "/").await;
    assert!(html.contains("No se puede saber ahora mismo"), "{html}");
    assert!(!html.contains("Nadie"), "unknown is not nobody: {html}");
}

#[tokio::test]
async fn the_player_plays_what_the_template_says() {
    let app = TestApp::with(&["--stream-url-template=https://cdn.example/hls/{channel}/index.m3u8"]).await;
    for path in ["/Ana.TV", "/embed/ana.tv"] {
        let html = html(&app, path).await;
        assert!(html.contains(r#"src="https://cdn.example/hls/ana.tv/index.m3u8""#), "{html}");
        for attribute in ["<video", "controls", "playsinline", "muted"] {
            assert!(html.contains(attribute), "{attribute} in {html}");
        }
        assert!(html.contains("este navegador no la reproduce"), "{html}");
    }
    let html = html(&TestApp::start().await, "/ana").await;
    assert!(!html.contains("<video") && html.contains("Aquí se verá la transmisión"), "{html}");
}

#[tokio::test]
async fn an_embed_is_see_through_only_where_asked() {
    let app = TestApp::start().await;
    assert!(!html(&app, "/embed/ana").await.contains("embed--transparent"));
    assert!(html(&app, "/embed/ana?transparent=1").await.contains(r#"class="embed embed--transparent""#));
}
