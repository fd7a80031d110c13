//! The outages of servers, by the slots that they had. After an outage other nodes may still have operations to replay, so
//! counts in these slots can be incomplete until the outage is resolved.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::slots::SLOTS;

/// Outages are numbered. Each slot has the number of its last one.
pub(super) struct Outages {
    slots: Box<[AtomicU64]>,
    newest: AtomicU64,
    /// All outages up to this number are resolved.
    resolved: AtomicU64,
}

impl Outages {
    /// No outage is known.
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, newest: AtomicU64::new(0), resolved: AtomicU64::new(0) }
    }

    /// Records that the servers of some slots did not respond.
    pub(super) fn note(&self, slots: impl Iterator<Item = u16>) {
        let number = self.newest.fetch_add(1, SeqCst) + 1;
        for slot in slots.filter(|slot| *slot < SLOTS) {
            self.slots[usize::from(slot)].fetch_max(number, SeqCst);
        }
    }

    /// Whether a slot has an unresolved outage.
    pub(super) fn has(&self, slot: u16) -> bool {
        let last = self.slots.get(usize::from(slot)).map_or(0, |last| last.load(SeqCst));
        last > self.resolved.load(SeqCst)
    }

    /// The number of the newest unresolved outage.
    pub(super) fn unresolved(&self) -> Option<u64> {
        let newest = self.newest.load(SeqCst);
        (newest > self.resolved.load(SeqCst)).then_some(newest)
    }

    /// Resolves all outages up to a number.
    pub(super) fn resolve(&self, up_to: u64) {
        self.resolved.fetch_max(up_to, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_doubted_until_its_last_outage_is_resolved() {
        let outages = Outages::new();
        assert_eq!(outages.unresolved(), None);
        outages.note(0..100);
        outages.note(50..60);
        assert_eq!(outages.unresolved(), Some(2));
        assert!(outages.has(0) && outages.has(55) && outages.has(99) && !outages.has(100));
        outages.resolve(1);
        assert!(!outages.has(0) && outages.has(55), "the second outage is not resolved");
        outages.resolve(2);
        outages.resolve(1);
        assert_eq!(outages.unresolved(), None);
        assert!(!outages.has(55));
        outages.note(std::iter::once(SLOTS));
        assert!(!outages.has(SLOTS), "no such slot");
    }
}
