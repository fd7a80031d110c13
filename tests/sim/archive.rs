//! What nodes have recorded, kept as the database keeps it: each run of a node in its own rows, merged when they are read.

use std::collections::BTreeMap;

use aforo::{
    domain::{ChannelId, Timestamp},
    server::{
        database::part_key,
        history::{self, Minute},
        recording::{Recorder, Taken},
    },
};

use crate::{
    node::number,
    oracle::{
        history::Recorded,
        plan::{CHANNELS, Millis},
    },
    store::{EPOCH, millis},
};

/// The rows, by channel or part, start and run of a node.
#[derive(Default)]
pub struct Archive(BTreeMap<(String, Timestamp, u64), history::TakenMinute>);

impl Archive {
    /// Keeps what a node has recorded since the last call.
    pub fn keep(&mut self, recorder: &Recorder) {
        for Taken { channel, minutes, .. } in recorder.take(false) {
            for minute in minutes {
                self.0.insert((channel.clone(), minute.start, recorder.node()), minute);
            }
        }
    }

    /// The recorded seconds of the channels, merged from all rows.
    pub fn recorded(&self) -> Vec<Recorded> {
        let mut merged = BTreeMap::<(u64, Timestamp), Minute>::new();
        for ((name, start, node), minute) in &self.0 {
            let Ok(channel) = ChannelId::parse(name) else { continue };
            let number = number(&channel);
            if number < CHANNELS {
                let part = self.0.get(&(part_key(channel.part()), *start, *node));
                let minute = minute.clone().held_until(part.and_then(history::TakenMinute::observed_until));
                merged.entry((number, *start)).or_default().merge(&minute);
            }
        }
        let seconds = merged.iter().flat_map(|((channel, start), minute)| {
            (0..).zip(minute.seconds()).map(move |(nth, second)| Recorded {
                at: since_epoch(*start + millis(nth * 1_000)),
                channel: *channel,
                observed: second.observed_ms().into(),
                watched: second.watched_ms(),
                counts: second.lowest().zip(second.highest()),
            })
        });
        seconds.filter(|second| second.counts.is_some()).collect()
    }
}

/// Milliseconds since the world began.
fn since_epoch(at: Timestamp) -> Millis {
    at.as_millis().saturating_sub(EPOCH)
}
