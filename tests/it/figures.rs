//! The figures of present broadcasts on streams: who gets them when many channels are asked for.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aforo::{
    domain::{ChannelId, Count, ViewerId},
    server::{
        clock::{Clock, SystemClock},
        config::DatabaseConfig,
        database::{Archive, Database},
        limits::Address,
        presence::Observer,
        recording::{FiguresFeed, FiguresWatch, Recorder},
    },
};
use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    statistics_page::{SECRET, link_until},
    support::{PATIENCE, Sse, TestApp, viewer},
};

/// The places of the feed, and of one address.
const PLACES: u8 = 200;
const PLACES_OF_ADDRESS: u8 = 8;

struct Feed {
    feed: FiguresFeed,
    recorder: Recorder,
    _folder: TempDir,
}

/// A feed that runs, over an empty database.
async fn feed() -> Feed {
    let folder = TempDir::new().unwrap();
    let config = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
    let archive = Archive::new(Database::open(&config).await.unwrap());
    let recorder = Recorder::new(7, Duration::ZERO, Arc::new(SystemClock::start()));
    let feed = FiguresFeed::new(archive, recorder.clone(), PLACES_OF_ADDRESS.into());
    tokio::spawn(feed.clone().run());
    Feed { feed, recorder, _folder: folder }
}

impl Feed {
    fn watch(&self, channel: &str, address: u8) -> FiguresWatch {
        self.feed.watch(&id(channel), Address::from(IpAddr::from([192, 0, 2, address])))
    }

    /// Takes all places, each address as many as it may.
    async fn fill(&self) -> Vec<FiguresWatch> {
        let mut watches: Vec<_> =
            (0..PLACES).map(|n| self.watch(&format!("invented-{n}"), n / PLACES_OF_ADDRESS)).collect();
        join_all(watches.iter_mut().map(next)).await;
        watches
    }

    /// Records a viewer of a channel at this node.
    fn see_viewer(&self, channel: &str) {
        let viewer = ViewerId::parse(&viewer().to_string()).unwrap();
        self.recorder.wrote(&id(channel), Some(viewer), Count::fresh(1, self.recorder.now()));
    }
}

fn id(channel: &str) -> ChannelId {
    ChannelId::parse(channel).unwrap()
}

async fn next(watch: &mut FiguresWatch) -> Bytes {
    timeout(PATIENCE, watch.next()).await.expect("the channel has a place")
}

#[tokio::test]
async fn an_address_has_eight_channels_in_the_feed() {
    let feed = feed().await;
    let mut own: Vec<_> = (0..PLACES_OF_ADDRESS).map(|n| feed.watch(&format!("own-{n}"), 1)).collect();
    join_all(own.iter_mut().map(next)).await;
    let mut ninth = feed.watch("own-8", 1);
    assert!(ninth.next().now_or_never().is_none(), "it waits for a place");
    next(&mut feed.watch("own-0", 1)).await;
    next(&mut feed.watch("other", 2)).await;
    own.pop();
    next(&mut ninth).await;
}

#[tokio::test]
async fn a_channel_without_a_broadcast_gives_its_place_to_another() {
    let feed = feed().await;
    let mut invented = feed.fill().await;
    next(&mut feed.watch("ana", 100)).await;
    // The place of that stream is free again, and the channel that was displaced gets it.
    let again = invented.iter_mut().map(|watch| watch.next().boxed());
    let (frame, ..) = timeout(PATIENCE, futures::future::select_all(again)).await.unwrap();
    assert_eq!(frame, "event: figures\ndata: null\n\n");
}

#[tokio::test]
async fn channels_with_viewers_keep_their_places_and_the_next_one_waits() {
    let feed = feed().await;
    for n in 0..PLACES {
        feed.see_viewer(&format!("invented-{n}"));
    }
    let mut watches = feed.fill().await;
    let mut waiting = feed.watch("ana", 100);
    assert!(waiting.next().now_or_never().is_none());
    watches.pop();
    next(&mut waiting).await;
}

#[tokio::test]
async fn a_stream_that_waits_for_figures_has_the_count() {
    let app = TestApp::with(&["--stats=public", "--trusted-proxies=127.0.0.1"]).await;
    app.join("ana", viewer()).await;
    let open = async |channel: String, from: &str| {
        let url = format!("{}/api/viewer/sse/{channel}?stats=1", app.base);
        let response = app.client.get(url).header("X-Forwarded-For", from).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Sse::of(response)
    };
    let mut strangers = Vec::new();
    for n in 0..PLACES {
        strangers.push(open(format!("invented-{n}"), "192.0.2.1").await);
    }
    let last = strangers.last_mut().unwrap().next().await.unwrap();
    assert!(last.data.contains(r#""count":0"#), "{last:?}");
    let mut streamer = open("ana".to_owned(), "192.0.2.2").await;
    loop {
        let event = streamer.next().await.unwrap();
        if event.event == "figures" && event.data.contains(r#""peak":1"#) {
            break;
        }
    }
    let url = format!("{}/api/viewer/sse/ana?stats=1", app.base);
    let refused = app.client.get(url).header("X-Forwarded-For", "192.0.2.1").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "the limit of streams is as before");
}

#[tokio::test]
async fn the_figures_end_with_the_link_that_opened_the_stream() {
    let app = TestApp::with(&[&format!("--api-secret={SECRET}"), "--api-token=the-operators-token"]).await;
    let url = format!("{}/api/viewer/sse/ana?stats=1", app.base);
    let (token, opened) = loop {
        let now = i64::try_from(SystemClock::start().now().as_millis() / 1_000).unwrap();
        // It has expired, but clocks may differ by some seconds.
        let token = link_until("ana", now - 2);
        let opened = app.client.get(format!("{url}&token={token}")).send().await.unwrap();
        if opened.status() == StatusCode::OK {
            break (token, Sse::of(opened));
        }
    };
    let mut with_link = opened;
    let mut of_operator =
        Sse::of(app.client.get(&url).bearer_auth("the-operators-token").send().await.unwrap());
    let summary = format!("/api/channel/ana/summary?token={token}");
    while app.get(&summary).await.status() != StatusCode::UNAUTHORIZED {
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_secs(2)).await;
    app.join("ana", viewer()).await;
    while !of_operator.next().await.unwrap().data.contains(r#""peak":1"#) {}
    app.join("ana", viewer()).await;
    loop {
        let event = with_link.next().await.expect("the counts go on");
        assert!(!event.data.contains("peak"), "{event:?}");
        if event.data.contains(r#""count":2"#) {
            break;
        }
    }
}
