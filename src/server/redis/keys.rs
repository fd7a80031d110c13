//! The names of keys. All keys of a channel, or of a part of it, have the same hash tag (the text in braces), so a cluster
//! keeps them on one server.

use std::borrow::Cow;

use super::ChannelParts;
use crate::domain::ChannelId;

/// Builds the names of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    parts: ChannelParts,
}

impl Keys {
    /// Creates a builder of keys that start with `prefix`, for channels in `parts`.
    #[must_use]
    pub fn new(prefix: &str, parts: ChannelParts) -> Self {
        Self { prefix: prefix.to_owned(), parts }
    }

    /// The two keys of a part of a channel, in the order of the scripts' arguments. A whole channel has only part 0.
    #[must_use]
    pub fn of_part(&self, channel: &ChannelId, part: u8) -> [Vec<u8>; 2] {
        // No name of a channel has a slash. The number of parts is in the tag, so that a changed setting finds no old leases
        // where other viewers are now.
        let tag = match self.parts.number(channel) {
            1 => Cow::Borrowed(channel.as_str()),
            parts => Cow::Owned(format!("{channel}/{parts}/{part}")),
        };
        ["viewers", "sessions"].map(|name| self.key(&tag, name))
    }

    /// The key of the roll call of nodes.
    #[must_use]
    pub fn roll_call(&self) -> Vec<u8> {
        format!("{}:{{nodes}}", self.prefix).into_bytes()
    }

    /// The key of the sessions that have left (see `log.lua`). A cluster keeps it, and the logs, on the server of the roll call.
    #[must_use]
    pub fn leaves(&self) -> Vec<u8> {
        format!("{}:{{nodes}}:leaves", self.prefix).into_bytes()
    }

    /// The key of the nodes that have logs of renewals.
    #[must_use]
    pub fn logs(&self) -> Vec<u8> {
        format!("{}:{{nodes}}:logs", self.prefix).into_bytes()
    }

    /// The key of a log of renewals.
    #[must_use]
    pub fn log(&self, node: u64, is_second: bool) -> Vec<u8> {
        format!("{}:{{nodes}}:log {node:016x} {}", self.prefix, u8::from(is_second)).into_bytes()
    }

    /// The key of the list of changes.
    #[must_use]
    pub fn changes(&self) -> Vec<u8> {
        format!("{}:{{changes}}", self.prefix).into_bytes()
    }

    /// The name of the channel of which a key has the viewers, or those of a part, as [`Keys::of_part`] returns it.
    #[must_use]
    pub fn channel_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        let tag = key.strip_prefix(self.prefix.as_str())?.strip_prefix(":{")?.strip_suffix("}:viewers")?;
        tag.split('/').next()
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

    fn key(&self, tag: &str, name: &str) -> Vec<u8> {
        [&self.prefix, ":{", tag, "}:", name].concat().into_bytes()
    }
}
