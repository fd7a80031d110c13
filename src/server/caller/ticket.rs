//! Whose sessions a call may start, by its ticket.
//!
//! - A call with a ticket is for the viewer of the ticket, whatever viewer id it has.
//! - A join without one is for the viewer id in the call, unless a ticket is required. The ids of viewers with tickets
//!   cannot be taken without one.
//! - A heartbeat without one, with the id of a viewer with a ticket, only renews a session that is counted. So
//!   heartbeats need no ticket, and checking them costs nothing. If the session is not counted, `ticket-required` asks
//!   the page for its ticket.
//! - Leaves need none: whoever knows the session id may end the session.

use uuid::Uuid;

use super::{Caller, Refused};
use crate::{
    domain::{SessionId, SessionKey, ViewerId},
    server::{
        limits::TicketChecks,
        tickets::{Refusal, session_of},
    },
};

/// A session that a call may start.
pub(super) struct Identified {
    pub(super) who: SessionKey,
    /// Whether its viewer came with a ticket.
    pub(super) has_ticket: bool,
}

/// What a heartbeat may do.
pub(super) enum HeartbeatRight {
    /// Start the session, or renew it.
    Start(SessionKey),
    /// Renew the session if it is counted.
    Renew(SessionKey),
}

impl Caller {
    /// The session that a join may start. `who` has the ids of the call.
    pub(super) fn identify(&self, who: SessionKey, ticket: Option<&str>) -> Result<Identified, Refused> {
        let Some(ticket) = self.services.tickets.given(ticket) else {
            self.services.tickets.check_without(who.viewer).map_err(|refusal| self.refuse_ticket(refusal))?;
            return Ok(Identified { who, has_ticket: false });
        };
        let viewer = self.viewer_of(ticket, &who)?;
        let random = SessionId::new(Uuid::new_v4());
        Ok(Identified { who: with_ticket(viewer, who, random), has_ticket: true })
    }

    /// What a heartbeat may do. `who` has the ids of the call.
    pub(super) fn right(&self, who: SessionKey, ticket: Option<&str>) -> Result<HeartbeatRight, Refused> {
        if let Some(ticket) = self.services.tickets.given(ticket) {
            let viewer = self.viewer_of(ticket, &who)?;
            return Ok(HeartbeatRight::Start(with_ticket(viewer, who, session_of(ticket))));
        }
        if self.services.tickets.may_have_issued(who.viewer) {
            return Ok(HeartbeatRight::Renew(who));
        }
        self.services.tickets.check_without(who.viewer).map_err(|refusal| self.refuse_ticket(refusal))?;
        Ok(HeartbeatRight::Start(who))
    }

    /// The viewer of a ticket, within the limit of checks of its address.
    fn viewer_of(&self, ticket: &str, who: &SessionKey) -> Result<ViewerId, Refused> {
        self.services.ticket_checks.take(self.address).map_err(|wait| {
            self.services.metrics.refused(TicketChecks::NAME);
            Refused::TicketChecks(wait)
        })?;
        self.services.tickets.viewer(ticket, &who.channel, self.origin.as_deref()).map_err(|refusal| {
            self.services.ticket_checks.failed(self.address);
            self.refuse_ticket(refusal)
        })
    }

    /// Counts a refusal and returns it.
    pub(super) fn refuse_ticket(&self, refusal: Refusal) -> Refused {
        self.services.metrics.ticket_refused(refusal.name());
        Refused::Ticket(refusal)
    }
}

/// The session of a viewer with a ticket. The id of the viewer is no session id, because others may know it: `instead` takes
/// its place. (A call without a session id has its viewer id taken for one.)
fn with_ticket(viewer: ViewerId, who: SessionKey, instead: Option<SessionId>) -> SessionKey {
    let session = instead.filter(|_| who.session == viewer.into()).unwrap_or(who.session);
    SessionKey { viewer, session, ..who }
}
