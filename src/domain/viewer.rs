//! Who is counted: the viewer (a browser) and the session (one loaded page of it).

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{ChannelId, channel::InvalidChannel};

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID that is not nil")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Reads any spelling of a UUID: with or without hyphens, braced, as a URN, in any case.
            ///
            /// # Errors
            /// What is no UUID, and the nil UUID (which broken clients send for "none").
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).ok().and_then(Self::new).ok_or(InvalidId)
            }

            /// Wraps a UUID; `None` if it is nil.
            #[must_use]
            pub fn new(uuid: Uuid) -> Option<Self> {
                (!uuid.is_nil()).then_some(Self(uuid))
            }

            /// The UUID inside.
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
    /// One browser, which is one person. The browser makes it and keeps it in `localStorage`; it works as a secret,
    /// since who knows it can end its sessions: it is in no page, stream or URL.
    ViewerId
}

id! {
    /// One loaded page of a viewer, made fresh at every page load and stored nowhere.
    SessionId
}

impl From<ViewerId> for SessionId {
    /// Clients that know no sessions have one: their viewer.
    fn from(viewer: ViewerId) -> Self {
        Self(viewer.0)
    }
}

/// One session of a viewer in a channel: what every call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The channel watched.
    pub channel: ChannelId,
    /// The viewer watching.
    pub viewer: ViewerId,
    /// The page it is watched on.
    pub session: SessionId,
}

/// A part of a [`SessionKey`] is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSessionKey {
    /// The channel.
    #[error(transparent)]
    Channel(#[from] InvalidChannel),
    /// The viewer or the session.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl SessionKey {
    /// Reads the three; without a session, the viewer's id is taken for it.
    ///
    /// # Errors
    /// The first part that is wrong.
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
    fn without_a_session_the_viewer_is_taken_for_it() {
        let id = "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10";
        let who = SessionKey::parse("ana", id, None).unwrap();
        assert_eq!(who.session, SessionId::parse(id).unwrap());
        assert_eq!(SessionKey::parse("ana", id, Some("")), Err(InvalidSessionKey::Id(InvalidId)));
        assert_eq!(SessionKey::parse("", id, None), Err(InvalidSessionKey::Channel(InvalidChannel)));
    }

    #[test]
    fn every_spelling_is_the_same_viewer() {
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
    fn nil_and_garbage_are_refused() {
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
