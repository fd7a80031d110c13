//! Pages as the server renders them, before any script runs.

use reqwest::{StatusCode, header::ACCEPT_LANGUAGE};

use crate::support::{FailingStore, TestApp, viewer};

async fn html(app: &TestApp, path: &str, language: &str) -> String {
    let request = app.client.get(format!("{}{path}", app.base)).header(ACCEPT_LANGUAGE, language);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_html_contains_the_count_and_its_localized_label() {
    let app = TestApp::start().await;
    for (viewers, path, language, label) in [
        (1, "/ana", "es-AR", "1 espectador"),
        (1, "/ANA", "en", "1 viewer"),
        (2, "/ana", "de", "2 espectadores"),
        (3, "/embed/ana?counter=1", "pt-BR", "3 espectadores"),
    ] {
        while app.count("ana").await < viewers {
            app.join("ana", viewer()).await;
        }
        let html = html(&app, path, language).await;
        assert!(html.contains(&format!(r#"aria-label="{label}""#)), "{label} in {html}");
        assert!(html.contains(r#"data-state="live""#), "{html}");
        assert!(
            html.contains(&format!(r#"<span class="viewer-counter__number">{viewers}</span>"#)),
            "{html}"
        );
    }
}

#[tokio::test]
async fn a_channel_page_shows_at_least_one_viewer() {
    // The visitor of the page is a viewer, and counts as soon as the script runs.
    let app = TestApp::start().await;
    for path in ["/ana", "/embed/ana?counter=1"] {
        let html = html(&app, path, "es").await;
        assert!(html.contains(r#"<span class="viewer-counter__number">1</span>"#), "{html}");
        assert!(html.contains(r#"aria-label="1 espectador""#), "{html}");
    }
    assert_eq!(app.count("ana").await, 0, "rendering adds no viewer");
}

#[tokio::test]
async fn the_html_has_a_lang_attribute() {
    let app = TestApp::start().await;
    for (header, lang) in [("en-GB", "en"), ("pt", "pt"), ("", "es")] {
        assert!(html(&app, "/ana", header).await.contains(&format!(r#"<html lang="{lang}">"#)));
    }
}

#[tokio::test]
async fn an_embed_shows_a_badge_only_on_request() {
    let app = TestApp::start().await;
    assert!(!html(&app, "/embed/ana", "es").await.contains("viewer-counter"));
    assert!(!html(&app, "/embed/ana?counter=0", "es").await.contains("viewer-counter"));
    assert!(html(&app, "/embed/ana?counter=1", "es").await.contains("viewer-counter"));
}

#[tokio::test]
async fn an_unknown_count_is_a_dash() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    let response = app.get("/ana").await;
    assert_eq!(response.status(), StatusCode::OK);
    let html = response.text().await.unwrap();
    assert!(html.contains(r#"data-state="unknown""#), "{html}");
    assert!(html.contains(r#"<span class="viewer-counter__number">—</span>"#), "{html}");
}

#[tokio::test]
async fn rendering_adds_no_viewer_and_contains_no_id() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    for path in ["/", "/ana", "/embed/ana", "/embed/ana?counter=1", "/overlay/ana"] {
        let html = html(&app, path, "es").await;
        assert!(!html.contains(&one.to_string()), "{html}");
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn the_form_of_the_home_page_redirects_to_the_channel() {
    let app = TestApp::start().await;
    let response = app.get("/?channel=Ana.TV").await;
    assert_eq!((response.status(), response.url().path()), (StatusCode::OK, "/ana.tv"));
    let response = app.get("/?channel=not%20a%20channel").await;
    assert_eq!((response.status(), response.url().path()), (StatusCode::OK, "/"));
}

#[tokio::test]
async fn the_form_shows_a_localized_error_for_an_invalid_name() {
    let app = TestApp::start().await;
    for (query, language, error) in [
        ("a%20b", "es", "Ese nombre no es válido."),
        ("a%20b", "en", "That name isn’t valid."),
        ("a%20b", "pt", "Esse nome não é válido."),
        ("%20", "es", "Escribe el nombre de un canal."),
        ("", "en", "Enter the name of a channel."),
    ] {
        let html = html(&app, &format!("/?channel={query}"), language).await;
        let (form, _) = html.split_once("</form>").unwrap();
        assert!(form.contains(r#"aria-invalid="true""#), "{form}");
        let (_, shown) = form.split_once(r#"id="channel-error""#).unwrap();
        assert!(shown.contains(&format!(">{error}")), "{error} in {form}");
        assert!(form.contains("novalidate"), "the browser's own validation is off: {form}");
    }
    let html = html(&app, "/?channel=%3Cb%3E%22%20x", "es").await;
    assert!(html.contains("value=\"&lt;b&gt;&quot; x\""), "the input is kept: {html}");
    assert!(!self::html(&app, "/", "es").await.contains("aria-invalid"));
}

#[tokio::test]
async fn unknown_pages_are_404_pages_with_an_explanation() {
    let app = TestApp::start().await;
    let too_long = format!("/{}", "z".repeat(65));
    let (page, name) = ("Página no encontrada", "Nombre de canal no válido");
    for (path, shown, not_shown) in [
        ("/a/b/c", page, "guiones bajos"),
        ("/embed/a/b", page, "guiones bajos"),
        ("/a%20b", name, "bien escrita"),
        ("/embed/a%20b", name, "bien escrita"),
        (too_long.as_str(), name, "bien escrita"),
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        let html = response.text().await.unwrap();
        assert!(html.contains(&format!(">{shown}</h1>")), "{path}: {html}");
        assert!(!html.contains(not_shown), "{path}: {html}");
    }
    assert_eq!(app.get("/%ff").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_pages_with_islands_load_webassembly_and_only_once() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for (path, times) in [
        ("/", 0),
        ("/no/such/page", 0),
        ("/a%20b", 0),
        ("/embed/a%20b", 0),
        ("/overlay/ana", 0),
        ("/ana", 1),
        ("/embed/ana", 1),
        ("/embed/ana?counter=1", 1),
    ] {
        let html = html(&app, path, "es").await;
        assert_eq!(html.matches(r#"rel="modulepreload""#).count(), times, "{path}: {html}");
        assert_eq!(html.matches(r#"as="fetch""#).count(), times, "{path}: {html}");
        assert_eq!(html.contains("<leptos-island"), times == 1, "{path}: {html}");
    }
}

#[tokio::test]
async fn files_are_compressed_on_request_and_immutable() {
    let app = TestApp::start().await;
    let page = html(&app, "/ana", "es").await;
    let script = page.split('"').find(|part| part.ends_with("aforo.js")).expect("the path of the script");
    let request = app.client.get(format!("{}{script}", app.base)).header("accept-encoding", "br");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "br");
    assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(response.headers()["content-type"], "text/javascript");
    let response = app.get(script).await;
    assert!(!response.headers().contains_key("content-encoding"));
    assert_eq!(
        app.get("/robots.txt").await.headers()["content-type"],
        "text/plain",
        "a file has priority over a channel"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rendering_on_many_threads_does_not_panic() {
    // Browser hooks may panic on the server when a value is created on one thread and dropped on another.
    let app = TestApp::start().await;
    for _ in 0..10 {
        let pages = (0..50).map(|_| app.get("/embed/ana?counter=1"));
        for response in futures::future::join_all(pages).await {
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.text().await.unwrap().ends_with("</html>"), "the page is complete");
        }
    }
}

#[tokio::test]
async fn a_nonce_is_only_in_nonce_attributes() {
    // Browsers hide only the attribute `nonce` from selectors (https://html.spec.whatwg.org/#nonce-attributes).
    let app = TestApp::start().await;
    for path in ["/", "/ana", "/embed/ana?counter=1", "/no/such/page"] {
        let response = app.get(path).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        let html = response.text().await.unwrap();
        let (all, hidden) =
            (html.matches(nonce).count(), html.matches(&format!(" nonce=\"{nonce}\"")).count());
        assert_eq!(all, hidden, "{path}: {html}");
        assert_eq!(hidden, usize::from(path.contains("ana")), "{path}: {html}");
    }
}

#[tokio::test]
async fn pages_have_metadata_for_link_previews() {
    let app = TestApp::start().await;
    for (path, language, title, address, description) in [
        ("/", "es", "Aforo", "/", "Cuánta gente está mirando ahora mismo"),
        (
            "/Ana",
            "en",
            "ana",
            "/ana",
            "ana live: watch the stream and see how many people are watching right now.",
        ),
        (
            "/ana",
            "pt",
            "ana",
            "/ana",
            "ana ao vivo: assista à transmissão e veja quanta gente está assistindo agora.",
        ),
    ] {
        let html = html(&app, path, language).await;
        for expected in [
            format!(r#"<meta name="description" content="{description}">"#),
            format!(r#"<meta property="og:title" content="{title}">"#),
            format!(r#"<meta property="og:description" content="{description}">"#),
            r#"<meta property="og:type" content="website">"#.to_owned(),
            format!(r#"<meta property="og:url" content="{}{address}">"#, app.base),
            format!(r#"<link href="{}{address}" rel="canonical">"#, app.base),
            format!(r#"<meta property="og:image" content="{}/preview.png">"#, app.base),
            r#"<meta name="twitter:card" content="summary_large_image">"#.to_owned(),
        ] {
            assert_eq!(html.matches(&expected).count(), 1, "{expected} in {html}");
        }
    }
}

#[tokio::test]
async fn badges_are_not_translated() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for path in ["/", "/ana", "/embed/ana?counter=1", "/overlay/ana", "/no/such/page"] {
        let html = html(&app, path, "es").await;
        let badge = html.split('<').find(|tag| tag.contains(r#"class="viewer-counter""#)).unwrap();
        assert!(badge.contains(r#"translate="no""#), "{path}: <{badge}");
    }
}
