//! What a node learns of sessions that have left through other nodes. It must not restore them after a loss of data, and by then
//! the other nodes may be gone.
//!
//! Promises:
//! - A node without other nodes, or without sessions of its own, reads nothing.
//! - A node does not learn of those that left in the last second or so before a loss.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::Timestamp,
    server::store::{Left, LeftSince, RollCall, Store},
};

/// The pause between two reads.
const PAUSE: Duration = Duration::from_millis(500);

/// How far back the first read goes. By then the node has been in a round since its first session.
const FIRST: Duration = Duration::from_secs(2);

/// On a cluster, a leave is entered a moment after it happened, and its time is that of another server.
const OVERLAP: Duration = Duration::from_secs(1);

/// Up to when a node knows who has left.
#[derive(Default)]
pub(super) struct LeftElsewhere {
    /// Since when it is not known, by the clock of the roll call. `None` before the first read.
    unknown_since: Option<Timestamp>,
    /// When it was last read.
    read: Option<Instant>,
    /// Whether there were other nodes then.
    had_others: bool,
}

impl LeftElsewhere {
    /// Begins anew, without what has happened so far.
    pub(super) fn reset(&mut self) {
        self.unknown_since = None;
    }

    /// Reads which sessions have left through any node since what is known. Returns them, and what to pass to
    /// [`LeftElsewhere::note`] when they are dealt with. `None` if it is not time yet, if there are no other nodes, or if the
    /// store fails.
    pub(super) async fn read(
        &mut self,
        store: &dyn Store,
        roll: &RollCall,
    ) -> Option<(Vec<Left>, Timestamp)> {
        let logs = store.renewal_log()?;
        if self.read.is_some_and(|read| read.elapsed() < PAUSE) {
            return None;
        }
        self.read = Some(Instant::now());
        // If there were others until just now, sessions may have left through them.
        let had_others = mem::replace(&mut self.had_others, roll.nodes.len() > 1);
        if !had_others && !self.had_others {
            self.reset();
            return None;
        }
        let since = *self.unknown_since.get_or_insert(roll.now - FIRST);
        match logs.left_since(since).await {
            Ok(LeftSince { left, rest }) => {
                let overlap = if store.takes_many_channels() { Duration::ZERO } else { OVERLAP };
                Some((left, rest.unwrap_or(roll.now - overlap)))
            }
            Err(error) => {
                tracing::debug!(%error, "who has left is not readable; retrying");
                None
            }
        }
    }

    /// Takes note that the node knows who has left before this time.
    pub(super) fn note(&mut self, known_until: Timestamp) {
        self.unknown_since = Some(known_until);
    }
}
