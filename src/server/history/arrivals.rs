//! New viewers by the place where they watch: on this site, or on a page of another host that embeds the player.
//!
//! A host is what a browser claims, so a stranger can invent hosts. Their number is bounded: those beyond the bound
//! are counted under [`OTHER`], and the total stays right.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bytes::{DecodeError, Reader, put, put_text};

/// The hosts that a node tells apart within a minute of a channel.
pub const MAX_HOSTS: usize = 32;

/// The hosts that a [`Tally`](super::Tally) tells apart. Of more, those with the fewest arrivals come under
/// [`OTHER`].
pub const MAX_TALLY_HOSTS: usize = 64;

/// The hosts that a point of a history names.
pub const MAX_POINT_HOSTS: usize = 8;

/// The name under which the arrivals of further hosts are counted.
pub const OTHER: &str = "other";

/// The longest host name, in bytes. A longer or empty one is counted under [`OTHER`].
const MAX_HOST_LEN: usize = 253;

/// Where a viewer watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// A page of this site.
    Site,
    /// An embed on a page of this host, in lower case.
    Embed(&'a str),
}

/// The number of new viewers by place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Arrivals {
    /// On pages of this site.
    pub site: u32,
    /// On pages of other hosts that embed the player.
    pub embeds: BTreeMap<Box<str>, u32>,
}

impl Arrivals {
    /// Counts one arrival. At most [`MAX_HOSTS`] hosts are told apart.
    pub fn arrive(&mut self, place: Place<'_>) {
        let host = match place {
            Place::Site => return self.site = self.site.saturating_add(1),
            Place::Embed(host) if host.is_empty() || host.len() > MAX_HOST_LEN => OTHER,
            Place::Embed(host) => host,
        };
        if let Some(count) = self.embeds.get_mut(host) {
            *count = count.saturating_add(1);
            return;
        }
        let others = self.embeds.len() - usize::from(self.embeds.contains_key(OTHER));
        let host = if others < MAX_HOSTS { host } else { OTHER };
        let count = self.embeds.entry(host.into()).or_default();
        *count = count.saturating_add(1);
    }

    /// All arrivals.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64::from(self.site) + self.embeds.values().copied().map(u64::from).sum::<u64>()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.site == 0 && self.embeds.is_empty()
    }

    /// Merges another state of the same counters, which only grow: the greater value of each.
    fn merge(&mut self, other: &Self) {
        self.site = self.site.max(other.site);
        for (host, count) in &other.embeds {
            match self.embeds.get_mut(host) {
                Some(known) => *known = (*known).max(*count),
                None => drop(self.embeds.insert(host.clone(), *count)),
            }
        }
    }

    /// Adds the arrivals of another node or span.
    pub(super) fn add(&mut self, other: &Self) {
        self.site = self.site.saturating_add(other.site);
        for (host, count) in &other.embeds {
            let sum = self.embeds.entry(host.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Moves the hosts with the fewest arrivals under [`OTHER`] until at most `most` others are left. The total stays the
    /// same.
    pub fn limit_hosts(&mut self, most: usize) {
        let named = self.embeds.len() - usize::from(self.embeds.contains_key(OTHER));
        if named <= most {
            return;
        }
        let mut hosts: Vec<_> = std::mem::take(&mut self.embeds).into_iter().collect();
        hosts.sort_by(|(a, some), (b, more)| {
            let (a, b) = ((**a == *OTHER, *some), (**b == *OTHER, *more));
            b.cmp(&a)
        });
        for (index, (host, count)) in hosts.into_iter().enumerate() {
            // The first may be `OTHER`, so one more than the limit is kept then.
            let is_kept = self.embeds.len() < most + usize::from(self.embeds.contains_key(OTHER));
            let host = if is_kept || index == 0 { host } else { OTHER.into() };
            let sum = self.embeds.entry(host).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, u64::from(self.site));
        put(bytes, self.embeds.len() as u64);
        for (host, count) in &self.embeds {
            put_text(bytes, host);
            put(bytes, u64::from(*count));
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut arrivals = Self { site: reader.small()?, embeds: BTreeMap::new() };
        // Each host takes bytes, so a false number ends the input and allocates nothing.
        for _ in 0..reader.int()? {
            let host = reader.text()?.into();
            if arrivals.embeds.insert(host, reader.small()?).is_some() {
                return Err(DecodeError::Invalid);
            }
        }
        Ok(arrivals)
    }
}

/// The arrivals that each node has seen within a minute of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeArrivals(BTreeMap<u64, Arrivals>);

impl NodeArrivals {
    /// Counts one arrival at a node. A node's id must be unique to one run of it: its counters only grow.
    pub fn arrive(&mut self, node: u64, place: Place<'_>) {
        self.0.entry(node).or_default().arrive(place);
    }

    /// Merges another state: of each node and place the greater value.
    pub fn merge(&mut self, other: &Self) {
        for (node, arrivals) in &other.0 {
            self.0.entry(*node).or_default().merge(arrivals);
        }
    }

    /// The sum over all nodes.
    #[must_use]
    pub fn sum(&self) -> Arrivals {
        let mut sum = Arrivals::default();
        for arrivals in self.0.values() {
            sum.add(arrivals);
        }
        sum
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, self.0.len() as u64);
        for (node, arrivals) in &self.0 {
            bytes.extend_from_slice(&node.to_le_bytes());
            arrivals.encode(bytes);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut nodes = BTreeMap::new();
        for _ in 0..reader.int()? {
            let id = reader.take(8)?.try_into().map_err(|_| DecodeError::Truncated)?;
            if nodes.insert(u64::from_le_bytes(id), Arrivals::decode(reader)?).is_some() {
                return Err(DecodeError::Invalid);
            }
        }
        Ok(Self(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_place() {
        let mut arrivals = Arrivals::default();
        for place in [Place::Site, Place::Embed("a.example"), Place::Embed("a.example"), Place::Embed("")] {
            arrivals.arrive(place);
        }
        assert_eq!(arrivals.site, 1);
        assert_eq!(arrivals.embeds["a.example"], 2);
        assert_eq!(arrivals.embeds[OTHER], 1);
        assert_eq!(arrivals.total(), 4);
    }

    #[test]
    fn invented_hosts_are_bounded_and_the_total_stays_right() {
        let mut arrivals = Arrivals::default();
        for n in 0..10_000 {
            arrivals.arrive(Place::Embed(&format!("{n}.example")));
        }
        arrivals.arrive(Place::Embed(&"x".repeat(300)));
        assert_eq!(arrivals.embeds.len(), MAX_HOSTS + 1);
        assert_eq!(arrivals.total(), 10_001);
    }

    #[test]
    fn a_tally_keeps_the_hosts_with_the_most_arrivals() {
        let mut arrivals = Arrivals::default();
        for n in 0..200_u32 {
            arrivals.embeds.insert(format!("{n}.example").into(), n + 1);
        }
        for has_other in [false, true] {
            let mut limited = arrivals.clone();
            if has_other {
                limited.embeds.insert(OTHER.into(), 5);
            }
            let total = limited.total();
            limited.limit_hosts(MAX_TALLY_HOSTS);
            assert_eq!(limited.embeds.len(), MAX_TALLY_HOSTS + 1);
            assert_eq!(limited.total(), total);
            assert_eq!(limited.embeds["199.example"], 200);
            assert!(!limited.embeds.contains_key("3.example"));
        }
    }
}
