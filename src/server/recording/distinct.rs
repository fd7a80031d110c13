//! The distinct viewers of a span, also from before the key of the hashes is known: the id of the database, which a node
//! learns at its first contact.
//!
//! Promises:
//! - A viewer counts once, before and after the key is known.
//! - The memory is bounded: at most [`MAX_EARLY`] viewers wait for the key. Further ones count from their next beat after
//!   the first contact on.

use std::collections::HashSet;

use crate::{
    domain::ViewerId,
    server::history::{HashKey, Sketch},
};

/// The most viewers that wait for the key: some two megabytes.
const MAX_EARLY: usize = 65_536;

/// Distinct viewers.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    sketch: Sketch,
    /// Viewers that wait for the key.
    early: HashSet<ViewerId>,
}

/// The data of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowData {
    /// As it is stored.
    Encoded(Vec<u8>),
    /// Distinct viewers that wait for the key.
    Early(Vec<ViewerId>),
}

impl Distinct {
    /// Adds a viewer. Returns whether the viewer is new.
    pub(super) fn insert(&mut self, viewer: ViewerId, key: Option<&HashKey>) -> bool {
        match key {
            Some(key) => {
                self.hash_early(key);
                self.sketch.insert(viewer, key)
            }
            None => self.early.len() < MAX_EARLY && self.early.insert(viewer),
        }
    }

    /// Adds the viewers of others.
    pub(super) fn merge(&mut self, other: Self) {
        self.sketch.merge(&other.sketch);
        let space = MAX_EARLY.saturating_sub(self.early.len());
        self.early.extend(other.early.into_iter().take(space));
    }

    /// Whether there are no viewers.
    pub(super) fn is_empty(&self) -> bool {
        self.sketch.is_empty() && self.early.is_empty()
    }

    /// Whether viewers wait for the key.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// The row of these viewers.
    pub(super) fn row(&mut self, key: Option<&HashKey>) -> RowData {
        match key {
            Some(key) => {
                self.hash_early(key);
                RowData::Encoded(self.sketch.encode())
            }
            None => RowData::Early(self.early.iter().copied().collect()),
        }
    }

    /// The number of viewers, if none waits for the key.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.sketch.count()
    }

    fn hash_early(&mut self, key: &HashKey) {
        for viewer in std::mem::take(&mut self.early) {
            self.sketch.insert(viewer, key);
        }
    }
}

impl RowData {
    /// The memory of the data.
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Encoded(bytes) => bytes.len(),
            Self::Early(viewers) => viewers.len() * size_of::<ViewerId>(),
        }
    }

    /// As it is stored.
    pub(super) fn encode(self, key: &HashKey) -> Vec<u8> {
        match self {
            Self::Encoded(bytes) => bytes,
            Self::Early(viewers) => {
                let mut sketch = Sketch::default();
                for viewer in viewers {
                    sketch.insert(viewer, key);
                }
                sketch.encode()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn viewer(nth: u128) -> ViewerId {
        ViewerId::new(Uuid::from_u128(nth + 1)).unwrap()
    }

    /// The number in a row.
    fn number(row: RowData, key: &HashKey) -> u64 {
        Sketch::decode(&row.encode(key)).unwrap().count()
    }

    #[test]
    fn beats_of_the_same_viewers_leave_room_for_others_before_the_key_is_known() {
        let (mut viewers, key) = (Distinct::default(), HashKey::new([7; 16]));
        for _ in 0..MAX_EARLY / 100 + 1 {
            for nth in 0..100 {
                viewers.insert(viewer(nth), None);
            }
        }
        assert!(viewers.insert(viewer(100), None));
        assert_eq!(number(viewers.row(None), &key), 101);
        assert_eq!(number(viewers.row(Some(&key)), &key), 101);
        // The same viewers, and one more, after the first contact.
        for nth in 0..102 {
            viewers.insert(viewer(nth), Some(&key));
        }
        assert_eq!(number(viewers.row(Some(&key)), &key), 102);
    }

    #[test]
    fn the_viewers_that_wait_for_the_key_are_bounded() {
        let mut viewers = Distinct::default();
        let mut others = Distinct::default();
        for nth in 0..MAX_EARLY as u128 + 500 {
            viewers.insert(viewer(nth), None);
            others.insert(viewer(2 * nth), None);
        }
        viewers.merge(others);
        let row = viewers.row(None);
        assert_eq!(row.bytes(), MAX_EARLY * 16);
    }
}
