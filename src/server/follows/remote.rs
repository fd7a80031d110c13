//! Followers in Redis, a Redis Cluster or Upstash: one set per channel, which never expires.

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

/// A store of followers in the Redis of a [`Runner`].
pub struct RemoteFollowers {
    runner: Arc<dyn Runner>,
    keys: Keys,
    set: Script,
    has: Script,
    count: Script,
}

impl RemoteFollowers {
    /// Creates a store whose keys start with `prefix`.
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
        let response: Value = self.runner.run(script, &[self.keys.followers(channel)], args).await?;
        from_redis_value(response).map_err(|_| StoreError::unexpected())
    }
}

#[async_trait]
impl Followers for RemoteFollowers {
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError> {
        let flag = if follows { b"1" } else { b"0" };
        self.run(&self.set, channel, &[id(viewer), flag.to_vec()]).await
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
