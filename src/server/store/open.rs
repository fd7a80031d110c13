//! Opens the configured store.

use std::sync::Arc;

use super::{MemoryStore, Store, remote::RemoteStore};
use crate::{
    domain::LeaseRules,
    server::{
        clock::Clock,
        config::{Config, StoreConfig},
        redis::{ChannelParts, ClusterRunner, OpenError, RedisRunner, Runner, UpstashRunner},
    },
};

/// Opens the configured store. The store need not be reachable yet.
///
/// # Errors
/// When an address is invalid.
pub fn open(config: &Config, rules: LeaseRules, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, OpenError> {
    let (kind, opened) = match &config.store {
        StoreConfig::Memory => ("memory", Arc::new(MemoryStore::new(clock, rules)) as Arc<dyn Store>),
        StoreConfig::Redis { url, parts } => {
            ("redis", remote(RedisRunner::open(url)?, parts.clone(), config, rules))
        }
        StoreConfig::Cluster { urls, parts } => {
            let urls: Vec<&str> = urls.iter().map(|url| &**url).collect();
            ("redis cluster", remote(ClusterRunner::open(&urls)?, parts.clone(), config, rules))
        }
        StoreConfig::Upstash { url, token } => {
            ("upstash", remote(UpstashRunner::open(url, token)?, ChannelParts::one(), config, rules))
        }
    };
    tracing::info!(store = kind, "store configured");
    Ok(opened)
}

fn remote(
    runner: impl Runner + 'static,
    parts: ChannelParts,
    config: &Config,
    rules: LeaseRules,
) -> Arc<dyn Store> {
    Arc::new(RemoteStore::in_parts(runner, &config.redis_key_prefix, parts, rules))
}
