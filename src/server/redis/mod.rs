//! Runners for Redis scripts: on one server, on a cluster, or at Upstash ([`Runner`]). The remote
//! store consists of scripts.

mod cluster;
mod keys;
mod parts;
mod reconnect;
mod script;
mod single;
mod upstash;

pub use self::{
    cluster::ClusterRunner,
    keys::Keys,
    parts::{ChannelParts, part_of},
    script::Script,
    single::RedisRunner,
    upstash::{InvalidUrl, UpstashRunner},
};

use std::sync::Arc;

use ::redis::Value;
use async_trait::async_trait;

use super::store_error::StoreError;

/// An address of Redis is invalid. Do not log the message: it can contain a part of the address.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address of a Redis server.
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
    /// The address of an Upstash database.
    #[error(transparent)]
    Upstash(#[from] InvalidUrl),
}

/// Installs the cryptography provider of rustls. Call it before the first TLS connection. Further calls have no effect.
fn prepare_tls() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// What an operator should know about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// The version, as the server tells it. Valkey tells the version of Redis that it is compatible with.
    pub version: String,
    /// The policy by which a full server removes keys, unless it removes none.
    pub eviction: Option<String>,
    /// Whether the server is a replica, which takes no writes.
    pub is_replica: bool,
}

impl ServerFacts {
    /// Reads the response to `INFO`.
    fn of(info: &str) -> Self {
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| value.trim().to_owned())
        };
        Self {
            version: field("redis_version").unwrap_or_default(),
            eviction: field("maxmemory_policy").filter(|policy| policy != "noeviction"),
            is_replica: field("role").is_some_and(|role| role == "slave"),
        }
    }
}

/// Runs scripts where the data is.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Prepares a script for this runner. Call it once for each script.
    fn script(&self, source: &'static str) -> Script {
        Script::new(source)
    }

    /// Runs a script. All keys must belong to one channel, or to one part of it, unless [`Runner::takes_many_channels`] is true.
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError>;

    /// Whether one call may contain the keys of many channels. On a cluster they are on different servers.
    fn takes_many_channels(&self) -> bool;

    /// The number of the current connection, for runners with one connection at a time. A new connection may lead to
    /// another server.
    fn generation(&self) -> u64 {
        0
    }

    /// Identifies the server of a key, as far as it is known. Each server has a clock of its own.
    fn server_of(&self, _key: &[u8]) -> u64 {
        0
    }

    /// Whether the service charges for each command.
    fn is_paid_by_command(&self) -> bool {
        false
    }

    /// An identifier that changes when servers were restarted or replaced, so that data may have been lost. `None` if
    /// the service provides none.
    async fn incarnation(&self) -> Result<Option<String>, StoreError>;

    /// Whether the server of a key did not respond, and [`Runner::resolve_outages`] was not called since. Other servers may
    /// have responded.
    fn was_away(&self, _key: &[u8]) -> bool {
        false
    }

    /// The number of the newest outage of a server that is not resolved.
    fn unresolved_outage(&self) -> Option<u64> {
        None
    }

    /// Resolves all outages up to a number: no node has anything to replay from before.
    fn resolve_outages(&self, _up_to: u64) {}

    /// Checks that all servers respond.
    async fn ping(&self) -> Result<(), StoreError> {
        self.incarnation().await.map(drop)
    }
}

/// Lets several stores share a runner.
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

    fn server_of(&self, key: &[u8]) -> u64 {
        (**self).server_of(key)
    }

    fn is_paid_by_command(&self) -> bool {
        (**self).is_paid_by_command()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        (**self).incarnation().await
    }

    fn was_away(&self, key: &[u8]) -> bool {
        (**self).was_away(key)
    }

    fn unresolved_outage(&self) -> Option<u64> {
        (**self).unresolved_outage()
    }

    fn resolve_outages(&self, up_to: u64) {
        (**self).resolve_outages(up_to);
    }

    async fn ping(&self) -> Result<(), StoreError> {
        (**self).ping().await
    }
}
