//! Opens the configured store.

use std::sync::Arc;

use super::{MemoryStore, Store, remote::RemoteStore};
use crate::{
    domain::LeaseRules,
    server::{
        clock::Clock,
        config::{Config, StoreConfig},
        redis::{ClusterRunner, OpenError, RedisRunner, Runner, UpstashRunner},
    },
};

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The runner for Redis, if leases are kept there. Other data may use it too.
    pub runner: Option<Arc<dyn Runner>>,
}

/// Opens the configured store. The store need not be reachable yet.
///
/// # Errors
/// When an address is invalid.
pub fn open(config: &Config, rules: LeaseRules, clock: Arc<dyn Clock>) -> Result<Opened, OpenError> {
    let (kind, opened) = match &config.store {
        StoreConfig::Memory => {
            ("memory", Opened { store: Arc::new(MemoryStore::new(clock, rules)), runner: None })
        }
        StoreConfig::Redis(url) => ("redis", remote(RedisRunner::open(url)?, config, rules)),
        StoreConfig::Cluster(urls) => {
            let urls: Vec<&str> = urls.iter().map(|url| &**url).collect();
            ("redis cluster", remote(ClusterRunner::open(&urls)?, config, rules))
        }
        StoreConfig::Upstash { url, token } => {
            ("upstash", remote(UpstashRunner::open(url, token)?, config, rules))
        }
    };
    tracing::info!(store = kind, "store configured");
    Ok(opened)
}

fn remote(runner: impl Runner + 'static, config: &Config, rules: LeaseRules) -> Opened {
    let runner: Arc<dyn Runner> = Arc::new(runner);
    let store = RemoteStore::new(Arc::clone(&runner), &config.redis_key_prefix, rules);
    Opened { store: Arc::new(store), runner: Some(runner) }
}
