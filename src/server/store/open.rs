//! Which store it is.

use std::sync::Arc;

use super::{
    MemoryStore, Store,
    remote::{RedisRunner, RemoteStore},
};
use crate::server::{clock::Clock, config::Config};

/// The settings name no store that there is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `REDIS_URL` is no address. (What it is stays out of the message: it may hold a password.)
    #[error(
        "REDIS_URL is not understood ({0}); it is redis://, rediss:// or unix:, or several of them with commas"
    )]
    RedisUrl(String),
}

/// Opens the store that the settings name. It needs not be reachable yet.
///
/// # Errors
/// When the settings name none.
pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, OpenError> {
    let longest_lease = config.policy().map(|policy| policy.hidden_timeout).unwrap_or_default();
    let Some(url) = &config.redis_url else {
        tracing::info!("leases are kept in this process");
        return Ok(Arc::new(MemoryStore::new(clock)));
    };
    let runner = RedisRunner::open(url).map_err(|error| OpenError::RedisUrl(error.category().to_owned()))?;
    tracing::info!("leases are kept in Redis");
    Ok(Arc::new(RemoteStore::new(runner, &config.redis_key_prefix, longest_lease)))
}
