//! Receivers that fail, are slow, are gone, or answer oddly.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use aforo::server::webhooks::sender::LIMIT;
use axum::response::IntoResponse;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    time::sleep,
};

use super::{FAILED, SECRET, clock, failures, metric, server, until};
use crate::support::{Received, Receiver, free_port, receiver::verify, viewer};

const DROPPED: &str = "aforo_webhook_deliveries_total{outcome=\"dropped\"}";

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[tokio::test]
async fn failures_are_repeated_with_the_same_id_and_the_order_is_kept() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    receiver.answer_with(500, &[]);
    let app = server(&clock, &[&receiver], &["--webhook-milestones=2"]).await;
    app.join("ana", viewer()).await;
    app.join("ana", viewer()).await;
    receiver.until_len(1).await;
    // The milestone waits for the event before it, and that one for its time.
    failures(&app, 1.0).await;
    sleep(SECONDS(6)).await;
    assert_eq!(receiver.kinds(), ["channel.live"]);
    clock.advance(SECONDS(6));
    failures(&app, 2.0).await;
    receiver.answer(|_| Receiver::takes());
    clock.advance(SECONDS(331));
    let received = receiver.until(|all| all.iter().any(|one| one.kind() == "channel.milestone")).await;
    let live: Vec<&Received> = received.iter().filter(|one| one.kind() == "channel.live").collect();
    assert!(live.len() == 3 && live.iter().all(|one| one.id() == live[0].id()), "{received:#?}");
    assert_eq!(received[3].kind(), "channel.milestone");
    verify(&received, &[SECRET]).await;
    until("nothing waits", async || metric(&app, "aforo_webhooks_waiting").await == 0.0).await;
    assert!(metric(&app, "aforo_webhook_deliveries_total{outcome=\"delivered\"}").await >= 2.0);
}

#[tokio::test]
async fn after_three_attempts_an_event_holds_up_no_other() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    receiver.answer(|one| {
        let status = if one.kind() == "channel.live" { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        Box::pin(std::future::ready(status.into_response()))
    });
    let app = server(&clock, &[&receiver], &["--webhook-milestones=1"]).await;
    app.join("ana", viewer()).await;
    // The milestone waits for the event before it.
    until("both wait", async || metric(&app, "aforo_webhooks_waiting").await >= 2.0).await;
    for (attempts, pause) in [(1.0, 6), (2.0, 331)] {
        failures(&app, attempts).await;
        clock.advance(SECONDS(pause));
    }
    let received = receiver.until_len(4).await;
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds[..4], ["channel.live", "channel.live", "channel.live", "channel.milestone"]);
}

#[tokio::test]
async fn an_event_is_given_up_after_ten_attempts() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    // Only this event fails, so all failures are its own.
    receiver.answer(|one| {
        let is_live = one.kind() == "channel.live";
        let status = if is_live { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        Box::pin(std::future::ready(status.into_response()))
    });
    let app = server(&clock, &[&receiver], &[]).await;
    app.join("ana", viewer()).await;
    for (nth, pause) in
        [0, 6, 331, 1_981, 7_921, 19_801, 39_601, 51_481, 63_361, 71_281].into_iter().enumerate()
    {
        if nth > 0 {
            failures(&app, f64::from(u32::try_from(nth).unwrap())).await;
        }
        clock.advance(SECONDS(pause));
        let attempts = |all: &[Received]| all.iter().filter(|one| one.kind() == "channel.live").count();
        receiver.until(|all| attempts(all) > nth).await;
        assert_eq!(attempts(&receiver.received()), nth + 1);
    }
    until("the event is given up", async || metric(&app, DROPPED).await >= 1.0).await;
    until("nothing waits", async || metric(&app, "aforo_webhooks_waiting").await == 0.0).await;
    assert_eq!(metric(&app, "aforo_webhooks_oldest_seconds").await, 0.0);
}

#[tokio::test]
async fn an_event_is_given_up_after_three_days() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    receiver.answer_with(500, &[]);
    let app = server(&clock, &[&receiver], &[]).await;
    app.join("ana", viewer()).await;
    failures(&app, 1.0).await;
    clock.advance(SECONDS(73 * 3_600));
    until("the event is given up", async || metric(&app, DROPPED).await >= 1.0).await;
    let attempts = receiver.kinds().iter().filter(|kind| *kind == "channel.live").count();
    assert!(attempts < 10, "{attempts} attempts");
}

#[tokio::test]
async fn a_slow_receiver_holds_up_no_other() {
    let (clock, slow, good) = (clock(), Receiver::start().await, Receiver::start().await);
    let (release, released) = watch::channel(false);
    slow.answer(move |_| {
        let mut released = released.clone();
        Box::pin(async move {
            let _released = released.wait_for(|released| *released).await;
            StatusCode::OK.into_response()
        })
    });
    let app = server(&clock, &[&slow, &good], &[]).await;
    for nth in 0..30 {
        app.join(&format!("c{nth}"), viewer()).await;
    }
    slow.until_len(8).await;
    good.until_len(30).await;
    // Each delivery that has timed out makes room for another one.
    let begun = u32::try_from(slow.received().len()).unwrap();
    let timed_out = metric(&app, FAILED).await;
    assert!(f64::from(begun) <= 8.0 + timed_out, "eight deliveries are under way at most: {begun}");
    release.send(true).unwrap();
    until("the slow receiver has all events", async || {
        clock.advance(SECONDS(1));
        slow.received().iter().map(Received::channel).collect::<BTreeSet<_>>().len() == 30
    })
    .await;
    assert_eq!(good.received().iter().filter(|one| one.kind() == "channel.live").count(), 30);
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_and_gets_the_event_again() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    receiver.answer(|_| Box::pin(std::future::pending()));
    let app = server(&clock, &[&receiver], &[]).await;
    app.join("ana", viewer()).await;
    receiver.until_len(1).await;
    let began = Instant::now();
    failures(&app, 1.0).await;
    // The request was there before, but not more than a few seconds.
    assert!(began.elapsed() > LIMIT - SECONDS(5), "{:?}", began.elapsed());
    receiver.answer(|_| Receiver::takes());
    clock.advance(SECONDS(6));
    let received = receiver.until_len(2).await;
    assert_eq!(received[0].id(), received[1].id());
    verify(&received, &[SECRET]).await;
}

#[tokio::test]
async fn a_dead_receiver_holds_up_no_other() {
    let (clock, good) = (clock(), Receiver::start().await);
    let urls = format!("--webhook-urls=http://127.0.0.1:{}/,{}", free_port(), good.url);
    let app = server(&clock, &[], &[&urls]).await;
    for nth in 0..30 {
        app.join(&format!("c{nth}"), viewer()).await;
    }
    good.until_len(30).await;
    failures(&app, 30.0).await;
    until("events wait for the other one", async || metric(&app, "aforo_webhooks_waiting").await == 30.0)
        .await;
    assert_eq!(good.received().len(), 30);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (clock, from, to) = (clock(), Receiver::start().await, Receiver::start().await);
    let app = server(&clock, &[&from], &[]).await;
    for (nth, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        from.answer_with(status, &[("location", &to.url)]);
        app.join(&format!("c{nth}"), viewer()).await;
        from.until_len(nth + 1).await;
    }
    failures(&app, 5.0).await;
    assert_eq!(to.received().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_until_the_next_start() {
    let (clock, gone, good) = (clock(), Receiver::start().await, Receiver::start().await);
    gone.answer_with(410, &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let app = server(&clock, &[&gone, &good], &[&database]).await;
    app.join("ana", viewer()).await;
    gone.until_len(1).await;
    until("the receiver is disabled", async || metric(&app, "aforo_webhook_receivers_disabled").await == 1.0)
        .await;
    gone.answer(|_| Receiver::takes());
    app.join("eva", viewer()).await;
    good.until_len(2).await;
    clock.advance(SECONDS(30));
    sleep(SECONDS(3)).await;
    assert_eq!(gone.received().len(), 1);
    app.stop().await;
    // What it has missed waits.
    let _app = server(&clock, &[&gone, &good], &[&database]).await;
    let received = gone.until(|all| all.iter().filter(|one| one.kind() == "channel.live").count() == 3).await;
    assert_eq!(received[0].id(), received.iter().filter(|one| one.channel() == "ana").nth(1).unwrap().id());
}

#[tokio::test]
async fn a_receiver_can_ask_for_a_pause() {
    let (clock, receiver) = (clock(), Receiver::start().await);
    receiver.answer_with(429, &[("retry-after", "600")]);
    let app = server(&clock, &[&receiver], &[]).await;
    app.join("ana", viewer()).await;
    failures(&app, 1.0).await;
    receiver.answer(|_| Receiver::takes());
    // Nothing is sent meanwhile, also of other channels.
    app.join("eva", viewer()).await;
    clock.advance(SECONDS(590));
    app.join("bob", viewer()).await;
    sleep(SECONDS(3)).await;
    assert_eq!(receiver.received().len(), 1);
    clock.advance(SECONDS(70));
    let lives = |all: &[Received]| all.iter().filter(|one| one.kind() == "channel.live").count();
    receiver.until(|all| lives(all) == 4).await;
}

/// Reads a request halfway, or answers halfway, and closes the connection.
#[tokio::test]
async fn a_receiver_that_closes_halfway_gets_the_event_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("--webhook-urls=http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let server_task = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 20];
            connection.read_exact(&mut bytes).await.unwrap();
            let answer: &[u8] = match counter.fetch_add(1, SeqCst) {
                0 => b"",
                1 => b"HTTP/1.1 20",
                // The status says that the event was taken, whatever becomes of the rest.
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhalf",
            };
            connection.write_all(answer).await.unwrap();
            // Without reading the rest, closing would reset the connection before the answer is read.
            let mut rest = [0; 4_096];
            let _read = tokio::time::timeout(Duration::from_millis(300), connection.read(&mut rest)).await;
        }
    });
    let clock = clock();
    let app = server(&clock, &[], &[&url]).await;
    app.join("ana", viewer()).await;
    for (attempts, pause) in [(1.0, 6), (2.0, 331)] {
        failures(&app, attempts).await;
        clock.advance(SECONDS(pause));
    }
    until("the event is delivered", async || {
        metric(&app, "aforo_webhook_deliveries_total{outcome=\"delivered\"}").await >= 1.0
    })
    .await;
    assert!(requests.load(SeqCst) >= 3);
    server_task.abort();
}

/// An answer without an end would otherwise hold a connection and its memory.
#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("--webhook-urls=http://{}/", listener.local_addr().unwrap());
    let (sent, cut_off) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, end) = (Arc::clone(&sent), Arc::clone(&cut_off));
    let server_task = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _read = connection.read(&mut request).await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await.unwrap();
        while connection.write_all(&[b'x'; 65_536]).await.is_ok() {
            counter.fetch_add(65_536, SeqCst);
        }
        end.fetch_add(1, SeqCst);
    });
    let app = server(&clock(), &[], &[&url]).await;
    app.join("ana", viewer()).await;
    until("the answer is cut off", async || cut_off.load(SeqCst) == 1).await;
    assert!(sent.load(SeqCst) < 64 << 20, "{} bytes", sent.load(SeqCst));
    assert!(metric(&app, "aforo_webhook_deliveries_total{outcome=\"delivered\"}").await >= 1.0);
    server_task.abort();
}
