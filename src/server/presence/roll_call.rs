//! What this node knows of the other nodes, and by that whether a count can be complete: the last roll call.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    domain::Timestamp,
    server::store::{Reading, RollCall},
};

/// The last roll call.
#[derive(Default)]
pub struct Roll {
    last: Mutex<Option<RollCall>>,
    /// When a reading was last judged by it.
    used: Mutex<Option<Instant>>,
    /// Tells of every roll call.
    called: watch::Sender<()>,
}

/// Whether a reading is complete, as far as losses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// It is.
    Complete,
    /// Nodes still have something to write again.
    Incomplete,
    /// The store may not be what it was at the last roll call: another one tells.
    Unverified,
}

impl Roll {
    /// Takes in a roll call.
    pub fn set(&self, roll_call: RollCall) {
        *self.last.lock() = Some(roll_call);
        self.called.send_replace(());
    }

    /// Forgets it: with nobody attending, the store's expires too, and nothing was lost by that.
    pub fn forget(&self) {
        *self.last.lock() = None;
    }

    /// Whether a reading was judged by it within this time, as where a stream is open.
    pub fn is_used(&self, within: Duration) -> bool {
        self.used.lock().is_some_and(|at| at.elapsed() < within)
    }

    /// Tells of the next roll call from now on.
    pub fn next(&self) -> watch::Receiver<()> {
        let mut called = self.called.subscribe();
        called.mark_unchanged();
        called
    }

    /// The last roll call.
    pub fn last(&self) -> Option<RollCall> {
        self.last.lock().clone()
    }

    /// Whether a reading is complete.
    pub fn judge(&self, reading: &Reading) -> Completeness {
        *self.used.lock() = Some(Instant::now());
        let last = self.last.lock();
        match &*last {
            None if reading.epoch.is_some() => Completeness::Unverified,
            // A store that holds no roll call, or where it has not been reached yet.
            None => Completeness::Complete,
            Some(last) if reading.epoch.is_some() && reading.epoch != last.epoch => Completeness::Unverified,
            Some(last) if last.is_complete(reading.restored) => Completeness::Complete,
            Some(_) => Completeness::Incomplete,
        }
    }

    /// Whether nodes were asked to look after this, as far as is known.
    pub fn was_asked_since(&self, at: Timestamp) -> bool {
        self.last.lock().as_ref().is_none_or(|last| last.asked >= at)
    }

    /// Since when all nodes know that what they remember is in the store, if there is a roll call.
    pub fn sure_since(&self) -> Option<Timestamp> {
        self.last.lock().as_ref().map(|last| last.sure_since)
    }
}
