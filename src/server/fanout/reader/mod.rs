//! The reader of a node: reads the counts of watched channels and publishes them.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Counts, Hub, hub::PendingRead};
use crate::domain::ChannelId;

/// The time between two rounds. Channels that become due in between are read in one call.
const ROUND: Duration = Duration::from_millis(100);

/// Reads and publishes until the hub is closed. Sleeps while no channel is watched. A slow read delays neither other
/// channels nor ticks: later rounds go on without the channels that have a read in flight.
///
/// Rounds have priority over other events, and their interval does not restart when something else wakes the reader.
pub async fn run(hub: Arc<Hub>, source: Arc<dyn Counts>) {
    let mut reads = JoinSet::new();
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !hub.is_closed() {
        tokio::select! {
            biased;
            _ = rounds.tick(), if !hub.is_idle() => {}
            () = hub.wait_until_due() => {}
            Some(read) = reads.join_next() => {
                read.unwrap_or_else(propagate_panic);
                continue;
            }
        }
        while let Some(read) = reads.try_join_next() {
            read.unwrap_or_else(propagate_panic);
        }
        let due = hub.round(Instant::now());
        // If each channel is a call of its own, a slow call must not delay the results of others.
        let size = if source.takes_many_channels() { due.len() } else { 1 };
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            reads.spawn(read(Arc::clone(&source), due.by_ref().take(size).collect()));
        }
    }
}

async fn read(source: Arc<dyn Counts>, pending: Vec<PendingRead>) {
    let channels: Vec<ChannelId> = pending.iter().map(|read| read.channel().clone()).collect();
    let counts = source.counts(&channels).await;
    let now = Instant::now();
    for (read, count) in pending.into_iter().zip(counts) {
        let live = source.is_on_air(read.channel());
        read.publish(count, live, now);
    }
}

/// Propagates the panic of a read to the reader, which its supervisor restarts.
fn propagate_panic(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests;
