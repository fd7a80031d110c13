//! The life of a page as a viewer, as a state machine without a browser: idle → watching → left, and back. A page that the
//! browser is about to unload leaves too, and joins again if it stays.
//!
//! The hook tells it what happens ([`Event`]) and does what it answers ([`Command`]). Promises:
//!
//! - One request is under way at a time; one that is never answered (the laptop slept) is given up after
//!   [`ANSWER_TIMEOUT`].
//! - Beats are due 80–100 % of the interval after the last, at random, so that pages which opened together drift apart.
//! - Failures back off with jitter and never end anything, whatever the server asks for.
//! - A page that hides says so a second later: one that is closing also hides, and its leave may get lost. Then its lease is
//!   the short one.
//! - Nothing is sent before [`Event::Opened`] and, but for the leave, after [`Event::Closed`].
//!
//! Instants are milliseconds of any clock that keeps running while the machine sleeps; when it is set back, the next
//! beat is due at once.

/// How long a request may be under way, in milliseconds, before it counts as failed.
pub const ANSWER_TIMEOUT: f64 = 15_000.0;

/// The shortest and the longest wait after failures, in milliseconds.
const BACK_OFF: (f64, f64) = (1_000.0, 30_000.0);

/// How long after [`Event::Unloading`] a page that is still there joins again, in milliseconds.
const STAYED: f64 = 2_000.0;

/// The longest wait that a server may ask for, in milliseconds.
const LONGEST_RETRY: f64 = 120_000.0;

/// How long a page is hidden before it says so, in milliseconds.
const HIDE_AFTER: f64 = 1_000.0;

/// The longest wait between wake-ups, in milliseconds: a clock that was set back is noticed after it.
const LONGEST_NAP: f64 = 60_000.0;

/// What happens to a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// It is there, or back from the back/forward cache: from here on it is a viewer, in a new session.
    Opened {
        /// Whether nobody sees it.
        hidden: bool,
    },
    /// It went out of sight (another tab, a locked phone) or came back.
    Seen {
        /// Whether nobody sees it.
        hidden: bool,
    },
    /// A timer fired, an event came in on the stream: an occasion to see whether a beat is due.
    Woken,
    /// The network came back.
    Online,
    /// The request was answered.
    Answered {
        /// Whether the server counts the session. If not (it has just left), it has to join again.
        active: bool,
        /// The interval of beats, in milliseconds, if the answer gave one.
        interval: Option<f64>,
    },
    /// The request failed, or its answer was an error.
    Failed {
        /// How long the server asks to wait, in milliseconds.
        retry_after: f64,
    },
    /// The browser is about to unload it: it closes, or goes elsewhere. It may also stay, if the link turns out to be a
    /// download or the user decides against it.
    Unloading,
    /// It is closing, or is put into the back/forward cache, or its component goes away.
    Closed,
}

/// What the page has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A join of the current session.
    Join {
        /// Whether nobody sees the page.
        hidden: bool,
    },
    /// A heartbeat of the current session.
    Heartbeat {
        /// Whether nobody sees the page.
        hidden: bool,
    },
    /// The leave of the current session, as a beacon.
    Leave,
}

/// The state of a page as a viewer.
#[derive(Debug, Clone)]
pub struct Tracker {
    phase: Phase,
    hidden: bool,
    /// What the last beat said of that.
    said_hidden: bool,
    /// Whether the server has answered a join of this session.
    joined: bool,
    /// When the request under way was sent, if there is one.
    sent: Option<f64>,
    /// When the next beat is due.
    due: f64,
    /// The last beat or failure, to notice a clock that was set back.
    last: f64,
    interval: f64,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Watching,
    /// It has left, and joins again when a beat is due.
    Unloading,
    Left,
}

impl Tracker {
    /// A page that is not a viewer yet.
    ///
    /// `interval`: milliseconds between beats, until the server's answer says otherwise.
    #[must_use]
    pub const fn new(interval: f64) -> Self {
        Self {
            phase: Phase::Idle,
            hidden: false,
            said_hidden: false,
            joined: false,
            sent: None,
            due: 0.0,
            last: 0.0,
            interval,
            failures: 0,
        }
    }

    /// Takes in what has happened at `now` and says what to send. `random`: evenly from 0 to 1, fresh at each call.
    pub fn on(&mut self, event: Event, now: f64, random: f64) -> Option<Command> {
        match event {
            Event::Opened { hidden } => {
                *self = Self {
                    phase: Phase::Watching,
                    hidden,
                    said_hidden: hidden,
                    due: now,
                    last: now,
                    ..Self::new(self.interval)
                };
            }
            Event::Seen { hidden } => {
                self.hidden = hidden;
                if hidden != self.said_hidden && self.phase == Phase::Watching {
                    let at = if hidden { now + HIDE_AFTER } else { now };
                    self.due = if self.sent.is_some() { at } else { self.due.min(at) };
                }
            }
            Event::Woken => {}
            Event::Online => {
                if self.failures > 0 {
                    self.hurry(now);
                }
            }
            Event::Answered { active, interval } => {
                self.joined = active;
                self.interval = interval.unwrap_or(self.interval);
                self.failures = 0;
                let next = if active {
                    now + self.interval * (0.8 + 0.2 * random)
                } else {
                    now + BACK_OFF.0 * random
                };
                // What changed while the request was under way is still due.
                self.due = if self.hidden == self.said_hidden { next } else { next.min(self.due) };
                self.sent = None;
            }
            Event::Failed { retry_after } => self.back_off(now, retry_after, random),
            Event::Unloading => {
                if self.phase != Phase::Watching {
                    return None;
                }
                self.phase = Phase::Unloading;
                self.joined = false;
                self.sent = None;
                self.last = now;
                let stayed = now + STAYED;
                self.due = if self.failures > 0 { self.due.max(stayed) } else { stayed };
                return Some(Command::Leave);
            }
            Event::Closed => {
                let was_watching = self.phase == Phase::Watching;
                self.phase = Phase::Left;
                return was_watching.then_some(Command::Leave);
            }
        }
        if self.sent.is_some_and(|sent| now < sent || now - sent >= ANSWER_TIMEOUT) {
            self.back_off(now, 0.0, 0.0);
        }
        self.send_if_due(now)
    }

    /// In how many milliseconds to wake it; `None` if there is nothing to wake it for.
    #[must_use]
    pub fn wait(&self, now: f64) -> Option<f64> {
        self.is_awake()
            .then(|| (self.sent.map_or(self.due, |sent| sent + ANSWER_TIMEOUT) - now).clamp(0.0, LONGEST_NAP))
    }

    /// Whether the page is a viewer, or may be one again in a moment.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        matches!(self.phase, Phase::Watching | Phase::Unloading)
    }

    /// A beat is due at once; not while the page unloads, which hides it as well.
    fn hurry(&mut self, now: f64) {
        if self.phase == Phase::Watching {
            self.due = now;
        }
    }

    fn send_if_due(&mut self, now: f64) -> Option<Command> {
        let clock_was_set_back = now < self.last;
        if !self.is_awake() || self.sent.is_some() || (now < self.due && !clock_was_set_back) {
            return None;
        }
        self.phase = Phase::Watching;
        self.sent = Some(now);
        self.due = now;
        self.last = now;
        let hidden = self.hidden;
        self.said_hidden = hidden;
        Some(if self.joined { Command::Heartbeat { hidden } } else { Command::Join { hidden } })
    }

    fn back_off(&mut self, now: f64, retry_after: f64, random: f64) {
        let asked = retry_after.min(LONGEST_RETRY);
        let doubled = BACK_OFF.0 * f64::from(1_u32 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.sent = None;
        self.last = now;
        self.due = now + (doubled.min(BACK_OFF.1) * (0.5 + 0.5 * random)).max(asked);
    }
}

#[cfg(test)]
mod tests;
