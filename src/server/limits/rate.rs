//! How often one address may do something: so many times at once, and so many in a time from then on.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use dashmap::DashMap;
use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::DefaultKeyedStateStore,
};
use tokio::time::Instant;

use super::{Address, SHARDS, SITE_FACTOR};

/// A rate that each address is held to, or none. Cloning is cheap.
#[derive(Clone)]
pub struct Rate(Option<Arc<Limiters>>);

struct Limiters {
    near: Limiter,
    /// The same for the sites of IPv6 addresses.
    site: Limiter,
}

impl Rate {
    /// No limit.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// So many at once, and so many per second from then on; 0 of either is no limit.
    #[must_use]
    pub fn per_second(burst: u32, rate: u32) -> Self {
        Self::of(rate, burst, Quota::per_second)
    }

    /// So many per minute, and at once; 0 is no limit.
    #[must_use]
    pub fn per_minute(rate: u32) -> Self {
        Self::of(rate, rate, Quota::per_minute)
    }

    fn of(rate: u32, burst: u32, quota: fn(NonZeroU32) -> Quota) -> Self {
        let limiter = |times: u32| {
            let whole = |number: u32| NonZeroU32::new(number.saturating_mul(times));
            Some(Limiter::new(quota(whole(rate)?), whole(burst)?))
        };
        let limiters = limiter(1).zip(limiter(SITE_FACTOR));
        Self(limiters.map(|(near, site)| Arc::new(Limiters { near, site })))
    }

    /// Whether it holds anybody to anything.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        self.0.is_some()
    }

    /// Takes one of what an address may.
    ///
    /// # Errors
    /// How long until there is another.
    pub fn take(&self, address: Address) -> Result<(), Duration> {
        self.take_many(address, 1)
    }

    /// Takes several at once, all or none; more than the burst counts as the burst, as it would never be given otherwise.
    ///
    /// # Errors
    /// How long until there are as many.
    pub fn take_many(&self, address: Address, n: u32) -> Result<(), Duration> {
        let (Some(limiters), Some(n)) = (&self.0, NonZeroU32::new(n)) else { return Ok(()) };
        limiters.near.take(address, n)?;
        address.site().map_or(Ok(()), |site| limiters.site.take(site, n))
    }

    /// Forgets addresses that may do as much again as any.
    pub fn sweep(&self) {
        if let Some(limiters) = &self.0 {
            limiters.near.sweep();
            limiters.site.sweep();
        }
    }

    /// The addresses that are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |limiters| limiters.near.by_address.len())
    }
}

/// The rate of addresses of one width.
struct Limiter {
    by_address: RateLimiter<Address, DefaultKeyedStateStore<Address>, Elapsed, NoOpMiddleware<Nanos>>,
    burst: NonZeroU32,
}

impl Limiter {
    fn new(quota: Quota, burst: NonZeroU32) -> Self {
        let state = DashMap::with_hasher_and_shard_amount(Default::default(), SHARDS);
        Self { by_address: RateLimiter::new(quota.allow_burst(burst), state, Elapsed(Instant::now())), burst }
    }

    fn take(&self, address: Address, n: NonZeroU32) -> Result<(), Duration> {
        let taken = self.by_address.check_key_n(&address, n.min(self.burst));
        // It never asks for more than there can be.
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.by_address.clock().now());
        taken.map_or(Ok(()), |taken| taken.map_err(wait))
    }

    fn sweep(&self) {
        self.by_address.retain_recent();
        self.by_address.shrink_to_fit();
    }
}

/// The time since then, by the runtime's clock: that of the machine, or a test's.
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

    use super::*;

    fn address(number: u32) -> Address {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn one_address_is_held_to_the_rate_and_others_are_unharmed() {
        let rate = Rate::per_minute(60);
        for _ in 0..60 {
            assert_eq!(rate.take(address(1)), Ok(()));
        }
        let refused = (0..60).filter_map(|_| rate.take(address(1)).err()).collect::<Vec<_>>();
        assert!(refused.len() >= 30, "one comes back per second: {}", refused.len());
        assert!(refused.iter().all(|wait| *wait <= Duration::from_secs(1)), "{refused:?}");
        assert_eq!(rate.take(address(2)), Ok(()));
    }

    #[test]
    fn several_are_taken_at_once_and_the_networks_of_a_site_share_a_wider_rate() {
        let rate = Rate::per_second(10, 1);
        assert_eq!(rate.take_many(address(1), 8), Ok(()));
        assert!(rate.take_many(address(1), 8).is_err());
        assert_eq!(rate.take_many(address(2), 1_000), Ok(()), "more than the burst is the burst");
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let taken = (0..1_000).filter(|number| rate.take(network(*number)).is_ok()).count();
        assert!((80..200).contains(&taken), "{taken}: eight times the rate, whatever the networks");
    }

    #[test]
    fn zero_is_no_limit() {
        for rate in [Rate::per_minute(0), Rate::per_second(0, 1), Rate::per_second(1, 0)] {
            assert!((0..1_000).all(|_| rate.take(address(1)).is_ok()));
            rate.sweep();
        }
    }

    #[test]
    fn addresses_are_forgotten_once_they_may_do_as_much_as_any() {
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
