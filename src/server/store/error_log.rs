//! The log of store errors: during an outage every call has one.

use std::{
    mem::{self, Discriminant},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::StoreError;

/// The shortest time between two log lines about errors of the same kind. The metric `store_errors_total` counts all of them.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs errors, each kind at most once in [`INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Mutex<Vec<(Discriminant<StoreError>, Instant)>>);

impl ErrorLog {
    /// Notes that a call failed.
    pub(super) fn note(&self, error: &StoreError) {
        if self.is_due(mem::discriminant(error), Instant::now()) {
            tracing::warn!(%error, "store call failed");
        }
    }

    fn is_due(&self, kind: Discriminant<StoreError>, now: Instant) -> bool {
        let mut logged = self.0.lock();
        logged.retain(|(_, at)| now < *at + INTERVAL);
        let is_due = logged.iter().all(|(known, _)| *known != kind);
        if is_due {
            logged.push((kind, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_is_logged_once_in_an_interval() {
        let (log, now) = (ErrorLog::default(), Instant::now());
        let [damaged, newer] =
            [StoreError::Damaged, StoreError::Newer].map(|error| mem::discriminant(&error));
        assert!(log.is_due(damaged, now) && log.is_due(newer, now));
        assert!(!log.is_due(damaged, now + INTERVAL / 2));
        assert!(log.is_due(damaged, now + INTERVAL));
        assert_eq!(log.0.lock().len(), 1);
    }
}
