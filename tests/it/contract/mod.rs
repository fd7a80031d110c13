//! What every store promises, as plain functions over any store; and the list of stores that they are run on.
//!
//! Time is the store's own and passes by itself: leases are short, and what is expected is worked out for the instant that
//! the store names in its answer, so that a slow machine changes nothing.

mod histories;
mod rules;

use std::{any::Any, sync::Arc, time::Duration};

use aforo::{
    domain::{Act, ViewerId},
    server::{
        clock::SystemClock,
        follows::{Followers, RemoteFollowers},
        redis::{ClusterRunner, RedisRunner, UpstashRunner},
        store::{Attendance, MemoryStore, Store, remote::RemoteStore},
    },
};
use uuid::Uuid;

use self::rules::RULES;
use crate::support::{RedisCluster, RedisServer, Upstash, acl_line, upstash::TOKEN};

/// A store, and what has to live as long as it does.
pub struct Subject {
    /// Two nodes' ways to the same data. The embedded store has one node, so both are the same.
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
    Subject { nodes: [node(), node()], _server: Box::new(server) }
}

/// As the user that `docs/settings.md` names, who may do no more than is needed.
async fn redis_as_a_user() -> Subject {
    let server = RedisServer::start().await;
    server.add_user("a-password", &[]);
    let url = format!("redis://aforo:a-password@127.0.0.1:{}", server.port);
    let node =
        || -> Arc<dyn Store> { Arc::new(RemoteStore::new(RedisRunner::open(&url).unwrap(), "aforo", RULES)) };
    Subject { nodes: [node(), node()], _server: Box::new(server) }
}

/// A server that says nothing of what has expired, and removes it only when it is touched.
async fn redis_without_expiry() -> Subject {
    let mut server = RedisServer::start().await;
    // Since 7.0 a server has to be asked for it at its start; an older one would not start then.
    let allowing = "enable-debug-command";
    if !server.request::<Vec<String>>(&["CONFIG", "GET", allowing]).is_empty() {
        server.kill();
        server.flags = [&format!("--{allowing}"), "yes"].map(str::to_owned).to_vec();
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

async fn upstash() -> Subject {
    let upstash = Upstash::start().await;
    let node = || -> Arc<dyn Store> {
        let runner = UpstashRunner::open(&upstash.url, TOKEN).unwrap();
        Arc::new(RemoteStore::new(runner, "test", RULES))
    };
    Subject { nodes: [node(), node()], _server: Box::new(upstash) }
}

/// Makes a module of tests for a store.
macro_rules! contract {
    ($($store:ident),*) => {$(
        mod $store {
            #[tokio::test]
            async fn keeps_the_rules_of_counting() {
                super::rules::all(&super::$store().await).await;
            }

            #[tokio::test]
            async fn counts_any_history_as_the_model_does() {
                super::histories::any(&super::$store().await).await;
            }
        }
    )*};
}

contract!(memory, redis, redis_as_a_user, redis_without_expiry, cluster, upstash);

#[tokio::test]
async fn each_right_of_the_readmes_user_is_needed() {
    let server = RedisServer::start().await;
    let store: Arc<dyn Store> =
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES));
    rules::all(&Subject { nodes: [Arc::clone(&store), Arc::clone(&store)], _server: Box::new(()) }).await;
    let followers = RemoteFollowers::new(Arc::new(RedisRunner::open(&server.url()).unwrap()), "test");
    let (ana, someone) = (rules::channel("ana"), ViewerId::new(Uuid::from_u128(7)).unwrap());
    for follows in [true, false] {
        followers.set(&ana, someone, follows).await.unwrap();
        assert_eq!(followers.has(&ana, someone).await.unwrap(), follows);
    }
    // The rest is for what only a server does that evicts keys.
    let join = [rules::op(1, 1, Act::Join { lease: RULES.longest_lease })];
    rules::write(&*store, "order", &join).await;
    let short = [rules::op(2, 2, Act::Join { lease: Duration::from_millis(50) })];
    rules::write(&*store, "short", &short).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.sweep().await.unwrap();
    store.attend(&Attendance { known: Some(7), peers: vec![2], ..attendance(1) }).await.unwrap();
    server.command::<()>("DEL test:{order}:viewers");
    rules::write(&*store, "order", &join).await;
    let stats: String = server.command("INFO commandstats");
    for right in acl_line("a-password").iter().filter_map(|word| word.strip_prefix('+')) {
        assert!(stats.contains(&format!("cmdstat_{right}:")), "{right}");
    }
}

/// What a node says of itself that has just started.
fn attendance(node: u64) -> Attendance {
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
async fn a_store_that_was_emptied_is_complete_when_every_node_has_said_so() {
    let server = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES);
    while store.attend(&attendance(1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attend = async |attendance| store.attend(&attendance).await.unwrap().unwrap();
    let first = attend(attendance(2)).await;
    assert!(first.is_complete(first.lost) && first.nodes.len() == 2, "{first:?}");

    server.command::<()>("FLUSHALL");
    let returning =
        |node, sure_since, known| Attendance { sure_since, known: Some(known), ..attendance(node) };
    let one = attend(Attendance { peers: vec![2], ..returning(1, Some(first.now), first.number) }).await;
    assert!(one.number != first.number && one.lost == one.now && !one.is_complete(one.lost), "{one:?}");
    let one = attend(returning(1, Some(one.now), one.number)).await;
    assert!(!one.is_complete(one.lost), "the other has not come yet: {one:?}");
    let two = attend(returning(2, Some(first.now), first.number)).await;
    assert!(!two.is_complete(two.lost) && two.asked == two.now, "{two:?}");
    attend(returning(2, Some(two.now), two.number)).await;
    let one = attend(returning(1, Some(two.now), one.number)).await;
    assert!(one.is_complete(one.lost), "{one:?}");
    let gone = attend(Attendance { expected_for: Duration::ZERO, ..returning(2, None, one.number) }).await;
    assert_eq!(gone.nodes, [1], "a node that goes is not waited for");
}
