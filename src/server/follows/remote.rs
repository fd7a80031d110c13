//! Followers where the leases are: a set per channel in Redis, Redis Cluster or at Upstash, which never expires.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Value, from_redis_value};

use super::Followers;
use crate::{
    domain::{ChannelId, ViewerId},
    server::{
        redis::{Keys, Runner, Script},
        store_error::StoreError,
    },
};

/// Followers where a [`Runner`] takes scripts.
pub struct RemoteFollowers {
    runner: Arc<dyn Runner>,
    keys: Keys,
    set: Script,
    has: Script,
    count: Script,
}

impl RemoteFollowers {
    /// Followers under keys that start with `prefix`.
    #[must_use]
    pub fn new(runner: Arc<dyn Runner>, prefix: &str) -> Self {
        Self {
            keys: Keys::new(prefix),
            set: runner.script(include_str!("scripts/set.lua")),
            has: runner.script(include_str!("scripts/has.lua")),
            count: runner.script(include_str!("scripts/count.lua")),
            runner,
        }
    }

    async fn run(&self, script: &Script, channel: &ChannelId, args: &[Vec<u8>]) -> Result<u32, StoreError> {
        let answer: Value = self.runner.run(script, &[self.keys.followers(channel)], args).await?;
        from_redis_value(answer).map_err(|_| StoreError::unexpected())
    }
}

#[async_trait]
impl Followers for RemoteFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let wish = if follows { b"1" } else { b"0" };
        self.run(&self.set, channel, &[id(viewer), wish.to_vec()]).await
    }

    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError> {
        Ok(self.run(&self.has, channel, &[id(viewer)]).await? == 1)
    }

    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        self.run(&self.count, channel, &[]).await
    }
}

fn id(viewer: ViewerId) -> Vec<u8> {
    viewer.uuid().as_bytes().to_vec()
}
