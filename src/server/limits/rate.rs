//! Rate limits per address: a burst, and a rate at which the burst refills.

use std::{convert::Infallible, num::NonZeroU32, sync::Arc, time::Duration};

use dashmap::DashMap;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{
        StateStore,
        keyed::{DefaultKeyedStateStore, ShrinkableKeyedStateStore},
    },
};
use tokio::time::Instant;

use super::{Address, SHARDS, SITE_FACTOR};

/// A rate limit that applies to each address, or no limit. Cloning is cheap.
#[derive(Clone)]
pub struct Rate(Option<Arc<Limiters>>);

struct Limiters {
    /// By IPv4 address or IPv6 /64.
    by_address: Limiter,
    /// By IPv6 /48.
    by_site: Limiter,
}

impl Rate {
    /// No limit.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Allows `burst` at once and `rate` per second after that. 0 of either: no limit.
    #[must_use]
    pub fn per_second(burst: u32, rate: u32) -> Self {
        Self::new(rate, burst, Quota::per_second)
    }

    /// Allows `rate` at once and `rate` per minute after that. 0: no limit.
    #[must_use]
    pub fn per_minute(rate: u32) -> Self {
        Self::new(rate, rate, Quota::per_minute)
    }

    fn new(rate: u32, burst: u32, quota: fn(NonZeroU32) -> Quota) -> Self {
        let limiter = |factor: u32| {
            let scaled = |number: u32| NonZeroU32::new(number.saturating_mul(factor));
            Some(Limiter::new(quota(scaled(rate)?), scaled(burst)?))
        };
        let limiters = limiter(1).zip(limiter(SITE_FACTOR));
        Self(limiters.map(|(by_address, by_site)| Arc::new(Limiters { by_address, by_site })))
    }

    /// Whether there is a limit.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        self.0.is_some()
    }

    /// Takes one permit of an address.
    ///
    /// # Errors
    /// The time until one is available.
    pub fn take(&self, address: Address) -> Result<(), Duration> {
        self.take_many(address, 1)
    }

    /// Takes `n` permits of an address, all or none. More than the burst counts as the burst: more are never available.
    ///
    /// # Errors
    /// The time until enough are available.
    pub fn take_many(&self, address: Address, n: u32) -> Result<(), Duration> {
        let (Some(limiters), Some(n)) = (&self.0, NonZeroU32::new(n)) else { return Ok(()) };
        limiters.by_address.take(address, n)?;
        let taken = address.site().map_or(Ok(()), |site| limiters.by_site.take(site, n));
        if taken.is_err() {
            limiters.by_address.give_back(address, n);
        }
        taken
    }

    /// Gives back one permit that [`Rate::take`] gave to the address and that was not used.
    pub fn give_back(&self, address: Address) {
        let Some(limiters) = &self.0 else { return };
        limiters.by_address.give_back(address, NonZeroU32::MIN);
        if let Some(site) = address.site() {
            limiters.by_site.give_back(site, NonZeroU32::MIN);
        }
    }

    /// Removes addresses whose burst has refilled.
    pub fn sweep(&self) {
        if let Some(limiters) = &self.0 {
            limiters.by_address.sweep();
            limiters.by_site.sweep();
        }
    }

    /// The number of addresses in memory.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |limiters| limiters.by_address.full_at.0.len())
    }
}

/// The rate limiter of networks of one size.
struct Limiter {
    state: RateLimiter<Address, FullAt, Elapsed, NoOpMiddleware<Nanos>>,
    /// The state of `state`.
    full_at: FullAt,
    burst: NonZeroU32,
    /// The time in which one permit refills.
    refill: Nanos,
}

impl Limiter {
    fn new(quota: Quota, burst: NonZeroU32) -> Self {
        let store = DashMap::with_hasher_and_shard_amount(Default::default(), SHARDS);
        let full_at = FullAt(Arc::new(store));
        let refill = quota.replenish_interval().into();
        let state = RateLimiter::new(quota.allow_burst(burst), full_at.clone(), Elapsed(Instant::now()));
        Self { state, full_at, burst, refill }
    }

    fn take(&self, address: Address, n: NonZeroU32) -> Result<(), Duration> {
        // An error of `check_key_n` itself means that `n` is over the burst, which is not possible here.
        let taken = self.state.check_key_n(&address, n.min(self.burst));
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.state.clock().now());
        taken.map_or(Ok(()), |taken| taken.map_err(wait))
    }

    /// Gives back what [`Limiter::take`] has taken.
    fn give_back(&self, address: Address, n: NonZeroU32) {
        let time = self.refill * n.min(self.burst).get().into();
        let earlier =
            |at: Option<Nanos>| Ok::<_, Infallible>(((), at.unwrap_or_default().saturating_sub(time)));
        let Ok(()) = self.full_at.measure_and_replace(&address, earlier);
    }

    fn sweep(&self) {
        self.state.retain_recent();
        self.state.shrink_to_fit();
    }
}

/// When the burst of each address is full again.
#[derive(Clone)]
struct FullAt(Arc<DefaultKeyedStateStore<Address>>);

impl StateStore for FullAt {
    type Key = Address;

    fn measure_and_replace<T, F, E>(&self, address: &Address, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(address, f)
    }
}

impl ShrinkableKeyedStateStore<Address> for FullAt {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        ShrinkableKeyedStateStore::shrink_to_fit(&*self.0);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The time since an instant by tokio's clock, which tests can pause.
#[derive(Clone, Copy)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, thread::sleep};

    use tokio::time::advance;

    use super::*;

    fn address(number: u32) -> Address {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn one_address_is_limited_and_others_are_not_affected() {
        let rate = Rate::per_minute(60);
        for _ in 0..60 {
            assert_eq!(rate.take(address(1)), Ok(()));
        }
        let refused = (0..60).filter_map(|_| rate.take(address(1)).err()).collect::<Vec<_>>();
        assert!(refused.len() >= 30, "one permit per second: {}", refused.len());
        assert!(refused.iter().all(|wait| *wait <= Duration::from_secs(1)), "{refused:?}");
        assert_eq!(rate.take(address(2)), Ok(()));
    }

    #[test]
    fn several_permits_are_taken_at_once_and_a_site_shares_a_higher_rate() {
        let rate = Rate::per_second(10, 1);
        assert_eq!(rate.take_many(address(1), 8), Ok(()));
        assert!(rate.take_many(address(1), 8).is_err());
        assert_eq!(rate.take_many(address(2), 1_000), Ok(()), "more than the burst counts as the burst");
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let taken = (0..1_000).filter(|number| rate.take(network(*number)).is_ok()).count();
        assert!((80..200).contains(&taken), "{taken}: eight times the rate for all networks together");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_given_back_can_be_taken_again_and_no_more() {
        let rate = Rate::per_minute(6);
        let taken = || (0..100).filter(|_| rate.take(address(1)).is_ok()).count();
        assert_eq!(taken(), 6);
        rate.give_back(address(1));
        assert_eq!(taken(), 1);
        // What has refilled in the meantime is not there twice.
        advance(Duration::from_secs(600)).await;
        rate.give_back(address(1));
        assert_eq!(taken(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_its_site_refuses_spends_nothing() {
        let rate = Rate::per_minute(1);
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let taken = (0..100).filter(|number| rate.take(network(*number)).is_ok()).count();
        assert_eq!(taken, 8);
        assert!(rate.take(network(99)).is_err());
        rate.give_back(network(0));
        assert_eq!(rate.take(network(99)), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        for rate in [Rate::per_minute(0), Rate::per_second(0, 1), Rate::per_second(1, 0)] {
            assert!((0..1_000).all(|_| rate.take(address(1)).is_ok()));
            rate.sweep();
        }
    }

    #[test]
    fn addresses_are_removed_once_their_burst_has_refilled() {
        let rate = Rate::per_second(1, 100);
        for number in 0..10_000 {
            assert_eq!(rate.take(address(number)), Ok(()));
        }
        assert_eq!(rate.len(), 10_000);
        sleep(Duration::from_millis(20));
        rate.sweep();
        assert_eq!(rate.len(), 0);
    }
}
