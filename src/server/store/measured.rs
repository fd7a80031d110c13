//! A store whose calls are measured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use tokio::time::timeout;

use super::{
    Attendance, Batch, Listed, Reading, RollCall, Store, StoreError, Written, availability::Availability,
};
use crate::{
    domain::{Act, ChannelId},
    server::metrics::Metrics,
};

/// How old the outcome of a call may be to answer whether the store is available. A store that is paid for by the command
/// is pinged as seldom as nodes call the roll there.
const OUTCOME_MAX_AGE: Duration = Duration::from_millis(50);

/// How long a ping may take.
const PING_LIMIT: Duration = Duration::from_millis(900);

/// Another store, and what is told of it.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Metrics,
    availability: Availability,
}

impl Measured {
    /// Measures a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { store, metrics, availability: Availability::default() }
    }

    /// Waits for the answers of a call and measures it. Returns them, and whether the store has answered: a channel whose
    /// keys are damaged is an answer.
    async fn timed<T>(
        &self,
        call: impl Future<Output = Vec<Result<T, StoreError>>>,
    ) -> (Vec<Result<T, StoreError>>, bool) {
        let began = Instant::now();
        let answers = call.await;
        let errors = answers.iter().filter(|answer| answer.is_err()).count();
        self.metrics.store_call(began.elapsed(), errors);
        let is_answer = |answer: &Result<T, StoreError>| {
            matches!(answer, Ok(_) | Err(StoreError::Damaged | StoreError::Newer))
        };
        let is_answered = answers.iter().all(is_answer);
        (answers, is_answered)
    }

    /// The same for a call with one answer, which is not a matter of channels.
    async fn noted<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let answer = call.await;
        if answer.is_err() {
            self.metrics.store_failed(1);
        }
        self.availability.read(answer.is_ok());
        answer
    }
}

#[async_trait]
impl Store for Measured {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let ops = || batches.iter().flat_map(|batch| &batch.ops);
        let restored = ops().filter(|op| matches!(op.act, Act::Restore(_) | Act::Late(_))).count();
        self.metrics.store_write(ops().count(), restored);
        let (written, is_answered) = self.timed(self.store.write(batches)).await;
        self.availability.write(is_answered);
        written
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let (readings, is_answered) = self.timed(self.store.counts(channels)).await;
        self.availability.read(is_answered);
        readings
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        self.noted(self.store.live()).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.noted(self.store.sweep()).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn takes_many_channels(&self) -> bool {
        self.store.takes_many_channels()
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        self.noted(self.store.attend(attendance)).await
    }

    fn roll_call_pause(&self) -> Duration {
        self.store.roll_call_pause()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.noted(self.store.ping()).await
    }

    async fn is_available(&self) -> bool {
        let max_age = OUTCOME_MAX_AGE.max(self.store.roll_call_pause());
        let ask = async || timeout(PING_LIMIT, self.ping()).await.is_ok_and(|answer| answer.is_ok());
        self.availability.check(max_age, ask).await
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.store.incarnation().await
    }
}
