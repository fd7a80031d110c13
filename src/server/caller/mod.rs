//! The caller of a join, heartbeat or leave: checks its ticket and applies the limits of its address before the service
//! counts anything.

mod refused;
mod ticket;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::refused::Refused;
use self::ticket::{HeartbeatRight, Identified};
use crate::{
    domain::SessionKey,
    server::{
        history::Place,
        limits::{Address, Admission, SessionLimiter, TicketChecks, sessions::LimitExceeded},
        metrics::Metrics,
        presence::{BeatOutcome, Presence},
        recording::Recorder,
        tickets::{Refusal, Tickets},
    },
};

/// What serves all callers.
pub struct CallerServices {
    /// The service that counts viewers.
    pub presence: Presence,
    /// The sessions of each address, and their limits.
    pub sessions: SessionLimiter,
    /// The recorder of new viewers.
    pub recorder: Recorder,
    /// Which viewers need a ticket.
    pub tickets: Tickets,
    /// Limits the checks of tickets of each address.
    pub ticket_checks: TicketChecks,
    /// The metrics of this node.
    pub metrics: Metrics,
}

/// A caller. This type decides whether a call is admitted; [`Presence`] carries it out.
#[derive(Clone)]
pub struct Caller {
    /// What serves it.
    pub services: Arc<CallerServices>,
    /// Its address.
    pub address: Address,
    /// The origin of the page that calls, as its browser names it.
    pub origin: Option<String>,
    /// The host of that page, if it is not a page of this server. Empty if it is not known.
    pub foreign_host: Option<String>,
    /// Whether its `User-Agent` announces a robot. Robots get the count but are not counted.
    pub is_robot: bool,
}

/// A session that was started.
pub struct Joined {
    /// Its ids, which depend on the ticket.
    pub who: SessionKey,
    /// The outcome.
    pub beat: BeatOutcome,
    /// Whether it came with a ticket; `None` if tickets are off.
    has_ticket: Option<bool>,
}

impl Caller {
    /// Starts a session.
    ///
    /// # Errors
    /// When the call needs another ticket, the address has reached a limit, or the store must be asked and does not respond.
    pub async fn join(&self, who: SessionKey, ticket: Option<&str>, hidden: bool) -> Result<Joined, Refused> {
        let arrived = Instant::now();
        let Identified { who, has_ticket } = self.identify(who, ticket)?;
        let beat = match self.admit(&who, hidden, arrived, Metrics::join).await? {
            Admitted::Done(outcome) => outcome,
            Admitted::Write(admission) => {
                written(admission, self.services.presence.join(&who, hidden, arrived).await?)
            }
        };
        if has_ticket && beat.active {
            self.services.metrics.ticket_join();
        }
        Ok(Joined { who, beat, has_ticket: self.services.tickets.are_accepted().then_some(has_ticket) })
    }

    /// Records a viewer who has joined, and where the viewer watches. `embedded_in` is the host that an embed page names.
    pub fn arrived(&self, joined: &Joined, embedded_in: Option<&str>) {
        let Joined { who, beat, has_ticket } = joined;
        if !beat.active {
            return;
        }
        let embedded_in = embedded_in.map(str::to_ascii_lowercase);
        let place = match (&self.foreign_host, &embedded_in) {
            (Some(host), _) | (None, Some(host)) => Place::Embed(host_or_unknown(host)),
            (None, None) => Place::Site,
        };
        self.services.recorder.joined(&who.channel, who.viewer, place, *has_ticket, beat.count);
    }

    /// Keeps a session counted.
    ///
    /// # Errors
    /// When the call needs another ticket, the address has reached a limit, or the store must be asked and does not respond.
    pub async fn heartbeat(
        &self,
        who: SessionKey,
        ticket: Option<&str>,
        hidden: bool,
    ) -> Result<BeatOutcome, Refused> {
        let arrived = Instant::now();
        let who = match self.right(who, ticket)? {
            HeartbeatRight::Start(who) => who,
            HeartbeatRight::Renew(who) => return self.renew(&who, hidden, arrived).await,
        };
        match self.admit(&who, hidden, arrived, Metrics::heartbeat).await? {
            Admitted::Done(outcome) => Ok(outcome),
            Admitted::Write(admission) => {
                Ok(written(admission, self.services.presence.heartbeat(&who, hidden, arrived).await?))
            }
        }
    }

    /// Renews a session that is counted.
    async fn renew(&self, who: &SessionKey, hidden: bool, arrived: Instant) -> Result<BeatOutcome, Refused> {
        if self.is_robot {
            return self.robot(who).await;
        }
        let lease = self.services.presence.lease(hidden);
        let was_admitted = self.services.sessions.renew(self.address, who, lease);
        let Some(outcome) = self.services.presence.renew(who, hidden, arrived).await? else {
            return Err(self.refuse_ticket(Refusal::Required));
        };
        if !was_admitted {
            self.services.sessions.note(self.address, who, lease);
        }
        self.services.metrics.heartbeat();
        Ok(outcome)
    }

    /// Ends a session. If the session was not admitted here and the address has reached its rate of leaves, only a
    /// session that the store knows is ended.
    ///
    /// # Errors
    /// When the address has reached its limit of leaves, or the store must be asked and does not respond.
    pub async fn leave(&self, who: &SessionKey) -> Result<(), Refused> {
        if self.services.sessions.leave(self.address, who) {
            self.services.metrics.leave();
            return Ok(self.services.presence.leave(who).await?);
        }
        self.take_uncounted()?;
        self.services.metrics.leave();
        Ok(self.services.presence.leave_known(who).await?)
    }

    /// Takes one of the calls of an address that count nobody.
    fn take_uncounted(&self) -> Result<(), Refused> {
        self.services.sessions.take_uncounted(self.address).map_err(|limit| self.refuse(limit))
    }

    /// Counts a rejection and returns it.
    fn refuse(&self, limit: LimitExceeded) -> Refused {
        self.services.metrics.refused(limit.name());
        Refused::Limit(limit)
    }

    /// The outcome of a robot's beat, which is not counted.
    async fn robot(&self, who: &SessionKey) -> Result<BeatOutcome, Refused> {
        self.take_uncounted()?;
        self.services.metrics.robot();
        Ok(BeatOutcome { count: self.services.presence.count_of(&who.channel).await, active: false })
    }

    /// Applies the limits to a beat.
    async fn admit(
        &self,
        who: &SessionKey,
        hidden: bool,
        arrived: Instant,
        count_accepted: fn(&Metrics),
    ) -> Result<Admitted, Refused> {
        if self.is_robot {
            return self.robot(who).await.map(Admitted::Done);
        }
        let lease = self.services.presence.lease(hidden);
        let mut admitted = self.services.sessions.admit(self.address, who, lease, true);
        if let Err(LimitExceeded::Channels(_)) = admitted
            && self.services.presence.count_of(&who.channel).await.value().is_some_and(|count| count > 0)
        {
            admitted = self.services.sessions.admit(self.address, who, lease, false);
        }
        let limit = match admitted {
            Ok(admission) => {
                count_accepted(&self.services.metrics);
                return Ok(Admitted::Write(admission));
            }
            Err(limit) => limit,
        };
        // A session that the store counts is never refused: this node may have started a moment ago and not know it. So the
        // store is asked at any rate. That costs no more than a beat that is accepted, and leaves nothing behind.
        match self.services.presence.renew(who, hidden, arrived).await? {
            Some(outcome) => {
                self.services.sessions.note(self.address, who, lease);
                count_accepted(&self.services.metrics);
                Ok(Admitted::Done(outcome))
            }
            None => Err(self.refuse(limit)),
        }
    }
}

/// What is left to do for a beat.
enum Admitted {
    /// Nothing: it is a robot's beat, or the renewal of a counted session over a limit.
    Done(BeatOutcome),
    /// It is admitted and must be written.
    Write(Admission),
}

/// Tells the limits what the write of an admitted beat has returned.
fn written(admission: Admission, outcome: BeatOutcome) -> BeatOutcome {
    admission.written(outcome.count.live());
    outcome
}

/// A host name, or nothing for other text.
fn host_or_unknown(host: &str) -> &str {
    let is_allowed =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b':' | b'[' | b']');
    if host.len() <= 253 && host.bytes().all(is_allowed) { host } else { "" }
}
