//! The log of outages: few lines, however many calls fail.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The interval between log lines while the database is away, and between lines of failed calls.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest interval between two lines with different causes.
const CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// Logs outages and failed calls.
#[derive(Default)]
pub(super) struct Reporter(Mutex<Log>);

#[derive(Default)]
struct Log {
    /// When the outage was last logged, and the text. `None`: the database is available.
    away: Option<(Instant, String)>,
    /// When a failed call was last logged.
    failed_call: Option<Instant>,
}

impl Reporter {
    /// Logs that the database is away: at once, when the cause changes, and at an interval.
    pub(super) fn away(&self, cause: &str) {
        let mut log = self.0.lock();
        let is_due = |(at, logged): &(Instant, String)| {
            at.elapsed() >= if logged == cause { LOG_INTERVAL } else { CHANGE_INTERVAL }
        };
        if log.away.as_ref().is_none_or(is_due) {
            log.away = Some((Instant::now(), cause.to_owned()));
            tracing::warn!(cause, "database unavailable; retrying");
        }
    }

    /// Logs that the database is available again.
    pub(super) fn back(&self) {
        if self.0.lock().away.take().is_some() {
            tracing::info!("database available again");
        }
    }

    /// Logs a failed call, at most once in an interval.
    pub(super) fn failed_call(&self, error: &str) {
        let mut log = self.0.lock();
        if log.failed_call.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            log.failed_call = Some(Instant::now());
            tracing::warn!(error, "database call failed");
        }
    }
}
