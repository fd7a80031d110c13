//! Cache headers, conditional requests, compression and sizes of pages.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use reqwest::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, TestApp, viewer};

/// The maximum compressed size of a full home page, in bytes. Browsers load it every 10 s.
const HOME_BUDGET: usize = 3_072;

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client.request(method, format!("{}{path}", app.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Response {
    ask(app, Method::GET, path, headers).await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Decompresses gzip data.
fn unzip(bytes: &[u8]) -> String {
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = gzip.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn pages_are_private_and_vary_by_language() {
    let app = TestApp::start().await;
    for path in ["/", "/ana", "/embed/ana", "/embed/ana?counter=1", "/overlay/ana"] {
        let page = get(&app, path, &[]).await;
        assert_eq!(header(&page, "cache-control"), "private, no-cache", "{path}");
        assert_eq!(header(&page, "vary"), "accept-language, accept-encoding", "{path}");
    }
    for path in ["/no/such/page", "/a%20b", "/embed/a%20b"] {
        let page = get(&app, path, &[]).await;
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert_eq!(header(&page, "cache-control"), "no-store", "{path}");
        assert_eq!(header(&page, "vary"), "accept-language, accept-encoding", "{path}");
    }
}

#[tokio::test]
async fn pages_are_compressed_if_the_client_accepts_it() {
    let app = TestApp::start().await;
    // The error page lists the live channels. Without any, it is too short to be compressed.
    app.join("ana", viewer()).await;
    for path in ["/", "/ana", "/no/such/page"] {
        let plain = get(&app, path, &[("accept-encoding", "identity")]).await;
        assert_eq!(header(&plain, "content-encoding"), "");
        let plain = plain.text().await.unwrap();
        let zipped = get(&app, path, &[("accept-encoding", "gzip, deflate, br")]).await;
        assert_eq!(header(&zipped, "content-encoding"), "gzip", "{path}");
        assert_eq!(header(&zipped, "vary"), "accept-language, accept-encoding");
        let zipped = zipped.bytes().await.unwrap();
        assert!(4 * zipped.len() < 3 * plain.len(), "{path}: {} of {}", zipped.len(), plain.len());
        let unzipped = unzip(&zipped);
        // The nonces differ, so only the lengths are compared.
        assert_eq!(unzipped.len(), plain.len(), "{path}");
        assert!(unzipped.ends_with("</html>"));
    }
}

#[tokio::test]
async fn streams_and_small_responses_are_not_compressed() {
    let app = TestApp::start().await;
    for path in ["/api/viewer/sse/ana", "/api/viewer/count/ana", "/api/none", "/healthz", "/?channel=ana"] {
        let response = get(&app, path, &[("accept-encoding", "gzip, br")]).await;
        if path.starts_with("/?") {
            assert_eq!(response.url().path(), "/ana");
            continue;
        }
        assert_eq!(header(&response, "content-encoding"), "", "{path}");
    }
}

#[tokio::test]
async fn the_compressed_home_page_is_within_its_budget() {
    let app = TestApp::start().await;
    let channels: Vec<_> =
        (0..50).map(|number| format!("channel-{number}.{}", number * 7919 % 1_000)).collect();
    join_all(channels.iter().enumerate().map(async |(number, channel)| {
        for _ in 0..number % 5 + 1 {
            app.join(channel, viewer()).await;
        }
    }))
    .await;
    let page = get(&app, "/", &[("accept-encoding", "gzip, br")]).await.bytes().await.unwrap();
    let html = unzip(&page);
    for channel in &channels {
        assert!(html.contains(&format!("href=\"/{channel}\"")), "{channel} in {html}");
    }
    assert!(page.len() <= HOME_BUDGET, "{} bytes of {HOME_BUDGET}, {} uncompressed", page.len(), html.len());
}

#[tokio::test]
async fn an_unchanged_home_page_is_not_sent_again() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let first = get(&app, "/", &[("accept-encoding", "gzip")]).await;
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag:?}");
    for known in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = get(&app, "/", &[("if-none-match", &known), ("accept-encoding", "gzip")]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(header(&again, "etag"), tag);
        assert_eq!(header(&again, "cache-control"), "private, no-cache");
        assert_eq!(header(&again, "vary"), "accept-language, accept-encoding");
        assert_eq!(again.bytes().await.unwrap().len(), 0);
    }
    let other_language = get(&app, "/", &[("if-none-match", &tag), ("accept-language", "en")]).await;
    assert_eq!(other_language.status(), StatusCode::OK);
    app.join("ana", viewer()).await;
    // The list may be one update interval old.
    let changed = async {
        loop {
            let page = get(&app, "/", &[("if-none-match", &tag)]).await;
            if page.status() == StatusCode::OK {
                return page;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let changed = timeout(PATIENCE, changed).await.expect("the page changes");
    assert_ne!(header(&changed, "etag"), tag);
    assert!(changed.text().await.unwrap().contains("2 espectadores"));
}

#[tokio::test]
async fn a_page_with_a_nonce_is_always_sent_in_full() {
    // A cached page would contain another nonce than the policy of the response.
    let app = TestApp::start().await;
    for path in ["/ana", "/embed/ana"] {
        let page = get(&app, path, &[("if-none-match", "*")]).await;
        assert_eq!((page.status(), header(&page, "etag")), (StatusCode::OK, ""), "{path}");
    }
}

#[tokio::test]
async fn a_page_that_no_encoding_suits_is_sent_without_compression() {
    let app = TestApp::start().await;
    for accepted in ["*;q=0", "identity;q=0", "identity;q=0, *;q=0", "gzip;q=0, identity;q=0", "br", ""] {
        for (path, status) in [("/", 200), ("/ana", 200), ("/no/such/page", 404), ("/robots.txt", 200)] {
            let response = get(&app, path, &[("accept-encoding", accepted)]).await;
            assert_eq!(response.status().as_u16(), status, "{path} {accepted:?}");
            assert_eq!(header(&response, "content-encoding"), "", "{path} {accepted:?}");
        }
    }
    for accepted in ["gzip;q=0.5, identity;q=0", "*", "gzip;q=0.001", "identity;q=0, *"] {
        let page = get(&app, "/ana", &[("accept-encoding", accepted)]).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(header(&page, "content-encoding"), "gzip", "{accepted:?}");
    }
}

#[tokio::test]
async fn head_requests_return_the_headers_of_the_page() {
    let app = TestApp::start().await;
    for (path, status) in [("/", 200), ("/ana", 200), ("/embed/ana", 200), ("/no/such/page", 404)] {
        for encoding in ["identity", "gzip"] {
            let page = get(&app, path, &[("accept-encoding", encoding)]).await;
            let head = ask(&app, Method::HEAD, path, &[("accept-encoding", encoding)]).await;
            assert_eq!((head.status().as_u16(), page.status().as_u16()), (status, status), "{path}");
            for name in ["content-type", "content-encoding", "cache-control", "vary", "etag"] {
                assert_eq!(header(&head, name), header(&page, name), "{path} {encoding} {name}");
            }
            assert_eq!(head.text().await.unwrap(), "");
        }
        // Pages do not support ranges: parts of two renderings would not fit together.
        let part = get(&app, path, &[("range", "bytes=0-9")]).await;
        assert_eq!(part.status().as_u16(), status);
        assert!(part.text().await.unwrap().len() > 10);
    }
}
