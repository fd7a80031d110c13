//! What one address may add to the count: sessions in all, sessions in one channel, and channels.
//!
//! Whoever chooses the ids can be as many viewers as these limits let in; that much is possible and stated. Beats of
//! sessions that were let in before are free, so a crowd behind one address is never cut off once it is in.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Address, Rate, SITE_FACTOR,
    crowds::{Crowds, Session},
};
use crate::domain::SessionKey;

/// How often the store is asked about those whom a limit stands against: so many at once, and so many per second from then
/// on. A crowd of thousands behind one address beats within half a minute once a node was restarted, and is known to the
/// store: none of it is refused.
const TRIES: (u32, u32) = (4_000, 400);

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
pub enum LimitExceeded {
    /// Too many new sessions.
    Joins(Duration),
    /// Too many sessions in the channel.
    Sessions,
    /// Too many new channels.
    Channels(Duration),
    /// Too many questions to the store about those whom a limit stands against.
    Tries(Duration),
}

impl LimitExceeded {
    /// Which limit it is, in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joins(_) => "joins",
            Self::Sessions => "sessions-per-channel",
            Self::Channels(_) => "new-channels",
            Self::Tries(_) => "tries",
        }
    }
}

/// The sessions that each address has brought in. Cloning is cheap.
#[derive(Clone)]
pub struct SessionLimiter(Arc<Inner>);

struct Inner {
    joins: Rate,
    channels: Rate,
    leaves: Rate,
    tries: Rate,
    /// Who came in, by address, and for IPv6 by site.
    near: Crowds,
    sites: Crowds,
    /// Whether sessions are told from each other. Where nothing limits them, it is enough to know that somebody is there.
    tells_sessions: bool,
}

impl SessionLimiter {
    /// Holds every address to these limits.
    #[must_use]
    pub fn new(limits: PerAddress) -> Self {
        let joins = Rate::per_second(limits.joins_burst, limits.joins_per_second);
        Self(Arc::new(Inner {
            tells_sessions: joins.is_limit() || limits.sessions_per_channel > 0,
            joins,
            channels: Rate::per_minute(limits.new_channels_per_minute),
            leaves: Rate::per_second(limits.joins_burst, limits.joins_per_second),
            tries: Rate::per_second(TRIES.0, TRIES.1),
            near: Crowds::of(limits.sessions_per_channel),
            sites: Crowds::of(limits.sessions_per_channel.saturating_mul(SITE_FACTOR)),
        }))
    }

    /// Lets a beat in, and remembers its session for as long as its lease lasts. `is_new` says of the channel that nobody
    /// is counted in it. What is refused is not remembered.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub fn admit(
        &self,
        address: Address,
        who: &SessionKey,
        lease: Duration,
        is_new: bool,
    ) -> Result<(), LimitExceeded> {
        let inner = &self.0;
        if !inner.remembers() {
            return Ok(());
        }
        let (now, session, key) = (Instant::now(), inner.session(who), (address, who.channel.clone()));
        if inner.near.renew(&key, session, now, lease) {
            if let Some(site) = address.site() {
                inner.sites.note(&(site, key.1), session, now, lease);
            }
            return Ok(());
        }
        if !inner.near.has_room(&key, now) {
            return Err(LimitExceeded::Sessions);
        }
        let site = address.site().map(|site| (site, who.channel.clone()));
        if site.as_ref().is_some_and(|site| !inner.sites.has_room(site, now)) {
            return Err(LimitExceeded::Sessions);
        }
        if is_new && !inner.near.has_any(&key) {
            inner.channels.take(address).map_err(LimitExceeded::Channels)?;
        }
        inner.joins.take(address).map_err(LimitExceeded::Joins)?;
        inner.near.note(&key, session, now, lease);
        if let Some(site) = site {
            inner.sites.note(&site, session, now, lease);
        }
        Ok(())
    }

    /// A session counts although this node has not let it in: another has.
    pub fn note(&self, address: Address, who: &SessionKey, lease: Duration) {
        let inner = &self.0;
        if inner.remembers() {
            let (now, session) = (Instant::now(), inner.session(who));
            inner.near.note(&(address, who.channel.clone()), session, now, lease);
            if let Some(site) = address.site() {
                inner.sites.note(&(site, who.channel.clone()), session, now, lease);
            }
        }
    }

    /// A session leaves. Whether it may do so as any: one that was let in here always, others as often as sessions may
    /// join.
    #[must_use]
    pub fn leave(&self, address: Address, who: &SessionKey) -> bool {
        let inner = &self.0;
        if !inner.tells_sessions {
            return true;
        }
        let session = inner.session(who);
        let was_in = inner.near.remove(&(address, who.channel.clone()), session);
        if let Some(site) = address.site() {
            inner.sites.remove(&(site, who.channel.clone()), session);
        }
        was_in || inner.leaves.take(address).is_ok()
    }

    /// The store is asked about somebody whom a limit stands against.
    ///
    /// # Errors
    /// When it was asked too often.
    pub fn try_store(&self, address: Address) -> Result<(), LimitExceeded> {
        self.0.tries.take(address).map_err(LimitExceeded::Tries)
    }

    /// How many sessions are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.0.near.sessions() + self.0.sites.sessions()
    }

    /// Forgets addresses that have nothing here any more.
    pub fn sweep(&self) {
        let inner = &self.0;
        let now = Instant::now();
        inner.near.sweep(now);
        inner.sites.sweep(now);
        for rate in [&inner.joins, &inner.channels, &inner.leaves, &inner.tries] {
            rate.sweep();
        }
    }
}

impl Inner {
    fn remembers(&self) -> bool {
        self.tells_sessions || self.channels.is_limit()
    }

    fn session(&self, who: &SessionKey) -> Option<Session> {
        self.tells_sessions.then_some((who.viewer, who.session))
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

    fn who(channel: &str, viewer: u128) -> SessionKey {
        SessionKey::parse(channel, &Uuid::from_u128(viewer + 1).to_string(), None).unwrap()
    }

    #[test]
    fn beats_of_who_is_in_are_free_and_new_ones_are_held_to_the_burst() {
        let beats = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        for round in 0..100 {
            for viewer in 0..5 {
                assert_eq!(beats.admit(address(1), &who("ana", viewer), LEASE, round == 0), Ok(()));
            }
        }
        assert!(matches!(
            beats.admit(address(1), &who("ana", 6), LEASE, false),
            Err(LimitExceeded::Joins(_))
        ));
        assert_eq!(beats.admit(address(2), &who("ana", 6), LEASE, false), Ok(()), "others are unharmed");
    }

    #[test]
    fn a_channel_takes_so_many_sessions_of_one_address_until_some_leave() {
        let beats = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        for viewer in 0..3 {
            beats.admit(address(1), &who("ana", viewer), LEASE, false).unwrap();
        }
        assert_eq!(beats.admit(address(1), &who("ana", 3), LEASE, false), Err(LimitExceeded::Sessions));
        assert!(beats.leave(address(1), &who("ana", 0)));
        assert_eq!(beats.admit(address(1), &who("ana", 3), LEASE, false), Ok(()));
        // One whose lease has ended makes room too.
        assert_eq!(beats.admit(address(1), &who("bob", 0), Duration::ZERO, false), Ok(()));
        for viewer in 1..4 {
            assert_eq!(beats.admit(address(1), &who("bob", viewer), LEASE, false), Ok(()));
        }
    }

    #[test]
    fn new_channels_are_held_to_a_rate_and_those_with_viewers_are_not() {
        let beats = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        for channel in ["a", "b"] {
            assert_eq!(beats.admit(address(1), &who(channel, 0), LEASE, true), Ok(()));
        }
        assert!(matches!(
            beats.admit(address(1), &who("c", 0), LEASE, true),
            Err(LimitExceeded::Channels(_))
        ));
        assert_eq!(beats.admit(address(1), &who("d", 0), LEASE, false), Ok(()));
        assert_eq!(beats.admit(address(1), &who("a", 1), LEASE, true), Ok(()), "it is not new any more");
    }

    #[test]
    fn what_was_refused_or_is_over_takes_no_memory() {
        let beats = SessionLimiter::new(LIMITS);
        for number in 0..10_000 {
            let _refused = beats.admit(address(1), &who(&format!("c{number}"), number), Duration::ZERO, true);
        }
        assert_eq!(beats.0.near.len(), 2);
        beats.sweep();
        assert_eq!(beats.0.near.len(), 0);
    }

    #[test]
    fn viewers_with_one_session_id_are_as_many_as_they_are() {
        let mix = |viewer: u128, session: u128| {
            let id = |number: u128| Uuid::from_u128(number + 1).to_string();
            SessionKey::parse("ana", &id(viewer), Some(&id(session))).unwrap()
        };
        let beats = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        let admitted =
            (0..100).filter(|nth| beats.admit(address(1), &mix(*nth, 7), LEASE, false).is_ok()).count();
        assert!((5..10).contains(&admitted), "{admitted}");
        let beats = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        let admitted =
            (0..100).filter(|nth| beats.admit(address(1), &mix(*nth, 7), LEASE, false).is_ok()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn leaves_of_who_was_let_in_are_free_and_others_are_held_to_the_rate() {
        let beats = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        for viewer in 0..5 {
            beats.admit(address(1), &who("ana", viewer), LEASE, false).unwrap();
        }
        let free = (100..200).filter(|viewer| beats.leave(address(1), &who("ana", *viewer))).count();
        assert!((5..10).contains(&free), "{free}");
        assert!((0..5).all(|viewer| beats.leave(address(1), &who("ana", viewer))));
        assert!(beats.leave(address(2), &who("ana", 300)), "others are unharmed");
    }

    #[test]
    fn the_store_is_not_asked_without_end() {
        let beats = SessionLimiter::new(LIMITS);
        let asked = (0..20_000).filter(|_| beats.try_store(address(1)).is_ok()).count();
        assert!((4_000..10_000).contains(&asked), "{asked}");
        assert!(beats.try_store(address(2)).is_ok());
    }

    #[test]
    fn the_networks_of_a_site_share_eight_times_the_sessions() {
        let beats = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let admitted = (0..100_u16)
            .filter(|nth| beats.admit(network(*nth), &who("ana", u128::from(*nth)), LEASE, false).is_ok());
        assert_eq!(admitted.count(), 24);
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let none = PerAddress {
            joins_burst: 0,
            joins_per_second: 0,
            sessions_per_channel: 0,
            new_channels_per_minute: 0,
        };
        let beats = SessionLimiter::new(none);
        for viewer in 0..1_000 {
            beats.admit(address(1), &who("ana", viewer), LEASE, true).unwrap();
            assert!(beats.leave(address(1), &who("bob", viewer)));
        }
        assert_eq!(beats.0.near.len(), 0);
        let beats = SessionLimiter::new(PerAddress { new_channels_per_minute: 2, ..none });
        for viewer in 0..1_000 {
            beats.admit(address(1), &who("ana", viewer), LEASE, true).unwrap();
        }
        assert_eq!(beats.0.near.sessions(), 1);
    }
}
