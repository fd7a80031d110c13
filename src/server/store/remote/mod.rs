//! Stores outside of this process: Redis, Redis Cluster and Upstash. They run the same scripts on the same keys and
//! differ in how a script gets there ([`Runner`]).

mod cluster;
mod keys;
mod link;
mod redis;
mod script;
mod store;
mod upstash;

pub use self::{
    cluster::ClusterRunner,
    keys::Keys,
    redis::RedisRunner,
    store::RemoteStore,
    upstash::{InvalidUrl, UpstashRunner},
};

use ::redis::Value;
use async_trait::async_trait;

use self::script::Script;
use super::StoreError;

/// Takes scripts to where the data is.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs a script. All keys belong to one channel unless [`Runner::takes_many_channels`].
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError>;

    /// Whether one call may hold the keys of many channels. On a cluster they are in different places.
    fn takes_many_channels(&self) -> bool;

    /// What changes when the data may have been lost: the servers were restarted, or others have taken over. `None` if
    /// that can't be told.
    async fn incarnation(&self) -> Result<Option<String>, StoreError>;
}
