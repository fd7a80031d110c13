//! The limit of what each address has at the same time, such as requests of one kind, or bytes.

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
        self.permit_of(address, 1)
    }

    /// A permit for a number more, or `None` if the address has reached the limit. The last number may exceed it.
    #[must_use]
    pub fn permit_of(&self, address: Address, number: u32) -> Option<ConcurrentPermit> {
        let permit = || ConcurrentPermit { taken: Arc::clone(&self.0), address, number };
        self.0.take(address, number).then(permit)
    }
}

/// The permit of an address. Dropping it releases it.
pub struct ConcurrentPermit {
    taken: Arc<Weights>,
    address: Address,
    number: u32,
}

impl Drop for ConcurrentPermit {
    fn drop(&mut self) {
        self.taken.release(self.address, self.number);
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

    #[test]
    fn a_permit_may_be_for_several() {
        let concurrent = Concurrent::new(10);
        let address = Address::from(IpAddr::from([192, 0, 2, 1]));
        let nine = concurrent.permit_of(address, 9).unwrap();
        let more = concurrent.permit_of(address, 5).expect("the last number may exceed the limit");
        assert!(concurrent.permit(address).is_none());
        drop(nine);
        assert!(concurrent.permit(address).is_some());
        drop(more);
        assert!(concurrent.0.is_empty());
    }
}
