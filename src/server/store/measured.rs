//! A store whose calls are measured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{Attendance, Batch, Live, Reading, RollCall, Store, StoreError, Written};
use crate::{
    domain::{Act, ChannelId},
    server::metrics::Metrics,
};

/// Another store, and what is told of it.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Metrics,
}

impl Measured {
    /// Measures a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { store, metrics }
    }

    /// Waits for the answers of a call, and takes the time.
    async fn timed<T>(
        &self,
        call: impl Future<Output = Vec<Result<T, StoreError>>>,
    ) -> Vec<Result<T, StoreError>> {
        let began = Instant::now();
        let answers = call.await;
        let errors = answers.iter().filter(|answer| answer.is_err()).count();
        self.metrics.store_call(began.elapsed().as_secs_f64(), errors);
        answers
    }
}

#[async_trait]
impl Store for Measured {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let ops = || batches.iter().flat_map(|batch| &batch.ops);
        let restored = ops().filter(|op| matches!(op.act, Act::Restore(_) | Act::Late(_))).count();
        self.metrics.store_write(ops().count(), restored);
        self.timed(self.store.write(batches)).await
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        self.timed(self.store.counts(channels)).await
    }

    async fn live(&self) -> Result<Vec<Live>, StoreError> {
        self.store.live().await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.store.sweep().await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn takes_many_channels(&self) -> bool {
        self.store.takes_many_channels()
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        self.store.attend(attendance).await
    }

    fn roll_call_pause(&self) -> Duration {
        self.store.roll_call_pause()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.store.incarnation().await
    }
}
