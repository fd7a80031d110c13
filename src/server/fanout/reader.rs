//! The one reader of a node: asks for the counts of watched channels and publishes them.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep},
};

use super::{Counts, Hub, hub::Cell};
use crate::domain::ChannelId;

/// The time between two looks at which channels are due. Those that become due in between are read in one call.
const ROUND: Duration = Duration::from_millis(100);

/// Reads and publishes until the hub is closed; rests while nobody watches. An answer that takes long keeps no other
/// channel, and no tick, waiting: a channel is asked for once at a time, and the next round goes on without it.
pub async fn run(hub: Arc<Hub>, source: Arc<dyn Counts>) {
    let mut reads = JoinSet::new();
    hub.start_over();
    while !hub.is_closed() {
        let due = tokio::select! {
            () = sleep(ROUND), if !hub.is_idle() => hub.due(Instant::now()),
            urgent = hub.urgent() => urgent,
            Some(read) = reads.join_next() => {
                read.unwrap_or_else(pass_on);
                continue;
            }
        };
        // Where each channel is a call of its own, one that is slow must not hold up what the others have to say.
        let size = if source.takes_many_channels() { due.len() } else { 1 };
        for cells in due.chunks(size.max(1)) {
            reads.spawn(read(Arc::clone(&source), cells.to_vec()));
        }
        hub.tick(Instant::now());
    }
}

async fn read(source: Arc<dyn Counts>, due: Vec<Arc<Cell>>) {
    let channels: Vec<ChannelId> = due.iter().map(|cell| cell.channel().clone()).collect();
    let counts = source.counts(&channels).await;
    let now = Instant::now();
    for (cell, count) in due.iter().zip(counts) {
        cell.publish(count, now);
    }
}

/// A panic of a read is the reader's: whoever started it starts it anew.
fn pass_on(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::{Count, Timestamp};

    /// Answers 7 for every channel, and for `slow` not before it is allowed to.
    struct Source {
        slow: Semaphore,
    }

    #[async_trait]
    impl Counts for Source {
        async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
            if channels.iter().any(|channel| channel.as_str() == "slow") {
                self.slow.acquire().await.unwrap().forget();
            }
            vec![Count::fresh(7, Timestamp::default()); channels.len()]
        }

        fn takes_many_channels(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_is_slow_to_read_keeps_no_other_waiting() {
        let hub = Arc::new(Hub::new(Duration::from_secs(2)));
        let source = Arc::new(Source { slow: Semaphore::new(0) });
        let reader = tokio::spawn(run(Arc::clone(&hub), Arc::clone(&source) as Arc<dyn Counts>));
        let channel = |name: &str| ChannelId::parse(name).unwrap();
        let mut slow = hub.subscribe(&[channel("slow")]);
        let mut quick = hub.subscribe(&[channel("quick")]);
        let frame = std::future::poll_fn(|cx| quick.poll_frame(cx)).await.unwrap();
        assert!(std::str::from_utf8(&frame).unwrap().contains("quick"));
        sleep(Duration::from_secs(60)).await;
        assert!(futures::poll!(std::pin::pin!(std::future::poll_fn(|cx| slow.poll_frame(cx)))).is_pending());
        source.slow.add_permits(1);
        let frame = std::future::poll_fn(|cx| slow.poll_frame(cx)).await.unwrap();
        assert!(std::str::from_utf8(&frame).unwrap().contains("slow"));
        hub.close();
        reader.await.unwrap();
    }
}
