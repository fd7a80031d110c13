//! How often one address may do something: so many times at once, and so many in a time from then on.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use super::Address;

/// A rate that each address is held to, or none. Cloning is cheap.
#[derive(Clone)]
pub struct Rate(Option<Arc<RateLimiter<Address, DefaultKeyedStateStore<Address>, DefaultClock>>>);

impl Rate {
    /// So many at once, and so many per second from then on; 0 of either is no limit.
    #[must_use]
    pub fn per_second(burst: u32, rate: u32) -> Self {
        let both = NonZeroU32::new(burst).zip(NonZeroU32::new(rate));
        Self::of(both.map(|(burst, rate)| Quota::per_second(rate).allow_burst(burst)))
    }

    /// So many per minute, and at once; 0 is no limit.
    #[must_use]
    pub fn per_minute(rate: u32) -> Self {
        Self::of(NonZeroU32::new(rate).map(Quota::per_minute))
    }

    fn of(quota: Option<Quota>) -> Self {
        Self(quota.map(|quota| Arc::new(RateLimiter::keyed(quota))))
    }

    /// Takes one of what an address may.
    ///
    /// # Errors
    /// How long until there is another.
    pub fn take(&self, address: Address) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(&address).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }

    /// Forgets addresses that may do as much again as any.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// The addresses that are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |limiter| limiter.len())
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
