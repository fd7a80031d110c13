//! Operation with Upstash: protocol, errors and number of commands.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use aforo::server::redis::{Runner, UpstashRunner};
use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{future::join_all, stream};
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, TestApp, Upstash, upstash::TOKEN, viewer};

async fn node(upstash: &Upstash, more: &[&str]) -> TestApp {
    let flags = ["--upstash-redis-rest-url", &upstash.url, "--upstash-redis-rest-token", TOKEN];
    TestApp::with(&[&flags, more].concat()).await
}

#[tokio::test]
async fn the_fake_server_works_with_the_client_of_upstash() {
    let upstash = Upstash::start().await;
    let (url, check) = (upstash.url.clone(), "tests/upstash-client/check.mjs");
    let node = move || Command::new("node").args([check, &url, TOKEN]).output();
    let output = tokio::task::spawn_blocking(node).await.unwrap().expect("Node.js is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn busy_and_failed_requests_are_retried() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    for status in [429, 500, 503] {
        upstash.fail(2, status);
        assert_eq!(app.join("ana", viewer()).await["stale"], false, "{status}");
    }
    assert_eq!(app.count("ana").await, 3);
}

/// A server that answers each request by `answer`, which is told the number of earlier ones. Returns its address, and
/// the number of requests so far.
async fn server<R>(answer: impl Fn(usize) -> R + Clone + Send + Sync + 'static) -> (String, Arc<AtomicUsize>)
where
    R: Future<Output = Response> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let router = Router::new().fallback(move || answer(counted.fetch_add(1, SeqCst)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, requests)
}

/// A runner for a server that answers by `answer`, and the number of requests so far.
async fn service<R>(
    answer: impl Fn(usize) -> R + Clone + Send + Sync + 'static,
) -> (UpstashRunner, Arc<AtomicUsize>)
where
    R: Future<Output = Response> + Send + 'static,
{
    let (url, requests) = server(answer).await;
    (UpstashRunner::open(&url, TOKEN).unwrap(), requests)
}

async fn succeeds(runner: &UpstashRunner) -> bool {
    runner.run(&runner.script("return 1"), &[], &[]).await.is_ok()
}

#[tokio::test]
async fn a_service_that_hangs_is_asked_once_a_call() {
    let (runner, requests) = service(|_| std::future::pending()).await;
    assert!(!succeeds(&runner).await);
    assert_eq!(requests.load(SeqCst), 1, "the time of one attempt is that of the call");
}

#[tokio::test]
async fn a_service_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let busy = |seconds: &'static str| {
        (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds)]).into_response()
    };
    let (runner, requests) = service(move |_| async move { busy("30") }).await;
    for _ in 0..10 {
        assert!(!succeeds(&runner).await);
        assert!(runner.ping().await.is_err());
    }
    assert_eq!(requests.load(SeqCst), 1);
    let until = |_| async {
        let dates = [
            (header::DATE, "Wed, 21 Oct 2015 07:28:00 GMT"),
            (header::RETRY_AFTER, "Wed, 21 Oct 2015 07:28:30 GMT"),
        ];
        (StatusCode::SERVICE_UNAVAILABLE, dates).into_response()
    };
    let (runner, requests) = service(until).await;
    for _ in 0..3 {
        assert!(!succeeds(&runner).await);
    }
    assert_eq!(requests.load(SeqCst), 1);
    let once = move |nth| async move { if nth == 0 { busy("1") } else { r#"{"result":1}"#.into_response() } };
    let (runner, requests) = service(once).await;
    assert!(succeeds(&runner).await, "a second is short enough to wait for");
    assert_eq!(requests.load(SeqCst), 2);
}

#[tokio::test]
async fn a_service_that_is_busy_gets_fewer_requests_than_one_that_is_not() {
    let (runner, requests) = service(|_| async { StatusCode::TOO_MANY_REQUESTS.into_response() }).await;
    for _ in 0..20 {
        assert!(!succeeds(&runner).await);
    }
    assert!(requests.load(SeqCst) < 20, "{requests:?}");
}

#[tokio::test]
async fn after_a_pause_one_call_finds_out_whether_the_service_is_back() {
    let busy = |_| async { (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response() };
    let (runner, requests) = service(busy).await;
    assert!(!succeeds(&runner).await);
    let before = requests.load(SeqCst);
    assert_eq!(join_all((0..20).map(|_| succeeds(&runner))).await, [false; 20]);
    // One for each second of the pauses that the calls wait for.
    assert!(requests.load(SeqCst) - before <= 3, "{requests:?}");
    let once =
        move |nth| async move { if nth == 0 { busy(nth).await } else { r#"{"result":1}"#.into_response() } };
    let (runner, _) = service(once).await;
    assert_eq!(join_all((0..20).map(|_| succeeds(&runner))).await, [true; 20], "all wait for it");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_and_a_large_one_is() {
    let chunks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&chunks);
    let endless = move |_| {
        let counted = Arc::clone(&counted);
        let chunk = move || {
            counted.fetch_add(1, SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'1'; 64 << 10]))
        };
        std::future::ready(Body::from_stream(stream::repeat_with(chunk)).into_response())
    };
    let (runner, _) = service(endless).await;
    assert!(!succeeds(&runner).await);
    // With what is on its way in buffers.
    assert!(chunks.load(SeqCst) < 64 * 16, "{chunks:?} of 64 KiB");
    let names: Vec<_> = (0..20_000).map(|number| format!("{number:0>64}")).collect();
    let large = json!({ "result": names }).to_string();
    let (runner, _) = service(move |_| std::future::ready(large.clone().into_response())).await;
    assert!(succeeds(&runner).await);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (target, requests) = server(|_| async { r#"{"result":1}"#.into_response() }).await;
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT] {
        let target = target.clone();
        let redirect =
            move |_| std::future::ready((status, [(header::LOCATION, target.clone())]).into_response());
        let (runner, asked) = service(redirect).await;
        assert!(!succeeds(&runner).await);
        assert_eq!((asked.load(SeqCst), requests.load(SeqCst)), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn an_outage_loses_no_beat() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    let one = viewer();
    app.join("ana", one).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(1).await;
    upstash.fail(u32::MAX, 503);
    assert_eq!(app.heartbeat("ana", one).await, json!({"count": 1, "stale": true, "active": true}));
    app.join("ana", viewer()).await;
    upstash.fail(0, 503);
    stream.until_fresh(2).await;
}

#[tokio::test]
async fn a_line_break_after_the_token_is_dropped() {
    let upstash = Upstash::start().await;
    let token = format!("{TOKEN}\n");
    let flags = ["--upstash-redis-rest-url", &upstash.url, "--upstash-redis-rest-token", &token];
    let app = TestApp::with(&flags).await;
    assert_eq!(app.join("ana", viewer()).await["count"], 1);
}

#[tokio::test]
async fn a_wrong_token_is_an_outage() {
    let upstash = Upstash::start().await;
    let flags = ["--upstash-redis-rest-url", &upstash.url, "--upstash-redis-rest-token", "wrong"];
    let app = TestApp::with(&flags).await;
    let joined = app.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(null), &json!(true)));
}

/// Upstash charges by commands, so readiness uses the results of calls that are necessary anyway.
#[tokio::test]
async fn readiness_uses_the_results_of_other_calls_and_few_commands() {
    let upstash = Upstash::start().await;
    let app = node(&upstash, &[]).await;
    let status = async || app.get("/readyz").await.status().as_u16();
    assert_eq!(status().await, 200);
    let before = upstash.commands();
    for _ in 0..100 {
        assert_eq!(status().await, 200);
    }
    let commands = upstash.commands() - before;
    assert!(commands < 10, "{commands} commands for 100 requests");
    upstash.fail(u32::MAX, 503);
    app.join("ana", viewer()).await;
    assert_eq!(status().await, 503);
    upstash.fail(0, 503);
    let ready = async {
        while status().await != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("ready again");
}

/// With 1,000 viewers in a channel, a viewer-hour costs at most 15 commands. Here, 200 viewers send as many heartbeats
/// per second as 6,000 viewers would, so that a short measurement is enough.
#[tokio::test]
async fn a_viewer_hour_costs_few_commands() {
    let upstash = Upstash::start().await;
    let flags = ["--write-interval=1000", "--count-update-interval=2000", "--heartbeat-interval=1000"];
    let app = node(&upstash, &flags).await;
    let viewers: Vec<_> = (0..200).map(|_| viewer()).collect();
    let _stream = app.sse("sse/ana").await;
    join_all(viewers.iter().map(|viewer| app.join("ana", *viewer))).await;
    let (before, started) = (upstash.commands(), std::time::Instant::now());
    while started.elapsed() < Duration::from_secs(6) {
        join_all(viewers.iter().map(|viewer| app.heartbeat("ana", *viewer))).await;
        sleep(Duration::from_millis(50)).await;
    }
    // One write per second and one reading every two seconds, regardless of the number of viewers.
    let per_hour = (upstash.commands() - before) as f64 / started.elapsed().as_secs_f64() * 3_600.0;
    let per_viewer_hour = per_hour / 1_000.0;
    println!("{per_viewer_hour:.1} commands per viewer-hour at 1,000 viewers");
    assert!(per_viewer_hour <= 15.0, "{per_viewer_hour}");
}
