//! Keeps the outbox small, and says how full it is.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::schedule::EXPIRY;
use crate::server::{
    clock::Clock,
    database::{Backlog, Outbox},
    metrics::Metrics,
    recording::Recorder,
    store_error::StoreError,
};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(10);

/// The most events of a part of the channels that wait for a receiver: 100,000 of all parts. Beyond, the oldest are
/// dropped.
const MAX_WAITING_PER_PART: u64 = 6_250;

/// How long what was announced is remembered after the end of a broadcast.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// The upkeep of the outbox, for the channels that this node owns.
pub(super) struct Upkeep {
    pub(super) outbox: Outbox,
    pub(super) recorder: Recorder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    /// The hashes of the receivers.
    pub(super) receivers: Vec<String>,
}

impl Upkeep {
    /// Runs forever.
    pub(super) async fn run(&self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if let Err(error) = self.round().await {
                tracing::debug!(%error, "the outbox was not cleaned; retrying later");
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        let (parts, now) = (self.recorder.ownership().parts(), self.clock.now());
        let mut all = Backlog::default();
        if !parts.is_empty() {
            let most = MAX_WAITING_PER_PART * u64::try_from(parts.len()).unwrap_or(1);
            for receiver in &self.receivers {
                let mut one = self.outbox.backlog(&parts, receiver).await?;
                if one.events > most || one.oldest.is_some_and(|oldest| oldest < now - EXPIRY) {
                    let dropped = self.outbox.drop_oldest(&parts, receiver, now - EXPIRY, most, now).await?;
                    tracing::warn!(
                        dropped,
                        "a receiver of webhooks is so far behind that events were dropped"
                    );
                    self.metrics.webhooks_dropped(dropped);
                    one = self.outbox.backlog(&parts, receiver).await?;
                }
                all.events += one.events;
                all.oldest = [all.oldest, one.oldest].into_iter().flatten().min();
            }
            self.outbox.clean(&parts, now - EXPIRY, now - REMEMBERED).await?;
        }
        let age = all.oldest.map_or(0, |oldest| now.as_millis().saturating_sub(oldest.as_millis()) / 1_000);
        self.metrics.webhooks_waiting(all.events, age);
        Ok(())
    }
}
