//! Lists of live channels on the home page and on error pages, and the player.

use reqwest::StatusCode;

use crate::support::{FailingStore, TestApp, viewer};

async fn html(app: &TestApp, path: &str) -> String {
    app.get(path).await.text().await.unwrap()
}

#[tokio::test]
async fn live_channels_are_sorted_by_viewers() {
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
    assert_eq!(app.count("ana").await, 1, "reading the list adds no viewer");
}

#[tokio::test]
async fn the_home_page_distinguishes_an_empty_list_from_an_unknown_one() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    assert!(html(&app, "/").await.contains("Todavía no hay nadie mirando."));
    store.set_broken(true);
    let html = html(&app, "/").await;
    assert!(html.contains("La lista de canales en vivo no está disponible en este momento."), "{html}");
    assert!(!html.contains("Nadie"), "an unknown list is not shown as empty: {html}");
}

#[tokio::test]
async fn the_player_uses_the_stream_url_template() {
    let app = TestApp::with(&["--stream-url-template=https://cdn.example/hls/{channel}/index.m3u8"]).await;
    let source = r#"src="https://cdn.example/hls/ana.tv/index.m3u8""#;
    for path in ["/Ana.TV", "/embed/ana.tv"] {
        let html = html(&app, path).await;
        let (_, player) = html.split_once("<stream-player").expect("a player");
        let (player, _) = player.split_once("</stream-player>").unwrap();
        assert!(player.split_once('>').unwrap().0.contains(source), "{player}");
        assert!(html.contains(r#"<script type="module" src="/player.js">"#), "{html}");
        for state in ["loading", "ready", "off-air", "broken", "unplayable"] {
            assert!(player.contains(&format!(r#"data-for="{state}""#)), "{state} in {player}");
        }
        // Without JavaScript, the player is a plain video element.
        let (_, plain) = player.split_once("<noscript>").unwrap();
        let (plain, _) = plain.split_once("</noscript>").unwrap();
        for part in ["<video", "controls", "playsinline", "autoplay", "muted", source] {
            assert!(plain.contains(part), "{part} in {plain}");
        }
        assert!(plain.contains("este navegador no puede reproducirla"), "{plain}");
    }
    let html = html(&TestApp::start().await, "/ana").await;
    assert!(!html.contains("<video") && !html.contains("/player.js"), "{html}");
    assert!(html.contains("Aquí se verá la transmisión"), "{html}");
}

#[tokio::test]
async fn the_policy_allows_streams_only_from_their_origin() {
    for origin in ["https://cdn.example:8443", "http://cdn.example:8080"] {
        let template = format!("--stream-url-template={origin}/{{channel}}/index.m3u8");
        let app = TestApp::with(&[&template]).await;
        let policy = async |path: &str| {
            let response = app.get(path).await;
            response.headers()["content-security-policy"].to_str().unwrap().to_owned()
        };
        for path in ["/ana", "/embed/ana", "/%61na", "/embed/an%61", "/ana/", "/embed/ana/", "/%2561na"] {
            let policy = policy(path).await;
            assert!(policy.contains(&format!("; media-src 'self' blob: {origin};")), "{policy}");
            assert!(policy.contains(&format!("; connect-src 'self' {origin};")), "{policy}");
            assert!(policy.contains("; img-src 'self' data:;"), "{policy}");
        }
        for path in ["/", "/a%20b"] {
            let policy = policy(path).await;
            assert!(!policy.contains("cdn.example") && policy.contains("; connect-src 'self';"), "{policy}");
            assert!(!policy.contains("media-src"), "{policy}");
        }
    }
}

#[tokio::test]
async fn a_channel_page_links_to_other_live_channels_but_not_to_itself() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    assert!(!html(&app, "/ana").await.contains("También en vivo"));
    app.join("luz_del.sur", viewer()).await;
    let html = html(&app, "/ana").await;
    let (_, others) = html.split_once("También en vivo").unwrap_or_else(|| panic!("others in {html}"));
    assert!(
        others.contains(r#"href="/luz_del.sur""#) && others.contains("luz_<wbr>del.<wbr>sur"),
        "{others}"
    );
    assert!(!others.contains(r#"href="/ana""#), "{others}");
}

#[tokio::test]
async fn an_embed_is_transparent_only_on_request() {
    let app = TestApp::start().await;
    assert!(!html(&app, "/embed/ana").await.contains("embed--transparent"));
    assert!(html(&app, "/embed/ana?transparent=1").await.contains(r#"class="embed embed--transparent""#));
}
