//! The names of keys. All keys of a channel have the channel as their hash tag (the part in braces), so a cluster keeps
//! them on one server.

use crate::domain::ChannelId;

/// The number of buckets of the list of live channels. A cluster spreads them over its servers.
const BUCKETS: u16 = 16;

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
        let sum: u16 = channel.as_str().bytes().map(u16::from).sum();
        self.nth_bucket(sum % BUCKETS)
    }

    /// The keys of all buckets of the list of live channels.
    #[must_use]
    pub fn buckets(&self) -> Vec<Vec<u8>> {
        (0..BUCKETS).map(|nth| self.nth_bucket(nth)).collect()
    }

    fn nth_bucket(&self, nth: u16) -> Vec<u8> {
        format!("{}:{{live {nth}}}", self.prefix).into_bytes()
    }

    fn key(&self, channel: &ChannelId, name: &str) -> Vec<u8> {
        format!("{}:{{{channel}}}:{name}", self.prefix).into_bytes()
    }
}
