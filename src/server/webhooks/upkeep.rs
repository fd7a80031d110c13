//! Keeps the outbox small, and says how full it is.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::schedule::EXPIRY;
use crate::{
    domain::Timestamp,
    server::{
        clock::Clock,
        database::{Backlog, Outbox},
        metrics::Metrics,
        recording::Recorder,
        store_error::StoreError,
    },
};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(10);

/// How long a round drops the events of one receiver.
const DROP_LIMIT: Duration = Duration::from_secs(10);

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
            self.round().await;
        }
    }

    /// One round. What fails for one receiver is tried again in the next round, and stops nothing else.
    async fn round(&self) {
        let (parts, now) = (self.recorder.ownership().parts(), self.clock.now());
        let most = MAX_WAITING_PER_PART * u64::try_from(parts.len()).unwrap_or(1);
        let (mut all, mut behind, mut is_known) = (Backlog::default(), Vec::new(), true);
        for receiver in self.receivers.iter().filter(|_| !parts.is_empty()) {
            match self.outbox.backlog(&parts, receiver).await {
                Ok(one) => {
                    if one.events > most || one.oldest.is_some_and(|oldest| oldest < now - EXPIRY) {
                        behind.push(receiver);
                    }
                    all.events += one.events;
                    all.oldest = [all.oldest, one.oldest].into_iter().flatten().min();
                }
                Err(error) => {
                    tracing::debug!(%error, "how much waits for a receiver is not known");
                    is_known = false;
                }
            }
        }
        if is_known {
            let age =
                all.oldest.map_or(0, |oldest| now.as_millis().saturating_sub(oldest.as_millis()) / 1_000);
            self.metrics.webhooks_waiting(all.events, age);
        }
        for receiver in behind {
            if let Err(error) = self.drop_oldest(&parts, receiver, most, now).await {
                tracing::debug!(%error, "events that are too old or too many were not dropped; retrying later");
            }
        }
        if !parts.is_empty()
            && let Err(error) =
                self.outbox.clean(&parts, &self.receivers, now - EXPIRY, now - REMEMBERED).await
        {
            tracing::debug!(%error, "the outbox was not cleaned; retrying later");
        }
    }

    /// Drops what is too old or too much for a receiver, in steps, each followed by a pause for other writers.
    async fn drop_oldest(
        &self,
        parts: &[u16],
        receiver: &str,
        most: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut dropped = 0;
        let result = loop {
            let step_began = Instant::now();
            match self.outbox.drop_oldest(parts, receiver, now - EXPIRY, most, now).await {
                Ok(0) => break Ok(()),
                Ok(some) => dropped += some,
                Err(error) => break Err(error),
            }
            if began.elapsed() > DROP_LIMIT {
                break Ok(());
            }
            sleep(step_began.elapsed()).await;
        };
        if dropped > 0 {
            tracing::warn!(dropped, "a receiver of webhooks is so far behind that events were dropped");
            self.metrics.webhooks_dropped(dropped);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        domain::ChannelId,
        server::{clock::ManualClock, config::DatabaseConfig, database::Database},
    };

    #[tokio::test]
    async fn all_that_is_too_much_goes_in_one_round_and_a_receiver_that_fails_stops_no_other() {
        const MUCH: u64 = MAX_WAITING_PER_PART + 3_000;
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)));
        let recorder = Recorder::new(7, Duration::ZERO, clock.clone());
        let part = ChannelId::parse("ana").unwrap().part();
        recorder.ownership().set(&[part], Instant::now() + Duration::from_secs(600));
        for receiver in ["bad", "good"] {
            let fill = format!(
                "INSERT INTO deliveries (event, receiver, part, channel, number, body, created_at, due_at) \
                 WITH RECURSIVE nth(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM nth WHERE n < {MUCH}) \
                 SELECT 'e' || n, '{receiver}', {part}, 'ana', n, '{{}}', {} + n, {} FROM nth",
                clock.now().as_millis() - 100_000,
                i64::MAX
            );
            sqlx::query(sqlx::AssertSqlSafe(fill)).execute(database.pool()).await.unwrap();
        }
        let refuse = "CREATE TRIGGER refuse BEFORE DELETE ON deliveries WHEN OLD.receiver = 'bad' \
                      BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(refuse).execute(database.pool()).await.unwrap();

        let metrics = Metrics::new();
        let outbox = Outbox::new(database);
        let receivers = vec!["bad".to_owned(), "good".to_owned()];
        let upkeep = Upkeep {
            outbox: outbox.clone(),
            recorder,
            clock: clock.clone(),
            metrics: metrics.clone(),
            receivers,
        };
        upkeep.round().await;
        let left = async |receiver| outbox.backlog(&[part], receiver).await.unwrap().events;
        assert_eq!((left("bad").await, left("good").await), (MUCH, MAX_WAITING_PER_PART));
        let due = outbox.due(&[part], "good", &[], clock.now(), 9).await.unwrap();
        let due: Vec<_> = due.iter().map(|delivery| delivery.event.as_str()).collect();
        assert_eq!(due, ["e3001"], "the oldest that is left is due");
        let text = metrics.text(0, 0, 0, true);
        assert!(text.contains(&format!("webhooks_waiting {}", 2 * MUCH)), "{text}");
    }
}
