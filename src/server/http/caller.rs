//! One caller of the calls that count: the service, behind the limits of the caller's address.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::{
    limits::{Address, SessionLimiter, sessions::LimitExceeded},
    metrics::Metrics,
    presence::{BeatOutcome, Presence},
};
use crate::{
    api::{Code, Problem},
    domain::SessionKey,
};

/// A caller. What it may is decided here, what comes of it by [`Presence`].
#[derive(Clone)]
pub struct Caller {
    /// The service.
    pub presence: Presence,
    /// What its address has brought in already.
    pub sessions: SessionLimiter,
    /// What monitoring is told.
    pub metrics: Metrics,
    /// Its address.
    pub address: Address,
    /// It says itself that it is a robot. Robots read, and are not counted.
    pub is_robot: bool,
}

/// When to come back with one more session of a channel: some of those that are there will have gone.
const SESSIONS_RETRY: Duration = Duration::from_secs(30);

impl Caller {
    /// Starts a session.
    ///
    /// # Errors
    /// `limit-reached`, `unavailable`.
    pub async fn join(&self, who: &SessionKey, hidden: bool) -> Result<BeatOutcome, Problem> {
        let arrived = Instant::now();
        match self.admit(who, hidden, arrived, Metrics::join).await? {
            Some(beaten) => Ok(beaten),
            None => Ok(self.presence.join(who, hidden, arrived).await?),
        }
    }

    /// Keeps a session counted.
    ///
    /// # Errors
    /// `limit-reached`, `unavailable`.
    pub async fn heartbeat(&self, who: &SessionKey, hidden: bool) -> Result<BeatOutcome, Problem> {
        let arrived = Instant::now();
        match self.admit(who, hidden, arrived, Metrics::heartbeat).await? {
            Some(beaten) => Ok(beaten),
            None => Ok(self.presence.heartbeat(who, hidden, arrived).await?),
        }
    }

    /// Ends a session. An address that ends more sessions than it brought in ends none but those that the
    /// store knows.
    ///
    /// # Errors
    /// `limit-reached`, `unavailable`.
    pub async fn leave(&self, who: &SessionKey) -> Result<(), Problem> {
        if self.sessions.leave(self.address, who) {
            self.metrics.leave();
            return Ok(self.presence.leave(who).await?);
        }
        self.try_store()?;
        self.metrics.leave();
        Ok(self.presence.leave_known(who).await?)
    }

    /// Takes one question to the store from what an address has when a limit stands against it.
    fn try_store(&self) -> Result<(), Problem> {
        self.sessions.try_store(self.address).map_err(|over| self.refused(over))
    }

    fn refused(&self, over: LimitExceeded) -> Problem {
        self.metrics.refused(over.name());
        refusal(over)
    }

    /// Decides on a beat, and has it counted if it is accepted. `None`: it goes on as it is. `Some`: all that was to be done
    /// has been done.
    async fn admit(
        &self,
        who: &SessionKey,
        hidden: bool,
        arrived: Instant,
        accepted: fn(&Metrics),
    ) -> Result<Option<BeatOutcome>, Problem> {
        if self.is_robot {
            self.try_store()?;
            self.metrics.robot();
            return Ok(Some(BeatOutcome {
                count: self.presence.count_of(&who.channel).await,
                active: false,
            }));
        }
        let lease = self.presence.lease(hidden);
        let mut admitted = self.sessions.admit(self.address, who, lease, true);
        if admitted.is_err() {
            self.try_store()?;
        }
        if let Err(LimitExceeded::Channels(_)) = admitted
            && self.presence.count_of(&who.channel).await.value.is_some_and(|count| count > 0)
        {
            admitted = self.sessions.admit(self.address, who, lease, false);
        }
        let Err(over) = admitted else {
            accepted(&self.metrics);
            return Ok(None);
        };
        // Who is counted already is never refused: this node may have been started a moment ago.
        match self.presence.renew(who, hidden, arrived).await? {
            Some(beaten) => {
                self.sessions.note(self.address, who, lease);
                accepted(&self.metrics);
                Ok(Some(beaten))
            }
            None => Err(self.refused(over)),
        }
    }
}

fn refusal(over: LimitExceeded) -> Problem {
    let (what, wait) = match over {
        LimitExceeded::Joins(wait) => ("too many new viewers come from this address", wait),
        LimitExceeded::Sessions => {
            ("too many viewers of this channel come from this address", SESSIONS_RETRY)
        }
        LimitExceeded::Tries(wait) => ("too many calls of this address are refused", wait),
        LimitExceeded::Channels(wait) => ("too many new channels are opened from this address", wait),
    };
    Problem::new(Code::LimitReached).detail(what).retry_once_over(wait)
}
