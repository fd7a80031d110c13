//! Which store it is.

use std::sync::Arc;

use super::{
    MemoryStore, Store,
    remote::{ClusterRunner, RedisRunner, RemoteStore, Runner, UpstashRunner},
};
use crate::{
    domain::LeaseRules,
    server::{clock::Clock, config::Config},
};

/// The settings name no store that there is. Addresses stay out of the messages: they may hold passwords.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `REDIS_URL` is no address.
    #[error(
        "REDIS_URL is not understood ({0}); it is redis://, rediss:// or unix:, or several of a cluster with commas"
    )]
    RedisUrl(String),
    /// `UPSTASH_REDIS_REST_URL` is no address.
    #[error(transparent)]
    UpstashUrl(#[from] super::remote::InvalidUrl),
    /// One of the two of Upstash is missing.
    #[error("UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN belong together, and one is missing")]
    HalfOfUpstash,
    /// Two stores are named.
    #[error("REDIS_URL and UPSTASH_REDIS_REST_URL are both set, and there is one store")]
    TwoStores,
}

/// What was opened.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What it reaches its servers by, if it is outside of this process: other data may be kept there as well.
    pub runner: Option<Arc<dyn Runner>>,
}

/// Everything that is wrong with what the settings say about the store. Nothing is connected to.
#[must_use]
pub fn faults(config: &Config) -> Vec<OpenError> {
    let redis = config.redis_url.as_deref();
    let upstash = (config.upstash_redis_rest_url.as_deref(), config.upstash_redis_rest_token.as_deref());
    let mut faults = Vec::new();
    faults.extend(redis.and_then(|urls| match addresses(urls) {
        Addresses::One(url) => RedisRunner::check(url).err().map(redis_url),
        Addresses::OfCluster(urls) => ClusterRunner::check(&urls).err().map(redis_url),
    }));
    faults.extend(upstash.0.and_then(|url| UpstashRunner::check(url).err()).map(OpenError::from));
    if redis.is_some() && upstash != (None, None) {
        faults.push(OpenError::TwoStores);
    }
    if upstash.0.is_some() != upstash.1.is_some() {
        faults.push(OpenError::HalfOfUpstash);
    }
    faults
}

/// What `REDIS_URL` holds.
enum Addresses<'a> {
    One(&'a str),
    OfCluster(Vec<&'a str>),
}

fn addresses(urls: &str) -> Addresses<'_> {
    if urls.contains(',') {
        Addresses::OfCluster(urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect())
    } else {
        Addresses::One(urls)
    }
}

/// Opens the store that the settings name, by these rules. It needs not be reachable yet.
///
/// # Errors
/// When the settings name none, or two.
pub fn open(config: &Config, rules: LeaseRules, clock: Arc<dyn Clock>) -> Result<Opened, OpenError> {
    let upstash = (config.upstash_redis_rest_url.as_deref(), config.upstash_redis_rest_token.as_deref());
    let (kept, opened) = match (config.redis_url.as_deref(), upstash) {
        (None, (None, None)) => {
            ("in this process", Opened { store: Arc::new(MemoryStore::new(clock, rules)), runner: None })
        }
        (Some(_), (Some(_), _) | (_, Some(_))) => return Err(OpenError::TwoStores),
        (Some(urls), _) => match addresses(urls) {
            Addresses::OfCluster(urls) => {
                let runner = ClusterRunner::open(&urls).map_err(redis_url)?;
                ("in a Redis Cluster", remote(runner, config, rules))
            }
            Addresses::One(url) => {
                ("in Redis", remote(RedisRunner::open(url).map_err(redis_url)?, config, rules))
            }
        },
        (None, (Some(url), Some(token))) => {
            ("at Upstash", remote(UpstashRunner::open(url, token)?, config, rules))
        }
        (None, _) => return Err(OpenError::HalfOfUpstash),
    };
    tracing::info!("leases are kept {kept}");
    Ok(opened)
}

fn remote(runner: impl Runner + 'static, config: &Config, rules: LeaseRules) -> Opened {
    let runner: Arc<dyn Runner> = Arc::new(runner);
    let store = RemoteStore::new(Arc::clone(&runner), &config.redis_key_prefix, rules);
    Opened { store: Arc::new(store), runner: Some(runner) }
}

fn redis_url(error: redis::RedisError) -> OpenError {
    // What follows the dash may hold a piece of the address.
    let message = error.to_string();
    OpenError::RedisUrl(message.split(" - ").next().unwrap_or_default().to_owned())
}
