//! How many connections one address may have open at a time. A connection of a stream is one as well. Our own proxies, which
//! bring many clients each, are not counted.
//!
//! There is an entry for an address while it has a connection, so never more entries than connections.

use std::{net::SocketAddr, sync::Arc};

use dashmap::{DashMap, Entry};

use super::{Address, Proxies};

/// The open connections of this node. Cloning is cheap.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    per_address: u32,
    exempt: Proxies,
    by_address: DashMap<Address, u32>,
}

impl Connections {
    /// Lets `per_address` connections of one address be open, and any number of proxies of ours. 0 sets no limit.
    #[must_use]
    pub fn new(per_address: u32, exempt: Proxies) -> Self {
        Self(Arc::new(Inner { per_address, exempt, by_address: DashMap::new() }))
    }

    /// A place for one more connection of a peer, if there is one.
    #[must_use]
    pub fn place(&self, peer: SocketAddr) -> Option<Place> {
        let inner = &self.0;
        if inner.per_address == 0 || inner.exempt.include(peer.ip()) {
            return Some(Place(None));
        }
        let address = peer.ip().into();
        let mut open = inner.by_address.entry(address).or_insert(0);
        if *open >= inner.per_address {
            return None;
        }
        *open += 1;
        Some(Place(Some((self.clone(), address))))
    }
}

/// The place of one connection; dropping it frees it.
pub struct Place(Option<(Connections, Address)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((connections, address)) = self.0.take() else { return };
        if let Entry::Occupied(mut open) = connections.0.by_address.entry(address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_is_forgotten_after_its_last() {
        let connections = Connections::new(2, Proxies::default());
        let places = [connections.place(peer("192.0.2.1:1")), connections.place(peer("192.0.2.1:2"))];
        assert!(places.iter().all(Option::is_some));
        assert!(connections.place(peer("192.0.2.1:3")).is_none());
        assert!(connections.place(peer("192.0.2.2:3")).is_some(), "others are unharmed");
        drop(places);
        assert!(connections.0.by_address.is_empty());
        assert!(connections.place(peer("192.0.2.1:3")).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let connections = Connections::new(1, Proxies::default());
        let _place = connections.place(peer("[2001:db8:1:2:3::1]:1")).unwrap();
        assert!(connections.place(peer("[2001:db8:1:2:ffff::9]:1")).is_none());
        assert!(connections.place(peer("[2001:db8:1:3::1]:1")).is_some());
    }

    #[test]
    fn proxies_and_a_limit_of_zero_have_none() {
        let ours: Proxies = ["10.0.0.0/8"].map(|text| text.parse().unwrap()).into_iter().collect();
        for (limit, peers) in
            [(1, ["10.1.2.3:1", "[::ffff:10.1.2.3]:2"]), (0, ["192.0.2.1:1", "192.0.2.1:2"])]
        {
            let connections = Connections::new(limit, ours.clone());
            let places = peers.map(|text| connections.place(peer(text)));
            assert!(places.iter().all(Option::is_some));
            assert!(connections.0.by_address.is_empty());
        }
    }
}
