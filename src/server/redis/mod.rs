//! Ways to Redis: one server, a cluster, or Upstash. Each takes scripts to where the data is ([`Runner`]); stores and
//! followers are made of scripts.

mod cluster;
mod keys;
mod reconnect;
mod script;
mod single;
mod upstash;

pub use self::{
    cluster::ClusterRunner,
    keys::Keys,
    script::Script,
    single::RedisRunner,
    upstash::{InvalidUrl, UpstashRunner},
};

use std::sync::Arc;

use ::redis::Value;
use async_trait::async_trait;

use super::store_error::StoreError;

/// An address of Redis is invalid. The message may hold a part of the address; do not log it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address of Redis.
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
    /// An address of Upstash.
    #[error(transparent)]
    Upstash(#[from] InvalidUrl),
}

/// Tells TLS whose cryptography to use, which has to be done before the first connection. A second call changes nothing.
fn prepare_tls() {
    let _already_told = rustls::crypto::ring::default_provider().install_default();
}

/// Takes scripts to where the data is.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Makes a script as this runner takes it; once, for all of its runs.
    fn script(&self, source: &'static str) -> Script {
        Script::new(source)
    }

    /// Runs a script. All keys belong to one channel unless [`Runner::takes_many_channels`].
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError>;

    /// Whether one call may hold the keys of many channels. On a cluster they are in different places.
    fn takes_many_channels(&self) -> bool;

    /// Counts the connections that were made, where there is one at a time: by another one, another server may answer.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether every command is paid for.
    fn is_paid_by_command(&self) -> bool {
        false
    }

    /// What changes when the data may have been lost: the servers were restarted, or others have taken over. `None` if
    /// that can't be told.
    async fn incarnation(&self) -> Result<Option<String>, StoreError>;

    /// Asks all servers for an answer and nothing else.
    async fn ping(&self) -> Result<(), StoreError> {
        self.incarnation().await.map(drop)
    }
}

/// Several parts of a node share one.
#[async_trait]
impl<R: Runner + ?Sized> Runner for Arc<R> {
    fn script(&self, source: &'static str) -> Script {
        (**self).script(source)
    }

    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        (**self).run(script, keys, args).await
    }

    fn takes_many_channels(&self) -> bool {
        (**self).takes_many_channels()
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }

    fn is_paid_by_command(&self) -> bool {
        (**self).is_paid_by_command()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        (**self).incarnation().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        (**self).ping().await
    }
}
