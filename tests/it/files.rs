//! Static files: builds, cache headers and range requests.

use std::{fs, time::Duration};

use reqwest::{Method, Response, StatusCode};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::{TestApp, stub_build, stub_site};

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client.request(method, format!("{}{path}", app.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The path of the script that a channel page loads.
async fn script(app: &TestApp) -> String {
    let page = app.get("/ana").await.text().await.unwrap();
    page.split('"').find(|part| part.ends_with("aforo.js")).expect("the path of the script").to_owned()
}

#[tokio::test]
async fn a_path_serves_the_files_of_its_build_or_an_uncached_404() {
    let (site, beside) = (stub_site("new"), TempDir::new().unwrap());
    let package = site.path().join("pkg");
    let (old, new) = (TestApp::with_site(stub_site("old")).await, TestApp::with_site(site).await);
    assert_eq!(
        (script(&old).await, script(&new).await),
        ("/pkg/old/aforo.js".into(), "/pkg/new/aforo.js".into())
    );
    for (app, path, build) in [(&old, "/pkg/old/aforo.js", "old"), (&new, "/pkg/new/aforo.js", "new")] {
        let response = app.get(path).await;
        assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, IMMUTABLE));
        assert!(response.text().await.unwrap().ends_with(build));
    }
    for (app, path) in [
        (&new, "/pkg/old/aforo.js"),
        (&new, "/pkg/old/aforo.css"),
        (&old, "/pkg/new/aforo.js"),
        (&new, "/pkg/new/none.js"),
        (&new, "/pkg/new"),
        (&new, "/pkg/new/"),
        (&new, "/pkg/aforo.js"),
        (&new, "/pkg/..%2fbuild.txt"),
        (&new, "/pkg/"),
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(header(&response, "cache-control"), "no-store", "{path}");
    }

    // The files of another build can be added while the server runs, for a rolling restart.
    stub_build(&beside.path().join("old"), "old");
    fs::rename(beside.path().join("old"), package.join("old")).unwrap();
    let response = new.get("/pkg/old/aforo.js").await;
    assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, IMMUTABLE));
    assert!(response.text().await.unwrap().ends_with("old"));
}

#[tokio::test]
async fn a_build_of_cargo_leptos_is_named_by_its_content() {
    let site = |content: &str| {
        let site = TempDir::new().unwrap();
        stub_build(&site.path().join("pkg"), content);
        site
    };
    let apps = [TestApp::with_site(site("one")).await, TestApp::with_site(site("two")).await];
    let [one, two] = [script(&apps[0]).await, script(&apps[1]).await];
    assert_ne!(one, two);
    for (app, own, other) in [(&apps[0], &one, &two), (&apps[1], &two, &one)] {
        let response = app.get(own).await;
        assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, IMMUTABLE));
        for path in [other, "/pkg/aforo.js"] {
            let response = app.get(path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header(&response, "cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn root_files_are_revalidated_and_sent_when_changed() {
    let site = stub_site("one");
    fs::write(site.path().join(".stamp"), "not for the public").unwrap();
    let widget = site.path().join("widget.js");
    let app = TestApp::with_site(site).await;
    let first = app.get("/widget.js").await;
    assert_eq!(header(&first, "cache-control"), "public, no-cache");
    let tag = header(&first, "etag").to_owned();
    let again = ask(&app, Method::GET, "/widget.js", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, tag.as_str()));
    assert_eq!(header(&again, "cache-control"), "public, no-cache");
    assert_eq!(again.text().await.unwrap(), "");

    // Longer than the resolution of file timestamps.
    sleep(Duration::from_millis(50)).await;
    fs::write(widget, "otherElement!!").unwrap();
    let changed = ask(&app, Method::GET, "/widget.js", &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(header(&changed, "etag"), tag);
    assert_eq!(changed.text().await.unwrap(), "otherElement!!");
    assert_eq!(app.get("/.stamp").await.text().await.unwrap().find("not for the public"), None);
}

#[tokio::test]
async fn favicon_ico_exists_and_is_small() {
    let site = stub_site("one");
    fs::copy("public/favicon.ico", site.path().join("favicon.ico")).unwrap();
    let app = TestApp::with_site(site).await;
    let icon = app.get("/favicon.ico").await;
    assert_eq!((icon.status(), header(&icon, "content-type")), (StatusCode::OK, "image/x-icon"));
    let icon = icon.bytes().await.unwrap();
    assert!(icon.starts_with(&[0, 0, 1, 0]) && icon.len() < 1_024, "{} bytes", icon.len());
}

#[tokio::test]
async fn files_vary_by_accept_encoding() {
    let app = TestApp::start().await;
    for path in ["/widget.js", "/robots.txt", &script(&app).await] {
        for encodings in ["br", "gzip", "identity"] {
            let response = ask(&app, Method::GET, path, &[("accept-encoding", encodings)]).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, "vary"), "accept-encoding", "{path} {encodings}");
        }
    }
}

#[tokio::test]
async fn head_and_range_requests_of_files_follow_http() {
    let app = TestApp::start().await;
    for path in ["/widget.js", &script(&app).await] {
        let whole = app.get(path).await;
        let (length, tag) = (header(&whole, "content-length").to_owned(), header(&whole, "etag").to_owned());
        let text = whole.text().await.unwrap();
        let head = ask(&app, Method::HEAD, path, &[]).await;
        assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, length.as_str()));
        assert_eq!(header(&head, "etag"), tag);
        assert_eq!(head.text().await.unwrap(), "");

        let part = ask(&app, Method::GET, path, &[("range", "bytes=2-5")]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&part, "content-range"), format!("bytes 2-5/{length}"));
        assert_eq!(part.text().await.unwrap(), text[2..6]);
        let beyond = ask(&app, Method::GET, path, &[("range", "bytes=9999-")]).await;
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header(&beyond, "cache-control"), "no-store");
        let many = ask(&app, Method::GET, path, &[("range", "bytes=0-1,3-4")]).await;
        assert_eq!((many.status(), many.text().await.unwrap()), (StatusCode::OK, text));
        let post = ask(&app, Method::POST, path, &[]).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
