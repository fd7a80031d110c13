//! Frames of the event stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use bytes::Bytes;

use crate::domain::CountUpdate;

/// A new count, as an event of the default type for `onmessage`. Its id is the time of the count in milliseconds.
#[must_use]
pub fn count(update: &CountUpdate) -> Bytes {
    let id = update.as_of.as_millis();
    let data = serde_json::to_string(update).unwrap_or_default();
    Bytes::from(format!("id: {id}\ndata: {data}\n\n"))
}

/// A keep-alive. It is an event because pages can't see comments.
#[must_use]
pub const fn tick() -> Bytes {
    Bytes::from_static(b"event: tick\ndata: {}\n\n")
}

/// The delay before the browser reconnects, in milliseconds.
#[must_use]
pub fn retry(millis: u32) -> Bytes {
    Bytes::from(format!("retry: {millis}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChannelId, Count, Timestamp};

    #[test]
    fn a_count_is_a_message_of_the_default_type_with_an_id() {
        let update =
            CountUpdate::new(ChannelId::parse("ana").unwrap(), Count::fresh(5, Timestamp::from_millis(12)));
        assert_eq!(
            count(&update),
            "id: 12\ndata: {\"channelId\":\"ana\",\"count\":5,\"stale\":false,\"asOf\":12,\"live\":null}\n\n"
        );
    }
}
