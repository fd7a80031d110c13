//! Whose sessions a call may start, by its ticket.
//!
//! - A call with a ticket is for the viewer of the ticket, whatever viewer id it has.
//! - A join without one is for the viewer id in the call, unless a ticket is required. The ids of viewers with tickets
//!   cannot be taken without one.
//! - A heartbeat without one, with the id of a viewer with a ticket, only renews a session that is counted. So
//!   heartbeats need no ticket, and checking them costs nothing. If the session is not counted, `ticket-required` asks
//!   the page for its ticket.
//! - Leaves need none: whoever knows the session id may end the session.

use axum::http::HeaderValue;
use ring::digest::{SHA256, digest};
use uuid::{Builder, Uuid};

use super::caller::Caller;
use crate::{
    api::{Code, Problem},
    domain::{SessionId, SessionKey, ViewerId},
    server::{limits::TicketChecks, tickets::Refusal},
};

/// A session that a call may start.
pub(super) struct Entry {
    pub(super) who: SessionKey,
    /// Whether its viewer came with a ticket.
    pub(super) has_ticket: bool,
}

/// What a heartbeat may do.
pub(super) enum Right {
    /// Start the session, or renew it.
    Start(SessionKey),
    /// Renew the session if it is counted.
    Renew(SessionKey),
}

impl Caller {
    /// The session that a join may start. `who` has the ids of the call.
    pub(super) fn entry(&self, who: SessionKey, ticket: Option<&str>) -> Result<Entry, Problem> {
        let Some(ticket) = self.services.tickets.given(ticket) else {
            self.services.tickets.check_without(who.viewer).map_err(|refusal| self.refuse_ticket(refusal))?;
            return Ok(Entry { who, has_ticket: false });
        };
        let viewer = self.viewer_of(ticket, &who)?;
        let random = SessionId::new(Uuid::new_v4());
        Ok(Entry { who: with_ticket(viewer, who, random), has_ticket: true })
    }

    /// What a heartbeat may do. `who` has the ids of the call.
    pub(super) fn right(&self, who: SessionKey, ticket: Option<&str>) -> Result<Right, Problem> {
        if let Some(ticket) = self.services.tickets.given(ticket) {
            let viewer = self.viewer_of(ticket, &who)?;
            return Ok(Right::Start(with_ticket(viewer, who, session_of(ticket))));
        }
        if self.services.tickets.may_have_issued(who.viewer) {
            return Ok(Right::Renew(who));
        }
        self.services.tickets.check_without(who.viewer).map_err(|refusal| self.refuse_ticket(refusal))?;
        Ok(Right::Start(who))
    }

    /// The viewer of a ticket, within the limit of checks of its address.
    fn viewer_of(&self, ticket: &str, who: &SessionKey) -> Result<ViewerId, Problem> {
        self.services.ticket_checks.take(self.address).map_err(|wait| {
            self.services.metrics.refused(TicketChecks::NAME);
            let detail = "too many tickets from this address";
            Problem::new(Code::LimitReached).detail(detail).retry_once_over(wait)
        })?;
        let origin = self.origin.as_ref().and_then(|origin| HeaderValue::to_str(origin).ok());
        self.services.tickets.viewer(ticket, &who.channel, origin).map_err(|refusal| {
            self.services.ticket_checks.failed(self.address);
            self.refuse_ticket(refusal)
        })
    }

    /// Counts a refusal and returns its problem.
    pub(super) fn refuse_ticket(&self, refusal: Refusal) -> Problem {
        self.services.metrics.ticket_refused(refusal.name());
        match refusal {
            Refusal::Required => Problem::new(Code::TicketRequired),
            Refusal::Invalid(why) => Problem::new(Code::TicketInvalid).detail(why),
            Refusal::Expired => Problem::new(Code::TicketExpired),
        }
    }
}

/// The session of a viewer with a ticket. The id of the viewer is no session id, because others may know it: `instead` takes
/// its place. (A call without a session id has its viewer id taken for one.)
fn with_ticket(viewer: ViewerId, who: SessionKey, instead: Option<SessionId>) -> SessionKey {
    let session = instead.filter(|_| who.session == viewer.into()).unwrap_or(who.session);
    SessionKey { viewer, session, ..who }
}

/// The session of heartbeats with this ticket and without a session id. It is the same at every heartbeat and every node, and
/// only who has the ticket can know it.
fn session_of(ticket: &str) -> Option<SessionId> {
    let digest = digest(&SHA256, ticket.as_bytes());
    let bytes = digest.as_ref().first_chunk::<16>()?;
    SessionId::new(Builder::from_custom_bytes(*bytes).into_uuid())
}
