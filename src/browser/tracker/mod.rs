//! The session of a page as a viewer: a state machine without browser APIs. The states are idle, watching and left. A
//! page that the browser is about to unload leaves as well, and joins again if it stays.
//!
//! The hook passes each [`Event`] in and executes the [`Command`] returned. Promises:
//!
//! - At most one request is in flight. A request without an answer, such as after sleep, fails after
//!   [`ANSWER_TIMEOUT`].
//! - The next beat is due after a random 80–100 % of the interval, so that pages opened together drift apart.
//! - Failures back off with jitter, and retries never stop. A server may ask for at most two minutes of waiting.
//! - A page that hides reports it after a second. A closing page hides too, and its leave may get lost; without this
//!   delay the session would get the longer lease of hidden pages.
//! - Joins carry the ticket of the page, if it has one. Heartbeats carry it only after the server has asked for it. A
//!   page whose ticket is refused joins without one, and a page that lacks one retries like after a failure.
//! - Nothing is sent before [`Event::Opened`], and nothing but the leave after [`Event::Closed`].
//!
//! Times are milliseconds of any clock that keeps running while the machine sleeps. When the clock is set back, the
//! next beat is due at once.

/// The time after which a request without an answer fails, in milliseconds.
pub const ANSWER_TIMEOUT: f64 = 15_000.0;

/// The shortest and the longest backoff after failures, in milliseconds.
const BACKOFF: (f64, f64) = (1_000.0, 30_000.0);

/// The time after [`Event::Unloading`] at which a page that stayed joins again, in milliseconds.
const REJOIN_AFTER: f64 = 2_000.0;

/// The longest wait accepted from a server, in milliseconds.
const MAX_RETRY_AFTER: f64 = 120_000.0;

/// The delay before a page reports that it is hidden, in milliseconds.
const HIDE_AFTER: f64 = 1_000.0;

/// The longest wait between wake-ups, in milliseconds. It limits how late a clock set back is noticed.
const MAX_WAIT: f64 = 60_000.0;

/// An event in a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The page was opened or restored from the back/forward cache. It starts a new session as a viewer.
    Opened {
        /// Whether the page is hidden.
        hidden: bool,
    },
    /// The visibility of the page changed: another tab was selected, the phone was locked, or the page is visible
    /// again.
    Seen {
        /// Whether the page is hidden.
        hidden: bool,
    },
    /// A timer fired, or an event arrived on the stream: send a beat if one is due.
    Woken,
    /// The browser is online again.
    Online,
    /// The request was answered.
    Answered {
        /// Whether the server counts the session. If not, because the session has just left, the page has to join
        /// again.
        active: bool,
        /// The interval between beats, in milliseconds, if the answer contains one.
        interval: Option<f64>,
    },
    /// The request failed, or the answer was an error.
    Failed {
        /// The wait that the server asks for, in milliseconds; 0 if none.
        retry_after: f64,
    },
    /// The server refused the request for its ticket.
    Refused {
        /// Whether the server wants a ticket. If not, the ticket of the request is invalid or has expired.
        wants_ticket: bool,
    },
    /// The page got a ticket, or a newer one.
    Ticket,
    /// The browser is about to unload the page: it closes, or navigates. It may still stay, if the link is a download
    /// or the user cancels.
    Unloading,
    /// The page is closing, enters the back/forward cache, or its component is disposed of.
    Closed,
}

/// A request that the page has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A join of the current session.
    Join {
        /// Whether the page is hidden.
        hidden: bool,
        /// Whether to send the ticket.
        ticket: bool,
    },
    /// A heartbeat of the current session.
    Heartbeat {
        /// Whether the page is hidden.
        hidden: bool,
        /// Whether to send the ticket.
        ticket: bool,
    },
    /// The leave of the current session, sent as a beacon.
    Leave,
}

/// The state of a page as a viewer.
#[derive(Debug, Clone)]
pub struct Tracker {
    phase: Phase,
    hidden: bool,
    /// The visibility in the last beat.
    reported_hidden: bool,
    /// Whether the server has answered a join of this session.
    joined: bool,
    /// Whether the page has a ticket that the server has not refused.
    has_ticket: bool,
    /// Whether the last request carried the ticket.
    sent_ticket: bool,
    /// Whether the server has asked for the ticket since it last answered.
    must_show: bool,
    /// When the request in flight was sent.
    sent_at: Option<f64>,
    /// When the next beat is due.
    due: f64,
    /// The time of the last beat or failure, to detect a clock set back.
    last: f64,
    interval: f64,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Watching,
    /// The page has left, and joins again when a beat is due.
    Unloading,
    Left,
}

impl Tracker {
    /// A page that is not a viewer yet. `interval`: milliseconds between beats, until an answer of the server sets
    /// another.
    #[must_use]
    pub const fn new(interval: f64) -> Self {
        Self {
            phase: Phase::Idle,
            hidden: false,
            reported_hidden: false,
            joined: false,
            has_ticket: false,
            sent_ticket: false,
            must_show: false,
            sent_at: None,
            due: 0.0,
            last: 0.0,
            interval,
            failures: 0,
        }
    }

    /// Handles an event at `now` and returns the request to send. `random` is uniform from 0 to 1 and new for each
    /// call.
    pub fn on(&mut self, event: Event, now: f64, random: f64) -> Option<Command> {
        match event {
            Event::Opened { hidden } => {
                *self = Self {
                    phase: Phase::Watching,
                    hidden,
                    reported_hidden: hidden,
                    has_ticket: self.has_ticket,
                    due: now,
                    last: now,
                    ..Self::new(self.interval)
                };
            }
            Event::Seen { hidden } => {
                self.hidden = hidden;
                if hidden != self.reported_hidden && self.phase == Phase::Watching {
                    let at = if hidden { now + HIDE_AFTER } else { now };
                    self.due = if self.sent_at.is_some() { at } else { self.due.min(at) };
                }
            }
            Event::Woken => {}
            Event::Online => {
                if self.failures > 0 {
                    self.beat_now(now);
                }
            }
            Event::Answered { active, interval } => {
                self.joined = active;
                self.interval = interval.unwrap_or(self.interval);
                self.failures = 0;
                self.must_show = false;
                let next = if active {
                    now + self.interval * (0.8 + 0.2 * random)
                } else {
                    now + BACKOFF.0 * random
                };
                // A change of visibility during the request still has to be reported.
                self.due = if self.hidden == self.reported_hidden { next } else { next.min(self.due) };
                self.sent_at = None;
            }
            Event::Failed { retry_after } => self.back_off(now, retry_after, random),
            Event::Refused { wants_ticket: true } if self.has_ticket && !self.sent_ticket => {
                self.must_show = true;
                self.ask_again(now);
            }
            Event::Refused { wants_ticket: false } if self.sent_ticket => {
                self.has_ticket = false;
                self.joined = false;
                self.ask_again(now);
            }
            Event::Refused { .. } => {
                self.joined = false;
                self.back_off(now, 0.0, random);
            }
            Event::Ticket => {
                self.has_ticket = true;
                if self.failures > 0 {
                    self.beat_now(now);
                }
            }
            Event::Unloading => {
                if self.phase != Phase::Watching {
                    return None;
                }
                self.phase = Phase::Unloading;
                self.joined = false;
                self.sent_at = None;
                self.last = now;
                let rejoin_at = now + REJOIN_AFTER;
                self.due = if self.failures > 0 { self.due.max(rejoin_at) } else { rejoin_at };
                return Some(Command::Leave);
            }
            Event::Closed => {
                let was_watching = self.phase == Phase::Watching;
                self.phase = Phase::Left;
                return was_watching.then_some(Command::Leave);
            }
        }
        if self.sent_at.is_some_and(|sent| now < sent || now - sent >= ANSWER_TIMEOUT) {
            self.back_off(now, 0.0, 0.0);
        }
        self.send_if_due(now)
    }

    /// Milliseconds until the next [`Event::Woken`] is due; `None` if no timer is needed.
    #[must_use]
    pub fn wait(&self, now: f64) -> Option<f64> {
        self.is_awake()
            .then(|| (self.sent_at.map_or(self.due, |sent| sent + ANSWER_TIMEOUT) - now).clamp(0.0, MAX_WAIT))
    }

    /// Whether the page has a ticket that the server has not refused. A page without one has to open again after
    /// [`Event::Ticket`], since it may be counted as another viewer.
    #[must_use]
    pub const fn has_ticket(&self) -> bool {
        self.has_ticket
    }

    /// Whether the page is a viewer, or is unloading and may become one again.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        matches!(self.phase, Phase::Watching | Phase::Unloading)
    }

    /// Makes a beat due at once, unless the page is unloading.
    fn beat_now(&mut self, now: f64) {
        if self.phase == Phase::Watching {
            self.due = now;
        }
    }

    /// Makes the next beat due at once in place of a refused one.
    fn ask_again(&mut self, now: f64) {
        self.sent_at = None;
        self.beat_now(now);
    }

    fn send_if_due(&mut self, now: f64) -> Option<Command> {
        let clock_was_set_back = now < self.last;
        if !self.is_awake() || self.sent_at.is_some() || (now < self.due && !clock_was_set_back) {
            return None;
        }
        self.phase = Phase::Watching;
        self.sent_at = Some(now);
        self.due = now;
        self.last = now;
        let hidden = self.hidden;
        self.reported_hidden = hidden;
        let ticket = self.has_ticket && (self.must_show || !self.joined);
        self.sent_ticket = ticket;
        Some(if self.joined {
            Command::Heartbeat { hidden, ticket }
        } else {
            Command::Join { hidden, ticket }
        })
    }

    fn back_off(&mut self, now: f64, retry_after: f64, random: f64) {
        let requested = retry_after.min(MAX_RETRY_AFTER);
        let backoff = BACKOFF.0 * f64::from(1_u32 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.sent_at = None;
        self.last = now;
        self.due = now + (backoff.min(BACKOFF.1) * (0.5 + 0.5 * random)).max(requested);
    }
}

#[cfg(test)]
mod tests;
