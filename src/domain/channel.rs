//! Channel names. Input is parsed once, so every [`ChannelId`] is valid.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The username of a streamer: 1–64 characters from `a-z 0-9 . _ -`. Upper case is converted to lower case.
///
/// Cloning is cheap (a reference count).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(Arc<str>);

/// The text is not a valid channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a channel name must have 1 to 64 characters from a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidChannel;

impl ChannelId {
    /// The maximum length of a name, in characters. All characters are ASCII, so it is the length in bytes too.
    pub const MAX_LEN: usize = 64;

    /// Parses a name and converts it to lower case.
    ///
    /// # Errors
    /// When the text is not 1–64 allowed characters. The text is not trimmed or corrected.
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

    /// The number of parts into which the channels are divided. A part is listed, sampled and recorded as a whole.
    pub const PARTS: u16 = 16;

    /// The part of the channel, below [`Self::PARTS`]. It never changes: parts are kept in stores and databases.
    #[must_use]
    pub fn part(&self) -> u16 {
        self.0.bytes().map(u16::from).sum::<u16>() % Self::PARTS
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

/// Maps with channels as keys can be searched by a name.
impl Borrow<str> for ChannelId {
    fn borrow(&self) -> &str {
        &self.0
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
    fn accepts_names_of_1_to_64_allowed_characters() {
        for name in ["a", "7", "ana.tv_2-x", "..", &"z".repeat(64)] {
            assert_eq!(ChannelId::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn converts_names_to_lower_case() {
        assert_eq!(ChannelId::parse("IBLups"), ChannelId::parse("iblups"));
    }

    #[test]
    fn rejects_all_other_names() {
        for name in
            ["", " ", " ana", "ana ", "a/b", "a b", "ñandú", "a\n", "a\0b", "{a}", "a%20b", &"z".repeat(65)]
        {
            assert_eq!(ChannelId::parse(name), Err(InvalidChannel), "{name:?}");
        }
    }
}
