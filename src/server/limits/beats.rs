//! What one address may add to the count: sessions in all, sessions in one channel, and channels.
//!
//! Whoever chooses the ids can be as many viewers as these limits let in; that much is possible and stated. Beats of
//! sessions that were let in before are free, so a crowd behind one address is never cut off once it is in.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;

use super::{Address, Rate};
use crate::domain::{ChannelId, SessionId, Who};

/// The limits of one address; 0 is none.
#[derive(Debug, Clone, Copy)]
pub struct PerAddress {
    /// New sessions that may come at once.
    pub joins_burst: u32,
    /// New sessions per second from then on.
    pub joins_per_second: u32,
    /// Live sessions in one channel.
    pub sessions_per_channel: u32,
    /// Channels per minute in which nobody was before.
    pub new_channels_per_minute: u32,
}

/// Which limit stands against a beat, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Too many new sessions.
    Joins(Duration),
    /// Too many sessions in the channel.
    Sessions,
    /// Too many new channels.
    Channels(Duration),
}

impl Over {
    /// Which limit it is, in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joins(_) => "joins",
            Self::Sessions => "sessions-per-channel",
            Self::Channels(_) => "new-channels",
        }
    }
}

/// The sessions that each address has brought in. Cloning is cheap.
#[derive(Clone)]
pub struct Beats(Arc<Inner>);

struct Inner {
    joins: Rate,
    channels: Rate,
    sessions_per_channel: u32,
    /// Sessions that were let in, and until when they count without another beat.
    admitted: DashMap<(Address, ChannelId), HashMap<SessionId, Instant>>,
}

impl Beats {
    /// Holds every address to these limits.
    #[must_use]
    pub fn new(limits: PerAddress) -> Self {
        Self(Arc::new(Inner {
            joins: Rate::per_second(limits.joins_burst, limits.joins_per_second),
            channels: Rate::per_minute(limits.new_channels_per_minute),
            sessions_per_channel: limits.sessions_per_channel,
            admitted: DashMap::new(),
        }))
    }

    /// Lets a beat in, and remembers its session for as long as its lease lasts. `is_new` says of the channel that nobody
    /// is counted in it.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub fn admit(&self, address: Address, who: &Who, lease: Duration, is_new: bool) -> Result<(), Over> {
        let inner = &self.0;
        let now = Instant::now();
        let mut sessions = inner.admitted.entry((address, who.channel.clone())).or_default();
        if sessions.get(&who.session).is_some_and(|until| *until > now) {
            sessions.insert(who.session, now + lease);
            return Ok(());
        }
        let most = usize::try_from(inner.sessions_per_channel).unwrap_or(usize::MAX);
        if most > 0 && sessions.len() >= most {
            sessions.retain(|_, until| *until > now);
            if sessions.len() >= most {
                return Err(Over::Sessions);
            }
        }
        let is_first = sessions.is_empty();
        let fits =
            if is_new && is_first { inner.channels.take(address).map_err(Over::Channels) } else { Ok(()) }
                .and_then(|()| inner.joins.take(address).map_err(Over::Joins));
        match fits {
            Ok(()) => {
                sessions.insert(who.session, now + lease);
            }
            Err(_) if is_first => {
                drop(sessions);
                inner.admitted.remove_if(&(address, who.channel.clone()), |_, sessions| sessions.is_empty());
            }
            Err(_) => {}
        }
        fits
    }

    /// A session counts although this node has not let it in: another has.
    pub fn note(&self, address: Address, who: &Who, lease: Duration) {
        let mut sessions = self.0.admitted.entry((address, who.channel.clone())).or_default();
        sessions.insert(who.session, Instant::now() + lease);
    }

    /// A session has left.
    pub fn left(&self, address: Address, who: &Who) {
        if let Some(mut sessions) = self.0.admitted.get_mut(&(address, who.channel.clone())) {
            sessions.remove(&who.session);
        }
    }

    /// Forgets addresses that have nothing here any more.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.admitted.retain(|_, sessions| {
            sessions.retain(|_, until| *until > now);
            !sessions.is_empty()
        });
        self.0.joins.sweep();
        self.0.channels.sweep();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use uuid::Uuid;

    use super::*;

    const LEASE: Duration = Duration::from_secs(60);
    const LIMITS: PerAddress = PerAddress {
        joins_burst: 5,
        joins_per_second: 1,
        sessions_per_channel: 3,
        new_channels_per_minute: 2,
    };

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn who(channel: &str, viewer: u128) -> Who {
        Who::parse(channel, &Uuid::from_u128(viewer + 1).to_string(), None).unwrap()
    }

    #[test]
    fn beats_of_who_is_in_are_free_and_new_ones_are_held_to_the_burst() {
        let beats = Beats::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        for round in 0..100 {
            for viewer in 0..5 {
                assert_eq!(beats.admit(address(1), &who("ana", viewer), LEASE, round == 0), Ok(()));
            }
        }
        assert!(matches!(beats.admit(address(1), &who("ana", 6), LEASE, false), Err(Over::Joins(_))));
        assert_eq!(beats.admit(address(2), &who("ana", 6), LEASE, false), Ok(()), "others are unharmed");
    }

    #[test]
    fn a_channel_takes_so_many_sessions_of_one_address_until_some_leave() {
        let beats = Beats::new(PerAddress { joins_burst: 0, ..LIMITS });
        for viewer in 0..3 {
            beats.admit(address(1), &who("ana", viewer), LEASE, false).unwrap();
        }
        assert_eq!(beats.admit(address(1), &who("ana", 3), LEASE, false), Err(Over::Sessions));
        beats.left(address(1), &who("ana", 0));
        assert_eq!(beats.admit(address(1), &who("ana", 3), LEASE, false), Ok(()));
        // One whose lease has ended makes room too.
        assert_eq!(beats.admit(address(1), &who("bob", 0), Duration::ZERO, false), Ok(()));
        for viewer in 1..4 {
            assert_eq!(beats.admit(address(1), &who("bob", viewer), LEASE, false), Ok(()));
        }
    }

    #[test]
    fn new_channels_are_held_to_a_rate_and_those_with_viewers_are_not() {
        let beats = Beats::new(PerAddress { joins_burst: 0, ..LIMITS });
        for channel in ["a", "b"] {
            assert_eq!(beats.admit(address(1), &who(channel, 0), LEASE, true), Ok(()));
        }
        assert!(matches!(beats.admit(address(1), &who("c", 0), LEASE, true), Err(Over::Channels(_))));
        assert_eq!(beats.admit(address(1), &who("d", 0), LEASE, false), Ok(()));
        assert_eq!(beats.admit(address(1), &who("a", 1), LEASE, true), Ok(()), "it is not new any more");
    }

    #[test]
    fn what_was_refused_or_is_over_takes_no_memory() {
        let beats = Beats::new(LIMITS);
        for number in 0..10_000 {
            let _refused = beats.admit(address(1), &who(&format!("c{number}"), number), Duration::ZERO, true);
        }
        assert_eq!(beats.0.admitted.len(), 2);
        beats.sweep();
        assert!(beats.0.admitted.is_empty());
    }
}
