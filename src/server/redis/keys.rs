//! The names of keys. All keys of a channel have the channel as their hash tag (the part in braces), so a cluster keeps
//! them on one server.

use crate::domain::ChannelId;

/// Builds the names of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Creates a builder of keys that start with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The two keys of a channel, in the order of the scripts' arguments.
    #[must_use]
    pub fn of_channel(&self, channel: &ChannelId) -> [Vec<u8>; 2] {
        [self.key(channel, "viewers"), self.key(channel, "sessions")]
    }

    /// The key of the roll call of nodes.
    #[must_use]
    pub fn roll_call(&self) -> Vec<u8> {
        format!("{}:{{nodes}}", self.prefix).into_bytes()
    }

    /// The key of a channel's bucket in the list of live channels.
    #[must_use]
    pub fn bucket(&self, channel: &ChannelId) -> Vec<u8> {
        self.bucket_of_part(channel.part())
    }

    /// The key of a part's bucket in the list of live channels. A cluster spreads the buckets over its servers.
    #[must_use]
    pub fn bucket_of_part(&self, part: u16) -> Vec<u8> {
        format!("{}:{{live {part}}}", self.prefix).into_bytes()
    }

    /// The key of the shares of nodes in the parts.
    #[must_use]
    pub fn shares(&self) -> Vec<u8> {
        format!("{}:{{shares}}", self.prefix).into_bytes()
    }

    fn key(&self, channel: &ChannelId, name: &str) -> Vec<u8> {
        [&self.prefix, ":{", channel.as_str(), "}:", name].concat().into_bytes()
    }
}
