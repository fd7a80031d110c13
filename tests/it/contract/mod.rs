//! The contract of all stores: functions that check any store, and the list of stores that they run on.
//!
//! The tests use the store's own clock and short leases. They compute the expected results for the time in the store's
//! response, so they also pass on a slow machine.

mod histories;
pub mod rules;

use std::{any::Any, sync::Arc, time::Duration};

use aforo::{
    domain::Act,
    server::{
        clock::SystemClock,
        redis::{ChannelParts, ClusterRunner, RedisRunner, UpstashRunner},
        store::{Attendance, Claim, MemoryStore, Store, remote::RemoteStore},
    },
};

use tokio::time::sleep;

use self::rules::RULES;
use crate::support::{RedisCluster, RedisServer, Upstash, acl_line, upstash::TOKEN};

/// A store under test, with its server.
pub struct Subject {
    /// The store as two nodes see it. The embedded store has one node, so both are the same.
    pub nodes: [Arc<dyn Store>; 2],
    _server: Box<dyn Any>,
}

async fn memory() -> Subject {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock::start()), RULES));
    Subject { nodes: [Arc::clone(&store), store], _server: Box::new(()) }
}

async fn redis() -> Subject {
    let server = RedisServer::start().await;
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES))
    };
    Subject { nodes: [attended(1, node()).await, attended(2, node()).await], _server: Box::new(server) }
}

/// Attends the roll call as soon as the store is connected.
pub async fn attend(number: u64, store: &dyn Store) {
    while store.attend(&attendance(number)).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

/// The store of a node that has attended the roll call. Without the roll call, every count is read.
pub async fn attended(number: u64, store: Arc<dyn Store>) -> Arc<dyn Store> {
    attend(number, &*store).await;
    store
}

/// Connects as the user in `docs/settings.md`, who has only the necessary permissions.
async fn redis_as_a_user() -> Subject {
    let server = RedisServer::start().await;
    server.add_user("a-password", &[]);
    let url = format!("redis://aforo:a-password@127.0.0.1:{}", server.port);
    let node =
        || -> Arc<dyn Store> { Arc::new(RemoteStore::new(RedisRunner::open(&url).unwrap(), "aforo", RULES)) };
    Subject { nodes: [attended(1, node()).await, attended(2, node()).await], _server: Box::new(server) }
}

/// A server without active expiry and without expiry notifications: it removes an expired key only on access.
async fn redis_without_expiry() -> Subject {
    let mut server = RedisServer::start().await;
    // Since Redis 7.0, DEBUG needs this flag. Older servers do not start with it.
    let flag = "enable-debug-command";
    if !server.request::<Vec<String>>(&["CONFIG", "GET", flag]).is_empty() {
        server.kill();
        server.flags = [&format!("--{flag}"), "yes"].map(str::to_owned).to_vec();
        server.run().await;
    }
    server.request::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    server.command::<()>("DEBUG SET-ACTIVE-EXPIRE 0");
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES))
    };
    Subject { nodes: [node(), node()], _server: Box::new(server) }
}

async fn cluster() -> Subject {
    let cluster = RedisCluster::start(0).await;
    let urls = cluster.urls();
    let urls: Vec<_> = urls.split(',').collect();
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(ClusterRunner::open(&urls).unwrap(), "test", RULES))
    };
    Subject { nodes: [node(), node()], _server: Box::new(cluster) }
}

/// A cluster with channels in four parts, which are on all of its servers.
async fn cluster_in_parts() -> Subject {
    let cluster = RedisCluster::start(0).await;
    let urls = cluster.urls();
    let urls: Vec<_> = urls.split(',').collect();
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::in_parts(ClusterRunner::open(&urls).unwrap(), "test", four_parts(), RULES))
    };
    Subject { nodes: [agreed(node()).await, agreed(node()).await], _server: Box::new(cluster) }
}

async fn redis_in_parts() -> Subject {
    let server = RedisServer::start().await;
    let node = || -> Arc<dyn Store> {
        let runner = RedisRunner::open(&server.url()).unwrap();
        Arc::new(RemoteStore::in_parts(runner, "test", four_parts(), RULES))
    };
    let nodes = [attended(1, agreed(node()).await).await, attended(2, agreed(node()).await).await];
    Subject { nodes, _server: Box::new(server) }
}

/// The store, when it knows that all nodes keep channels in the same parts.
pub async fn agreed(store: Arc<dyn Store>) -> Arc<dyn Store> {
    let leaving = Claim { node: u64::MAX, lease: Duration::ZERO, database: None };
    while store.share(&leaving).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    store
}

fn four_parts() -> ChannelParts {
    "4".parse().unwrap()
}

async fn upstash() -> Subject {
    let upstash = Upstash::start().await;
    let node = || -> Arc<dyn Store> {
        let runner = UpstashRunner::open(&upstash.url, TOKEN).unwrap();
        Arc::new(RemoteStore::new(runner, "test", RULES))
    };
    Subject { nodes: [node(), node()], _server: Box::new(upstash) }
}

/// Creates a module of tests for each store.
macro_rules! contract {
    ($($store:ident),*) => {$(
        mod $store {
            #[tokio::test]
            async fn follows_the_rules_of_counting() {
                super::rules::all(&super::$store().await).await;
            }

            #[tokio::test]
            async fn shares_the_parts_among_the_nodes() {
                super::rules::shares(&super::$store().await).await;
            }

            #[tokio::test]
            async fn counts_random_histories_like_the_model() {
                super::histories::any(&super::$store().await).await;
            }
        }
    )*};
}

contract!(
    memory,
    redis,
    redis_in_parts,
    redis_as_a_user,
    redis_without_expiry,
    cluster,
    cluster_in_parts,
    upstash
);

#[tokio::test]
async fn the_redis_user_in_the_readme_has_no_unneeded_permission() {
    let server = RedisServer::start().await;
    let store: Arc<dyn Store> =
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES));
    attend(1, &*store).await;
    assert!(store.renewal_log().is_some());
    rules::all(&Subject { nodes: [Arc::clone(&store), Arc::clone(&store)], _server: Box::new(()) }).await;
    // The other permissions are needed only on a server that evicts keys.
    let join = [rules::op(1, 1, Act::Join { lease: RULES.longest_lease })];
    rules::write(&*store, "order", &join).await;
    let short = [rules::op(2, 2, Act::Join { lease: Duration::from_millis(50) })];
    rules::write(&*store, "short", &short).await;
    sleep(Duration::from_millis(60)).await;
    store.sweep().await.unwrap();
    store.attend(&attendance(1)).await.unwrap();
    let many = ["one", "two", "three"].map(rules::channel);
    assert!(store.counts(&many).await.iter().all(Result::is_ok));
    store.attend(&Attendance { known: Some(7), peers: vec![2], ..attendance(1) }).await.unwrap();
    server.command::<()>("DEL test:{order}:viewers");
    rules::write(&*store, "order", &join).await;
    let stats: String = server.command("INFO commandstats");
    for permission in acl_line("a-password").iter().filter_map(|word| word.strip_prefix('+')) {
        assert!(stats.contains(&format!("cmdstat_{permission}:")), "{permission}");
    }
}

/// The attendance of a node that has just started.
pub fn attendance(node: u64) -> Attendance {
    Attendance {
        node,
        expected_for: Duration::from_secs(60),
        sure_since: None,
        known: None,
        has_found_loss: false,
        is_locked_out: false,
        peers: Vec::new(),
    }
}

#[tokio::test]
async fn a_node_that_shuts_down_leaves_the_roll_call_to_the_others() {
    let server = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES);
    attend(1, &store).await;
    store.attend(&attendance(2)).await.unwrap();
    store.attend(&Attendance { expected_for: Duration::ZERO, ..attendance(2) }).await.unwrap();
    let left: i64 = server.request(&["PTTL", "test:{nodes}"]);
    assert!(left > 120_000, "the roll call would be lost in {left} ms");
    let roll = store.attend(&attendance(1)).await.unwrap().unwrap();
    assert_eq!(roll.nodes, [1]);
}

#[tokio::test]
async fn an_emptied_store_is_complete_after_every_node_has_attended() {
    let server = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES);
    while store.attend(&attendance(1)).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let attend = async |attendance| store.attend(&attendance).await.unwrap().unwrap();
    let first = attend(attendance(2)).await;
    assert!(first.is_complete(first.lost) && first.nodes.len() == 2, "{first:?}");

    // The loss is at least a millisecond after the attendance.
    sleep(Duration::from_millis(5)).await;
    server.command::<()>("FLUSHALL");
    let returning =
        |node, sure_since, known| Attendance { sure_since, known: Some(known), ..attendance(node) };
    let one = attend(Attendance { peers: vec![2], ..returning(1, Some(first.now), first.number) }).await;
    assert!(one.number != first.number && one.lost == one.now && !one.is_complete(one.lost), "{one:?}");
    let one = attend(returning(1, Some(one.now), one.number)).await;
    assert!(!one.is_complete(one.lost), "the other node has not attended yet: {one:?}");
    let two = attend(returning(2, Some(first.now), first.number)).await;
    assert!(!two.is_complete(two.lost) && two.lost == one.lost, "the loss is noted once: {two:?}");
    attend(returning(2, Some(two.now), two.number)).await;
    let one = attend(returning(1, Some(two.now), one.number)).await;
    assert!(one.is_complete(one.lost), "{one:?}");
    let last = attend(Attendance { expected_for: Duration::ZERO, ..returning(2, None, one.number) }).await;
    assert_eq!(last.nodes, [1], "a node that shuts down is not expected any more");
}
