//! What a node learns of sessions that have left through other nodes: it must not restore them after a loss of data, and by then
//! the other node may be gone.
//!
//! Promises:
//! - A node without other nodes, or without sessions of its own, reads nothing.
//! - A read is of at most [`MAX_LEFT`](crate::server::store::MAX_LEFT) sessions. Of more, and of those that left just before the
//!   loss, the node does not learn.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::Timestamp,
    server::store::{Left, RollCall, Store},
};

/// On a cluster, a leave is entered a moment after it happened, and its time is that of another server.
const OVERLAP: Duration = Duration::from_secs(1);

/// Up to where a node knows who has left.
#[derive(Default)]
pub(super) struct LeftElsewhere {
    /// Until when all is read, by the clock of the roll call. `None`: nothing from before now matters.
    read_until: Option<Timestamp>,
    /// When it was last read.
    read: Option<Instant>,
    /// Whether there were other nodes then.
    had_others: bool,
}

impl LeftElsewhere {
    /// Takes note that this node has no sessions.
    pub(super) fn reset(&mut self) {
        self.read_until = None;
    }

    /// The sessions that have left through any node since the last time. `None` if that was less than `pause` ago, if there are no
    /// other nodes, or if it can't be read now. Then the next time is about these sessions, too.
    pub(super) async fn read(
        &mut self,
        store: &dyn Store,
        roll: &RollCall,
        pause: Duration,
    ) -> Option<Vec<Left>> {
        let logs = store.renewal_log()?;
        if self.read.is_some_and(|read| read.elapsed() < pause) {
            return None;
        }
        self.read = Some(Instant::now());
        // Until just now there were others, and sessions may have left through them.
        let had_others = mem::replace(&mut self.had_others, roll.nodes.len() > 1);
        if !had_others && !self.had_others {
            self.reset();
            return None;
        }
        let overlap = if store.takes_many_channels() { Duration::ZERO } else { OVERLAP };
        let since = *self.read_until.get_or_insert(roll.now) - overlap;
        match logs.left_since(since).await {
            Ok(left) => {
                self.read_until = Some(roll.now);
                Some(left)
            }
            Err(error) => {
                tracing::debug!(%error, "who has left is not readable; retrying");
                None
            }
        }
    }
}
