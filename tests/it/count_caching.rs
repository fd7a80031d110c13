//! How long caches may keep counts (`COUNT_MAX_AGE`). `nginx.rs` has a real cache.

use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::support::{RedisServer, TestApp, viewer};

const READS: [&str; 4] = [
    "/api/viewer/count/ana",
    "/api/viewer/count?channelId=ana",
    "/api/viewer/counts?channels=ana",
    "/api/viewer/live",
];
const BADGES: [&str; 3] = ["/badge/ana.svg", "/badge/ana.json", "/badge/ana.txt"];
const BADGE: &str = "public, max-age=5, s-maxage=5, stale-while-revalidate=30";
const ONE_SECOND: &str = "public, max-age=1, s-maxage=1";

async fn cache_control(app: &TestApp, path: &str) -> (StatusCode, String) {
    let response = app.get(path).await;
    (response.status(), header(&response))
}

fn header(response: &Response) -> String {
    response.headers()["cache-control"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_maximum_age_only_badges_may_be_kept() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    for path in READS {
        assert_eq!(cache_control(&app, path).await, (StatusCode::OK, "no-store".to_owned()), "{path}");
    }
    for path in BADGES {
        assert_eq!(cache_control(&app, path).await, (StatusCode::OK, BADGE.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn with_a_maximum_age_every_read_of_counts_may_be_kept() {
    let app = TestApp::with(&["--count-max-age=7"]).await;
    app.join("ana", viewer()).await;
    let expected = "public, max-age=7, s-maxage=7, stale-while-revalidate=7";
    for path in READS.into_iter().chain(BADGES) {
        assert_eq!(cache_control(&app, path).await, (StatusCode::OK, expected.to_owned()), "{path}");
    }
    // A browser revalidates nothing, so a script of another site must get its header from the cache too.
    let response = app.get("/api/viewer/count/ana").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn what_is_not_a_count_is_kept_as_before() {
    let app = TestApp::with(&["--count-max-age=7"]).await;
    for (path, status, expected) in [
        ("/api/viewer/count/a%20b", 400, "no-store"),
        ("/api/viewer/counts", 400, "no-store"),
        ("/api/viewer/live?limit=0", 400, "no-store"),
        ("/badge/ana.png", 404, "no-store"),
        ("/api/viewer/ping", 204, "no-store"),
        ("/api/channel/followers?channelId=ana", 200, "no-store"),
        ("/ana", 200, "private, no-cache"),
    ] {
        let (found, header) = cache_control(&app, path).await;
        assert_eq!((found.as_u16(), header.as_str()), (status, expected), "{path}");
    }
    let posted = app.post("/api/viewer/counts", &json!({"channels": ["ana"]})).await;
    assert_eq!((posted.status(), header(&posted)), (StatusCode::OK, "no-store".to_owned()));
    let stream = app.get("/api/viewer/sse/ana").await;
    assert!(header(&stream).starts_with("no-store"));
}

#[tokio::test]
async fn stale_and_unknown_counts_may_be_kept_for_a_second() {
    let mut redis = RedisServer::start().await;
    let app = TestApp::with(&["--redis-url", &redis.url(), "--count-max-age=7"]).await;
    app.join("ana", viewer()).await;
    redis.kill();
    for (path, status) in [
        ("/api/viewer/count/ana", StatusCode::OK),
        ("/api/viewer/count?channelId=ana", StatusCode::OK),
        ("/api/viewer/count/bob", StatusCode::SERVICE_UNAVAILABLE),
        ("/api/viewer/count?channelId=bob", StatusCode::SERVICE_UNAVAILABLE),
        ("/api/viewer/counts?channels=ana,bob", StatusCode::OK),
        ("/badge/ana.svg", StatusCode::OK),
        ("/badge/bob.txt", StatusCode::OK),
    ] {
        assert_eq!(cache_control(&app, path).await, (status, ONE_SECOND.to_owned()), "{path}");
    }
    // The list is stale, or it cannot be read.
    let (_, header) = cache_control(&app, "/api/viewer/live").await;
    assert_eq!(header, ONE_SECOND);

    let app = TestApp::with(&["--redis-url", &redis.url()]).await;
    assert_eq!(
        cache_control(&app, "/api/viewer/count/ana").await,
        (StatusCode::SERVICE_UNAVAILABLE, "no-store".to_owned())
    );
}
