//! What is kept of a channel's counts: pure arithmetic without I/O, async or clocks.
//!
//! - [`Minute`]: 60 [`Second`]s of a channel, its exact peak and the arrivals. [`Track`] records them on a node.
//! - [`Tally`]: the figures of any span; the rows of 5 and 15 minutes.
//! - [`Joins`]: joins with and without a ticket, in minutes of their own.
//! - [`Sketch`]: distinct viewers, by hashes that cannot be turned back into ids.
//! - [`Cuts`] and [`Points`]: a range cut into steps in a time zone, and the tally of each step.
//! - [`mod@ticks`]: the round times of a range, for the axis of a chart.
//! - [`Broadcast`]: the rule by which spans on air become broadcasts. [`Figures`]: what is reported of a range.
//!
//! Promises:
//! - Merging minutes, sketches and broadcasts is commutative, associative and idempotent. Nodes write their own rows,
//!   in any order and repeatedly; rows are merged when they are read and again when they are compacted.
//! - A row needs no rewriting while only time passes: its [`Held`] count and the row of the part say the rest.
//! - Unknown is not zero: the time in which the count was known is recorded beside the sums.
//! - Encoded rows begin with a version. Decoding damaged or hostile bytes is an error, and its cost is linear in
//!   their length.

pub mod arrivals;
pub mod broadcast;
mod bytes;
pub mod cuts;
pub mod figures;
pub mod instant;
pub mod joins;
pub mod minute;
pub mod points;
pub mod sketch;
pub mod tally;
pub mod ticks;
pub mod track;

pub use arrivals::{Arrivals, NodeArrivals, Place};
pub use broadcast::{Broadcast, Span};
pub use bytes::DecodeError;
pub use cuts::{CutError, Cuts};
pub use figures::Figures;
pub use instant::{Wall, Zone};
pub use joins::Joins;
pub use minute::{Held, Minute, Peak, Second};
pub use points::{Point, Points};
pub use sketch::{HashKey, Sketch};
pub use tally::Tally;
pub use ticks::{Tick, ticks};
pub use track::{TakenMinute, Track};

#[cfg(test)]
mod tests;
