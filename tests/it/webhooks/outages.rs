//! Nodes that are killed between an event and its delivery, and a database that is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::response::IntoResponse;
use futures::future::join_all;
use parking_lot::Mutex;
use reqwest::StatusCode;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::{sync::watch, time::sleep};

use super::{SECRET, flags};
use crate::support::{Postgres, Program, Received, Receiver, RedisServer, TestApp, receiver::verify, viewer};

/// Starts a node over a Redis server and a database that it shares.
pub(super) async fn node(redis: &RedisServer, database: &str, receiver: &Receiver) -> Program {
    Program::start(&[
        ("REDIS_URL", &redis.url()),
        ("DATABASE_URL", database),
        ("WEBHOOK_URLS", &receiver.url),
        ("WEBHOOK_SECRET", SECRET),
        ("WEBHOOK_ALLOW_PRIVATE", "true"),
        ("WEBHOOK_MILESTONES", "2"),
    ])
    .await
}

/// The ids of the events of each channel and type.
fn ids(received: &[Received]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut ids = BTreeMap::<_, BTreeSet<String>>::new();
    for one in received {
        ids.entry((one.channel(), one.kind())).or_default().insert(one.id().to_owned());
    }
    ids
}

/// 16 channels of all parts, so that each node owns some.
pub(super) fn channels() -> Vec<String> {
    (b'a'..=b'p').map(|letter| format!("c{}", char::from(letter))).collect()
}

pub(super) fn has_all(received: &[Received], kind: &str) -> bool {
    let of_kind = received.iter().filter(|one| one.kind() == kind);
    of_kind.map(Received::channel).collect::<BTreeSet<_>>() == channels().into_iter().collect()
}

/// The address of a SQLite file in a folder.
pub(super) fn sqlite(folder: &TempDir) -> String {
    format!("sqlite:{}/aforo.db", folder.path().display())
}

#[tokio::test]
async fn a_node_that_is_killed_before_its_deliveries_arrive_loses_none_in_sqlite() {
    let folder = TempDir::new().unwrap();
    check_kill_before_arrival(&sqlite(&folder)).await;
}

#[tokio::test]
async fn a_node_that_is_killed_before_its_deliveries_arrive_loses_none_in_postgres() {
    check_kill_before_arrival(&Postgres::shared().await.database().await).await;
}

async fn check_kill_before_arrival(database: &str) {
    let (redis, receiver) = (RedisServer::start().await, Receiver::start().await);
    // Answers wait until they are released. Those to a killed node are never given.
    let (release, released) = watch::channel(false);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&taken);
    receiver.answer(move |one| {
        let (mut released, taken, one) = (released.clone(), Arc::clone(&own), one.clone());
        Box::pin(async move {
            let _released = released.wait_for(|released| *released).await;
            taken.lock().push(one);
            StatusCode::OK.into_response()
        })
    });
    let one = node(&redis, database, &receiver).await;
    join_all(channels().iter().map(|channel| async {
        one.join(channel, viewer()).await;
        one.join(channel, viewer()).await;
    }))
    .await;
    receiver.until_len(1).await;
    one.kill();
    assert!(taken.lock().is_empty());
    let two = node(&redis, database, &receiver).await;
    release.send(true).unwrap();
    super::until("everything is taken", async || {
        let taken = taken.lock();
        has_all(&taken, "channel.live") && has_all(&taken, "channel.milestone")
    })
    .await;
    let received = receiver.received();
    let again = received.iter().filter(|one| one.id() == received[0].id()).count();
    assert!(again >= 2, "what the killed node had sent is sent again");
    for (event, ids) in ids(&received) {
        assert_eq!(ids.len(), 1, "{event:?} has one id, whoever sends it: {ids:?}");
    }
    verify(&received, &[SECRET]).await;
    drop(two);
}

#[tokio::test]
async fn a_node_that_is_killed_before_it_announces_loses_no_event() {
    let folder = TempDir::new().unwrap();
    check_kill_before_announcement(&sqlite(&folder)).await;
    check_kill_before_announcement(&Postgres::shared().await.database().await).await;
}

async fn check_kill_before_announcement(database: &str) {
    let (redis, receiver) = (RedisServer::start().await, Receiver::start().await);
    let (one, two) = (node(&redis, database, &receiver).await, node(&redis, database, &receiver).await);
    sleep(Duration::from_secs(3)).await;
    let crowd: Vec<_> = channels().into_iter().flat_map(|channel| [channel.clone(), channel]).collect();
    join_all(crowd.iter().map(|channel| one.join(channel, viewer()))).await;
    one.kill();
    let received =
        receiver.until(|all| has_all(all, "channel.live") && has_all(all, "channel.milestone")).await;
    for (event, ids) in ids(&received) {
        assert_eq!(ids.len(), 1, "{event:?}: {ids:?}");
    }
    drop(two);
}

#[tokio::test]
async fn nodes_that_are_killed_again_and_again_lose_no_event_in_sqlite() {
    let folder = TempDir::new().unwrap();
    check_kills(&sqlite(&folder)).await;
}

#[tokio::test]
async fn nodes_that_are_killed_again_and_again_lose_no_event_in_postgres() {
    check_kills(&Postgres::shared().await.database().await).await;
}

/// Nodes are killed one after the other, at any moment, while channels go on air.
async fn check_kills(database: &str) {
    let (redis, receiver) = (RedisServer::start().await, Receiver::start().await);
    let start = || node(&redis, database, &receiver);
    let mut nodes = vec![start().await, start().await];
    let mut names = BTreeSet::new();
    for round in 0..6 {
        for nth in 0..20 {
            let name = format!("r{round}-{nth}");
            for _ in 0..2 {
                nodes[nth % 2].join(&name, viewer()).await;
            }
            names.insert(name);
        }
        sleep(Duration::from_millis(round * 500)).await;
        nodes.remove(usize::from(round % 2 == 0)).kill();
        nodes.push(start().await);
    }
    let received = receiver
        .until(|all| {
            ["channel.live", "channel.milestone"].iter().all(|kind| {
                let of_kind = all.iter().filter(|one| one.kind() == *kind);
                of_kind.map(Received::channel).collect::<BTreeSet<_>>() == names
            })
        })
        .await;
    for (event, ids) in ids(&received) {
        assert_eq!(ids.len(), 1, "{event:?}: {ids:?}");
    }
}

#[tokio::test]
async fn events_wait_while_the_database_is_away() {
    let (folder, receiver) = (TempDir::new().unwrap(), Receiver::start().await);
    let file = folder.path().join("aforo.db");
    let flags = flags(&[&receiver], &[&format!("--database-url=sqlite:{}", file.display())]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let app = TestApp::with(&flags).await;
    app.join("ana", viewer()).await;
    receiver.until_len(1).await;
    let mut lock = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    app.join("eva", viewer()).await;
    super::until("the node says that the database is away", async || {
        app.get("/readyz").await.status() == 503
    })
    .await;
    let gone = viewer();
    app.join("bob", gone).await;
    sleep(Duration::from_secs(2)).await;
    app.leave("bob", gone).await;
    assert_eq!(app.count("eva").await, 1, "counting goes on");
    assert_eq!(receiver.received().len(), 1);
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    let lives = |all: &[Received]| -> BTreeSet<String> {
        all.iter().filter(|one| one.kind() == "channel.live").map(Received::channel).collect()
    };
    let received = receiver.until(|all| lives(all).len() == 3).await;
    assert_eq!(lives(&received), ["ana", "bob", "eva"].map(str::to_owned).into());
}
