//! The name of a channel, parsed once at the edge and valid from there on.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The username of a streamer: 1–64 characters of `a-z 0-9 . _ -`. Letters are compared in lower case.
///
/// Cloning is cheap (a reference count).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(Arc<str>);

/// The text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a channel is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidChannel;

impl ChannelId {
    /// The longest name, in characters (which are bytes, as all of them are ASCII).
    pub const MAX_LEN: usize = 64;

    /// Reads a name; upper case is taken for lower case.
    ///
    /// # Errors
    /// Anything but 1–64 of the allowed characters. Nothing is trimmed or repaired.
    pub fn parse(text: &str) -> Result<Self, InvalidChannel> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            return Err(InvalidChannel);
        }
        Ok(Self(if text.bytes().any(|c| c.is_ascii_uppercase()) {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        }))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ChannelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChannelId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_to_64_allowed_characters_are_channels() {
        for name in ["a", "7", "ana.tv_2-x", "..", &"z".repeat(64)] {
            assert_eq!(ChannelId::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn upper_case_is_the_same_channel() {
        assert_eq!(ChannelId::parse("IBLups"), ChannelId::parse("iblups"));
    }

    #[test]
    fn anything_else_is_refused() {
        for name in
            ["", " ", " ana", "ana ", "a/b", "a b", "ñandú", "a\n", "a\0b", "{a}", "a%20b", &"z".repeat(65)]
        {
            assert_eq!(ChannelId::parse(name), Err(InvalidChannel), "{name:?}");
        }
    }
}
