//! Makes the store whole again: after it was away, and when it has lost what it had.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::sleep};

use super::memory::{Loss, Memory};
use crate::{
    domain::ChannelId,
    server::{
        clock::Clock,
        store::{MAX_OPS, Store, StoreError, split},
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

    /// Goes on for ever; no error ends it. While nothing is remembered, it asks nothing of the store but, at the start,
    /// which one it is.
    pub async fn run(self: Arc<Self>) {
        let mut incarnation = None;
        loop {
            while let Err(error) = self.mend(&mut incarnation).await {
                tracing::debug!(%error, "the store is not whole yet; trying again");
                sleep(PAUSE).await;
            }
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep(self.interval) => {}
            }
        }
    }

    async fn mend(&self, incarnation: &mut Option<String>) -> Result<(), StoreError> {
        let channels = self.memory.channels();
        if channels.is_empty() && incarnation.is_some() {
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
        let now = self.clock.now();
        for (channel, reading) in channels.iter().zip(self.store.counts(&channels).await) {
            if self.memory.take_in(channel, &reading, now).1 == Loss::Found {
                tracing::debug!(%channel, "[VIEWER] lost by the store");
            }
        }
        let mut unwritten = self.memory.unwritten().into_iter().peekable();
        while unwritten.peek().is_some() {
            if let Err(error) = self.rewrite_some(&mut unwritten).await {
                result = Err(error);
            }
        }
        if result.is_ok() {
            tracing::info!("the store is whole again");
        }
        result
    }

    /// Writes again the next channels: as many as a store takes in one call, which may be all of a large one's calls.
    async fn rewrite_some(&self, channels: &mut impl Iterator<Item = ChannelId>) -> Result<(), StoreError> {
        let (mut rewrites, mut batches) = (Vec::new(), Vec::new());
        let mut ops = 0;
        while ops < MAX_OPS
            && let Some(channel) = channels.next()
        {
            if let Some(rewrite) = self.memory.rewrite(&channel, self.clock.now()) {
                ops += rewrite.batches.iter().map(|batch| batch.ops.len()).sum::<usize>();
                batches.extend_from_slice(&rewrite.batches);
                rewrites.push((channel, rewrite));
            }
        }
        let mut written = Vec::new();
        for call in split(&batches, |batch| batch.ops.len(), MAX_OPS) {
            // One after another: beats that come in meanwhile get their turn.
            written.extend(self.store.write(call).await);
        }
        let (mut written, mut result) = (written.into_iter(), Ok(()));
        for (channel, rewrite) in &rewrites {
            let answers: Vec<_> = written.by_ref().take(rewrite.batches.len()).collect();
            match answers.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(answers) => {
                    let mark = answers.last().and_then(|written| written.reading.mark);
                    self.memory.rewritten(channel, rewrite, mark);
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }
}
