//! How many streams may be open at a time, by address and in all.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use dashmap::{DashMap, Entry};

use super::{Address, SITE_FACTOR};

/// The open streams of this node. Cloning is cheap.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    in_all: u32,
    open: AtomicU32,
    by_address: Places,
    by_site: Places,
}

/// The places of addresses of one width.
struct Places {
    most: u32,
    taken: DashMap<Address, u32>,
}

impl Places {
    fn new(most: u32) -> Self {
        Self { most, taken: DashMap::new() }
    }

    /// Whoever has a place left gets as many as a stream weighs.
    fn take(&self, address: Address, weight: u32) -> bool {
        let mut taken = self.taken.entry(address).or_insert(0);
        let fits = self.most == 0 || *taken < self.most;
        if fits {
            *taken = taken.saturating_add(weight);
        }
        fits
    }

    fn give_back(&self, address: Address, weight: u32) {
        if let Entry::Occupied(mut taken) = self.taken.entry(address) {
            *taken.get_mut() = taken.get().saturating_sub(weight);
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// How many places a stream takes of its address: one for the first channel, and one more for every ten after it.
fn weight(channels: usize) -> u32 {
    1 + u32::try_from(channels.saturating_sub(1) / 10).unwrap_or(u32::MAX - 1)
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamLimit {
    /// That of the client's address.
    Address,
    /// That of the node.
    Node,
}

impl StreamLimit {
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
    /// Lets `per_address` places of one address be taken, and `in_all` streams of all be open. 0 sets no limit.
    #[must_use]
    pub fn new(per_address: u32, in_all: u32) -> Self {
        Self(Arc::new(Inner {
            in_all,
            open: AtomicU32::new(0),
            by_address: Places::new(per_address),
            by_site: Places::new(per_address.saturating_mul(SITE_FACTOR)),
        }))
    }

    /// A place for one more stream of an address, with so many channels. One of many channels takes more places than one.
    ///
    /// # Errors
    /// The limit that leaves none.
    pub fn permit(&self, address: Address, channels: usize) -> Result<StreamPermit, StreamLimit> {
        let (inner, weight) = (&self.0, weight(channels));
        if !inner.by_address.take(address, weight) {
            return Err(StreamLimit::Address);
        }
        if address.site().is_some_and(|site| !inner.by_site.take(site, weight)) {
            inner.by_address.give_back(address, weight);
            return Err(StreamLimit::Address);
        }
        // From here on dropping the seat gives back what was taken, also when there is no place in the node.
        let permit = StreamPermit { streams: self.clone(), address, weight };
        let open = inner.open.fetch_add(1, SeqCst);
        if inner.in_all == 0 || open < inner.in_all { Ok(permit) } else { Err(StreamLimit::Node) }
    }

    /// The streams that are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.0.open.load(SeqCst)
    }
}

/// The place of one stream; dropping it frees it.
pub struct StreamPermit {
    streams: Streams,
    address: Address,
    weight: u32,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let inner = &self.streams.0;
        inner.open.fetch_sub(1, SeqCst);
        inner.by_address.give_back(self.address, self.weight);
        if let Some(site) = self.address.site() {
            inner.by_site.give_back(site, self.weight);
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
        let seats =
            [streams.permit(address(1), 1).ok().unwrap(), streams.permit(address(1), 1).ok().unwrap()];
        assert_eq!(streams.permit(address(1), 1).err(), Some(StreamLimit::Address));
        let other = streams.permit(address(2), 1).ok().unwrap();
        assert_eq!(streams.permit(address(3), 1).err(), Some(StreamLimit::Node));
        assert_eq!(streams.open(), 3);
        drop((seats, other));
        assert_eq!(streams.open(), 0);
        assert!(streams.0.by_address.taken.is_empty(), "addresses without streams are forgotten");
    }

    #[test]
    fn a_stream_of_fifty_channels_weighs_more_than_one_of_one() {
        assert_eq!([1, 10, 11, 50].map(weight), [1, 1, 2, 5]);
        let streams = Streams::new(10, 0);
        let seats =
            [streams.permit(address(1), 50).ok().unwrap(), streams.permit(address(1), 50).ok().unwrap()];
        assert_eq!(streams.permit(address(1), 1).err(), Some(StreamLimit::Address));
        assert_eq!(streams.open(), 2);
        drop(seats);
        assert!(streams.0.by_address.taken.is_empty(), "all of it is given back");
    }

    #[test]
    fn the_networks_of_a_site_share_eight_times_the_places() {
        let streams = Streams::new(2, 0);
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let seats: Vec<_> = (0..100).filter_map(|number| streams.permit(network(number), 1).ok()).collect();
        assert_eq!(seats.len(), 16);
        drop(seats);
        assert!(streams.0.by_address.taken.is_empty() && streams.0.by_site.taken.is_empty());
    }

    #[test]
    fn zero_is_no_limit() {
        let streams = Streams::new(0, 0);
        let seats: Vec<_> = (0..1000).map(|_| streams.permit(address(1), 1).ok().unwrap()).collect();
        assert_eq!(streams.open(), 1000);
        drop(seats);
    }
}
