//! Makes the store whole again: after it was away, and when it has lost what it had.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::sleep};

use super::memory::{Loss, Memory};
use crate::{
    domain::ChannelId,
    server::{
        clock::Clock,
        store::{Store, StoreError},
    },
};

/// The pause before another attempt while the store is away.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks after a store on behalf of a node's memory.
pub struct Recovery {
    store: Arc<dyn Store>,
    memory: Arc<Memory>,
    clock: Arc<dyn Clock>,
    /// How often to look whether the store is still the one that it was.
    interval: Duration,
    wanted: Notify,
}

impl Recovery {
    /// Looks after `store`, once per `interval` and whenever it is called.
    pub fn new(
        store: Arc<dyn Store>,
        memory: Arc<Memory>,
        clock: Arc<dyn Clock>,
        interval: Duration,
    ) -> Self {
        Self { store, memory, clock, interval, wanted: Notify::new() }
    }

    /// Something has to be written again.
    pub fn call(&self) {
        self.wanted.notify_one();
    }

    /// Goes on for ever; no error ends it. While nothing is remembered, it asks nothing of the store.
    pub async fn run(self: Arc<Self>) {
        let mut incarnation = None;
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep(self.interval) => {}
            }
            while let Err(error) = self.mend(&mut incarnation).await {
                tracing::debug!(%error, "the store is not whole yet; trying again");
                sleep(PAUSE).await;
            }
        }
    }

    async fn mend(&self, incarnation: &mut Option<String>) -> Result<(), StoreError> {
        let channels = self.memory.channels();
        if channels.is_empty() {
            return Ok(());
        }
        // Parts of the store may be away while others can be mended, so an error is kept for the end.
        let mut result = Ok(());
        match self.store.incarnation().await {
            Ok(current) => {
                if incarnation.is_some() && *incarnation != current {
                    tracing::warn!(
                        "the store was restarted or replaced; writing again what this node remembers"
                    );
                    self.memory.doubt_all();
                }
                *incarnation = current;
            }
            Err(error) => result = Err(error),
        }
        if self.memory.unwritten().is_empty() {
            return result;
        }
        // Where one channel was lost, others may have been: their marks tell.
        for (channel, reading) in channels.iter().zip(self.store.counts(&channels).await) {
            if self.memory.take_in(channel, &reading).1 == Loss::Found {
                tracing::debug!(%channel, "[VIEWER] lost by the store");
            }
        }
        for channel in self.memory.unwritten() {
            if let Err(error) = self.rewrite(&channel).await {
                result = Err(error);
            }
        }
        if result.is_ok() {
            tracing::info!("the store is whole again");
        }
        result
    }

    async fn rewrite(&self, channel: &ChannelId) -> Result<(), StoreError> {
        let Some(rewrite) = self.memory.rewrite(channel, self.clock.now()) else { return Ok(()) };
        let mut mark = None;
        for written in self.store.write(&rewrite.batches).await {
            mark = written?.reading.mark;
        }
        self.memory.rewritten(channel, &rewrite, mark);
        Ok(())
    }
}
