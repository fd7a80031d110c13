//! The limits of checks of tickets. Checking a signature costs more than all the rest of a join, and one ticket can be sent
//! again and again.
//!
//! Every address has a generous rate, if joins are limited at all. An address that has sent a wrong ticket lately is
//! suspect and has a lower one, always.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::time::Instant;

use super::{Address, PerAddress, Rate, SHARDS};

/// The burst of tickets that are checked for an address, and the tickets per second after that. It is far more than an
/// address may start sessions, so pages that join again are not refused.
const CHECKS: (u32, u32) = (4_000, 400);

/// The same for a suspect address. A classroom behind the same address still gets in.
const CHECKS_OF_SUSPECTS: (u32, u32) = (1_000, 100);

/// How long an address is suspect after a wrong ticket.
const SUSPECT_FOR: Duration = Duration::from_secs(60);

/// The checks of tickets of each address. Cloning is cheap.
#[derive(Clone)]
pub struct TicketChecks(Arc<Inner>);

struct Inner {
    of_all: Rate,
    of_suspects: Rate,
    /// Until when an address is suspect. Networks of an IPv6 site are suspect together.
    suspect_until: DashMap<Address, Instant>,
}

impl TicketChecks {
    /// The name of the limit in metrics.
    pub const NAME: &str = "tickets";

    /// Limits the checks of all addresses if `limits` limit their joins, and else those of suspect addresses only.
    #[must_use]
    pub fn new(limits: &PerAddress) -> Self {
        let limits_joins = limits.joins_burst > 0 && limits.joins_per_second > 0;
        let rate = |(burst, per_second)| Rate::per_second(burst, per_second);
        Self(Arc::new(Inner {
            of_all: if limits_joins { rate(CHECKS) } else { Rate::none() },
            of_suspects: rate(CHECKS_OF_SUSPECTS),
            suspect_until: DashMap::with_shard_amount(SHARDS),
        }))
    }

    /// Takes one check.
    ///
    /// # Errors
    /// The time until the next check, if the address has used up its checks.
    pub fn take(&self, address: Address) -> Result<(), Duration> {
        let until = self.0.suspect_until.get(&key(address)).map(|until| *until);
        let is_suspect = until.is_some_and(|until| until > Instant::now());
        if is_suspect { self.0.of_suspects.take(address) } else { self.0.of_all.take(address) }
    }

    /// Records that a check has failed.
    pub fn failed(&self, address: Address) {
        self.0.suspect_until.insert(key(address), Instant::now() + SUSPECT_FOR);
    }

    /// Forgets addresses that are no longer suspect, and those whose bursts have refilled.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.suspect_until.retain(|_, until| *until > now);
        self.0.of_all.sweep();
        self.0.of_suspects.sweep();
    }
}

fn key(address: Address) -> Address {
    address.site().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const LIMITS: PerAddress = PerAddress {
        joins_burst: 300,
        joins_per_second: 2,
        sessions_per_channel: 0,
        new_channels_per_minute: 0,
    };

    fn unlimited() -> TicketChecks {
        TicketChecks::new(&PerAddress { joins_burst: 0, ..LIMITS })
    }

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    /// The checks that are admitted out of `n`.
    fn admitted(checks: &TicketChecks, address: Address, n: usize) -> usize {
        (0..n).filter(|_| checks.take(address).is_ok()).count()
    }

    #[test]
    fn addresses_with_a_wrong_ticket_have_fewer_checks() {
        let checks = TicketChecks::new(&LIMITS);
        let honest = admitted(&checks, address(1), 20_000);
        assert!((4_000..12_000).contains(&honest), "{honest}");
        checks.failed(address(2));
        let suspect = admitted(&checks, address(2), 20_000);
        assert!((1_000..4_000).contains(&suspect), "{suspect}");
        assert!(checks.take(address(3)).is_ok(), "other addresses are not affected");
    }

    #[test]
    fn where_joins_are_not_limited_only_suspects_are() {
        let checks = unlimited();
        assert_eq!(admitted(&checks, address(1), 20_000), 20_000);
        checks.failed(address(1));
        let suspect = admitted(&checks, address(1), 20_000);
        assert!((1_000..4_000).contains(&suspect), "{suspect}");
        assert_eq!(admitted(&checks, address(2), 20_000), 20_000);
    }

    #[test]
    fn networks_of_one_site_are_suspect_together() {
        let checks = unlimited();
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        checks.failed(network(0));
        let limited = (0..60_000).filter(|nth| checks.take(network(*nth)).is_ok()).count();
        assert!((8_000..30_000).contains(&limited), "{limited}");
        assert_eq!(checks.0.suspect_until.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_without_a_wrong_ticket_nothing_is_left() {
        let checks = unlimited();
        checks.failed(address(1));
        admitted(&checks, address(1), 2_000);
        tokio::time::advance(SUSPECT_FOR + Duration::from_secs(1)).await;
        assert_eq!(admitted(&checks, address(1), 10_000), 10_000);
        checks.sweep();
        assert!(checks.0.suspect_until.is_empty());
    }
}
