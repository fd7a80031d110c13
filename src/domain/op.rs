//! What a page asks of a store: one operation on one session of a channel.

use std::time::Duration;

use super::{Session, SessionId, ViewerId};

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
    /// A node writes again what it knows of the session; it is merged with what the store knows, by the instants at which
    /// things happened.
    Restore(Session),
    /// A node writes what happened while the store could not take it: merged in the same way, but nothing was lost.
    Late(Session),
    /// A node repeats a leave: merged with what the store knows of the session, and nothing if it knows none. A node that
    /// was cut off may have written a beat from before the leave after the store had forgotten the leave.
    Withdraw(Session),
    /// The page closed. Its viewer is gone with the last session. A heartbeat that was on its way changes nothing.
    Leave,
    /// The page closed: as a leave for a session that is known, nothing for any other.
    LeaveKnown,
}
