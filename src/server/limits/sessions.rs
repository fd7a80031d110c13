//! The limits of what one address may add to counts: new sessions, sessions in a channel, and new channels.
//!
//! Clients choose their ids, so an address can pose as any number of viewers up to these limits. Beats of admitted
//! sessions are not limited, so viewers behind a shared address stay counted once they are admitted.
//!
//! Whether a channel has viewers is known for certain only when a beat is written. So the first beat of an address in a
//! channel takes a permit for a new channel, and [`Admission::written`] gives it back if the channel had viewers before.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Address, Rate, SITE_FACTOR,
    crowds::{Crowds, Session},
    under_way::{Beat, UnderWay},
};
use crate::domain::{ChannelId, SessionKey};

/// The burst of robots' beats and of leaves over a limit that an address may send, and how many per second after that.
///
/// After a restart, a node knows none of the sessions that the store counts. Thousands of them behind one address may leave
/// within a minute.
const UNCOUNTED_BURST: u32 = 4_000;
const UNCOUNTED_PER_SECOND: u32 = 400;

/// The limits of one address. 0: no limit.
#[derive(Debug, Clone, Copy)]
pub struct PerAddress {
    /// New sessions at once.
    pub joins_burst: u32,
    /// New sessions per second after that.
    pub joins_per_second: u32,
    /// Live sessions in one channel.
    pub sessions_per_channel: u32,
    /// Channels without viewers that the address may open, per minute.
    pub new_channels_per_minute: u32,
}

/// The limit that a call exceeds, with the time until a retry can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitExceeded {
    /// Too many new sessions.
    Joins(Duration),
    /// Too many sessions in the channel.
    Sessions,
    /// Too many new channels.
    Channels(Duration),
    /// Too many calls that count nobody.
    Uncounted(Duration),
}

impl LimitExceeded {
    /// The name of the limit in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joins(_) => "joins",
            Self::Sessions => "sessions-per-channel",
            Self::Channels(_) => "new-channels",
            Self::Uncounted(_) => "uncounted",
        }
    }
}

/// The admitted sessions of each address, and their limits. Cloning is cheap.
#[derive(Clone)]
pub struct SessionLimiter(Arc<Inner>);

struct Inner {
    joins: Rate,
    channels: Rate,
    leaves: Rate,
    uncounted: Rate,
    /// The beats that may add a viewer.
    under_way: UnderWay,
    /// The admitted sessions by IPv4 address or IPv6 /64.
    by_address: Crowds,
    /// The admitted sessions by IPv6 /48.
    by_site: Crowds,
    /// Whether sessions are kept one by one. If no limit applies to sessions, one entry for each address and channel is
    /// enough.
    tracks_sessions: bool,
}

impl SessionLimiter {
    /// Applies `limits` to each address.
    #[must_use]
    pub fn new(limits: PerAddress) -> Self {
        let joins = Rate::per_second(limits.joins_burst, limits.joins_per_second);
        Self(Arc::new(Inner {
            tracks_sessions: joins.is_limit() || limits.sessions_per_channel > 0,
            joins,
            channels: Rate::per_minute(limits.new_channels_per_minute),
            leaves: Rate::per_second(limits.joins_burst, limits.joins_per_second),
            uncounted: Rate::per_second(UNCOUNTED_BURST, UNCOUNTED_PER_SECOND),
            under_way: UnderWay::default(),
            by_address: Crowds::new(limits.sessions_per_channel),
            by_site: Crowds::new(limits.sessions_per_channel.saturating_mul(SITE_FACTOR)),
        }))
    }

    /// Admits a beat, and remembers its session until the lease ends. `is_new_channel` says that the channel may have
    /// no viewers. Refused sessions are not remembered and spend nothing. The admission is kept until the beat is written.
    ///
    /// # Errors
    /// The limit that the beat exceeds.
    pub fn admit(
        &self,
        address: Address,
        who: &SessionKey,
        lease: Duration,
        is_new_channel: bool,
    ) -> Result<Admission, LimitExceeded> {
        let inner = &self.0;
        if !inner.is_active() {
            return Ok(Admission::default());
        }
        let (now, session, key) = (Instant::now(), inner.session(who), (address, who.channel.clone()));
        if inner.renew(&key, session, now, lease) {
            // If sessions are not kept one by one, this beat may be that of a new viewer.
            return Ok(if inner.tracks_sessions {
                Admission::default()
            } else {
                self.admission(&key, false)
            });
        }
        if !inner.by_address.has_room(&key, now) {
            return Err(LimitExceeded::Sessions);
        }
        let site = address.site().map(|site| (site, who.channel.clone()));
        if site.as_ref().is_some_and(|site| !inner.by_site.has_room(site, now)) {
            return Err(LimitExceeded::Sessions);
        }
        inner.joins.take(address).map_err(LimitExceeded::Joins)?;
        let takes_permit = is_new_channel && !inner.by_address.has_any(&key, now);
        if takes_permit && let Err(wait) = inner.channels.take(address) {
            inner.joins.give_back(address);
            return Err(LimitExceeded::Channels(wait));
        }
        // It is under way before other beats of the address are exempt because of it.
        let admission = self.admission(&key, takes_permit);
        inner.by_address.insert(&key, session, now, lease);
        if let Some(site) = site {
            inner.by_site.insert(&site, session, now, lease);
        }
        Ok(admission)
    }

    /// The admission of a beat that may add a viewer to a channel.
    fn admission(&self, (address, channel): &(Address, ChannelId), has_permit: bool) -> Admission {
        if !self.0.channels.is_limit() {
            return Admission::default();
        }
        let beat = self.0.under_way.begin(channel);
        Admission(Some(Admitted { limiter: self.clone(), address: *address, beat, has_permit }))
    }

    /// Extends the lease of a session that was admitted here. Returns whether it was. If sessions are not limited, every
    /// session passes for one that was.
    #[must_use]
    pub fn renew(&self, address: Address, who: &SessionKey, lease: Duration) -> bool {
        let inner = &self.0;
        if !inner.tracks_sessions {
            return true;
        }
        inner.renew(&(address, who.channel.clone()), inner.session(who), Instant::now(), lease)
    }

    /// Remembers a session that the store counts although this node has not admitted it. Of all IPv6 addresses of a /48, only
    /// the first one is remembered for it: a client can use a new address for each beat.
    pub fn note(&self, address: Address, who: &SessionKey, lease: Duration) {
        let inner = &self.0;
        if !inner.is_active() {
            return;
        }
        let (now, session) = (Instant::now(), inner.session(who));
        if let Some(site) = address.site() {
            let key = (site, who.channel.clone());
            if inner.by_site.renew(&key, session, now, lease) {
                return;
            }
            inner.by_site.insert(&key, session, now, lease);
        }
        inner.by_address.insert(&(address, who.channel.clone()), session, now, lease);
    }

    /// Forgets a session that leaves. Returns whether the leave is admitted: always for sessions that were admitted
    /// here, and at the rate of joins for others.
    #[must_use]
    pub fn leave(&self, address: Address, who: &SessionKey) -> bool {
        let inner = &self.0;
        if !inner.tracks_sessions {
            return true;
        }
        let session = inner.session(who);
        let was_admitted = inner.by_address.remove(&(address, who.channel.clone()), session);
        if let Some(site) = address.site() {
            inner.by_site.remove(&(site, who.channel.clone()), session);
        }
        was_admitted || inner.leaves.take(address).is_ok()
    }

    /// Takes one of the calls that count nobody: beats of robots, and leaves over the rate of joins.
    ///
    /// # Errors
    /// [`LimitExceeded::Uncounted`] if the address has used them up.
    pub fn take_uncounted(&self, address: Address) -> Result<(), LimitExceeded> {
        self.0.uncounted.take(address).map_err(LimitExceeded::Uncounted)
    }

    /// The number of sessions in memory.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.0.by_address.sessions() + self.0.by_site.sessions()
    }

    /// Removes ended sessions, and addresses whose bursts have refilled.
    pub fn sweep(&self) {
        let inner = &self.0;
        let now = Instant::now();
        inner.by_address.sweep(now);
        inner.by_site.sweep(now);
        for rate in [&inner.joins, &inner.channels, &inner.leaves, &inner.uncounted] {
            rate.sweep();
        }
    }
}

/// An admitted beat that is not written yet.
#[derive(Default)]
#[must_use]
pub struct Admission(Option<Admitted>);

struct Admitted {
    limiter: SessionLimiter,
    address: Address,
    beat: Beat,
    /// Whether it has taken a permit for a new channel.
    has_permit: bool,
}

impl Admission {
    /// The beat is written, and `viewers` is the fresh count that its write has returned, if there is one. If other
    /// viewers than those of beats under way are in it, the channel had viewers before the beat, so the permit for a new
    /// channel is given back.
    pub fn written(self, viewers: Option<u32>) {
        let Some(Admitted { limiter, address, beat, has_permit }) = self.0 else { return };
        if has_permit && viewers.is_some_and(|viewers| u64::from(viewers) > beat.most_added()) {
            limiter.0.channels.give_back(address);
        }
    }
}

impl Inner {
    fn is_active(&self) -> bool {
        self.tracks_sessions || self.channels.is_limit()
    }

    /// Extends the lease of a session that was admitted. Returns whether it was.
    fn renew(
        &self,
        key: &(Address, ChannelId),
        session: Option<Session>,
        now: Instant,
        lease: Duration,
    ) -> bool {
        let was_admitted = self.by_address.renew(key, session, now, lease);
        if was_admitted && let Some(site) = key.0.site() {
            self.by_site.insert(&(site, key.1.clone()), session, now, lease);
        }
        was_admitted
    }

    /// The key of a session, or `None` if sessions are not kept one by one.
    fn session(&self, who: &SessionKey) -> Option<Session> {
        self.tracks_sessions.then_some((who.viewer, who.session))
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

    /// Admits a beat that is written at once and returns no count.
    fn admit(
        limiter: &SessionLimiter,
        from: u8,
        who: &SessionKey,
        lease: Duration,
        is_new: bool,
    ) -> Result<(), LimitExceeded> {
        limiter.admit(address(from), who, lease, is_new).map(|admission| admission.written(None))
    }

    #[test]
    fn admitted_sessions_are_not_limited_and_new_ones_are_limited_to_the_burst() {
        let limiter = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        for round in 0..100 {
            for viewer in 0..5 {
                assert_eq!(admit(&limiter, 1, &who("ana", viewer), LEASE, round == 0), Ok(()));
            }
        }
        assert!(matches!(admit(&limiter, 1, &who("ana", 6), LEASE, false), Err(LimitExceeded::Joins(_))));
        assert_eq!(
            admit(&limiter, 2, &who("ana", 6), LEASE, false),
            Ok(()),
            "other addresses are not affected"
        );
    }

    #[test]
    fn sessions_of_an_address_in_a_channel_are_limited_until_some_leave() {
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        for viewer in 0..3 {
            admit(&limiter, 1, &who("ana", viewer), LEASE, false).unwrap();
        }
        assert_eq!(admit(&limiter, 1, &who("ana", 3), LEASE, false), Err(LimitExceeded::Sessions));
        assert!(limiter.leave(address(1), &who("ana", 0)));
        assert_eq!(admit(&limiter, 1, &who("ana", 3), LEASE, false), Ok(()));
        // A session whose lease has ended makes room too.
        assert_eq!(admit(&limiter, 1, &who("bob", 0), Duration::ZERO, false), Ok(()));
        for viewer in 1..4 {
            assert_eq!(admit(&limiter, 1, &who("bob", viewer), LEASE, false), Ok(()));
        }
    }

    #[test]
    fn new_channels_are_limited_and_channels_with_viewers_are_not() {
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        for channel in ["a", "b"] {
            assert_eq!(admit(&limiter, 1, &who(channel, 0), LEASE, true), Ok(()));
        }
        assert!(matches!(admit(&limiter, 1, &who("c", 0), LEASE, true), Err(LimitExceeded::Channels(_))));
        assert_eq!(admit(&limiter, 1, &who("d", 0), LEASE, false), Ok(()));
        assert_eq!(admit(&limiter, 1, &who("a", 1), LEASE, true), Ok(()), "the channel is no longer new");
    }

    #[test]
    fn a_channel_that_had_viewers_before_the_beat_costs_no_permit() {
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        let join = |from: u8, channel: String, viewers| {
            let who = who(&channel, from.into());
            limiter.admit(address(from), &who, LEASE, true).map(|admission| admission.written(viewers))
        };
        for number in 0..100 {
            assert_eq!(join(1, format!("live{number}"), Some(2)), Ok(()));
        }
        for (number, viewers) in [(0, Some(1)), (1, None)] {
            assert_eq!(join(1, format!("new{number}"), viewers), Ok(()));
        }
        assert!(matches!(join(1, "new2".to_owned(), Some(1)), Err(LimitExceeded::Channels(_))));
        assert_eq!(join(1, "new0".to_owned(), Some(1)), Ok(()), "the address has a session in it");
    }

    #[test]
    fn beats_that_are_written_together_do_not_make_each_others_channel_old() {
        for tracked in [0, 3] {
            let limits = PerAddress { joins_burst: 0, sessions_per_channel: tracked, ..LIMITS };
            let limiter = SessionLimiter::new(limits);
            let mut opened = 0;
            for number in 0..10 {
                let channel = format!("c{number}");
                let join =
                    |from: u8, viewer| limiter.admit(address(from), &who(&channel, viewer), LEASE, true);
                // Two viewers of one address and one of another, in one write.
                let joins: Vec<_> =
                    [(1, 1), (1, 2), (2, 3)].into_iter().filter_map(|(a, v)| join(a, v).ok()).collect();
                opened += usize::from(!joins.is_empty());
                let count = u32::try_from(joins.len()).ok();
                joins.into_iter().for_each(|admission| admission.written(count));
            }
            assert!(opened <= 4, "two for each address: {opened}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_beat_spends_nothing() {
        let limiter = SessionLimiter::new(LIMITS);
        for viewer in 0..5 {
            admit(&limiter, 1, &who(&format!("live{viewer}"), viewer), LEASE, false).unwrap();
        }
        for number in 0..10 {
            let refused = admit(&limiter, 1, &who(&format!("new{number}"), 0), LEASE, true);
            assert!(matches!(refused, Err(LimitExceeded::Joins(_))), "{refused:?}");
        }
        assert_eq!(limiter.0.channels.take(address(1)), Ok(()));
        assert_eq!(limiter.0.channels.take(address(1)), Ok(()));
        // The other way round.
        for number in 0..10 {
            let _refused = admit(&limiter, 2, &who(&format!("new{number}"), 0), LEASE, true);
        }
        assert_eq!((0..3).filter(|_| limiter.0.joins.take(address(2)).is_ok()).count(), 3);
    }

    #[test]
    fn an_address_whose_sessions_have_ended_opens_the_channel_again() {
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        for _ in 0..2 {
            assert_eq!(admit(&limiter, 1, &who("ana", 1), Duration::ZERO, true), Ok(()));
        }
        assert!(matches!(
            admit(&limiter, 1, &who("ana", 1), Duration::ZERO, true),
            Err(LimitExceeded::Channels(_))
        ));
    }

    #[test]
    fn refused_and_ended_sessions_take_no_memory() {
        let limiter = SessionLimiter::new(LIMITS);
        for number in 0..10_000 {
            let _refused = admit(&limiter, 1, &who(&format!("c{number}"), number), Duration::ZERO, true);
        }
        assert_eq!(limiter.0.by_address.len(), 2);
        limiter.sweep();
        assert_eq!(limiter.0.by_address.len(), 0);
    }

    #[test]
    fn viewers_that_share_a_session_id_are_counted_separately() {
        let session = |viewer: u128, session: u128| {
            let id = |number: u128| Uuid::from_u128(number + 1).to_string();
            SessionKey::parse("ana", &id(viewer), Some(&id(session))).unwrap()
        };
        let limiter = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        let admitted =
            (0..100).filter(|nth| admit(&limiter, 1, &session(*nth, 7), LEASE, false).is_ok()).count();
        assert!((5..10).contains(&admitted), "{admitted}");
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        let admitted =
            (0..100).filter(|nth| admit(&limiter, 1, &session(*nth, 7), LEASE, false).is_ok()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn only_admitted_sessions_are_renewed() {
        let limiter = SessionLimiter::new(LIMITS);
        assert!(!limiter.renew(address(1), &who("ana", 1), LEASE));
        admit(&limiter, 1, &who("ana", 1), LEASE, false).unwrap();
        assert!(limiter.renew(address(1), &who("ana", 1), LEASE));
        for (from, other) in [(1, who("ana", 2)), (1, who("bob", 1)), (2, who("ana", 1))] {
            assert!(!limiter.renew(address(from), &other, LEASE), "{other:?}");
        }
        assert!(limiter.leave(address(1), &who("ana", 1)));
        assert!(!limiter.renew(address(1), &who("ana", 1), LEASE));
        let none = PerAddress { joins_burst: 0, sessions_per_channel: 0, ..LIMITS };
        assert!(SessionLimiter::new(none).renew(address(1), &who("ana", 1), LEASE), "no limit");
    }

    #[test]
    fn leaves_of_admitted_sessions_are_not_limited_and_others_are() {
        let limiter = SessionLimiter::new(PerAddress { sessions_per_channel: 0, ..LIMITS });
        for viewer in 0..5 {
            admit(&limiter, 1, &who("ana", viewer), LEASE, false).unwrap();
        }
        let admitted = (100..200).filter(|viewer| limiter.leave(address(1), &who("ana", *viewer))).count();
        assert!((5..10).contains(&admitted), "{admitted}");
        assert!((0..5).all(|viewer| limiter.leave(address(1), &who("ana", viewer))));
        assert!(limiter.leave(address(2), &who("ana", 300)), "other addresses are not affected");
    }

    #[test]
    fn calls_that_count_nobody_are_limited() {
        let limiter = SessionLimiter::new(LIMITS);
        let taken = (0..20_000).filter(|_| limiter.take_uncounted(address(1)).is_ok()).count();
        assert!((4_000..10_000).contains(&taken), "{taken}");
        assert!(limiter.take_uncounted(address(2)).is_ok());
    }

    #[test]
    fn a_site_shares_eight_times_the_sessions() {
        let limiter = SessionLimiter::new(PerAddress { joins_burst: 0, ..LIMITS });
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let admitted = (0..100_u16)
            .filter(|nth| limiter.admit(network(*nth), &who("ana", u128::from(*nth)), LEASE, false).is_ok());
        assert_eq!(admitted.count(), 24);
    }

    #[test]
    fn a_session_that_comes_from_many_networks_of_a_site_is_kept_once() {
        let limiter = SessionLimiter::new(LIMITS);
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        for number in 0..1_000 {
            limiter.note(network(number), &who("ana", 1), LEASE);
        }
        assert_eq!(limiter.remembered(), 2, "by its first network, and by its site");
        assert!(limiter.renew(network(0), &who("ana", 1), LEASE));
        limiter.note(address(1), &who("ana", 1), LEASE);
        assert!(limiter.renew(address(1), &who("ana", 1), LEASE), "another address");
    }

    #[test]
    fn without_limits_no_sessions_are_kept() {
        let none = PerAddress {
            joins_burst: 0,
            joins_per_second: 0,
            sessions_per_channel: 0,
            new_channels_per_minute: 0,
        };
        let limiter = SessionLimiter::new(none);
        for viewer in 0..1_000 {
            admit(&limiter, 1, &who("ana", viewer), LEASE, true).unwrap();
            assert!(limiter.leave(address(1), &who("bob", viewer)));
        }
        assert_eq!(limiter.0.by_address.len(), 0);
        let limiter = SessionLimiter::new(PerAddress { new_channels_per_minute: 2, ..none });
        for viewer in 0..1_000 {
            admit(&limiter, 1, &who("ana", viewer), LEASE, true).unwrap();
        }
        assert_eq!(limiter.0.by_address.sessions(), 1);
    }
}
