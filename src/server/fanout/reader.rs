//! The one reader of a node: asks for the counts of watched channels and publishes them.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Counts, Hub, hub::Cell};
use crate::domain::ChannelId;

/// The time between two looks at which channels are due. Those that become due in between are read in one call.
const ROUND: Duration = Duration::from_millis(100);

/// Reads and publishes until the hub is closed; rests while nobody watches.
pub async fn run(hub: Arc<Hub>, source: Arc<dyn Counts>) {
    hub.start_over();
    while !hub.is_closed() {
        let due = tokio::select! {
            () = sleep(ROUND), if !hub.is_idle() => hub.due(Instant::now()),
            urgent = hub.urgent() => urgent,
        };
        if !due.is_empty() {
            read(&*source, &due).await;
        }
        hub.tick(Instant::now());
    }
}

async fn read(source: &dyn Counts, due: &[Arc<Cell>]) {
    let channels: Vec<ChannelId> = due.iter().map(|cell| cell.channel().clone()).collect();
    let counts = source.counts(&channels).await;
    let now = Instant::now();
    for (cell, count) in due.iter().zip(counts) {
        cell.publish(count, now);
    }
}
