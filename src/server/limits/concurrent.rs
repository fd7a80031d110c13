//! The limit of what each address has at the same time, such as requests of one kind.

use std::sync::Arc;

use super::{Address, weights::Weights};

/// Counts what each address has at the same time. Cloning is cheap.
#[derive(Clone)]
pub struct Concurrent(Arc<Weights>);

impl Concurrent {
    /// Allows each address `per_address` at the same time. 0: no limit.
    #[must_use]
    pub fn new(per_address: u32) -> Self {
        Self(Arc::new(Weights::new(per_address)))
    }

    /// A permit for one more, or `None` if the address has reached the limit.
    #[must_use]
    pub fn permit(&self, address: Address) -> Option<ConcurrentPermit> {
        self.0.take(address, 1).then(|| ConcurrentPermit { taken: Arc::clone(&self.0), address })
    }
}

/// The permit of an address for one. Dropping it releases it.
pub struct ConcurrentPermit {
    taken: Arc<Weights>,
    address: Address,
}

impl Drop for ConcurrentPermit {
    fn drop(&mut self) {
        self.taken.release(self.address, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn an_address_has_a_limited_number_at_the_same_time() {
        let concurrent = Concurrent::new(2);
        let address = |last: u8| Address::from(IpAddr::from([192, 0, 2, last]));
        let first = concurrent.permit(address(1)).unwrap();
        let second = concurrent.permit(address(1)).unwrap();
        assert!(concurrent.permit(address(1)).is_none());
        assert!(concurrent.permit(address(2)).is_some(), "other addresses are not affected");
        drop(first);
        let third = concurrent.permit(address(1));
        assert!(third.is_some());
        drop((second, third));
        assert!(concurrent.0.is_empty(), "addresses without any are removed");
    }
}
