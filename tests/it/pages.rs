//! What the server renders, before any script runs.

use reqwest::{StatusCode, header::ACCEPT_LANGUAGE};

use crate::support::{FailingStore, TestApp, viewer};

async fn html(app: &TestApp, path: &str, language: &str) -> String {
    let request = app.client.get(format!("{}{path}", app.base)).header(ACCEPT_LANGUAGE, language);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_count_is_in_the_html_with_its_label_in_the_visitors_language() {
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
async fn a_viewers_page_never_reads_zero() {
    // Who looks at it is watching, and will be counted as soon as the script runs.
    let app = TestApp::start().await;
    for path in ["/ana", "/embed/ana?counter=1"] {
        let html = html(&app, path, "es").await;
        assert!(html.contains(r#"<span class="viewer-counter__number">1</span>"#), "{html}");
        assert!(html.contains(r#"aria-label="1 espectador""#), "{html}");
    }
    assert_eq!(app.count("ana").await, 0, "rendering has counted nobody");
}

#[tokio::test]
async fn the_language_is_said() {
    let app = TestApp::start().await;
    for (header, lang) in [("en-GB", "en"), ("pt", "pt"), ("", "es")] {
        assert!(html(&app, "/ana", header).await.contains(&format!(r#"<html lang="{lang}">"#)));
    }
}

#[tokio::test]
async fn an_embed_shows_no_badge_unless_asked() {
    let app = TestApp::start().await;
    assert!(!html(&app, "/embed/ana", "es").await.contains("viewer-counter"));
    assert!(!html(&app, "/embed/ana?counter=0", "es").await.contains("viewer-counter"));
    assert!(html(&app, "/embed/ana?counter=1", "es").await.contains("viewer-counter"));
}

#[tokio::test]
async fn a_count_that_is_unknown_is_a_dash() {
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
async fn rendering_counts_nobody_and_holds_no_id() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    for path in ["/", "/ana", "/embed/ana", "/embed/ana?counter=1"] {
        let html = html(&app, path, "es").await;
        assert!(!html.contains(&one.to_string()), "{html}");
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn the_form_of_the_home_page_leads_to_the_channel() {
    let app = TestApp::start().await;
    let response = app.get("/?channel=Ana.TV").await;
    assert_eq!((response.status(), response.url().path()), (StatusCode::OK, "/ana.tv"));
    let response = app.get("/?channel=not%20a%20channel").await;
    assert_eq!((response.status(), response.url().path()), (StatusCode::OK, "/"));
}

#[tokio::test]
async fn the_form_says_what_is_wrong_with_a_name_in_the_visitors_language() {
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
        let (_, said) = form.split_once(r#"id="channel-error""#).unwrap();
        assert!(said.contains(&format!(">{error}")), "{error} in {form}");
        assert!(form.contains("novalidate"), "the browser has words of its own: {form}");
    }
    let html = html(&app, "/?channel=%3Cb%3E%22%20x", "es").await;
    assert!(html.contains("value=\"&lt;b&gt;&quot; x\""), "what was written is still there: {html}");
    assert!(!self::html(&app, "/", "es").await.contains("aria-invalid"));
}

#[tokio::test]
async fn what_is_no_page_is_a_page_that_says_so() {
    let app = TestApp::start().await;
    let too_long = format!("/{}", "z".repeat(65));
    let (page, name) = ("Esta página no existe", "Ese nombre de canal no es válido");
    for (path, said, unsaid) in [
        ("/a/b/c", page, "guiones bajos"),
        ("/embed/a/b", page, "guiones bajos"),
        ("/a%20b", name, "mal escrita"),
        ("/embed/a%20b", name, "mal escrita"),
        (too_long.as_str(), name, "mal escrita"),
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        let html = response.text().await.unwrap();
        assert!(html.contains(&format!(">{said}</h1>")), "{path}: {html}");
        assert!(!html.contains(unsaid), "{path}: {html}");
    }
    assert_eq!(app.get("/%ff").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_pages_with_islands_load_the_browser_half_and_none_loads_it_twice() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for (path, times) in [
        ("/", 0),
        ("/no/such/page", 0),
        ("/a%20b", 0),
        ("/embed/a%20b", 0),
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
async fn files_come_compressed_to_those_who_take_it_and_may_be_kept_for_good() {
    let app = TestApp::start().await;
    let page = html(&app, "/ana", "es").await;
    let script = page.split('"').find(|part| part.ends_with("aforo.js")).expect("the script's address");
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
        "a file wins over a channel"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rendering_on_many_threads_panics_nowhere() {
    // What is made on one thread and dropped on another is where hooks for browsers fail on servers.
    let app = TestApp::start().await;
    for _ in 0..10 {
        let pages = (0..50).map(|_| app.get("/embed/ana?counter=1"));
        for response in futures::future::join_all(pages).await {
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.text().await.unwrap().ends_with("</html>"), "the page is whole");
        }
    }
}

#[tokio::test]
async fn a_nonce_is_where_no_selector_can_read_it() {
    // Browsers hide the attribute `nonce` and no other (https://html.spec.whatwg.org/#nonce-attributes).
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
async fn pages_say_what_they_are_to_those_who_link_to_them() {
    let app = TestApp::start().await;
    for (path, language, title, address, description) in [
        ("/", "es", "Aforo", "/", "Cuánta gente está mirando, ahora mismo"),
        ("/Ana", "en", "ana", "/ana", "ana live: the stream, and how many people are watching it right now."),
        (
            "/ana",
            "pt",
            "ana",
            "/ana",
            "ana ao vivo: a transmissão e quanta gente está assistindo agora mesmo.",
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
        ] {
            assert_eq!(html.matches(&expected).count(), 1, "{expected} in {html}");
        }
    }
}

#[tokio::test]
async fn badges_are_not_translated() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for path in ["/", "/ana", "/embed/ana?counter=1", "/no/such/page"] {
        let html = html(&app, path, "es").await;
        let badge = html.split('<').find(|tag| tag.contains(r#"class="viewer-counter""#)).unwrap();
        assert!(badge.contains(r#"translate="no""#), "{path}: <{badge}");
    }
}
