//! Static files: builds, cache headers and range requests, from a folder and from inside the program.

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

/// A server with the files of a site in a folder, and one with them inside the program.
async fn both(site: impl Fn() -> TempDir) -> [TestApp; 2] {
    [TestApp::with_site(site()).await, TestApp::with_embedded_site(site()).await]
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
async fn a_script_with_a_hash_of_another_build_is_an_uncached_404_and_no_channel() {
    let site = || {
        let site = stub_site("one");
        fs::write(site.path().join("hls-NEWNEW77.js"), "export {}").unwrap();
        site
    };
    for app in both(site).await {
        let present = app.get("/hls-NEWNEW77.js").await;
        assert_eq!((present.status(), header(&present, "content-type")), (StatusCode::OK, "text/javascript"));
        for method in [Method::GET, Method::HEAD] {
            for path in ["/hls-OLDOLD77.js", "/hls-OLDOLD77.js?1"] {
                let missing = ask(&app, method.clone(), path, &[]).await;
                assert_eq!(missing.status(), StatusCode::NOT_FOUND, "{method} {path}");
                assert_eq!(header(&missing, "cache-control"), "no-store", "{method} {path}");
                assert_eq!(header(&missing, "access-control-allow-origin"), "*", "{method} {path}");
                assert_eq!(missing.text().await.unwrap(), "", "{method} {path}");
            }
        }
        // Every channel keeps its page, whatever its name is like.
        for channel in ["hls-oldold77.js", "hls-12345678.js", "hls-.js", "hls-old.js", "hls.js", "HLS-OLD.JS"]
        {
            let page = app.get(&format!("/{channel}")).await;
            assert_eq!(page.status(), StatusCode::OK, "{channel}");
            assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8", "{channel}");
        }
    }
}

#[tokio::test]
async fn files_inside_the_program_are_revalidated() {
    let app = TestApp::with_embedded_site(stub_site("one")).await;
    for path in ["/widget.js", "/pkg/one/aforo.js"] {
        let first = app.get(path).await;
        let tag = header(&first, "etag").to_owned();
        assert!(tag.len() > 2, "{tag:?}");
        let again = ask(&app, Method::GET, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, tag.as_str()));
        let other = ask(&app, Method::GET, path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn files_inside_the_program_follow_the_rules_of_files_in_a_folder() {
    let site = || {
        let site = stub_site("new");
        stub_build(&site.path().join("pkg/old"), "old");
        for (name, content) in [(".stamp", "hidden"), ("widget.js.br", "br"), ("widget.js.gz", "gz")] {
            fs::write(site.path().join(name), content).unwrap();
        }
        site
    };
    // What of a response depends on the rules, and not on the time of the files.
    let kept = [
        "cache-control",
        "content-type",
        "content-length",
        "content-encoding",
        "content-range",
        "accept-ranges",
        "vary",
        "access-control-allow-origin",
        "content-security-policy",
        "x-content-type-options",
    ];
    let apps = both(site).await;
    for path in [
        "/pkg/new/aforo.js",
        "/pkg/old/aforo.js",
        "/pkg/new/aforo.css",
        "/pkg/new/none.js",
        "/pkg/none/aforo.js",
        "/pkg/new",
        "/pkg/new/",
        "/pkg/",
        "/pkg/..%2fbuild.txt",
        "/pkg/%2e%2e/build.txt",
        "/pkg/new/aforo.js/",
        "/pkg/new//aforo.js",
        "/widget.js",
        "/robots.txt",
        "/build.txt",
    ] {
        for headers in [
            &[][..],
            &[("accept-encoding", "br")],
            &[("accept-encoding", "gzip")],
            &[("accept-encoding", "gzip, br;q=0.5")],
            &[("range", "bytes=1-3")],
            &[("range", "bytes=9999-")],
            &[("if-none-match", "*")],
        ] {
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let mut answers = Vec::new();
                for app in &apps {
                    let answer = ask(app, method.clone(), path, headers).await;
                    let of_rules = kept.map(|name| header(&answer, name).to_owned());
                    let has_tag = !header(&answer, "etag").is_empty();
                    let has_time = !header(&answer, "last-modified").is_empty();
                    answers.push((
                        answer.status(),
                        of_rules,
                        has_tag,
                        has_time,
                        answer.bytes().await.unwrap(),
                    ));
                }
                assert_eq!(answers[0].0, answers[1].0, "{method} {path} {headers:?}");
                if answers[0].0 == StatusCode::NOT_FOUND {
                    for (_, of_rules, ..) in &answers {
                        assert_eq!(of_rules[0], "no-store", "{method} {path} {headers:?}");
                    }
                }
                // Request ids differ in problem documents.
                if answers[0].0.is_success() {
                    assert_eq!(answers[0], answers[1], "{method} {path} {headers:?}");
                }
            }
        }
    }
    // Hidden and compressed files are not files of their own.
    for app in &apps {
        for path in ["/.stamp", "/widget.js.br"] {
            let answer = app.get(path).await.text().await.unwrap();
            assert!(answer.contains("<html") || answer.contains("problem"), "{path}: {answer}");
        }
    }
    assert_eq!(script(&apps[0]).await, script(&apps[1]).await);
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
    for app in both(|| stub_site("stub")).await {
        for path in ["/widget.js", "/robots.txt", &script(&app).await] {
            for encodings in ["br", "gzip", "identity"] {
                let response = ask(&app, Method::GET, path, &[("accept-encoding", encodings)]).await;
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(header(&response, "vary"), "accept-encoding", "{path} {encodings}");
                let tag = header(&response, "etag");
                let known = [("accept-encoding", encodings), ("if-none-match", tag)];
                let known = ask(&app, Method::GET, path, &known).await;
                assert_eq!(known.status(), StatusCode::NOT_MODIFIED, "{path} {encodings} {tag}");
                assert_eq!(header(&known, "vary"), "accept-encoding", "{path} {encodings}");
            }
        }
    }
}

#[tokio::test]
async fn head_and_range_requests_of_files_follow_http() {
    for app in both(|| stub_site("stub")).await {
        head_and_range_requests_follow_http(&app).await;
    }
}

async fn head_and_range_requests_follow_http(app: &TestApp) {
    for path in ["/widget.js", &script(app).await] {
        let whole = app.get(path).await;
        let (length, tag) = (header(&whole, "content-length").to_owned(), header(&whole, "etag").to_owned());
        let text = whole.text().await.unwrap();
        let head = ask(app, Method::HEAD, path, &[]).await;
        assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, length.as_str()));
        assert_eq!(header(&head, "etag"), tag);
        assert_eq!(head.text().await.unwrap(), "");

        let part = ask(app, Method::GET, path, &[("range", "bytes=2-5")]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&part, "content-range"), format!("bytes 2-5/{length}"));
        assert_eq!(part.text().await.unwrap(), text[2..6]);
        let beyond = ask(app, Method::GET, path, &[("range", "bytes=9999-")]).await;
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header(&beyond, "cache-control"), "no-store");
        let many = ask(app, Method::GET, path, &[("range", "bytes=0-1,3-4")]).await;
        assert_eq!((many.status(), many.text().await.unwrap()), (StatusCode::OK, text));
        let post = ask(app, Method::POST, path, &[]).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
