//! What every store promises, as plain functions over any store; and the list of stores that they are run on.
//!
//! Time is the store's own and passes by itself: leases are short, and what is expected is worked out for the instant that
//! the store names in its answer, so that a slow machine changes nothing.

mod histories;
mod rules;

use std::sync::Arc;

use aforo::server::{
    clock::SystemClock,
    store::{
        MemoryStore, Store,
        remote::{RedisRunner, RemoteStore},
    },
};

use self::rules::LONGEST_LEASE;
use crate::support::RedisServer;

/// A store, and what has to live as long as it does.
pub struct Subject {
    /// Two nodes' ways to the same data. The embedded store has one node, so both are the same.
    pub nodes: [Arc<dyn Store>; 2],
    _server: Option<RedisServer>,
}

async fn memory() -> Subject {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock::start())));
    Subject { nodes: [Arc::clone(&store), store], _server: None }
}

async fn redis() -> Subject {
    let server = RedisServer::start().await;
    let node = || -> Arc<dyn Store> {
        Arc::new(RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", LONGEST_LEASE))
    };
    Subject { nodes: [node(), node()], _server: Some(server) }
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

contract!(memory, redis);
