//! The rule by which a channel's spans on air become broadcasts.
//!
//! A broadcast is the union of spans with gaps of at most [`GRACE`]: a reconnect, a lull or a restart of a node goes
//! on as the same broadcast, the gap included. The union does not depend on the order in which spans become known,
//! nor on how often, so nodes with slightly different spans come to the same broadcast.

use std::time::Duration;

use crate::domain::Timestamp;

/// The longest gap within a broadcast.
pub const GRACE: Duration = Duration::from_secs(300);

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant, not before the first one.
    pub to: Timestamp,
}

impl Span {
    /// The span between two instants, in whatever order.
    #[must_use]
    pub fn new(a: Timestamp, b: Timestamp) -> Self {
        Self { from: a.min(b), to: a.max(b) }
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn millis(&self) -> u64 {
        self.to.as_millis().saturating_sub(self.from.as_millis())
    }
}

/// A broadcast: from its first to its last instant on air. It is identified by channel and start; the start can
/// become earlier by a [`merge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broadcast {
    /// The first instant on air.
    pub started_at: Timestamp,
    /// The last instant on air that is known.
    pub last_on_air: Timestamp,
}

impl Broadcast {
    /// The end; `None` while the broadcast may still go on, which is up to [`GRACE`] after the last instant on air.
    #[must_use]
    pub fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        (now > self.last_on_air + GRACE).then_some(self.last_on_air)
    }

    /// Whether a span belongs to this broadcast.
    #[must_use]
    pub fn continues_with(&self, span: Span) -> bool {
        span.from <= self.last_on_air + GRACE && self.started_at <= span.to + GRACE
    }
}

/// What a span on air means for the broadcasts of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The broadcast to which the span belongs.
    pub broadcast: Broadcast,
    /// The broadcasts that it replaces: none if it is new, several if the span closes the gap between them. If it is
    /// the only one here, nothing has changed when both are equal.
    pub replaces: Vec<Broadcast>,
}

/// Merges a span on air with the known broadcasts of its channel, in any order. Those that lie further than [`GRACE`]
/// from the span need not be among them.
#[must_use]
pub fn merge(existing: &[Broadcast], span: Span) -> Merged {
    let mut broadcast = Broadcast { started_at: span.from, last_on_air: span.to };
    let mut replaces = Vec::new();
    let mut others = existing.to_vec();
    // A union can reach further broadcasts.
    loop {
        let union = Span { from: broadcast.started_at, to: broadcast.last_on_air };
        let joined = replaces.len();
        others.retain(|other| {
            let is_joined = other.continues_with(union);
            if is_joined {
                broadcast.started_at = broadcast.started_at.min(other.started_at);
                broadcast.last_on_air = broadcast.last_on_air.max(other.last_on_air);
                replaces.push(*other);
            }
            !is_joined
        });
        if replaces.len() == joined {
            return Merged { broadcast, replaces };
        }
    }
}

#[cfg(test)]
mod tests;
