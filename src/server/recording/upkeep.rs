//! The upkeep of what is kept: merges rows, completes broadcasts and removes what is no longer kept. Each node does it for
//! the parts that it owns.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Recorder;
use crate::{
    domain::Timestamp,
    server::{
        database::{Archive, Retention},
        store_error::StoreError,
    },
};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(20);

/// How long after its end a window of minutes is merged, so that all nodes have written their last row of it.
const SETTLE: Duration = Duration::from_secs(130);

/// The length of a window, in milliseconds.
const WINDOW_MS: u64 = 300_000;

/// Runs forever.
pub async fn run(recorder: Recorder, archive: Archive, retention: Retention) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The channel after which the removal continues.
    let mut cleaned = String::new();
    loop {
        rounds.tick().await;
        let now = recorder.now();
        if let Err(error) = round(&recorder, &archive, now).await {
            tracing::debug!(%error, "history not merged; retrying later");
        }
        if recorder.ownership().parts().contains(&0) {
            match archive.clean(&cleaned, retention, now).await {
                Ok(last) => cleaned = last.unwrap_or_default(),
                Err(error) => tracing::debug!(%error, "old history not removed; retrying later"),
            }
        }
    }
}

/// Lengthens the broadcasts of nodes that were killed, merges what is due in the parts of this node, and completes
/// broadcasts. What fails is left for the next round, and does not keep the rest from being done.
///
/// # Errors
/// The first error of the database.
pub async fn round(recorder: &Recorder, archive: &Archive, now: Timestamp) -> Result<(), StoreError> {
    // First, since it follows from rows that are merged below, and of broadcasts that are not complete. If it fails, both
    // must wait.
    while archive.lengthen_abandoned(now).await? {}
    let settled = (now - SETTLE).as_millis();
    let before = Timestamp::from_millis(settled / WINDOW_MS * WINDOW_MS);
    let parts = recorder.ownership().parts();
    let mut result = Ok(());
    for part in &parts {
        result = result.and(merge(archive, *part, before).await);
    }
    if parts.contains(&0) {
        result = result.and(complete(archive, now).await);
    }
    result
}

async fn merge(archive: &Archive, part: u16, before: Timestamp) -> Result<(), StoreError> {
    while archive.compact(part, before).await? {}
    Ok(())
}

async fn complete(archive: &Archive, now: Timestamp) -> Result<(), StoreError> {
    while archive.complete(now).await? {}
    Ok(())
}
