//! A store that fails on demand.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aforo::{
    domain::{ChannelId, Policy},
    server::{
        clock::SystemClock,
        store::{Batch, Claim, Listed, MemoryStore, Names, Reading, Share, Store, StoreError, Written},
    },
};
use async_trait::async_trait;

/// The embedded store with switches: every call fails while it is broken, and readings panic while it is panicking.
pub struct FailingStore {
    inner: MemoryStore,
    broken: AtomicBool,
    panicking: AtomicBool,
}

impl FailingStore {
    pub fn new() -> Arc<Self> {
        let inner = MemoryStore::new(Arc::new(SystemClock::start()), Policy::default().lease_rules());
        Arc::new(Self { inner, broken: AtomicBool::new(false), panicking: AtomicBool::new(false) })
    }

    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    pub fn set_panicking(&self, panicking: bool) {
        self.panicking.store(panicking, Ordering::SeqCst);
    }

    fn error(&self) -> Option<StoreError> {
        let secret = "redis://user:hunter2@10.0.0.7 MISCONF";
        self.broken.load(Ordering::SeqCst).then(|| StoreError::Unreachable(secret.to_owned()))
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        match self.error() {
            Some(error) => vec![Err(error); batches.len()],
            None => self.inner.write(batches).await,
        }
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        assert!(!self.panicking.load(Ordering::SeqCst), "a panic for the test");
        match self.error() {
            Some(error) => vec![Err(error); channels.len()],
            None => self.inner.counts(channels).await,
        }
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        match self.error() {
            Some(error) => Err(error),
            None => self.inner.live().await,
        }
    }

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        match self.error() {
            Some(error) => Err(error),
            None => self.inner.listed(parts).await,
        }
    }

    async fn enter(&self, channels: &[ChannelId]) -> Result<(), StoreError> {
        match self.error() {
            Some(error) => Err(error),
            None => self.inner.enter(channels).await,
        }
    }

    async fn share(&self, claim: &Claim) -> Result<Share, StoreError> {
        match self.error() {
            Some(error) => Err(error),
            None => self.inner.share(claim).await,
        }
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.error().map_or(Ok(()), Err)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.error().map_or(Ok(()), Err)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
