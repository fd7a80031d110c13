//! Events as they stand on the stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use bytes::Bytes;

use crate::domain::CountUpdate;

/// A new count: an event of the default type, so that a plain `onmessage` gets it. Its id is the instant of the count.
#[must_use]
pub fn count(update: &CountUpdate) -> Bytes {
    let id = update.as_of.as_millis();
    let data = serde_json::to_string(update).unwrap_or_default();
    Bytes::from(format!("id: {id}\ndata: {data}\n\n"))
}

/// A sign of life after a silence: a real event, because pages never see comments.
#[must_use]
pub const fn tick() -> Bytes {
    Bytes::from_static(b"event: tick\ndata: {}\n\n")
}

/// How long the browser should wait before it comes back, in milliseconds.
#[must_use]
pub fn retry(millis: u32) -> Bytes {
    Bytes::from(format!("retry: {millis}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChannelId, Count, Timestamp};

    #[test]
    fn a_count_is_a_plain_message_with_an_id() {
        let update =
            CountUpdate::new(ChannelId::parse("ana").unwrap(), Count::fresh(5, Timestamp::from_millis(12)));
        assert_eq!(
            count(&update),
            "id: 12\ndata: {\"channelId\":\"ana\",\"count\":5,\"stale\":false,\"asOf\":12}\n\n"
        );
    }
}
