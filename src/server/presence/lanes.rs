//! Queues of work that is done together: what arrives while a lane is busy waits, and is taken in one go for the next step.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use parking_lot::Mutex;

/// Lanes by key. A lane exists while it is busy, so memory is bounded by the work that waits.
pub(super) struct Lanes<K, W>(Mutex<HashMap<K, Vec<W>>>);

impl<K, W> Default for Lanes<K, W> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, W> Lanes<K, W> {
    /// Adds work to a lane. Returns the work if the lane was idle: the caller does it, and then calls [`Lanes::next`] until
    /// nothing is left. If it fails to, the lane is busy forever.
    #[must_use]
    pub(super) fn add(&self, lane: K, work: W) -> Option<W> {
        match self.0.lock().entry(lane) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(work);
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Vec::new());
                Some(work)
            }
        }
    }

    /// What `take` takes of the work that waits in a lane. The lane is idle if that is nothing.
    pub(super) fn next(&self, lane: &K, take: impl FnOnce(&mut Vec<W>) -> Vec<W>) -> Vec<W> {
        let mut lanes = self.0.lock();
        let work = lanes.get_mut(lane).map(take).unwrap_or_default();
        if work.is_empty() {
            lanes.remove(lane);
        }
        work
    }

    /// Whether all lanes are idle.
    pub(super) fn are_idle(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::take;

    use super::*;

    #[test]
    fn work_waits_until_its_lane_takes_it() {
        let lanes = Lanes::<_, u8>::default();
        assert!(lanes.are_idle());
        assert_eq!(lanes.add("a", 1), Some(1));
        assert_eq!((lanes.add("a", 2), lanes.add("b", 3), lanes.add("a", 4)), (None, Some(3), None));
        assert!(lanes.next(&"b", take).is_empty());
        assert_eq!(lanes.next(&"a", |waiting| waiting.drain(..1).collect()), [2]);
        assert_eq!(lanes.next(&"a", take), [4]);
        assert!(!lanes.are_idle(), "its last work is under way");
        assert!(lanes.next(&"a", take).is_empty());
        assert!(lanes.are_idle());
        assert_eq!(lanes.add("a", 5), Some(5));
    }
}
