//! A store for tests of what writes to one.

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{
    domain::{ChannelId, Timestamp},
    server::store::{
        Attendance, Batch, Claim, Listed, Names, Reading, RenewalLog, RollCall, Share, Store, StoreError,
        Written,
    },
};

type Results<T> = Vec<Result<T, StoreError>>;
type Write = dyn Fn(Vec<Batch>) -> BoxFuture<'static, Results<Written>> + Send + Sync;
type Attend = dyn Fn(&Attendance) -> RollCall + Send + Sync;

/// Writes and attends as the test says. All counts are 0, and it is asked for nothing else.
pub(super) struct FakeStore {
    pub write: Box<Write>,
    /// The answers to roll calls, if it keeps one.
    pub attend: Option<Box<Attend>>,
    /// The renewal log, if it has one.
    pub log: Option<Box<dyn RenewalLog>>,
    pub takes_many_channels: bool,
}

#[async_trait]
impl Store for FakeStore {
    async fn write(&self, batches: &[Batch]) -> Results<Written> {
        (self.write)(batches.to_vec()).await
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        Ok(self.attend.as_ref().map(|attend| attend(attendance)))
    }

    async fn counts(&self, channels: &[ChannelId]) -> Results<Reading> {
        channels.iter().map(|_| Ok(Reading::certain(0, Timestamp::default()))).collect()
    }

    fn renewal_log(&self) -> Option<&dyn RenewalLog> {
        self.log.as_deref()
    }

    fn takes_many_channels(&self) -> bool {
        self.takes_many_channels
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        unreachable!()
    }

    async fn listed(&self, _parts: &[u16]) -> Result<Names, StoreError> {
        unreachable!()
    }

    async fn share(&self, _claim: &Claim) -> Result<Share, StoreError> {
        unreachable!()
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        unreachable!()
    }
}
