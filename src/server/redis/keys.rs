//! The names of keys. All of a channel's have the channel as their hash tag (the part in braces), so that a cluster keeps
//! them together.

use crate::domain::ChannelId;

/// How many keys the list of live channels is spread over, so that a cluster spreads it too.
const BUCKETS: u16 = 16;

/// Makes the names of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that start with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The two keys of a channel, in the order in which the scripts take them.
    #[must_use]
    pub fn all(&self, channel: &ChannelId) -> [Vec<u8>; 2] {
        [self.of(channel, "viewers"), self.of(channel, "sessions")]
    }

    /// The key of the roll call of nodes.
    #[must_use]
    pub fn roll_call(&self) -> Vec<u8> {
        format!("{}:{{nodes}}", self.prefix).into_bytes()
    }

    /// The key of a channel's followers.
    #[must_use]
    pub fn followers(&self, channel: &ChannelId) -> Vec<u8> {
        self.of(channel, "followers")
    }

    /// Which bucket of the list of live channels a channel is in.
    #[must_use]
    pub fn bucket(&self, channel: &ChannelId) -> Vec<u8> {
        let sum: u16 = channel.as_str().bytes().map(u16::from).sum();
        self.nth_bucket(sum % BUCKETS)
    }

    /// All buckets of the list of live channels.
    #[must_use]
    pub fn buckets(&self) -> Vec<Vec<u8>> {
        (0..BUCKETS).map(|nth| self.nth_bucket(nth)).collect()
    }

    fn nth_bucket(&self, nth: u16) -> Vec<u8> {
        format!("{}:{{live {nth}}}", self.prefix).into_bytes()
    }

    fn of(&self, channel: &ChannelId, what: &str) -> Vec<u8> {
        format!("{}:{{{channel}}}:{what}", self.prefix).into_bytes()
    }
}
