//! The samples of an owner: the counts of all channels in its parts, once a second.
//!
//! A count holds until the next sample or call shows another one. So the time in which each count was known, and the time
//! in which nothing was known, are exact to the second, and to the millisecond where this node's own calls change the
//! count.

use tokio::time::{Instant, sleep_until};

use super::Recorder;
use crate::{
    domain::{ChannelId, Count},
    server::{fanout::Counts, presence::Presence, store::Names},
};

/// Samples forever.
pub async fn run(recorder: Recorder, presence: Presence) {
    loop {
        let began = Instant::now();
        let calls = sample(&recorder, &presence).await;
        sleep_until(began + recorder.plan_sample(calls)).await;
    }
}

/// Takes one sample of the parts that this node owns. Returns the number of store calls.
pub async fn sample(recorder: &Recorder, presence: &Presence) -> usize {
    let parts = recorder.ownership().parts();
    if parts.is_empty() {
        return 0;
    }
    let (mut channels, is_listed) = match presence.names(&parts).await {
        Ok(Names { channels, is_whole }) => (channels, is_whole),
        Err(_) => (Vec::new(), false),
    };
    // Channels that were live a moment ago are sampled even if the list lacks them.
    channels.extend(recorder.recorded(&parts));
    channels.sort_unstable();
    channels.dedup();
    if channels.is_empty() {
        // The count of any channel shows the store's time, and whether the store has lost data.
        channels.extend(ChannelId::parse("any"));
    }
    let counts = presence.counts(&channels).await;
    for (channel, count) in channels.iter().zip(&counts) {
        recorder.sampled(channel, *count);
    }
    let newest = counts.iter().filter(|count| is_fresh(count)).map(|count| count.as_of).max();
    if let Some(now) = newest {
        recorder.note_time(now);
    }
    let is_whole = is_listed && counts.iter().all(is_fresh) && presence.is_complete();
    for part in parts {
        recorder.sampled_part(part, newest.filter(|_| is_whole));
    }
    if presence.takes_many_channels() { 1 } else { channels.len() }
}

fn is_fresh(count: &Count) -> bool {
    count.value.is_some() && !count.stale
}
