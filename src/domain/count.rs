//! A channel's count as it is told: a number that may be old, or nothing. Unknown is not zero.

use serde::{Deserialize, Serialize};

use super::{ChannelId, Timestamp};

/// How many watch, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Distinct viewers; `None` when it is unknown.
    pub value: Option<u32>,
    /// The store could not answer lately: this is the last good count, or there is none.
    pub stale: bool,
    /// When the value was true, by the store's clock.
    pub as_of: Timestamp,
}

impl Count {
    /// A count that the store has just given.
    #[must_use]
    pub const fn fresh(value: u32, as_of: Timestamp) -> Self {
        Self { value: Some(value), stale: false, as_of }
    }

    /// No count: the store has not answered for too long, or never has.
    #[must_use]
    pub const fn unknown(as_of: Timestamp) -> Self {
        Self { value: None, stale: true, as_of }
    }

    /// How a page shows it.
    #[must_use]
    pub const fn state(&self) -> CountState {
        match self {
            Self { value: None, .. } => CountState::Unknown,
            Self { stale: true, .. } => CountState::Stale,
            Self { stale: false, .. } => CountState::Live,
        }
    }
}

/// The three ways in which a count can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountState {
    /// It is the number of this moment.
    Live,
    /// It was the number a while ago.
    Stale,
    /// There is no number.
    Unknown,
}

impl CountState {
    /// The word for it in `data-state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// The count of one channel as it travels: the answer to a count call and the data of an event on the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountUpdate {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Distinct viewers; `null` when unknown.
    pub count: Option<u32>,
    /// Whether the count is the last good one instead of a current one.
    pub stale: bool,
    /// When the count was true: milliseconds since the epoch, by the store's clock.
    pub as_of: Timestamp,
}

impl CountUpdate {
    /// The count of a channel.
    #[must_use]
    pub fn new(channel_id: ChannelId, count: Count) -> Self {
        Self { channel_id, count: count.value, stale: count.stale, as_of: count.as_of }
    }

    /// The count without its channel.
    #[must_use]
    pub const fn count(&self) -> Count {
        Count { value: self.count, stale: self.stale, as_of: self.as_of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_in_camel_case_both_ways() {
        let update = CountUpdate::new(
            ChannelId::parse("ana").unwrap(),
            Count::fresh(5, Timestamp::from_millis(1_790_000_000_123)),
        );
        let json = r#"{"channelId":"ana","count":5,"stale":false,"asOf":1790000000123}"#;
        assert_eq!(serde_json::to_string(&update).unwrap(), json);
        assert_eq!(serde_json::from_str::<CountUpdate>(json).unwrap(), update);
    }

    #[test]
    fn unknown_is_null_and_not_zero() {
        let update =
            CountUpdate::new(ChannelId::parse("ana").unwrap(), Count::unknown(Timestamp::from_millis(1)));
        assert!(serde_json::to_string(&update).unwrap().contains(r#""count":null,"stale":true"#));
    }

    #[test]
    fn a_count_is_live_then_stale_then_unknown() {
        let fresh = Count::fresh(0, Timestamp::default());
        assert_eq!(fresh.state().as_str(), "live");
        assert_eq!(Count { stale: true, ..fresh }.state().as_str(), "stale");
        assert_eq!(Count::unknown(Timestamp::default()).state().as_str(), "unknown");
    }
}
