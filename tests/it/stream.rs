//! The event stream over HTTP.

use std::{sync::Arc, time::Duration};

use aforo::{
    domain::Timestamp,
    server::clock::{Clock, ManualClock},
};
use futures::{StreamExt, future::join_all, stream};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::support::{FailingStore, TestApp, viewer};

#[tokio::test]
async fn the_response_is_an_event_stream_without_buffering_or_transformation() {
    let app = TestApp::start().await;
    let response = app.get("/api/viewer/sse/ana").await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn the_first_event_is_the_count_even_of_an_unknown_channel() {
    let app = TestApp::start().await;
    let mut stream = app.sse("sse/ana").await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.event, "message", "the default type, so that onmessage receives it");
    assert!(!event.id.is_empty());
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    let as_of = data["asOf"].as_u64().unwrap();
    assert_eq!(data, json!({"channelId": "ana", "count": 0, "stale": false, "asOf": as_of, "live": null}));
}

#[tokio::test]
async fn joins_and_leaves_are_shown_on_every_stream() {
    let app = TestApp::start().await;
    let mut streams = join_all((0..20).map(|_| app.sse("sse/ana"))).await;
    let one = viewer();
    app.join("ana", one).await;
    for stream in &mut streams {
        stream.until(1).await;
    }
    app.leave("ana", one).await;
    for stream in &mut streams {
        stream.until(0).await;
    }
}

#[tokio::test]
async fn repeated_joins_cause_no_events() {
    let app = TestApp::start().await;
    let one = viewer();
    app.join("ana", one).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    join_all((0..200).map(|_| app.join("ana", one))).await;
    app.join("ana", viewer()).await;
    assert_eq!(stream.until(2).await, Vec::<u64>::new());
}

#[tokio::test]
async fn a_stream_adds_no_viewer() {
    let app = TestApp::start().await;
    let mut stream = app.sse("sse/ana").await;
    assert_eq!(stream.data().await["count"], 0);
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn the_end_of_a_lease_is_shown_without_further_calls() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    app.join("ana", viewer()).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    clock.advance(Duration::from_secs(60));
    stream.until(0).await;
}

#[tokio::test]
async fn a_busy_channel_gets_at_most_one_update_per_interval() {
    let app = TestApp::with(&["--count-update-interval=1000"]).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(0).await;
    for _ in 0..50 {
        app.join("ana", viewer()).await;
    }
    // 50 joins take a fraction of a second. Even in five seconds there are at most six updates: the first and one per
    // second.
    assert!(stream.until(50).await.len() <= 6);
}

#[tokio::test]
async fn one_stream_carries_many_channels() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let mut stream = app.sse("sse?channels=ana,BOB,bob,eva.2").await;
    let mut first = Vec::new();
    for _ in 0..3 {
        let data = stream.data().await;
        first.push((data["channelId"].as_str().unwrap().to_owned(), data["count"].as_u64().unwrap()));
    }
    first.sort();
    assert_eq!(first, [("ana".to_owned(), 1), ("bob".to_owned(), 0), ("eva.2".to_owned(), 0)]);
    app.join("bob", viewer()).await;
    let data = stream.data().await;
    assert_eq!((&data["channelId"], &data["count"]), (&json!("bob"), &json!(1)));
}

#[tokio::test]
async fn reconnection_times_are_random() {
    let app = TestApp::start().await;
    let mut retries = Vec::new();
    for _ in 0..20 {
        let greeting = app.get("/api/viewer/sse/ana").await.chunk().await.unwrap().unwrap();
        let greeting = String::from_utf8(greeting.to_vec()).unwrap();
        let retry = greeting.lines().find_map(|line| line.strip_prefix("retry: "));
        retries.push(retry.expect("a retry").parse::<u32>().expect("milliseconds"));
    }
    retries.sort();
    retries.dedup();
    assert!(retries.len() > 10 && retries[0] >= 1_000, "{retries:?}");
}

#[tokio::test]
async fn during_an_outage_counts_are_stale_or_unknown_but_not_zero() {
    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    app.join("ana", viewer()).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(1).await;
    store.set_broken(true);
    let data = stream.data().await;
    assert_eq!((&data["count"], &data["stale"]), (&json!(1), &json!(true)));
    let data = app.sse("sse/never-read").await.data().await;
    assert_eq!((&data["count"], &data["stale"]), (&json!(null), &json!(true)));
    store.set_broken(false);
    let data = stream.data().await;
    assert_eq!((&data["count"], &data["stale"]), (&json!(1), &json!(false)));
}

#[tokio::test]
async fn shutdown_ends_every_stream() {
    let app = TestApp::start().await;
    let mut streams = join_all((0..50).map(|_| app.sse("sse/ana"))).await;
    for stream in &mut streams {
        stream.data().await;
    }
    app.stop().await;
    for stream in &mut streams {
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn updates_arrive_while_hundreds_of_streams_per_second_open_and_close() {
    // The lease is longer than ten joins and two updates take on a busy machine.
    let flags = ["--heartbeat-interval=500", "--timeout=10", "--hidden-timeout=10"];
    let app = TestApp::with(&[&flags[..], &["--limit-streams-per-address=0"]].concat()).await;
    let mut stream = app.sse("sse/ana").await;
    stream.until(0).await;
    let churn = stream::iter(0..8).for_each_concurrent(None, async |lane| {
        for number in 0.. {
            drop(app.sse(&format!("sse/churn-{lane}-{number}")).await);
            sleep(Duration::from_millis(10)).await;
        }
    });
    let watched = async {
        for _ in 0..10 {
            app.join("ana", viewer()).await;
        }
        stream.until(10).await;
        // The viewers send no more beats, so their leases end.
        stream.until(0).await;
    };
    tokio::select! {
        () = churn => unreachable!("the churn never ends"),
        () = watched => {}
    }
}

#[tokio::test]
async fn aborted_requests_do_not_disturb_other_streams() {
    let app = TestApp::start().await;
    for round in 0..300_u64 {
        let request = app.get("/api/viewer/sse/ana");
        // Some requests are aborted before the response, some during it.
        let _cut_off = timeout(Duration::from_micros(round * 20), request).await;
    }
    sleep(Duration::from_millis(100)).await;
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until(1).await;
}
