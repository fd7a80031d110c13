//! The slots of a cluster: a key is in one of 16,384 slots, and each slot is on one primary.
//!
//! Source: the Redis Cluster specification, <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

use std::collections::BTreeSet;

use crc::{CRC_16_XMODEM, Crc};
use redis::{Value, from_redis_value};

/// The number of slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

const CHECKSUM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key. If the key has text in braces, only that text counts.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    CHECKSUM.checksum(tag.unwrap_or(key)) % SLOTS
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Reads `host:port`. `responder` is the host of the server that named it.
    pub(super) fn parse(text: &str, responder: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::named(host, port.parse().ok()?, responder)
    }

    /// A server that does not know its own host leaves it out. One that does not know another's names it `?`.
    fn named(host: &str, port: u16, responder: &str) -> Option<Self> {
        match host {
            "?" => None,
            "" | "0.0.0.0" | "::" => Some(Self { host: responder.to_owned(), port }),
            host => Some(Self { host: host.to_owned(), port }),
        }
    }
}

/// The primaries of a cluster with their slots, as one of its servers knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// In the order of their slots.
    ranges: Vec<SlotRange>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SlotRange {
    first: u16,
    last: u16,
    primary: Place,
}

impl SlotMap {
    /// Reads the response to `CLUSTER SLOTS` of the server at `responder`. `None` if it names no slot.
    pub(super) fn parse(response: Value, responder: &str) -> Option<Self> {
        type Server = (Option<String>, u16);
        let entries: Vec<Vec<Value>> = from_redis_value(response).ok()?;
        let range = |entry: Vec<Value>| {
            let [first, last, primary] = entry.into_iter().take(3).collect::<Vec<_>>().try_into().ok()?;
            // After the address come the server's id and other facts.
            let primary: Vec<Value> = from_redis_value(primary).ok()?;
            let (host, port): Server =
                from_redis_value(Value::Array(primary.into_iter().take(2).collect())).ok()?;
            let primary = Place::named(host.as_deref().unwrap_or_default(), port, responder)?;
            let (first, last) = (from_redis_value(first).ok()?, from_redis_value(last).ok()?);
            (first <= last && last < SLOTS).then_some(SlotRange { first, last, primary })
        };
        let mut ranges: Vec<SlotRange> = entries.into_iter().filter_map(range).collect();
        ranges.sort();
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// What most servers agree on. A server that is cut off from the others has an older map. A whole map is better than
    /// one with gaps, and of equally many the present map is kept.
    pub(super) fn most_common(maps: &[Self], present: Option<&Self>) -> Option<Self> {
        let votes = |map: &Self| maps.iter().filter(|other| *other == map).count();
        maps.iter().max_by_key(|map| (map.is_whole(), votes(map), Some(*map) == present)).cloned()
    }

    /// The primary that has a slot.
    pub(super) fn primary_of(&self, slot: u16) -> Option<&Place> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot))?;
        (range.first <= slot).then_some(&range.primary)
    }

    /// All primaries.
    pub(super) fn primaries(&self) -> BTreeSet<&Place> {
        self.ranges.iter().map(|range| &range.primary).collect()
    }

    /// The slots of a primary.
    pub(super) fn slots_of<'a>(&'a self, primary: &'a Place) -> impl Iterator<Item = u16> + 'a {
        let own = self.ranges.iter().filter(move |range| range.primary == *primary);
        own.flat_map(|range| range.first..=range.last)
    }

    /// The slots without a primary.
    pub(super) fn gaps(&self) -> impl Iterator<Item = u16> + '_ {
        (0..SLOTS).filter(|slot| self.primary_of(*slot).is_none())
    }

    /// The slots that have another primary than in `before`, or none.
    pub(super) fn moved_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = u16> + 'a {
        (0..SLOTS).filter(|slot| self.primary_of(*slot) != before.primary_of(*slot))
    }

    /// Whether every slot has a primary.
    pub(super) fn is_whole(&self) -> bool {
        let mut next = 0;
        for range in &self.ranges {
            if range.first > next {
                return false;
            }
            next = next.max(range.last + 1);
        }
        next >= SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(first: i64, last: i64, servers: &[(Value, i64)]) -> Value {
        let server = |(host, port): &(Value, i64)| {
            Value::Array(vec![host.clone(), Value::Int(*port), text("its id"), Value::Array(Vec::new())])
        };
        let mut entry = vec![Value::Int(first), Value::Int(last)];
        entry.extend(servers.iter().map(server));
        Value::Array(entry)
    }

    fn map(entries: Vec<Value>) -> SlotMap {
        SlotMap::parse(Value::Array(entries), "responder").unwrap()
    }

    fn place(host: &str, port: u16) -> Place {
        Place { host: host.to_owned(), port }
    }

    #[test]
    fn a_key_is_in_the_slot_of_its_hash_tag() {
        // The specification's example of the checksum.
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` responds.
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"aforo:{foo}:viewers"), 12_182);
        assert_eq!(slot_of(b"{foo}{bar}"), 12_182);
        for whole in [&b"aforo:{}:{foo}"[..], b"aforo:{foo", b"}foo{"] {
            assert_eq!(slot_of(whole), CHECKSUM.checksum(whole) % SLOTS);
        }
    }

    #[test]
    fn the_primary_of_every_slot_is_found() {
        let replica = || (text("10.0.0.9"), 6_379);
        let map = map(vec![
            entry(5_461, 16_383, &[(text("10.0.0.2"), 6_380), replica()]),
            entry(0, 5_460, &[(text("10.0.0.1"), 6_379), replica()]),
        ]);
        assert!(map.is_whole());
        for slot in [0, 1, 5_460] {
            assert_eq!(map.primary_of(slot), Some(&place("10.0.0.1", 6_379)));
        }
        for slot in [5_461, 16_383] {
            assert_eq!(map.primary_of(slot), Some(&place("10.0.0.2", 6_380)));
        }
        assert_eq!(map.primaries().len(), 2);
    }

    #[test]
    fn a_server_without_a_host_is_the_one_that_responds() {
        for host in [Value::Nil, text(""), text("0.0.0.0"), text("::")] {
            let map = map(vec![entry(0, 16_383, &[(host, 6_380)])]);
            assert_eq!(map.primary_of(7), Some(&place("responder", 6_380)));
        }
        assert_eq!(Place::parse("10.0.0.1:6379", "responder"), Some(place("10.0.0.1", 6_379)));
        assert_eq!(Place::parse(":6379", "responder"), Some(place("responder", 6_379)));
        assert_eq!(Place::parse("2001:db8::1:6379", "responder"), Some(place("2001:db8::1", 6_379)));
        for wrong in ["", "host", "host:", "host:70000", "?:6379"] {
            assert_eq!(Place::parse(wrong, "responder"), None, "{wrong}");
        }
    }

    #[test]
    fn slots_without_a_primary_are_missing() {
        let gap = map(vec![
            entry(0, 99, &[(text("a"), 1)]),
            entry(101, 200, &[(text("?"), 1)]),
            entry(300, 16_383, &[(text("b"), 1)]),
        ]);
        assert!(!gap.is_whole());
        assert_eq!(gap.gaps().collect::<Vec<_>>(), (100..=299).collect::<Vec<_>>());
        let before = map(vec![entry(0, 99, &[(text("a"), 1)]), entry(100, 16_383, &[(text("b"), 1)])]);
        assert_eq!(gap.moved_since(&before).collect::<Vec<_>>(), (100..=299).collect::<Vec<_>>());
        for slot in [100, 101, 200, 299] {
            assert_eq!(gap.primary_of(slot), None);
        }
        assert!(!map(vec![entry(0, 16_382, &[(text("a"), 1)])]).is_whole());
        let beyond = |first, last| Value::Array(vec![entry(first, last, &[(text("a"), 1)])]);
        for unusable in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![text("slot")]),
            text("OK"),
            beyond(0, 16_384),
            beyond(0, 65_535),
            beyond(9, 8),
        ] {
            assert_eq!(SlotMap::parse(unusable, "responder"), None);
        }
    }

    #[test]
    fn what_most_servers_agree_on_is_used() {
        let (old, new) = (map(vec![entry(0, 16_383, &[(text("old"), 1)])]), {
            map(vec![entry(0, 16_383, &[(text("new"), 1)])])
        });
        let both = [old.clone(), new.clone(), new.clone()];
        assert_eq!(SlotMap::most_common(&both, Some(&old)), Some(new.clone()));
        for present in [&old, &new] {
            let agreed = SlotMap::most_common(&[old.clone(), new.clone()], Some(present));
            assert_eq!(agreed.as_ref(), Some(present), "a tie");
        }
        let part = map(vec![entry(0, 9, &[(text("part"), 1)])]);
        assert_eq!(SlotMap::most_common(&[part.clone(), new.clone(), part], None), Some(new));
        assert_eq!(SlotMap::most_common(&[], None), None);
    }
}
