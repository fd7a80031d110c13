//! The operations on the sessions of a channel: joins, heartbeats, leaves, and replays of them.

use std::time::Duration;

use super::{Session, SessionId, ViewerId, session::Phase};

/// One operation on one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// The viewer of the session.
    pub viewer: ViewerId,
    /// The session.
    pub session: SessionId,
    /// What the operation does to the session.
    pub act: Act,
}

/// What an operation does. Operations are idempotent: applying one twice has the same effect as applying it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The page opened. The session counts for `lease` from now, even if it has left before.
    Join {
        /// How long the session counts without another beat.
        lease: Duration,
    },
    /// The page is still open. Like a join, it creates an unknown session; within the leave memory after a leave, it is
    /// ignored.
    Heartbeat {
        /// How long the session counts without another beat.
        lease: Duration,
    },
    /// Like a heartbeat if the session is live; otherwise ignored.
    Renew {
        /// How long the session counts without another beat.
        lease: Duration,
    },
    /// A replay after a loss: the state that a node has of the session. It is merged with the state in the store by the
    /// instants at which beats and leaves happened.
    Restore(Session),
    /// A late write of operations that waited for the store. It is merged like a replay after a loss, but the store has
    /// lost nothing.
    Late(Session),
    /// A heartbeat from a log of renewals, which happened before it is written. It is merged like a late write.
    Logged(Session),
    /// A repeated leave: merged with the state in the store, and ignored if the session is unknown. Leaves are repeated
    /// because a disconnected node may write a beat from before the leave after the store has forgotten the leave.
    Withdraw(Session),
    /// The page closed. The session no longer counts; a heartbeat that was sent before the leave is ignored.
    Leave,
    /// Like a leave if the session is known; otherwise ignored.
    LeaveKnown,
}

impl Act {
    /// Whether the operation may end its session.
    #[must_use]
    pub fn may_end_session(&self) -> bool {
        match self {
            Self::Join { .. } | Self::Heartbeat { .. } | Self::Renew { .. } => false,
            Self::Restore(session) | Self::Late(session) | Self::Logged(session) => {
                session.parts().phase != Phase::Beating
            }
            Self::Withdraw(_) | Self::Leave | Self::LeaveKnown => true,
        }
    }
}
