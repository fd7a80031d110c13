//! What every store promises, as plain functions over any store; and the list of stores that they are run on.
//!
//! Time is the store's own and passes by itself: leases are short, and what is expected is worked out for the instant that
//! the store names in its answer, so that a slow machine changes nothing.

mod histories;
mod rules;

use std::{any::Any, sync::Arc};

use aforo::{
    domain::{Act, ViewerId},
    server::{
        clock::SystemClock,
        follow::{Followers, RemoteFollowers},
        store::{
            MemoryStore, Store,
            remote::{ClusterRunner, RedisRunner, RemoteStore, UpstashRunner},
        },
    },
};
use uuid::Uuid;

use self::rules::LONGEST_LEASE;
use crate::support::{RedisCluster, RedisServer, Upstash, acl_line, upstash::TOKEN};

/// A store, and what has to live as long as it does.
pub struct Subject {
    /// Two nodes' ways to the same data. The embedded store has one node, so both are the same.
    pub nodes: [Arc<dyn Store>; 2],
    _server: Box<dyn Any>,
}

async fn memory() -> Subject {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock::start())));
    Subject { nodes: [Arc::clone(&store), store], _server: Box::new(()) }
}

async fn redis() -> Subject {
    let server = RedisServer::start().await;
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", LONGEST_LEASE))
    };
    Subject { nodes: [node(), node()], _server: Box::new(server) }
}

/// As the user that the README names, who may do no more than is needed.
async fn redis_as_a_user() -> Subject {
    let server = RedisServer::start().await;
    server.add_user("a-password", &[]);
    let url = format!("redis://aforo:a-password@127.0.0.1:{}", server.port);
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(RedisRunner::open(&url).unwrap(), "aforo", LONGEST_LEASE))
    };
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
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", LONGEST_LEASE))
    };
    Subject { nodes: [node(), node()], _server: Box::new(server) }
}

async fn cluster() -> Subject {
    let cluster = RedisCluster::start(0).await;
    let urls = cluster.urls();
    let urls: Vec<_> = urls.split(',').collect();
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(ClusterRunner::open(&urls).unwrap(), "test", LONGEST_LEASE))
    };
    Subject { nodes: [node(), node()], _server: Box::new(cluster) }
}

async fn upstash() -> Subject {
    let upstash = Upstash::start().await;
    let node = || -> Arc<dyn Store> {
        let runner = UpstashRunner::open(&upstash.url, TOKEN).unwrap();
        Arc::new(RemoteStore::new(runner, "test", LONGEST_LEASE))
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
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", LONGEST_LEASE));
    rules::all(&Subject { nodes: [Arc::clone(&store), Arc::clone(&store)], _server: Box::new(()) }).await;
    let followers = RemoteFollowers::new(Arc::new(RedisRunner::open(&server.url()).unwrap()), "test");
    let (ana, someone) = (rules::channel("ana"), ViewerId::new(Uuid::from_u128(7)).unwrap());
    for follows in [true, false] {
        followers.set(&ana, someone, follows).await.unwrap();
        assert_eq!(followers.has(&ana, someone).await.unwrap(), follows);
    }
    // The rest is for what only a server does that evicts keys.
    let join = [rules::op(1, 1, Act::Join { lease: LONGEST_LEASE })];
    rules::write(&*store, "order", &join).await;
    server.command::<()>("DEL test:{order}:viewers");
    rules::write(&*store, "order", &join).await;
    let stats: String = server.command("INFO commandstats");
    for right in acl_line("a-password").iter().filter_map(|word| word.strip_prefix('+')) {
        assert!(stats.contains(&format!("cmdstat_{right}:")), "{right}");
    }
}
