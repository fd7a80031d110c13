//! Why a call is not carried out.

use std::time::Duration;

use crate::server::{limits::sessions::LimitExceeded, store_error::StoreError, tickets::Refusal};

/// Why a call is not carried out.
#[derive(Debug, Clone)]
pub enum Refused {
    /// The address has reached a limit of its sessions.
    Limit(LimitExceeded),
    /// The address has sent many wrong tickets. The next one is checked after this time.
    TicketChecks(Duration),
    /// The call needs a ticket, or a better one.
    Ticket(Refusal),
    /// The store does not respond.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
