//! What a page asks of a store: one operation on one session of a channel.

use std::time::Duration;

use super::{SessionId, ViewerId};

/// One operation on one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Whose session it is.
    pub viewer: ViewerId,
    /// Which of the viewer's pages.
    pub session: SessionId,
    /// What happens to it.
    pub act: Act,
}

/// What an operation does. Each is idempotent: repeated, it changes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The page opened: the session counts for `lease` from now, also when it has left before.
    Join {
        /// How long it counts without another beat.
        lease: Duration,
    },
    /// The page is still open: as a join (what is unknown is created), but nothing for a session that has just left.
    Heartbeat {
        /// How long it counts without another beat.
        lease: Duration,
    },
    /// The page may be open or not: as a heartbeat for a session that is counted, nothing for any other.
    Renew {
        /// How long it counts without another beat.
        lease: Duration,
    },
    /// A node remembers that the page has beaten: as a heartbeat, but it never shortens a lease.
    Restore {
        /// What is left of its lease.
        lease: Duration,
    },
    /// The page closed. Its viewer is gone with the last session.
    Leave {
        /// For how long heartbeats of the session change nothing: one may have been on its way already.
        remember: Duration,
    },
}
