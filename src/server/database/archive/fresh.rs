//! The minutes of nodes that are not merged yet.

use std::collections::BTreeMap;

use sqlx::{Row as _, any::AnyRow};

use super::{damaged, encoding::Minutes, time};
use crate::{
    domain::Timestamp,
    server::history::{Held, Minute, TakenMinute},
};

/// The columns of a [`Fresh`] row.
pub(super) const COLUMNS: &str = "channel, start, node, data, held, held_at";

/// A minute as one node has recorded it.
pub(super) struct Fresh {
    channel: String,
    node: i64,
    taken: TakenMinute,
}

impl Fresh {
    /// Reads a row with the [`COLUMNS`].
    pub(super) fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let (count, at): (i64, _) = (row.try_get("held")?, time(row, "held_at")?);
        let count = u32::try_from(count).ok().filter(|_| at > Timestamp::default());
        let minute = Minute::decode(&row.try_get::<Vec<u8>, _>("data")?).map_err(damaged)?;
        let held = count.map(|count| Held { count, at });
        let taken = TakenMinute { start: time(row, "start")?, minute, held };
        Ok(Self { channel: row.try_get("channel")?, node: row.try_get("node")?, taken })
    }

    /// The start of the minute.
    pub(super) const fn start(&self) -> Timestamp {
        self.taken.start
    }
}

/// Merges the minutes of all nodes: those of channels, and those of the part with the key `part`, if it is needed. A
/// count has held as long as its node has observed the part.
pub(super) fn merge(rows: Vec<Fresh>, part: Option<&str>) -> (BTreeMap<String, Minutes>, Minutes) {
    let (parts, rows): (Vec<Fresh>, Vec<Fresh>) =
        rows.into_iter().partition(|row| Some(row.channel.as_str()) == part);
    let (mut channels, mut idle) = (BTreeMap::<String, Minutes>::new(), Minutes::new());
    let mut observed = BTreeMap::new();
    for Fresh { node, taken, .. } in parts {
        observed.insert((taken.start, node), taken.observed_until());
        idle.entry(taken.start).or_default().merge(&taken.minute);
    }
    for Fresh { channel, node, taken } in rows {
        let (start, until) = (taken.start, observed.get(&(taken.start, node)).copied().flatten());
        channels.entry(channel).or_default().entry(start).or_default().merge(&taken.held_until(until));
    }
    (channels, idle)
}
