//! How much each network has open, for limits of streams and of connections.

use dashmap::{DashMap, Entry};

use super::{Address, SITE_FACTOR};

/// The total weight that each address has open. An IPv6 /48 may have [`SITE_FACTOR`] times as much as a /64. The maps
/// have entries only for networks that have something open.
pub(super) struct Weights {
    /// 0: no limit.
    limit: u32,
    /// By IPv4 address or IPv6 /64.
    near: DashMap<Address, u32>,
    /// By IPv6 /48.
    sites: DashMap<Address, u32>,
}

impl Weights {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, near: DashMap::new(), sites: DashMap::new() }
    }

    /// Adds a weight unless the address or its site has reached the limit. The last weight below the limit may exceed it.
    pub(super) fn take(&self, address: Address, weight: u32) -> bool {
        if !take(&self.near, address, weight, self.limit) {
            return false;
        }
        let site_limit = self.limit.saturating_mul(SITE_FACTOR);
        if address.site().is_some_and(|site| !take(&self.sites, site, weight, site_limit)) {
            release(&self.near, address, weight);
            return false;
        }
        true
    }

    /// Subtracts a weight that was taken.
    pub(super) fn release(&self, address: Address, weight: u32) {
        release(&self.near, address, weight);
        if let Some(site) = address.site() {
            release(&self.sites, site, weight);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.sites.is_empty()
    }
}

fn take(open: &DashMap<Address, u32>, address: Address, weight: u32, limit: u32) -> bool {
    let mut taken = open.entry(address).or_insert(0);
    let fits = limit == 0 || *taken < limit;
    if fits {
        *taken = taken.saturating_add(weight);
    }
    fits
}

fn release(open: &DashMap<Address, u32>, address: Address, weight: u32) {
    if let Entry::Occupied(mut taken) = open.entry(address) {
        *taken.get_mut() = taken.get().saturating_sub(weight);
        if *taken.get() == 0 {
            taken.remove();
        }
    }
}
