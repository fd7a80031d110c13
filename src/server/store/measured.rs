//! A store wrapper that records metrics and availability.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use tokio::time::timeout;

use super::{
    Append, Attendance, Batch, Claim, LeftSince, Listed, LogId, Names, Reading, Renewal, RenewalLog,
    RollCall, Share, Store, StoreError, Written, availability::Availability, error_log::ErrorLog,
};
use crate::{
    domain::{Act, ChannelId, Op, Timestamp},
    server::metrics::Metrics,
};

/// How long the outcome of a call shows whether the store is available. A store that charges for each command uses the
/// pause between roll calls instead, so that it is pinged no more often.
const OUTCOME_MAX_AGE: Duration = Duration::from_millis(50);

/// How long a ping may take.
const PING_LIMIT: Duration = Duration::from_millis(900);

/// A store with metrics and availability.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Metrics,
    availability: Availability,
    /// The availability by pings alone, which all servers of a cluster must answer.
    of_all_servers: Availability,
    errors: ErrorLog,
}

impl Measured {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Metrics) -> Self {
        let (availability, of_all_servers) = Default::default();
        Self { store, metrics, availability, of_all_servers, errors: ErrorLog::default() }
    }

    /// Measures a call. Returns its results and whether the store has responded. A damaged channel, or one kept by a
    /// later version, counts as a response.
    async fn timed<T>(
        &self,
        call: impl Future<Output = Vec<Result<T, StoreError>>>,
    ) -> (Vec<Result<T, StoreError>>, bool) {
        let began = Instant::now();
        let results = call.await;
        let errors = results.iter().filter(|result| result.is_err()).count();
        self.metrics.store_call(began.elapsed(), errors);
        results.iter().filter_map(|result| result.as_ref().err()).for_each(|error| self.errors.note(error));
        let is_response = |result: &Result<T, StoreError>| {
            matches!(result, Ok(_) | Err(StoreError::Damaged | StoreError::Newer))
        };
        let has_responded = results.iter().all(is_response);
        (results, has_responded)
    }

    /// Measures a call with a single result.
    async fn recorded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = self.noted(call).await;
        self.availability.read(result.is_ok());
        result
    }

    /// Notes the error of a call.
    async fn noted<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = call.await;
        if let Err(error) = &result {
            self.metrics.store_failed(1);
            self.errors.note(error);
        }
        result
    }

    fn logs(&self) -> Result<&dyn RenewalLog, StoreError> {
        self.store.renewal_log().ok_or_else(StoreError::unexpected)
    }
}

#[async_trait]
impl Store for Measured {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        let (written, has_responded) = self.timed(self.store.write(batches)).await;
        let is_restored = |op: &&Op| matches!(op.act, Act::Restore(_) | Act::Late(_));
        let done = batches.iter().zip(&written).filter(|(_, written)| written.is_ok());
        let restored = done.map(|(batch, _)| batch.ops.iter().filter(is_restored).count()).sum();
        self.metrics.store_write(batches.iter().map(|batch| batch.ops.len()).sum(), restored);
        self.availability.write(has_responded);
        written
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let (readings, has_responded) = self.timed(self.store.counts(channels)).await;
        self.availability.read(has_responded);
        readings
    }

    async fn verify(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let (readings, has_responded) = self.timed(self.store.verify(channels)).await;
        self.availability.read(has_responded);
        readings
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        self.recorded(self.store.live()).await
    }

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        self.recorded(self.store.listed(parts)).await
    }

    async fn enter(&self, channels: &[ChannelId]) -> Result<(), StoreError> {
        self.store.enter(channels).await
    }

    async fn share(&self, claim: &Claim) -> Result<Share, StoreError> {
        self.recorded(self.store.share(claim)).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.recorded(self.store.sweep()).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn renewal_log(&self) -> Option<&dyn RenewalLog> {
        self.store.renewal_log().map(|_| self as &dyn RenewalLog)
    }

    fn takes_many_channels(&self) -> bool {
        self.store.takes_many_channels()
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        self.recorded(self.store.attend(attendance)).await
    }

    fn roll_call_pause(&self) -> Duration {
        self.store.roll_call_pause()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.recorded(self.store.ping()).await
    }

    async fn is_available(&self) -> bool {
        let max_age = OUTCOME_MAX_AGE.max(self.store.roll_call_pause());
        let ping = async || timeout(PING_LIMIT, self.ping()).await.is_ok_and(|result| result.is_ok());
        if self.store.unresolved_outage().is_some() {
            // The last call may have been to another server than the one that is away.
            return !self.availability.refuses_writes() && self.of_all_servers.check(max_age, ping).await;
        }
        self.availability.check(max_age, ping).await
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.store.incarnation().await
    }

    fn unresolved_outage(&self) -> Option<u64> {
        self.store.unresolved_outage()
    }

    fn resolve_outages(&self, up_to: u64) {
        self.store.resolve_outages(up_to);
    }
}

/// Failures to use the logs say nothing of the store's availability: counting goes on without them.
#[async_trait]
impl RenewalLog for Measured {
    async fn append(&self, log: LogId, renewals: &[Renewal]) -> Result<Append, StoreError> {
        let began = Instant::now();
        let appended = self.noted(self.logs()?.append(log, renewals)).await;
        self.metrics.store_call(began.elapsed(), 0);
        appended
    }

    async fn read(&self, log: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError> {
        self.noted(self.logs()?.read(log)).await
    }

    async fn clear(&self, log: LogId) -> Result<(), StoreError> {
        self.noted(self.logs()?.clear(log)).await
    }

    async fn owners(&self, idle_for: Duration) -> Result<Vec<u64>, StoreError> {
        self.noted(self.logs()?.owners(idle_for)).await
    }

    async fn remove(&self, node: u64) -> Result<(), StoreError> {
        self.noted(self.logs()?.remove(node)).await
    }

    async fn left_since(&self, since: Timestamp) -> Result<LeftSince, StoreError> {
        self.noted(self.logs()?.left_since(since)).await
    }

    fn worth_from(&self) -> usize {
        self.store.renewal_log().map_or(usize::MAX, RenewalLog::worth_from)
    }

    fn admit(&self) -> bool {
        self.store.renewal_log().is_some_and(RenewalLog::admit)
    }
}
