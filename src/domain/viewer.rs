//! The ids of viewers (browsers) and sessions (loaded pages).

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::{Uuid, Variant, Version};

use super::{ChannelId, channel::InvalidChannel};

/// The text is not a valid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id must be a UUID other than the nil UUID")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The first id in order.
            pub const FIRST: Self = Self(Uuid::from_u128(1));

            /// Parses a UUID in any notation: with or without hyphens, in braces or as a URN, in upper or lower case.
            ///
            /// # Errors
            /// When the text is not a UUID, or is the nil UUID, which broken clients send for "none".
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).ok().and_then(Self::new).ok_or(InvalidId)
            }

            /// Wraps a UUID; `None` if it is the nil UUID.
            #[must_use]
            pub fn new(uuid: Uuid) -> Option<Self> {
                (!uuid.is_nil()).then_some(Self(uuid))
            }

            /// The UUID.
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }
    };
}

id! {
    /// One browser, which stands for one person. The browser creates the id and keeps it in `localStorage`. The id is a
    /// secret, because anyone who knows it can end the viewer's sessions. Never put it into a page, a stream or a URL.
    ViewerId
}

id! {
    /// One loaded page of a viewer. The page creates the id when it is loaded and does not store it.
    SessionId
}

impl ViewerId {
    /// Whether this is the id of an account, which only a ticket can give: a UUID of version 8. Browsers make their ids at
    /// random, as version 4.
    #[must_use]
    pub fn is_of_account(self) -> bool {
        self.0.get_variant() == Variant::RFC4122 && self.0.get_version() == Some(Version::Custom)
    }
}

impl From<ViewerId> for SessionId {
    /// The session of a client that sends no session id.
    fn from(viewer: ViewerId) -> Self {
        Self(viewer.0)
    }
}

/// One session of a viewer in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The channel.
    pub channel: ChannelId,
    /// The viewer.
    pub viewer: ViewerId,
    /// The session.
    pub session: SessionId,
}

/// A part of a [`SessionKey`] is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSessionKey {
    /// The channel is invalid.
    #[error(transparent)]
    Channel(#[from] InvalidChannel),
    /// The viewer or the session is invalid.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl SessionKey {
    /// Parses the parts. Without a session id, the viewer id is used as the session id.
    ///
    /// # Errors
    /// The error of the first invalid part.
    pub fn parse(channel: &str, viewer: &str, session: Option<&str>) -> Result<Self, InvalidSessionKey> {
        let channel = ChannelId::parse(channel)?;
        let viewer = ViewerId::parse(viewer)?;
        let session = session.map_or(Ok(viewer.into()), SessionId::parse)?;
        Ok(Self { channel, viewer, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_viewer_id_without_a_session_id() {
        let id = "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10";
        let key = SessionKey::parse("ana", id, None).unwrap();
        assert_eq!(key.session, SessionId::parse(id).unwrap());
        assert_eq!(SessionKey::parse("ana", id, Some("")), Err(InvalidSessionKey::Id(InvalidId)));
        assert_eq!(SessionKey::parse("", id, None), Err(InvalidSessionKey::Channel(InvalidChannel)));
    }

    #[test]
    fn accepts_every_notation_of_a_uuid() {
        let one = ViewerId::parse("6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10").unwrap();
        for text in [
            "6FA1C0DE-94A1-4B1E-8A53-0C6F2F6F7A10",
            "6fa1c0de94a14b1e8a530c6f2f6f7a10",
            "{6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10}",
            "urn:uuid:6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10",
        ] {
            assert_eq!(ViewerId::parse(text), Ok(one), "{text}");
        }
        assert_eq!(one.to_string(), "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10");
    }

    #[test]
    fn ids_of_accounts_are_of_version_8() {
        for (text, expected) in [
            ("6fa1c0de-94a1-8b1e-8a53-0c6f2f6f7a10", true),
            ("6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10", false),
            ("6fa1c0de-94a1-7b1e-8a53-0c6f2f6f7a10", false),
            ("6fa1c0de-94a1-8b1e-ca53-0c6f2f6f7a10", false),
        ] {
            assert_eq!(ViewerId::parse(text).unwrap().is_of_account(), expected, "{text}");
        }
    }

    #[test]
    fn rejects_the_nil_uuid_and_other_text() {
        for text in [
            "",
            "nil",
            "00000000-0000-0000-0000-000000000000",
            "6fa1c0de",
            "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a1g",
        ] {
            assert_eq!(ViewerId::parse(text), Err(InvalidId), "{text:?}");
            assert_eq!(SessionId::parse(text), Err(InvalidId), "{text:?}");
        }
    }
}
