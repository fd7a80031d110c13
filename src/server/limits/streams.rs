//! How many streams may be open at a time, by address and in all.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use dashmap::{DashMap, Entry};

use super::Address;

/// The open streams of this node. Cloning is cheap.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    per_address: u32,
    in_all: u32,
    open: AtomicU32,
    by_address: DashMap<Address, u32>,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of the client's address.
    Address,
    /// That of the node.
    Node,
}

impl Full {
    /// Which limit it is, in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "streams-per-address",
            Self::Node => "streams",
        }
    }
}

impl Streams {
    /// Lets `per_address` streams of one address be open, and `in_all` of all. 0 sets no limit.
    #[must_use]
    pub fn new(per_address: u32, in_all: u32) -> Self {
        Self(Arc::new(Inner { per_address, in_all, open: AtomicU32::new(0), by_address: DashMap::new() }))
    }

    /// A place for one more stream of an address.
    ///
    /// # Errors
    /// The limit that leaves none.
    pub fn seat(&self, address: Address) -> Result<Seat, Full> {
        let inner = &self.0;
        let allows = |limit: u32, open: u32| limit == 0 || open < limit;
        {
            let mut open = inner.by_address.entry(address).or_insert(0);
            if !allows(inner.per_address, *open) {
                return Err(Full::Address);
            }
            *open += 1;
        }
        // From here on dropping the seat gives back what was taken, also when there is no place in the node.
        let seat = Seat { streams: self.clone(), address };
        if allows(inner.in_all, inner.open.fetch_add(1, SeqCst)) { Ok(seat) } else { Err(Full::Node) }
    }

    /// The streams that are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.0.open.load(SeqCst)
    }
}

/// The place of one stream; dropping it frees it.
pub struct Seat {
    streams: Streams,
    address: Address,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let inner = &self.streams.0;
        inner.open.fetch_sub(1, SeqCst);
        if let Entry::Occupied(mut open) = inner.by_address.entry(self.address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let streams = Streams::new(2, 3);
        let seats = [streams.seat(address(1)).ok().unwrap(), streams.seat(address(1)).ok().unwrap()];
        assert_eq!(streams.seat(address(1)).err(), Some(Full::Address));
        let other = streams.seat(address(2)).ok().unwrap();
        assert_eq!(streams.seat(address(3)).err(), Some(Full::Node));
        assert_eq!(streams.open(), 3);
        drop((seats, other));
        assert_eq!(streams.open(), 0);
        assert!(streams.0.by_address.is_empty(), "addresses without streams are forgotten");
    }

    #[test]
    fn zero_is_no_limit() {
        let streams = Streams::new(0, 0);
        let seats: Vec<_> = (0..1000).map(|_| streams.seat(address(1)).ok().unwrap()).collect();
        assert_eq!(streams.open(), 1000);
        drop(seats);
    }
}
