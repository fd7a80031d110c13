//! The events of a broadcast, from a server whose clock the test advances.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aforo::server::clock::{Clock, ManualClock, time_of_day};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{SECRET, clock, flags, server};
use crate::support::{Received, Receiver, TestApp, receiver::verify, viewer};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[tokio::test]
async fn a_broadcast_has_its_events_in_order_and_signed_by_every_secret() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let secrets = format!("--webhook-secret={SECRET},{other}");
    let app = server(&clock, &[&receiver], &["--webhook-milestones=2,3,100", &secrets]).await;
    for _ in 0..2 {
        app.join("ana", viewer()).await;
    }
    receiver.until(|all| all.iter().any(|one| one.kind() == "channel.milestone")).await;
    app.join("ana", viewer()).await;
    receiver.until(|all| all.iter().filter(|one| one.kind() == "channel.milestone").count() == 2).await;
    clock.advance(SECONDS(11));
    receiver.until(|all| all.iter().any(|one| one.kind() == "channel.peak")).await;
    // All leases end, then the broadcast.
    clock.advance(SECONDS(70));
    let present = async || {
        let broadcasts: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
        broadcasts["broadcasts"][0].clone()
    };
    let started = present().await["startedAt"].as_u64().unwrap();
    super::until("the channel is off air", async || app.count("ana").await == 0).await;
    super::until("the broadcast is over", async || {
        tokio::time::sleep(SECONDS(6)).await;
        // Again if the node has not noticed before that nobody watches.
        clock.advance(SECONDS(301));
        tokio::time::sleep(SECONDS(2)).await;
        receiver.kinds().iter().any(|kind| kind == "broadcast.ended")
    })
    .await;
    let received = receiver.received();

    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(
        kinds,
        [
            "channel.live",
            "channel.milestone",
            "channel.milestone",
            "channel.peak",
            "channel.offline",
            "broadcast.ended",
        ]
    );
    let ids: BTreeSet<_> = received.iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids.len(), received.len(), "each event has an id of its own");
    let broadcast = received[0].json()["data"]["broadcastId"].clone();
    assert!(broadcast.as_str().unwrap().starts_with("ana@"), "{broadcast}");
    for one in &received {
        let data = &one.json()["data"];
        assert_eq!((&data["channelId"], &data["broadcastId"]), (&json!("ana"), &broadcast));
        assert_eq!(data["startedAt"], started);
    }
    assert_eq!(received[1].json()["data"]["milestone"], 2);
    assert_eq!(received[2].json()["data"]["milestone"], 3);
    assert_eq!(received[3].json()["data"]["peak"], 3);
    // The figures are those of the API.
    let mut figures = received[5].json()["data"].clone();
    for own in ["channelId", "broadcastId"] {
        figures.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(figures, present().await);
    assert!(figures["endedAt"].is_u64(), "{figures}");
    verify(&received, &[SECRET, other]).await;
    assert!(received.iter().all(|one| one.headers["user-agent"].starts_with("aforo/")));
}

#[tokio::test]
async fn a_channel_that_comes_back_within_five_minutes_has_no_further_events() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    let app = server(&clock, &[&receiver], &[]).await;
    let one = viewer();
    app.join("ana", one).await;
    receiver.until_len(1).await;
    app.leave("ana", one).await;
    tokio::time::sleep(SECONDS(5)).await;
    clock.advance(SECONDS(290));
    app.join("ana", one).await;
    tokio::time::sleep(SECONDS(5)).await;
    app.leave("ana", one).await;
    super::until("the broadcast is over", async || {
        tokio::time::sleep(SECONDS(5)).await;
        // Again if the node has not noticed before that nobody watches.
        clock.advance(SECONDS(301));
        tokio::time::sleep(SECONDS(2)).await;
        receiver.kinds().iter().any(|kind| kind == "broadcast.ended")
    })
    .await;
    let received = receiver.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["channel.live", "channel.peak", "channel.offline", "broadcast.ended"]);
    // The next one is another broadcast.
    app.join("ana", one).await;
    let received = receiver.until_len(5).await;
    assert_eq!(received[4].kind(), "channel.live");
    assert_ne!(received[4].id(), received[0].id());
}

#[tokio::test]
async fn peaks_are_announced_once_a_minute_at_most() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    let app = server(&clock, &[&receiver], &[]).await;
    let mut viewers = Vec::new();
    let peaks = async |expected: &[u64]| {
        let peak = |one: &Received| one.json()["data"]["peak"].as_u64();
        receiver.until(|all| all.iter().filter_map(peak).eq(expected.iter().copied())).await;
    };
    for second in 0..8 {
        let one = viewer();
        app.join("ana", one).await;
        viewers.push(one);
        for viewer in &viewers {
            app.heartbeat("ana", *viewer).await;
        }
        clock.advance(SECONDS(20));
        match second {
            // At 20, 80 and 140 seconds.
            0 => peaks(&[1]).await,
            3 => peaks(&[1, 4]).await,
            6 => peaks(&[1, 4, 7]).await,
            _ => tokio::time::sleep(SECONDS(5)).await,
        }
    }
}

#[tokio::test]
async fn only_what_happens_from_the_first_receiver_on_is_announced() {
    let folder = tempfile::TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let (old, present) = (viewer(), viewer());
    let app = TestApp::with(&[&database]).await;
    app.join("ana", old).await;
    app.join("eva", present).await;
    tokio::time::sleep(SECONDS(5)).await;
    app.stop().await;
    // An old broadcast. Without webhooks it was not registered.
    sqlx::any::install_default_drivers();
    let pool =
        sqlx::AnyPool::connect(&format!("sqlite://{}/aforo.db", folder.path().display())).await.unwrap();
    let changed = sqlx::query(
        "UPDATE broadcasts SET started_at = started_at - 7200000, last_on_air = last_on_air - 7200000 \
         WHERE channel = 'ana'",
    );
    assert_eq!(changed.execute(&pool).await.unwrap().rows_affected(), 1);
    pool.close().await;

    let receiver = Receiver::start().await;
    let flags = flags(&[&receiver], &[&database]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let app = TestApp::with(&flags).await;
    let received = receiver.until_len(1).await;
    assert_eq!((received[0].kind(), received[0].channel()), ("channel.live".to_owned(), "eva".to_owned()));
    app.join("bob", viewer()).await;
    let received = receiver.until_len(2).await;
    assert_eq!(received[1].channel(), "bob");
    tokio::time::sleep(SECONDS(5)).await;
    assert!(receiver.received().iter().all(|one| one.channel() != "ana"), "{:?}", receiver.kinds());
    assert_eq!(app.get("/readyz").await.status(), StatusCode::OK);
}

/// With the live signal a broadcast is from the signal's start to its end, whoever watches.
#[tokio::test]
async fn a_live_signal_begins_and_ends_a_broadcast() {
    const TOKEN: &str = "a-token-of-the-test";
    const KINDS: [&str; 5] =
        ["channel.live", "channel.peak", "channel.peak", "channel.offline", "broadcast.ended"];
    // The database dates signals by its own clock. The server's clock is ahead of it, and is set while the channel is on air.
    let clock = Arc::new(ManualClock::new(time_of_day() + SECONDS(600)));
    let receiver = Receiver::start().await;
    let more = ["--live=signal", &format!("--api-token={TOKEN}"), "--webhook-milestones=50"];
    let app = server(&clock, &[&receiver], &more).await;
    let signal = async |is_live: bool| {
        let url = format!("{}/api/channel/ana/live", app.base);
        let put = app.client.put(url).bearer_auth(TOKEN).json(&json!({"live": is_live}));
        assert_eq!(put.send().await.unwrap().status(), StatusCode::OK);
    };
    app.join("eva", viewer()).await;
    let began = clock.now();
    signal(true).await;
    let received = receiver.until_len(1).await;
    assert_eq!((received[0].kind(), received[0].channel()), ("channel.live".to_owned(), "ana".to_owned()));
    let peaks = async |expected: usize| {
        super::until("the peak is settled", async || {
            clock.advance(SECONDS(61));
            tokio::time::sleep(SECONDS(1)).await;
            receiver.kinds().iter().filter(|kind| *kind == "channel.peak").count() == expected
        })
        .await;
    };
    let ana = viewer();
    app.join("ana", ana).await;
    peaks(1).await;
    // Six minutes without viewers do not end it.
    clock.advance(SECONDS(400));
    for viewer in [ana, viewer()] {
        app.join("ana", viewer).await;
    }
    peaks(2).await;
    signal(false).await;
    // Who comes after the end is no viewer of the broadcast.
    clock.advance(SECONDS(8));
    for _ in 0..3 {
        app.join("ana", viewer()).await;
    }
    super::until("the broadcast is over", async || {
        // Again if the node has sampled the signal after the last step.
        clock.advance(SECONDS(301));
        tokio::time::sleep(SECONDS(3)).await;
        receiver.kinds().iter().any(|kind| kind == "broadcast.ended")
    })
    .await;
    assert_eq!(receiver.kinds(), KINDS);
    assert!(receiver.received().iter().all(|one| one.channel() == "ana"), "eva is not on air");
    let ended = receiver.received().pop().unwrap();
    let figures = &ended.json()["data"];
    // Dated by the server's clock, as the counts are, to about a second.
    let times = ["startedAt", "endedAt"].map(|time| figures[time].as_u64().unwrap());
    let broadcast = began.minus_millis(2_000).as_millis()..(began + SECONDS(3_600)).as_millis();
    assert!(times.iter().all(|time| broadcast.contains(time)), "{figures} within {broadcast:?}");
    assert_eq!((&figures["peak"], &figures["uniques"]), (&json!(2), &json!(2)), "{figures}");
}
