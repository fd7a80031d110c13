//! The last roll call as this node knows it. It shows whether a count is complete or other nodes still have operations
//! to replay.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    domain::Timestamp,
    server::store::{Reading, RollCall},
};

/// How long a roll call shows that other nodes still have operations to replay. Nodes attend more often than this.
const CURRENT_FOR: Duration = Duration::from_secs(2);

/// The last roll call.
#[derive(Default)]
pub(super) struct LastRollCall {
    last: Mutex<Option<(RollCall, Instant)>>,
    /// Whether the store keeps none, because it has only one node.
    is_not_kept: AtomicBool,
    /// When a reading was last judged by this roll call.
    last_used: Mutex<Option<Instant>>,
    /// Whether this node has missed roll calls since the last one: the store was away for it, and maybe for others.
    is_missed: AtomicBool,
    /// When the nodes were asked to check their journals because this node had missed roll calls, by the store's clock.
    doubted: Mutex<Timestamp>,
    /// Notifies waiting tasks of every roll call.
    updated: watch::Sender<()>,
}

/// Whether a reading is complete, or lacks viewers that the store has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// The reading is complete.
    Complete,
    /// Nodes still have operations to replay.
    Incomplete,
    /// The store may have lost data since the last roll call. The next roll call decides.
    Unverified,
}

impl LastRollCall {
    /// Records that this node could not attend a roll call.
    pub(super) fn miss(&self) {
        self.is_missed.store(true, Relaxed);
    }

    /// Whether this node has missed roll calls since the last one.
    pub(super) fn is_missed(&self) -> bool {
        self.is_missed.load(Relaxed)
    }

    /// Stores a new roll call and notifies the subscribers. If this node has missed some and there are others, counts are
    /// incomplete until all of them have checked their journals.
    pub(super) fn set(&self, roll_call: RollCall) {
        let mut last = self.last.lock();
        let mut doubted = self.doubted.lock();
        let asked = if roll_call.nodes.len() > 1 { roll_call.asked } else { Timestamp::default() };
        // This node can't know what happened before its first roll call either.
        if self.is_missed.swap(false, Relaxed) || last.is_none() {
            *doubted = asked;
        }
        // The store's clock may have been set back.
        *doubted = (*doubted).min(roll_call.now);
        *last = Some((roll_call, Instant::now()));
        drop((doubted, last));
        self.updated.send_replace(());
    }

    /// Records that the store keeps no roll call, and notifies the subscribers.
    pub(super) fn set_not_kept(&self) {
        if !self.is_not_kept.swap(true, Relaxed) {
            self.updated.send_replace(());
        }
    }

    /// Forgets a roll call that is older than `age`, when this node has stopped attending. The roll call in the store
    /// expires if no node attends, and its expiry must not be taken for a loss.
    pub(super) fn forget_after(&self, age: Duration) {
        self.last.lock().take_if(|(_, at)| at.elapsed() >= age);
    }

    /// Whether a reading was judged within this time, for example for an open stream.
    pub(super) fn was_used_within(&self, within: Duration) -> bool {
        self.last_used.lock().is_some_and(|at| at.elapsed() < within)
    }

    /// A receiver that changes at the next roll call.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        let mut updated = self.updated.subscribe();
        updated.mark_unchanged();
        updated
    }

    /// The last roll call.
    pub(super) fn last(&self) -> Option<RollCall> {
        self.last.lock().as_ref().map(|(last, _)| last.clone())
    }

    /// Whether a reading is complete.
    pub(super) fn judge(&self, reading: &Reading) -> Completeness {
        *self.last_used.lock() = Some(Instant::now());
        let last = self.last.lock();
        match &*last {
            None if self.is_not_kept.load(Relaxed) => Completeness::Complete,
            // This node has just started, or has not attended for a while.
            None => Completeness::Unverified,
            Some((last, _)) if reading.epoch.is_some() && reading.epoch != last.epoch => {
                Completeness::Unverified
            }
            Some(_) if self.is_missed() => Completeness::Unverified,
            Some((last, _)) if last.is_complete(reading.restored.max(*self.doubted.lock())) => {
                Completeness::Complete
            }
            // The node has not attended for a while, so the others may have replayed since.
            Some((_, at)) if at.elapsed() >= CURRENT_FOR => Completeness::Unverified,
            Some(_) => Completeness::Incomplete,
        }
    }

    /// Whether nodes were asked to check their journals at or after `at`. True if no roll call is known.
    pub(super) fn was_asked_since(&self, at: Timestamp) -> bool {
        self.last.lock().as_ref().is_none_or(|(last, _)| last.asked >= at)
    }

    /// Whether all nodes have written what they accepted, as far as this node knows.
    pub(super) fn is_complete(&self) -> bool {
        let last = self.last.lock();
        let is_complete = |last: &RollCall| last.is_complete(*self.doubted.lock());
        !self.is_missed() && last.as_ref().is_none_or(|(last, _)| is_complete(last))
    }

    /// The time since which all nodes know that their journals are in the store. `None` without a roll call.
    pub(super) fn sure_since(&self) -> Option<Timestamp> {
        self.last.lock().as_ref().map(|(last, _)| last.sure_since)
    }
}
