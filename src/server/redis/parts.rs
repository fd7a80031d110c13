//! The parts of a channel. All keys of a channel are on one server of a cluster, whose processor then limits the channel.
//! A channel in several parts is spread over the servers by viewer.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use crate::domain::{ChannelId, ViewerId};

/// In how many parts each channel is kept: a number for all channels, and other numbers for some. All nodes of a store must
/// agree on it. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelParts {
    most: u8,
    special: Arc<BTreeMap<ChannelId, u8>>,
}

impl ChannelParts {
    /// The most parts of a channel. Every read and write of a channel takes a call for each part.
    pub const MAX: u8 = 64;

    /// Every channel is whole.
    #[must_use]
    pub fn one() -> Self {
        Self { most: 1, special: Arc::default() }
    }

    /// Whether every channel is whole.
    #[must_use]
    pub fn are_one(&self) -> bool {
        self.most == 1 && self.special.is_empty()
    }

    /// The number of parts of a channel.
    #[must_use]
    pub fn number(&self, channel: &ChannelId) -> u8 {
        if self.special.is_empty() { self.most } else { *self.special.get(channel).unwrap_or(&self.most) }
    }
}

/// The part of a channel in `parts` parts that keeps a viewer. It is the same on every node and in every version.
#[must_use]
pub fn part_of(viewer: ViewerId, parts: u8) -> u8 {
    /// 2^64 divided by the golden ratio, an odd number: ids that differ anywhere differ in the high bits.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (high, low) = viewer.uuid().as_u64_pair();
    let mixed = (high.wrapping_mul(FACTOR) ^ low).wrapping_mul(FACTOR);
    // Scales the high half to the number of parts.
    u8::try_from(((mixed >> 32) * u64::from(parts)) >> 32).unwrap_or_default()
}

/// The text is not a list such as `1,ana:8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number from 1 to 64, or a list such as 1,ana:8")]
pub struct InvalidParts;

impl FromStr for ChannelParts {
    type Err = InvalidParts;

    /// Reads numbers of parts, separated by commas: `8` for all channels, `ana:8` for one.
    fn from_str(text: &str) -> Result<Self, InvalidParts> {
        let number = |text: &str| {
            let number = text.trim().parse().ok().filter(|number| (1..=Self::MAX).contains(number));
            number.ok_or(InvalidParts)
        };
        let (mut most, mut special) = (None, BTreeMap::new());
        for entry in text.split(',') {
            let is_new = match entry.split_once(':') {
                Some((channel, parts)) => {
                    let channel = ChannelId::parse(channel.trim()).map_err(|_| InvalidParts)?;
                    special.insert(channel, number(parts)?).is_none()
                }
                None => most.replace(number(entry)?).is_none(),
            };
            if !is_new {
                return Err(InvalidParts);
            }
        }
        let most = most.unwrap_or(1);
        special.retain(|_, parts| *parts != most);
        Ok(Self { most, special: Arc::new(special) })
    }
}

/// The same text for equal numbers, in the form of [`ChannelParts::from_str`].
impl fmt::Display for ChannelParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.most)?;
        self.special.iter().try_for_each(|(channel, parts)| write!(f, ",{channel}:{parts}"))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn parts_are_given_for_all_channels_and_for_some() {
        let parts = |text: &str| text.parse::<ChannelParts>();
        let number = |text, channel| parts(text).unwrap().number(&ChannelId::parse(channel).unwrap());
        for (text, ana, bob) in [("1", 1, 1), ("64", 64, 64), ("ana:8", 8, 1), (" 4 , Ana : 8,eva:2 ", 8, 4)]
        {
            assert_eq!((number(text, "ana"), number(text, "bob")), (ana, bob), "{text}");
        }
        for text in [
            "",
            "0",
            "65",
            "-1",
            "x",
            "1,2",
            "ana:8,ana:8",
            "ana:8,ANA:4",
            "ana:",
            "no channel:2",
            "ana:0",
            "1,",
        ] {
            assert_eq!(parts(text), Err(InvalidParts), "{text}");
        }
        assert!(parts("1").unwrap().are_one() && parts("1,ana:1").unwrap().are_one());
        assert!(!parts("2").unwrap().are_one() && !parts("ana:2").unwrap().are_one());
        assert_eq!(parts("bob:3, ana:8,2,eva:2").unwrap().to_string(), "2,ana:8,bob:3");
        assert_eq!(ChannelParts::one().to_string(), "1");
    }

    #[test]
    fn viewers_are_spread_evenly_and_stay_where_they_are() {
        let viewer = |id| ViewerId::new(Uuid::from_u128(id)).unwrap();
        let random = || (0..40_000).map(|_| Uuid::new_v4().as_u128());
        for ids in [(1..=40_000).collect::<Vec<_>>(), random().collect()] {
            let mut viewers = [0_u32; 4];
            ids.iter().for_each(|id| viewers[usize::from(part_of(viewer(*id), 4))] += 1);
            assert!(viewers.iter().all(|viewers| (9_500..=10_500).contains(viewers)), "{viewers:?}");
        }
        assert!(random().take(1_000).all(|id| part_of(viewer(id), 1) == 0));
        let known = [1, 2, 3, 0x6fa1_c0de_94a1_4b1e_8a53_0c6f_2f6f_7a10];
        assert_eq!(known.map(|id| part_of(viewer(id), 64)), [39, 15, 54, 45]);
    }
}
