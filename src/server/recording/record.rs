//! The record of one channel on one node.

use std::{collections::HashSet, time::Duration};

use crate::{
    domain::{Timestamp, ViewerId},
    server::history::{HashKey, Minute, Place, Sketch, Span, Track, broadcast::GRACE},
};

/// The length of the spans for which distinct viewers are kept.
const VIEWERS_SPAN_MS: u64 = 3_600_000;

/// The most viewers of a channel that are remembered as seen. Beyond, every join counts as a new viewer.
const MAX_SEEN: usize = 1_000_000;

/// The record of one channel.
#[derive(Debug, Default)]
pub(super) struct Record {
    track: Track,
    /// The span in which the channel was on air, as its owner has seen it.
    air: Option<Air>,
    /// The distinct viewers of the present hour.
    viewers: Option<Viewers>,
    /// The viewers whose joins were counted.
    seen: HashSet<u64>,
    /// The last observation of a viewer.
    active: Timestamp,
}

/// A span on air.
#[derive(Debug, Clone, Copy)]
struct Air {
    span: Span,
    is_on: bool,
    is_dirty: bool,
}

/// The distinct viewers of a span.
#[derive(Debug)]
struct Viewers {
    start: Timestamp,
    sketch: Sketch,
    is_dirty: bool,
}

/// What has changed in a record since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Minutes with their starts.
    pub minutes: Vec<(Timestamp, Minute)>,
    /// The encoded sketch of viewers with the start of its span.
    pub viewers: Option<(Timestamp, Vec<u8>)>,
    /// The span on air.
    pub on_air: Option<Span>,
}

impl Record {
    /// Records a fresh count. The owner of the channel gives the longest time between two observations that counts as
    /// observed. Returns whether the channel went on air.
    pub(super) fn observe(&mut self, count: u32, at: Timestamp, owner_gap: Option<Duration>) -> bool {
        self.track.observe(count, at, owner_gap.is_some(), owner_gap.unwrap_or_default());
        if count > 0 {
            self.active = self.active.max(at);
        }
        if owner_gap.is_none() {
            return false;
        }
        match &mut self.air {
            Some(air) if air.is_on => {
                air.is_on = count > 0;
                if at > air.span.to {
                    air.span.to = at;
                    air.is_dirty = true;
                }
            }
            Some(air) if count > 0 && at <= air.span.to + GRACE => {
                air.span.to = air.span.to.max(at);
                air.is_on = true;
                air.is_dirty = true;
            }
            _ if count > 0 => {
                self.air = Some(Air { span: Span::new(at, at), is_on: true, is_dirty: true });
                return true;
            }
            _ => {}
        }
        false
    }

    /// Records that the count is not known. A channel that was on air is assumed to stay so.
    pub(super) fn lose_sight(&mut self, at: Timestamp) {
        self.track.unknown(at);
        if let Some(air) = self.air.as_mut().filter(|air| air.is_on && at > air.span.to) {
            air.span.to = at;
            air.is_dirty = true;
        }
    }

    /// Records a viewer among the distinct ones of its hour.
    pub(super) fn see(&mut self, viewer: ViewerId, key: Option<&HashKey>, at: Timestamp) {
        let is_lull = at > self.active + GRACE;
        self.active = self.active.max(at);
        let Some(key) = key else { return };
        let hour = |at: Timestamp| at.as_millis() / VIEWERS_SPAN_MS;
        let is_current =
            self.viewers.as_ref().is_some_and(|viewers| !is_lull && hour(at) <= hour(viewers.start));
        if !is_current {
            // The writer takes the sketch every few seconds, so little is lost of the one that is replaced.
            self.viewers = Some(Viewers { start: at, sketch: Sketch::default(), is_dirty: true });
        }
        if let Some(viewers) = &mut self.viewers {
            viewers.is_dirty |= viewers.sketch.insert(viewer, key);
        }
    }

    /// Counts a new viewer, unless it was counted before.
    pub(super) fn arrive(&mut self, viewer: ViewerId, node: u64, place: Place<'_>, at: Timestamp) {
        if self.seen.len() >= MAX_SEEN || self.seen.insert(fingerprint(viewer)) {
            self.track.arrive(node, place, at);
        }
    }

    /// Takes the changes.
    pub(super) fn take(&mut self, now: Timestamp) -> Changes {
        let viewers = self.viewers.as_mut().and_then(|viewers| {
            std::mem::take(&mut viewers.is_dirty).then(|| (viewers.start, viewers.sketch.encode()))
        });
        Changes { minutes: self.track.take_dirty(now), viewers, on_air: self.take_on_air() }
    }

    /// Takes the span on air if it has changed.
    pub(super) fn take_on_air(&mut self) -> Option<Span> {
        self.air.as_mut().and_then(|air| std::mem::take(&mut air.is_dirty).then_some(air.span))
    }

    /// The number of minutes that were lost since the last call, because the database was away for too long.
    pub(super) fn take_lost(&mut self) -> u64 {
        self.track.take_lost()
    }

    /// Whether the channel has been empty for so long that the record can go. Its changes must have been taken.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now > self.active + GRACE + Duration::from_secs(60)
    }
}

/// Half of a viewer's id, which is random.
fn fingerprint(viewer: ViewerId) -> u64 {
    let (high, low) = viewer.uuid().as_u64_pair();
    high ^ low
}
