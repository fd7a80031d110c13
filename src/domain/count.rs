//! The reported count of a channel: live, stale or unknown. An unknown count is not zero.

use serde::{Deserialize, Serialize};

use super::{ChannelId, Timestamp};

/// The number of viewers of a channel, if it is known. An unknown count is never current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    value: Option<u32>,
    is_stale: bool,
    as_of: Timestamp,
}

impl Count {
    /// A count that was just read from the store.
    #[must_use]
    pub const fn fresh(value: u32, as_of: Timestamp) -> Self {
        Self { value: Some(value), is_stale: false, as_of }
    }

    /// An unknown count, when there is no last good count that is recent enough.
    #[must_use]
    pub const fn unknown(as_of: Timestamp) -> Self {
        Self { value: None, is_stale: true, as_of }
    }

    /// The same count as stale: it is the last good one, or may be incomplete.
    #[must_use]
    pub const fn into_stale(self) -> Self {
        self.stale_if(true)
    }

    /// The same count, as stale if the condition holds.
    #[must_use]
    pub const fn stale_if(self, condition: bool) -> Self {
        Self { is_stale: self.is_stale || condition, ..self }
    }

    /// The number of distinct viewers; `None` if it is unknown.
    #[must_use]
    pub const fn value(&self) -> Option<u32> {
        self.value
    }

    /// The number of distinct viewers, if it is current.
    #[must_use]
    pub const fn live(&self) -> Option<u32> {
        if self.is_stale { None } else { self.value }
    }

    /// Whether the value is not current: it is the last good count, an incomplete count or unknown.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When the value was read, by the store's clock.
    #[must_use]
    pub const fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// The state in which a page shows the count.
    #[must_use]
    pub const fn state(&self) -> CountState {
        match (self.value, self.is_stale) {
            (None, _) => CountState::Unknown,
            (Some(_), true) => CountState::Stale,
            (Some(_), false) => CountState::Live,
        }
    }
}

/// The state of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountState {
    /// The count is current.
    Live,
    /// The count may be out of date or incomplete.
    Stale,
    /// The count is not known.
    Unknown,
}

impl CountState {
    /// The value of the attribute `data-state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// The count of one channel in JSON: the response to a count request, and the data of a stream event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountUpdate {
    /// The channel.
    pub channel_id: ChannelId,
    /// The number of distinct viewers; `null` if it is unknown.
    pub count: Option<u32>,
    /// Whether the count is not current: it is the last good count, an incomplete count or unknown.
    pub stale: bool,
    /// When the count was read: milliseconds since the Unix epoch, by the store's clock.
    pub as_of: Timestamp,
    /// Whether the channel is on air; `null` if that is not known, or if the server has no live signal. Servers of
    /// earlier versions leave it out.
    #[serde(default)]
    pub live: Option<bool>,
}

impl CountUpdate {
    /// Combines a channel and its count. Whether the channel is on air is not known.
    #[must_use]
    pub fn new(channel_id: ChannelId, count: Count) -> Self {
        Self { channel_id, count: count.value, stale: count.is_stale, as_of: count.as_of, live: None }
    }

    /// Adds whether the channel is on air, if that is known.
    #[must_use]
    pub fn on_air(self, live: Option<bool>) -> Self {
        Self { live, ..self }
    }

    /// The count without the channel.
    #[must_use]
    pub const fn count(&self) -> Count {
        match self.count {
            Some(value) => Count::fresh(value, self.as_of).stale_if(self.stale),
            None => Count::unknown(self.as_of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_serialized_and_deserialized_in_camel_case() {
        let update = CountUpdate::new(
            ChannelId::parse("ana").unwrap(),
            Count::fresh(5, Timestamp::from_millis(1_790_000_000_123)),
        );
        let json = r#"{"channelId":"ana","count":5,"stale":false,"asOf":1790000000123,"live":null}"#;
        assert_eq!(serde_json::to_string(&update).unwrap(), json);
        assert_eq!(serde_json::from_str::<CountUpdate>(json).unwrap(), update);
        let json = json.replace("null", "false");
        assert_eq!(serde_json::to_string(&update.clone().on_air(Some(false))).unwrap(), json);
        let earlier = r#"{"channelId":"ana","count":5,"stale":false,"asOf":1790000000123}"#;
        assert_eq!(serde_json::from_str::<CountUpdate>(earlier).unwrap(), update);
    }

    #[test]
    fn serializes_an_unknown_count_as_null() {
        let update =
            CountUpdate::new(ChannelId::parse("ana").unwrap(), Count::unknown(Timestamp::from_millis(1)));
        assert!(serde_json::to_string(&update).unwrap().contains(r#""count":null,"stale":true"#));
    }

    #[test]
    fn has_the_state_live_stale_or_unknown() {
        let fresh = Count::fresh(0, Timestamp::default());
        assert_eq!(fresh.state().as_str(), "live");
        assert_eq!(fresh.into_stale().state().as_str(), "stale");
        assert_eq!(Count::unknown(Timestamp::default()).state().as_str(), "unknown");
    }
}
