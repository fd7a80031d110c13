//! The limits of open streams, per address and for this node.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use super::{Address, weights::Weights};

/// Counts the open streams of this node. Cloning is cheap.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    node_limit: u32,
    open: AtomicU32,
    by_address: Weights,
}

/// The weight of a stream in the limit of its address: 1 for up to ten channels, and 1 more for every ten channels
/// after that.
fn weight(channels: usize) -> u32 {
    1 + u32::try_from(channels.saturating_sub(1) / 10).unwrap_or(u32::MAX - 1)
}

/// The limit that refuses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamLimit {
    /// The limit of the client's address.
    Address,
    /// The limit of this node.
    Node,
}

impl StreamLimit {
    /// The name of the limit in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "streams-per-address",
            Self::Node => "streams",
        }
    }
}

impl Streams {
    /// Allows open streams with a total weight of `per_address` for each address, and `node_limit` open streams in
    /// total. 0: no limit.
    #[must_use]
    pub fn new(per_address: u32, node_limit: u32) -> Self {
        Self(Arc::new(Inner { node_limit, open: AtomicU32::new(0), by_address: Weights::new(per_address) }))
    }

    /// A permit for one more stream of an address with this number of channels. Many channels weigh more.
    ///
    /// # Errors
    /// The limit that has been reached.
    pub fn permit(&self, address: Address, channels: usize) -> Result<StreamPermit, StreamLimit> {
        let (inner, weight) = (&self.0, weight(channels));
        if !inner.by_address.take(address, weight) {
            return Err(StreamLimit::Address);
        }
        // From here on, dropping the permit releases everything, also if the node's limit refuses the stream.
        let permit = StreamPermit { streams: self.clone(), address, weight };
        let open = inner.open.fetch_add(1, SeqCst);
        if inner.node_limit == 0 || open < inner.node_limit { Ok(permit) } else { Err(StreamLimit::Node) }
    }

    /// The number of open streams.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.0.open.load(SeqCst)
    }
}

/// The permit of one stream. Dropping it releases it.
pub struct StreamPermit {
    streams: Streams,
    address: Address,
    weight: u32,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let inner = &self.streams.0;
        inner.open.fetch_sub(1, SeqCst);
        inner.by_address.release(self.address, self.weight);
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
    fn the_limit_of_an_address_leaves_room_for_other_addresses() {
        let streams = Streams::new(2, 3);
        let permits =
            [streams.permit(address(1), 1).ok().unwrap(), streams.permit(address(1), 1).ok().unwrap()];
        assert_eq!(streams.permit(address(1), 1).err(), Some(StreamLimit::Address));
        let other = streams.permit(address(2), 1).ok().unwrap();
        assert_eq!(streams.permit(address(3), 1).err(), Some(StreamLimit::Node));
        assert_eq!(streams.open(), 3);
        drop((permits, other));
        assert_eq!(streams.open(), 0);
        assert!(streams.0.by_address.is_empty(), "addresses without streams are removed");
    }

    #[test]
    fn a_stream_of_fifty_channels_weighs_more_than_a_stream_of_one() {
        assert_eq!([1, 10, 11, 50].map(weight), [1, 1, 2, 5]);
        let streams = Streams::new(10, 0);
        let permits =
            [streams.permit(address(1), 50).ok().unwrap(), streams.permit(address(1), 50).ok().unwrap()];
        assert_eq!(streams.permit(address(1), 1).err(), Some(StreamLimit::Address));
        assert_eq!(streams.open(), 2);
        drop(permits);
        assert!(streams.0.by_address.is_empty(), "the whole weight is released");
    }

    #[test]
    fn a_site_shares_eight_times_the_limit() {
        let streams = Streams::new(2, 0);
        let network = |number: u16| Address::from(IpAddr::from([0x2001, 0xdb8, 1, number, 0, 0, 0, 1]));
        let permits: Vec<_> = (0..100).filter_map(|number| streams.permit(network(number), 1).ok()).collect();
        assert_eq!(permits.len(), 16);
        drop(permits);
        assert!(streams.0.by_address.is_empty());
    }

    #[test]
    fn zero_is_no_limit() {
        let streams = Streams::new(0, 0);
        let permits: Vec<_> = (0..1000).map(|_| streams.permit(address(1), 1).ok().unwrap()).collect();
        assert_eq!(streams.open(), 1000);
        drop(permits);
    }
}
