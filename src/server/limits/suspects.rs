//! Addresses that have sent a wrong ticket lately. Checking a signature costs more than refusing a call, so the tickets
//! of these addresses are checked at a limited rate. Other addresses are not limited.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::time::Instant;

use super::{Address, Rate, SHARDS};

/// How long an address is suspect after a wrong ticket.
const SUSPECT_FOR: Duration = Duration::from_secs(60);

/// The burst of tickets that are checked for a suspect address, and the tickets per second after that. A classroom
/// behind the same address still gets in.
const CHECKS_BURST: u32 = 1_000;
const CHECKS_PER_SECOND: u32 = 100;

/// The suspect addresses. Cloning is cheap.
#[derive(Clone)]
pub struct Suspects(Arc<Inner>);

struct Inner {
    /// Until when an address is suspect. Networks of an IPv6 site are suspect together.
    until: DashMap<Address, Instant>,
    checks: Rate,
}

impl Default for Suspects {
    fn default() -> Self {
        Self(Arc::new(Inner {
            until: DashMap::with_shard_amount(SHARDS),
            checks: Rate::per_second(CHECKS_BURST, CHECKS_PER_SECOND),
        }))
    }
}

impl Suspects {
    /// The name of the limit in metrics.
    pub const NAME: &str = "tickets";

    /// Admits the check of a ticket.
    ///
    /// # Errors
    /// The time until the next check, for a suspect address that has used up its checks.
    pub fn take_check(&self, address: Address) -> Result<(), Duration> {
        let until = self.0.until.get(&key(address)).map(|until| *until);
        if until.is_some_and(|until| until > Instant::now()) { self.0.checks.take(address) } else { Ok(()) }
    }

    /// Records a wrong ticket.
    pub fn add(&self, address: Address) {
        self.0.until.insert(key(address), Instant::now() + SUSPECT_FOR);
    }

    /// Forgets addresses that are no longer suspect.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.until.retain(|_, until| *until > now);
        self.0.checks.sweep();
    }
}

fn key(address: Address) -> Address {
    address.site().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    /// The checks that are admitted out of `n`.
    fn admitted(suspects: &Suspects, address: Address, n: usize) -> usize {
        (0..n).filter(|_| suspects.take_check(address).is_ok()).count()
    }

    #[test]
    fn only_addresses_with_a_wrong_ticket_are_limited() {
        let suspects = Suspects::default();
        assert_eq!(admitted(&suspects, address(1), 10_000), 10_000);
        suspects.add(address(1));
        let limited = admitted(&suspects, address(1), 10_000);
        assert!((1_000..5_000).contains(&limited), "{limited}");
        assert_eq!(admitted(&suspects, address(2), 10_000), 10_000);
    }

    #[test]
    fn networks_of_one_site_are_limited_together() {
        let suspects = Suspects::default();
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        suspects.add(network(0));
        let limited = (0..60_000).filter(|nth| suspects.take_check(network(*nth)).is_ok()).count();
        assert!((8_000..30_000).contains(&limited), "{limited}");
        assert_eq!(suspects.0.until.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_without_a_wrong_ticket_nothing_is_left() {
        let suspects = Suspects::default();
        suspects.add(address(1));
        admitted(&suspects, address(1), 2_000);
        tokio::time::advance(SUSPECT_FOR + Duration::from_secs(1)).await;
        assert_eq!(admitted(&suspects, address(1), 10_000), 10_000);
        suspects.sweep();
        assert!(suspects.0.until.is_empty());
    }
}
