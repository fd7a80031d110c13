//! The one reader of a node: asks for the counts of watched channels and publishes them.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Counts, Hub, hub::Ask};
use crate::domain::ChannelId;

/// The time between two looks at which channels are due. Those that become due in between are read in one call.
const ROUND: Duration = Duration::from_millis(100);

/// Reads and publishes until the hub is closed; rests while nobody watches. An answer that takes long keeps no other
/// channel, and no tick, waiting: a channel is asked for once at a time, and the next round goes on without it.
///
/// A round that is due goes before everything else, and when it is due does not depend on what else wakes the reader.
pub async fn run(hub: Arc<Hub>, source: Arc<dyn Counts>) {
    let mut reads = JoinSet::new();
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !hub.is_closed() {
        tokio::select! {
            biased;
            _ = rounds.tick(), if !hub.is_idle() => {}
            () = hub.called() => {}
            Some(read) = reads.join_next() => {
                read.unwrap_or_else(pass_on);
                continue;
            }
        }
        while let Some(read) = reads.try_join_next() {
            read.unwrap_or_else(pass_on);
        }
        let due = hub.round(Instant::now());
        // Where each channel is a call of its own, one that is slow must not hold up what the others have to say.
        let size = if source.takes_many_channels() { due.len() } else { 1 };
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            reads.spawn(read(Arc::clone(&source), due.by_ref().take(size).collect()));
        }
    }
}

async fn read(source: Arc<dyn Counts>, asks: Vec<Ask>) {
    let channels: Vec<ChannelId> = asks.iter().map(|ask| ask.channel().clone()).collect();
    let counts = source.counts(&channels).await;
    let now = Instant::now();
    for (ask, count) in asks.into_iter().zip(counts) {
        ask.publish(count, now);
    }
}

/// A panic of a read is the reader's: whoever started it starts it anew.
fn pass_on(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests;
