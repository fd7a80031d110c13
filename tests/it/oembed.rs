//! `/oembed`, and the link to it on channel pages.

use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::support::{TestApp, client};

async fn ask(app: &TestApp, query: &[(&str, &str)]) -> (StatusCode, Value) {
    let response = app.client.get(format!("{}/oembed", app.base)).query(query).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// The fields that section 2.3.4 of the specification requires of a response of this type.
fn assert_valid(answer: &Value) {
    assert_eq!(answer["version"], "1.0");
    assert_eq!(answer["type"], "video");
    let html = answer["html"].as_str().expect("html is required for video");
    assert!(html.starts_with("<iframe ") && html.ends_with("</iframe>"), "{html}");
    for name in ["width", "height"] {
        let pixels = answer[name].as_u64().unwrap_or_else(|| panic!("{name} is required for video"));
        assert!(html.contains(&format!(r#"{name}="{pixels}""#)), "{html}");
    }
    for name in ["title", "author_name", "author_url", "provider_name", "provider_url"] {
        assert!(answer[name].is_string(), "{name} in {answer}");
    }
    assert!(answer["cache_age"].is_u64());
    // With a thumbnail, its width and height would be required.
    assert!(answer["thumbnail_url"].is_null());
}

#[tokio::test]
async fn a_channel_page_has_the_code_of_its_player() {
    let app = TestApp::start().await;
    let url = format!("{}/Ana.TV?utm_source=x#player", app.base);
    for format in [&[][..], &[("format", "json")]] {
        let (status, answer) = ask(&app, &[&[("url", url.as_str())], format].concat()).await;
        assert_eq!(status, StatusCode::OK);
        assert_valid(&answer);
        let html = answer["html"].as_str().unwrap();
        assert!(html.contains(&format!(r#"src="{}/embed/ana.tv?counter=1""#, app.base)), "{html}");
        assert_eq!((&answer["width"], &answer["height"]), (&640.into(), &360.into()));
        assert_eq!(answer["title"], "ana.tv");
        assert_eq!(answer["author_url"], format!("{}/ana.tv", app.base));
        assert_eq!(answer["provider_url"], format!("{}/", app.base));
    }
    assert_eq!(app.count("ana.tv").await, 0, "asking counts nobody");
}

#[tokio::test]
async fn the_frame_fits_into_the_requested_size() {
    let app = TestApp::start().await;
    let url = format!("{}/ana", app.base);
    for (max_width, max_height, width, height) in
        [("320", "", 320, 180), ("", "90", 160, 90), ("4000", "3000", 640, 360), ("500", "100", 177, 99)]
    {
        let query = [("url", url.as_str()), ("maxwidth", max_width), ("maxheight", max_height)];
        let (status, answer) = ask(&app, &query).await;
        assert_eq!(status, StatusCode::OK);
        assert_valid(&answer);
        assert_eq!((&answer["width"], &answer["height"]), (&width.into(), &height.into()), "{query:?}");
    }
}

#[tokio::test]
async fn other_urls_formats_and_queries_are_problems() {
    let app = TestApp::start().await;
    let own = format!("{}/ana", app.base);
    let at = |path: &str| format!("{}{path}", app.base);
    let (root, embed, file, health, metrics, oembed, invalid) = (
        at("/"),
        at("/embed/ana"),
        at("/widget.js"),
        at("/healthz"),
        at("/metrics"),
        at("/oembed"),
        at("/a%20b"),
    );
    let other = "https://other.example/ana";
    for (query, status, code) in [
        (&[][..], 400, "malformed"),
        (&[("url", "")], 400, "malformed"),
        (&[("url", &*own), ("url", &*own)], 400, "malformed"),
        (&[("url", &*own), ("maxwidth", "wide")], 400, "malformed"),
        (&[("url", &*own), ("maxheight", "0")], 400, "malformed"),
        (&[("url", &*own), ("maxheight", "-1")], 400, "malformed"),
        (&[("url", &*own), ("format", "xml")], 501, "not-implemented"),
        (&[("url", other), ("format", "xml")], 501, "not-implemented"),
        (&[("url", other)], 404, "not-found"),
        (&[("url", "nonsense")], 404, "not-found"),
        (&[("url", "javascript:alert(1)")], 404, "not-found"),
        (&[("url", &*root)], 404, "not-found"),
        (&[("url", &*embed)], 404, "not-found"),
        (&[("url", &*file)], 404, "not-found"),
        (&[("url", &*health)], 404, "not-found"),
        (&[("url", &*metrics)], 404, "not-found"),
        (&[("url", &*oembed)], 404, "not-found"),
        (&[("url", &*invalid)], 404, "not-found"),
    ] {
        let (found, problem) = ask(&app, query).await;
        assert_eq!((found.as_u16(), &problem["code"]), (status, &code.into()), "{query:?}: {problem}");
    }
}

#[tokio::test]
async fn the_answer_is_public_and_cacheable() {
    let app = TestApp::start().await;
    let response = app.get(&format!("/oembed?url={}/ana", app.base)).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.headers()["cache-control"], "public, max-age=3600");
    let missing = app.get("/oembed").await;
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
    assert_eq!(missing.headers()["cache-control"], "no-store");
}

/// A link of a page to the response for its own URL.
async fn discovered(client: &Client, page: &str, headers: &[(&str, &str)]) -> Option<String> {
    let mut request = client.get(page);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let html = request.send().await.unwrap().text().await.unwrap();
    let tag = html.split('<').find(|tag| tag.contains("application/json+oembed"))?;
    assert!(tag.starts_with("link ") && tag.contains(r#" rel="alternate""#), "{tag}");
    let (_, href) = tag.split_once(r#" href=""#).unwrap();
    Some(href.split('"').next().unwrap().replace("&amp;", "&"))
}

#[tokio::test]
async fn only_channel_pages_link_to_their_embed() {
    let app = TestApp::start().await;
    let client = client();
    let href = discovered(&client, &format!("{}/Ana", app.base), &[]).await.expect("a link");
    let answer: Value = client.get(href).send().await.unwrap().json().await.unwrap();
    assert_valid(&answer);
    assert_eq!(answer["title"], "ana");
    for path in ["/", "/embed/ana", "/overlay/ana", "/a%20b", "/no/such/page"] {
        assert_eq!(discovered(&client, &format!("{}{path}", app.base), &[]).await, None, "{path}");
    }
}

/// The entry for the list of providers, with the address of this server.
fn registered(app: &TestApp) -> Value {
    let text = include_str!("../../docs/embedding.md");
    let blocks = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let entry = blocks.map(|block| block.replace("https://your.site", &app.base));
    entry
        .map(|block| serde_json::from_str::<Value>(&block).unwrap())
        .find(|it| it["endpoints"].is_array())
        .unwrap()
}

#[tokio::test]
async fn the_entry_for_the_list_of_providers_is_true() {
    let app = TestApp::start().await;
    let entry = registered(&app);
    let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&entry), ["endpoints", "provider_name", "provider_url"]);
    for endpoint in entry["endpoints"].as_array().unwrap() {
        assert_eq!(keys(endpoint), ["discovery", "formats", "schemes", "url"]);
        let call = endpoint["url"].as_str().unwrap();
        let words = |name: &str| endpoint[name].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        let examples: Vec<_> = words("schemes").map(|scheme| scheme.replace('*', "ana")).collect();
        assert!(!examples.is_empty() && words("formats").count() > 0, "{endpoint}");
        for (example, format) in examples.iter().flat_map(|one| words("formats").map(move |it| (one, it))) {
            let request = app.client.get(call).query(&[("url", &**example), ("format", format)]);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{example} as {format}");
            let answer: Value = response.json().await.unwrap();
            assert_valid(&answer);
            for name in ["provider_name", "provider_url"] {
                assert_eq!(answer[name], entry[name]);
            }
            let link = discovered(&app.client, example, &[]).await;
            assert_eq!(link.is_some(), endpoint["discovery"], "{link:?}");
            assert!(link.is_none_or(|link| link.starts_with(&format!("{call}?"))));
        }
    }
}

#[tokio::test]
async fn urls_have_the_origin_that_a_trusted_proxy_tells() {
    let app = TestApp::with(&["--trusted-proxies=127.0.0.1"]).await;
    let proxied = [("host", "live.example"), ("x-forwarded-proto", "https")];
    let page = format!("{}/ana", app.base);
    let href = discovered(&app.client, &page, &proxied).await.expect("a link");
    let query = href.strip_prefix("https://live.example/oembed?").expect("the origin of the proxy");
    let request = app.client.get(format!("{}/oembed?{query}", app.base));
    let request = request.header("host", "live.example").header("x-forwarded-proto", "https");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["author_url"], "https://live.example/ana");
    assert!(answer["html"].as_str().unwrap().contains(r#"src="https://live.example/embed/ana?counter=1""#));
}
