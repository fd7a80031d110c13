//! The database: the contract of what is kept, on SQLite and on PostgreSQL, and the faults of both.

mod distance;
mod postgres;
mod refusals;
mod sqlite;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aforo::{
    domain::{ChannelId, ViewerId},
    server::{
        config::{self, Config, DatabaseConfig},
        database::{Database, DatabaseFollowers},
        follows::Followers,
    },
};
use futures::future::{join_all, try_join_all};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Row};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::sleep, time::timeout};
use uuid::Uuid;

use crate::support::{PATIENCE, Postgres, TestApp, viewer};

const FOLLOW: &str = "/api/channel/follow";

/// A database of a test. The folder holds the file of SQLite.
struct TestDatabase {
    url: String,
    _folder: TempDir,
}

impl TestDatabase {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        Self { url: format!("sqlite:{}/not/there/yet/aforo.db", folder.path().display()), _folder: folder }
    }

    async fn postgres() -> Self {
        Self { url: Postgres::shared().await.database().await, _folder: TempDir::new().unwrap() }
    }

    /// One of each kind.
    async fn all() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// A database that exists.
    fn at(url: &str) -> Self {
        Self { url: url.to_owned(), _folder: TempDir::new().unwrap() }
    }

    fn config(&self) -> DatabaseConfig {
        database_config(&self.url)
    }

    /// The first value that a query returns.
    async fn number(&self, query: &'static str) -> i64 {
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        let number = sqlx::query(query).fetch_one(&mut connection).await.unwrap().get(0);
        connection.close().await.unwrap();
        number
    }
}

/// The configuration that a `DATABASE_URL` stands for.
fn database_config(url: &str) -> DatabaseConfig {
    let Config { database, .. } = config::read(["aforo", &format!("--database-url={url}")]).unwrap();
    database
}

/// What a node has of the database. Dropping it ends its tasks.
struct Node {
    database: Database,
    followers: Arc<DatabaseFollowers>,
    tasks: [JoinHandle<()>; 2],
}

impl Node {
    async fn start(database: &TestDatabase) -> Self {
        let database = Database::open(&database.config()).await.unwrap();
        let followers = Arc::new(DatabaseFollowers::new(database.clone()));
        let running = Arc::clone(&followers);
        let tasks = [tokio::spawn(database.clone().run()), tokio::spawn(async move { running.run().await })];
        Self { database, followers, tasks }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

fn someone() -> ViewerId {
    ViewerId::new(viewer()).unwrap()
}

/// Follows a channel by a node.
async fn follow(app: &TestApp, channel: &str, viewer: Uuid) -> Response {
    app.post(FOLLOW, &json!({"channelId": channel, "viewerId": viewer, "follow": true})).await
}

/// Follows a channel by a node that can write. Returns the number of followers.
async fn must_follow(app: &TestApp, channel: &str, viewer: Uuid) -> u64 {
    let response = follow(app, channel, viewer).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Value>().await.unwrap()["followers"].as_u64().unwrap()
}

/// Whether a viewer follows a channel, by a node that can read.
async fn follows(app: &TestApp, channel: &str, viewer: Uuid) -> bool {
    let request = app.client.get(format!("{}{FOLLOW}/{channel}", app.base));
    let response = request.header("aforo-viewer", viewer.to_string()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Value>().await.unwrap()["following"].as_bool().unwrap()
}

/// The number of followers on the page of a channel.
async fn number_on_page(app: &TestApp, channel: &str) -> String {
    let response = app.get(&format!("/{channel}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let html = response.text().await.unwrap();
    let (_, rest) = html.split_once(r#"<span class="follow-button__number">"#).expect("a follow button");
    rest.split('<').next().unwrap().to_owned()
}

/// Asserts that a follow is refused for now, soon enough.
async fn assert_refused(app: &TestApp, channel: &str) {
    let began = Instant::now();
    let response = follow(app, channel, viewer()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "unavailable");
    // A follow is answered within 5 s. The rest is for busy machines.
    assert!(began.elapsed() < Duration::from_secs(8), "answered after {:?}", began.elapsed());
}

/// Waits until a node says that it is ready, or that its database is not.
async fn until_ready(app: &TestApp, is_ready: bool) {
    let reached = async {
        loop {
            let response = app.get("/readyz").await;
            let status = response.status();
            let body: Value = response.json().await.unwrap();
            if is_ready && status == StatusCode::OK {
                return;
            }
            if !is_ready && status == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!((&body["status"], &body["reason"]), (&json!("degraded"), &json!("database")));
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let Err(_elapsed) = timeout(PATIENCE, reached).await else { return };
    let metrics = app.get("/metrics").await.text().await.unwrap();
    let ours: Vec<_> = metrics.lines().filter(|line| line.starts_with("aforo_database")).collect();
    panic!("expected ready = {is_ready}: {ours:#?}");
}

/// Asserts that viewers are counted and shown as if nothing was wrong.
async fn assert_counting(app: &TestApp) {
    let (channel, viewer) = (&format!("c-{}", Uuid::new_v4()), viewer());
    let mut stream = app.sse(&format!("sse/{channel}")).await;
    stream.until_fresh(0).await;
    let joined = app.join(channel, viewer).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(1), &json!(false)));
    assert_eq!(app.heartbeat(channel, viewer).await, json!({"count": 1, "stale": false, "active": true}));
    stream.until_fresh(1).await;
    app.leave(channel, viewer).await;
    stream.until_fresh(0).await;
}

/// Checks the contract of followers, which two nodes share.
async fn check_contract(nodes: [&dyn Followers; 2]) {
    let [here, there] = nodes;
    let (ana, eva) = (channel("ana"), channel("eva.tv"));
    let (one, two) = (someone(), someone());

    assert_eq!(here.count(&ana).await.unwrap(), 0, "an unknown channel has no followers");
    assert!(!here.has(&ana, one).await.unwrap());
    assert_eq!(here.set(&ana, one, false).await.unwrap(), 0, "unfollowing without following is allowed");

    assert_eq!(here.set(&ana, one, true).await.unwrap(), 1);
    assert_eq!(there.set(&ana, one, true).await.unwrap(), 1, "a repetition changes nothing");
    assert_eq!(there.set(&ana, two, true).await.unwrap(), 2);
    assert_eq!(here.count(&ana).await.unwrap(), 2);
    assert!(here.has(&ana, two).await.unwrap());
    assert_eq!(here.count(&ana).await.unwrap(), 2, "reading changes nothing");
    assert_eq!(there.count(&eva).await.unwrap(), 0, "other channels are unaffected");

    assert_eq!(here.set(&ana, one, false).await.unwrap(), 1);
    assert_eq!(here.set(&ana, one, false).await.unwrap(), 1, "a repetition changes nothing");
    assert!(!there.has(&ana, one).await.unwrap());
    assert!(there.has(&ana, two).await.unwrap());

    let crowd = (0..40).map(|i| async move {
        let node = if i % 2 == 0 { here } else { there };
        node.set(&channel("eva.tv"), someone(), true).await.unwrap()
    });
    let mut counts = join_all(crowd).await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=40).collect::<Vec<_>>(), "each follower counts once and gets its own count");
    // Ids may contain any bytes, including invalid UTF-8.
    for byte in [0, 0x20, 0x7f, 0x80, 0xff] {
        let odd = ViewerId::new(Uuid::from_bytes([byte.max(1); 16])).unwrap();
        here.set(&ana, odd, true).await.unwrap();
        assert!(there.has(&ana, odd).await.unwrap(), "{byte}");
    }
    // Changes and questions that are gathered have the answers of their order.
    let (three, four) = (someone(), someone());
    let before = here.count(&ana).await.unwrap();
    let sets = [(three, true), (four, true), (three, true), (three, false), (four, false), (four, true)];
    let answers = join_all(sets.map(|(viewer, follows)| here.set(&ana, viewer, follows))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap() - before).collect();
    assert_eq!(answers, [1, 2, 2, 1, 0, 1]);
    let asked = [three, four, one, two, three].map(|viewer| there.has(&ana, viewer));
    let answers: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [false, true, false, true, false]);
    let channels = ["eva.tv", "nobody", "ana", "eva.tv"].map(channel);
    let answers: Vec<_> = join_all(channels.iter().map(|channel| there.count(channel)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers, [40, 0, before + 1, 40]);
}

#[tokio::test]
async fn every_database_follows_the_contract_and_keeps_its_data() {
    for database in TestDatabase::all().await {
        let nodes = [Node::start(&database).await, Node::start(&database).await];
        check_contract([&*nodes[0].followers, &*nodes[1].followers]).await;
        assert_eq!(nodes[0].database.id(), nodes[1].database.id(), "both nodes use one database");
        let id = nodes[0].database.id();
        drop(nodes);
        let node = Node::start(&database).await;
        assert_eq!(node.followers.count(&channel("eva.tv")).await.unwrap(), 40);
        assert_eq!((id.is_some(), node.database.id()), (true, id), "the id is kept");
        assert_eq!(
            database.number("SELECT count(*) FROM followers WHERE channel = 'eva.tv'").await,
            database.number("SELECT followers FROM follower_counts WHERE channel = 'eva.tv'").await,
        );
    }
}

/// A generator of numbers for a test. The same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[tokio::test]
async fn concurrent_changes_by_two_nodes_keep_followers_and_numbers_together() {
    const CHANNELS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for database in TestDatabase::all().await {
        let nodes = [Node::start(&database).await, Node::start(&database).await];
        // The changes of each viewer are in order, those of different viewers are not.
        let histories = (0..24).map(|seed| {
            let nodes = [&nodes[0].followers, &nodes[1].followers];
            async move {
                let (mut random, viewer, mut last) = (Random(seed), someone(), BTreeMap::new());
                for _ in 0..25 {
                    let (name, follows) = (CHANNELS[random.below(5)], random.below(3) > 0);
                    let count = nodes[random.below(2)].set(&channel(name), viewer, follows).await.unwrap();
                    assert!(count <= 24 && (!follows || count > 0), "{count}");
                    last.insert(name, follows);
                }
                (viewer, last)
            }
        });
        let histories = join_all(histories).await;
        for name in CHANNELS {
            let mut expected = 0;
            for (viewer, last) in &histories {
                let follows = last.get(name).copied().unwrap_or_default();
                assert_eq!(nodes[0].followers.has(&channel(name), *viewer).await.unwrap(), follows);
                expected += u32::from(follows);
            }
            for node in &nodes {
                assert_eq!(node.followers.count(&channel(name)).await.unwrap(), expected, "{name}");
            }
        }
        assert_eq!(
            database.number("SELECT count(*) FROM followers").await,
            database.number("SELECT CAST(sum(followers) AS BIGINT) FROM follower_counts").await,
        );
        assert_eq!(database.number("SELECT count(*) FROM follower_counts WHERE followers <= 0").await, 0);
    }
}

#[tokio::test]
async fn nodes_that_change_the_same_channels_in_different_orders_do_not_block_each_other() {
    let [sqlite, postgres] = TestDatabase::all().await;
    for database in [&sqlite, &postgres] {
        let nodes = [Node::start(database).await, Node::start(database).await];
        let viewers: Vec<_> = (0..10).map(|_| someone()).collect();
        let channels: Vec<_> = (0..30).map(|number| channel(&format!("c{number}"))).collect();
        let all: Vec<_> =
            channels.iter().flat_map(|channel| viewers.iter().map(move |viewer| (channel, viewer))).collect();
        for round in 0..6 {
            let follows = round % 2 == 0;
            // The same changes at both nodes at the same time, from the other end.
            let change = |node: usize, (channel, viewer): (&ChannelId, &ViewerId)| {
                let (followers, channel, viewer) =
                    (Arc::clone(&nodes[node].followers), channel.clone(), *viewer);
                async move { followers.set(&channel, viewer, follows).await }
            };
            let here = try_join_all(all.iter().map(|one| change(0, *one)));
            let there = try_join_all(all.iter().rev().map(|one| change(1, *one)));
            let (here, there) = tokio::join!(here, there);
            assert_eq!((here.unwrap().len(), there.unwrap().len()), (300, 300));
        }
        for channel in &channels {
            assert_eq!(nodes[0].followers.count(channel).await.unwrap(), 0);
        }
        assert_eq!(database.number("SELECT count(*) FROM followers").await, 0);
        assert_eq!(database.number("SELECT count(*) FROM follower_counts").await, 0);
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(postgres.number(deadlocks).await, 0);
}

#[tokio::test]
async fn thousands_of_follows_from_many_addresses_are_all_answered_and_stored() {
    const WAVES: u64 = 5;
    const WAVE: u64 = 1_000;
    for database in TestDatabase::all().await {
        let nodes = [Node::start(&database).await, Node::start(&database).await];
        let began = Instant::now();
        for wave in 0..WAVES {
            let follows = (0..WAVE).map(|number| {
                let followers = Arc::clone(&nodes[usize::try_from(number % 2).unwrap()].followers);
                // Half of them are for one channel, as when a streamer asks for it.
                let name = if number % 4 < 2 { "popular".to_owned() } else { format!("c{}", number % 97) };
                async move { followers.set(&channel(&name), someone(), true).await }
            });
            let counts = try_join_all(follows).await;
            assert!(counts.is_ok(), "wave {wave}: {counts:?}");
        }
        println!("{} follows in {:?}", WAVES * WAVE, began.elapsed());
        assert_eq!(nodes[0].followers.count(&channel("popular")).await.unwrap(), 2_500);
        assert_eq!(database.number("SELECT count(*) FROM followers").await, 5_000);
    }
}

#[tokio::test]
async fn a_canceled_follow_is_written_and_a_flush_waits_for_it() {
    for database in TestDatabase::all().await {
        let node = Node::start(&database).await;
        let (ana, viewers) = (channel("ana"), [someone(), someone(), someone()]);
        for viewer in viewers {
            let mut canceled = Box::pin(node.followers.set(&ana, viewer, true));
            assert!(futures::poll!(&mut canceled).is_pending());
        }
        assert!(node.followers.flush(PATIENCE).await);
        assert_eq!(node.followers.count(&ana).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn nodes_that_create_a_database_at_the_same_instant_agree_on_its_id() {
    for database in TestDatabase::all().await {
        let nodes = join_all((0..6).map(|_| Node::start(&database))).await;
        let ready = async {
            while nodes.iter().any(|node| !node.database.is_available()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("all nodes can use the database");
        let ids: std::collections::BTreeSet<_> = nodes.iter().map(|node| node.database.id()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let counts = join_all(nodes.iter().map(|node| {
            let followers = Arc::clone(&node.followers);
            async move { followers.set(&channel("ana"), someone(), true).await.unwrap() }
        }));
        assert_eq!(counts.await.into_iter().max(), Some(6));
    }
}
