//! Events: their ids and bodies.
//!
//! An id is made from the channel, the broadcast, the type and the value, so nodes that notice the same thing send the same
//! id. It has no full stop, which separates the parts of what is signed.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::rules::Happening;
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        database::NewEvent,
        history::{Figures, Zone},
    },
};

/// A broadcast as events name it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The channel.
    pub channel: &'a ChannelId,
    /// The start by which the broadcast became known, which identifies it.
    pub first_start: Timestamp,
    /// The start as it is known now.
    pub started_at: Timestamp,
}

/// The event of a happening. `figures` are those of the broadcast, for its end.
#[must_use]
pub fn event(subject: &Subject<'_>, happening: &Happening, figures: Option<&Figures>) -> NewEvent {
    let Subject { channel, first_start, started_at } = *subject;
    let (kind, value, at, more) = match *happening {
        Happening::Live => ("channel.live", 0, started_at, json!({})),
        Happening::Peak(peak) => {
            ("channel.peak", peak.count, peak.at, json!({"peak": peak.count, "peakAt": peak.at}))
        }
        Happening::Milestone(milestone, peak) => (
            "channel.milestone",
            milestone,
            peak.at,
            json!({"milestone": milestone, "peak": peak.count, "peakAt": peak.at}),
        ),
        Happening::Offline { ended_at } => ("channel.offline", 0, ended_at, json!({"endedAt": ended_at})),
        Happening::Ended { ended_at } => ("broadcast.ended", 0, ended_at, json!(figures)),
    };
    let id = id(&[channel.as_str(), &first_start.as_millis().to_string(), kind, &value.to_string()]);
    let broadcast = format!("{channel}@{}", first_start.as_millis());
    let mut data = Map::new();
    data.insert("channelId".to_owned(), json!(channel));
    data.insert("broadcastId".to_owned(), json!(broadcast));
    data.insert("startedAt".to_owned(), json!(started_at));
    if let Value::Object(more) = more {
        data.extend(more);
    }
    NewEvent { id, body: body(kind, at, data.into()) }
}

/// The body of an event that happened at `at`.
#[must_use]
pub fn body(kind: &str, at: Timestamp, data: Value) -> String {
    let timestamp = Zone::utc().format(at).replace("+00:00", "Z");
    json!({"type": kind, "timestamp": timestamp, "data": data}).to_string()
}

/// The id of what the words say.
#[must_use]
pub fn id(words: &[&str]) -> String {
    // No word contains a line break.
    let hash = digest(&SHA256, words.join("\n").as_bytes());
    let digits: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("evt_{digits}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::server::history::Peak;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn of(channel: &str, first_start: u64, happening: &Happening) -> (String, Value) {
        let channel = ChannelId::parse(channel).unwrap();
        let subject =
            Subject { channel: &channel, first_start: at(first_start), started_at: at(1_790_000_000_000) };
        let figures = Figures {
            started_at: at(1_790_000_000_000),
            ended_at: Some(at(1_790_000_060_000)),
            peak: Some(7),
            peak_at: Some(at(1_790_000_030_000)),
            average: Some(3.5),
            watch_seconds: 210.0,
            uniques: 9,
            observed: 1.0,
            joins: None,
        };
        let event = event(&subject, happening, Some(&figures));
        (event.id, serde_json::from_str(&event.body).unwrap())
    }

    #[test]
    fn bodies_have_a_type_an_instant_and_data() {
        let (id, body) = of("ana.tv", 1_790_000_000_500, &Happening::Live);
        assert!(id.len() == 36 && id.starts_with("evt_") && !id.contains('.'), "{id}");
        assert_eq!(
            body,
            json!({
                "type": "channel.live",
                "timestamp": "2026-09-21T14:13:20Z",
                "data": {
                    "channelId": "ana.tv", "broadcastId": "ana.tv@1790000000500", "startedAt": 1_790_000_000_000_u64,
                },
            })
        );
        let peak = Peak { count: 120, at: at(1_790_000_030_250) };
        let (_, body) = of("ana", 1, &Happening::Milestone(100, peak));
        assert_eq!(body["timestamp"], "2026-09-21T14:13:50.25Z");
        assert_eq!(
            (&body["data"]["milestone"], &body["data"]["peak"], &body["data"]["peakAt"]),
            (&json!(100), &json!(120), &json!(1_790_000_030_250_u64))
        );
    }

    #[test]
    fn the_end_has_the_figures_of_the_broadcast() {
        let (_, body) = of("ana", 1, &Happening::Ended { ended_at: at(1_790_000_060_000) });
        assert_eq!(
            body["data"],
            json!({
                "channelId": "ana", "broadcastId": "ana@1",
                "startedAt": 1_790_000_000_000_u64, "endedAt": 1_790_000_060_000_u64,
                "peak": 7, "peakAt": 1_790_000_030_000_u64, "average": 3.5, "watchSeconds": 210.0, "uniques": 9,
                "observed": 1.0,
            })
        );
    }

    #[test]
    fn ids_differ_by_channel_broadcast_type_and_value_and_nothing_else() {
        let peak = |count, millis| Happening::Peak(Peak { count, at: at(millis) });
        let (ended_at, later) = (at(7), at(8));
        let ids = [
            of("ana", 1, &Happening::Live).0,
            of("eva", 1, &Happening::Live).0,
            of("ana", 2, &Happening::Live).0,
            of("ana", 1, &peak(5, 1)).0,
            of("ana", 1, &peak(6, 1)).0,
            of("ana", 1, &Happening::Milestone(5, Peak { count: 5, at: at(1) })).0,
            of("ana", 1, &Happening::Offline { ended_at }).0,
            of("ana", 1, &Happening::Ended { ended_at }).0,
        ];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert_eq!(of("ana", 1, &peak(5, 1)).0, of("ana", 1, &peak(5, 2)).0);
        assert_eq!(ids[6], of("ana", 1, &Happening::Offline { ended_at: later }).0);
    }

    #[test]
    fn bodies_are_small() {
        let name = "x".repeat(64);
        let (_, body) = of(&name, u64::MAX, &Happening::Ended { ended_at: at(u64::MAX) });
        assert!(body.to_string().len() < 1_024, "{body}");
    }
}
