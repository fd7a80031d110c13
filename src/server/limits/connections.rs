//! The limit of open connections per address. Connections of streams count too. Trusted proxies are exempt, because
//! each of them carries many clients.

use std::{net::SocketAddr, sync::Arc};

use super::{Address, Proxies, weights::Weights};

/// Counts the open connections of each address. Cloning is cheap.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    per_address: u32,
    exempt: Proxies,
    by_address: Weights,
}

impl Connections {
    /// Allows `per_address` open connections of one address (0: no limit), and any number of `exempt` proxies.
    #[must_use]
    pub fn new(per_address: u32, exempt: Proxies) -> Self {
        Self(Arc::new(Inner { per_address, exempt, by_address: Weights::new(per_address) }))
    }

    /// A permit for one more connection of a peer, or `None` if its address has reached the limit.
    #[must_use]
    pub fn permit(&self, peer: SocketAddr) -> Option<ConnectionPermit> {
        let inner = &self.0;
        if inner.per_address == 0 || inner.exempt.include(peer.ip()) {
            return Some(ConnectionPermit(None));
        }
        let address = peer.ip().into();
        let permit = || ConnectionPermit(Some((self.clone(), address)));
        inner.by_address.take(address, 1).then(permit)
    }
}

/// The permit of one connection. Dropping it releases it.
pub struct ConnectionPermit(Option<(Connections, Address)>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some((connections, address)) = self.0.take() else { return };
        connections.0.by_address.release(address, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_limited_connections_and_is_removed_after_the_last() {
        let connections = Connections::new(2, Proxies::default());
        let permits = [connections.permit(peer("192.0.2.1:1")), connections.permit(peer("192.0.2.1:2"))];
        assert!(permits.iter().all(Option::is_some));
        assert!(connections.permit(peer("192.0.2.1:3")).is_none());
        assert!(connections.permit(peer("192.0.2.2:3")).is_some(), "other addresses are not affected");
        drop(permits);
        assert!(connections.0.by_address.is_empty());
        assert!(connections.permit(peer("192.0.2.1:3")).is_some());
    }

    #[test]
    fn a_64_is_one_address() {
        let connections = Connections::new(1, Proxies::default());
        let _permit = connections.permit(peer("[2001:db8:1:2:3::1]:1")).unwrap();
        assert!(connections.permit(peer("[2001:db8:1:2:ffff::9]:1")).is_none());
        assert!(connections.permit(peer("[2001:db8:1:3::1]:1")).is_some());
    }

    #[test]
    fn a_site_shares_eight_times_the_limit() {
        let connections = Connections::new(2, Proxies::default());
        let peers = (0..100).map(|network| peer(&format!("[2001:db8:1:{network:x}::1]:1")));
        let permits: Vec<_> = peers.filter_map(|peer| connections.permit(peer)).collect();
        assert_eq!(permits.len(), 16);
        drop(permits);
        assert!(connections.0.by_address.is_empty());
    }

    #[test]
    fn proxies_are_exempt_and_zero_is_no_limit() {
        let trusted: Proxies = ["10.0.0.0/8"].map(|text| text.parse().unwrap()).into_iter().collect();
        for (limit, peers) in
            [(1, ["10.1.2.3:1", "[::ffff:10.1.2.3]:2"]), (0, ["192.0.2.1:1", "192.0.2.1:2"])]
        {
            let connections = Connections::new(limit, trusted.clone());
            let permits = peers.map(|text| connections.permit(peer(text)));
            assert!(permits.iter().all(Option::is_some));
            assert!(connections.0.by_address.is_empty());
        }
    }
}
