//! A node in simulated time: the real presence service, recorder, writer and upkeep over the embedded store, with a clock
//! that its caller advances. An hour of a channel passes in about a second.
//!
//! The tests compare what it writes with the script of a broadcast, the load kit measures it, and `make demo` has its
//! history from it ([`super::past`]).
//!
//! Promises:
//! - The database gets the rows of a node that runs in real time and sees the same beats at the same instants: a sample is
//!   taken at every whole second. They are merged once in five minutes, which is as often as there is something to merge.
//! - Nothing of it has a part in a server.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{Recorder, Shareholder, sampler, upkeep, writer::Writer};
use crate::{
    domain::{Policy, SessionKey, Timestamp},
    server::{
        clock::{Clock, ManualClock},
        database::{Archive, Database},
        fanout::Hub,
        history::Place,
        metrics::Metrics,
        presence::Presence,
        store::{MemoryStore, Store, StoreError},
    },
};

/// The pause between two samples, in milliseconds.
const SAMPLE_MS: u64 = 1_000;

/// The pause between two rounds of upkeep, in milliseconds.
const UPKEEP_MS: u64 = 300_000;

/// A node in simulated time.
pub struct SimulatedNode {
    clock: Arc<ManualClock>,
    presence: Presence,
    recorder: Recorder,
    shareholder: Shareholder,
    writer: Writer,
    archive: Archive,
    write_ms: u64,
}

impl SimulatedNode {
    /// A node without viewers whose clock shows `start`. It writes its rows every `write_every`, of whole seconds; a server
    /// does so every four seconds, with the same result.
    #[must_use]
    pub fn new(database: &Database, policy: Policy, start: Timestamp, write_every: Duration) -> Self {
        let clock = Arc::new(ManualClock::new(start));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone(), policy.lease_rules()));
        let node = Uuid::new_v4().as_u64_pair().0;
        let recorder = Recorder::new(node, store.roll_call_pause(), clock.clone());
        let archive = Archive::new(database.clone());
        if let Some(id) = archive.id() {
            recorder.set_key(id);
        }
        let shareholder = Shareholder { store: Arc::clone(&store), node, database: Some(database.clone()) };
        let presence =
            Presence::new(store, Arc::new(Hub::new(policy.update_interval)), policy, clock.clone());
        presence.observe_with(Arc::new(recorder.clone()));
        let writer = Writer::new(recorder.clone(), archive.clone(), Metrics::new());
        let write_ms = u64::try_from(write_every.as_millis()).unwrap_or(u64::MAX).max(SAMPLE_MS);
        Self { clock, presence, recorder, shareholder, writer, archive, write_ms }
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The presence service.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The recorder.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The bytes of what waits for the database.
    pub async fn waiting_bytes(&self) -> usize {
        self.writer.waiting_bytes().await
    }

    /// A viewer joins.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn join(&self, who: &SessionKey, place: Place<'_>) -> Result<(), StoreError> {
        self.own_the_channels().await?;
        let outcome = self.presence.join(who, false, Instant::now()).await?;
        self.recorder.joined(&who.channel, who.viewer, place, None, outcome.count);
        Ok(())
    }

    /// A viewer stays.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn heartbeat(&self, who: &SessionKey) -> Result<(), StoreError> {
        self.presence.heartbeat(who, false, Instant::now()).await.map(drop)
    }

    /// A viewer leaves.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave(&self, who: &SessionKey) -> Result<(), StoreError> {
        self.presence.leave(who).await
    }

    /// Lets time pass until `until`: samples, writes and merges when it is time to.
    ///
    /// # Errors
    /// When the store or the database fails.
    pub async fn advance_to(&self, until: Timestamp) -> Result<(), StoreError> {
        while self.now() < until {
            let next = self.now().as_millis() / SAMPLE_MS * SAMPLE_MS + SAMPLE_MS;
            let next = until.min(Timestamp::from_millis(next));
            self.clock.advance(Duration::from_millis(next.as_millis() - self.now().as_millis()));
            let is_due = |every: u64| next.as_millis().is_multiple_of(every);
            if is_due(SAMPLE_MS) {
                self.own_the_channels().await?;
                sampler::sample(&self.recorder, &self.presence).await;
            }
            if is_due(self.write_ms) {
                self.writer.write().await?;
            }
            if is_due(UPKEEP_MS) {
                upkeep::round(&self.recorder, &self.archive, next).await?;
            }
        }
        Ok(())
    }

    /// Writes what waits, and merges what is due.
    ///
    /// # Errors
    /// When the store or the database fails.
    pub async fn finish(&self) -> Result<(), StoreError> {
        self.writer.write().await?;
        self.own_the_channels().await?;
        upkeep::round(&self.recorder, &self.archive, self.now()).await
    }

    /// Renews the share in the channels, whose lease is of real time.
    async fn own_the_channels(&self) -> Result<(), StoreError> {
        self.shareholder.renew(self.recorder.ownership()).await.map(drop)
    }
}
