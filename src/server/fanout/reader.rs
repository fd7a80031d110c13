//! The one reader of a node: asks the store for the counts of watched channels and publishes what it says.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Hub, hub::Cell};
use crate::{
    domain::{ChannelId, Count},
    server::store::Store,
};

/// The time between two looks at which channels are due. Those that become due in between are read in one call.
const ROUND: Duration = Duration::from_millis(100);

/// Reads and publishes until the hub is closed; rests while nobody watches. A store that fails makes counts stale and
/// ends nothing.
pub async fn run(hub: Arc<Hub>, store: Arc<dyn Store>) {
    while !hub.is_closed() {
        let due = tokio::select! {
            () = sleep(ROUND), if !hub.is_idle() => hub.due(Instant::now()),
            urgent = hub.urgent() => urgent,
        };
        if !due.is_empty() {
            read(&*store, &due).await;
        }
        hub.tick(Instant::now());
    }
}

async fn read(store: &dyn Store, due: &[Arc<Cell>]) {
    let channels: Vec<ChannelId> = due.iter().map(|cell| cell.channel().clone()).collect();
    let readings = store.counts(&channels).await;
    let now = Instant::now();
    for (cell, reading) in due.iter().zip(readings) {
        if let Err(error) = &reading {
            tracing::debug!(channel = %cell.channel(), %error, "[VIEWER] count not read");
        }
        cell.publish(reading.ok().map(Count::from), now);
    }
}
