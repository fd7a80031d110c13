//! The samples of an owner: the counts of all channels in its parts, once a second.
//!
//! A count holds until the next sample or call shows another one. So the time in which each count was known, and the time
//! in which nothing was known, are exact to the second, and to the millisecond where this node's own calls change the
//! count.

use tokio::time::{Instant, sleep_until};

use super::Recorder;
use crate::{
    domain::{ChannelId, Count},
    server::{fanout::Counts as _, presence::Presence, store::Names},
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
    let (listed, is_listed) = match presence.names(&parts).await {
        Ok(Names { channels, is_whole }) => (channels, is_whole),
        Err(_) => (Vec::new(), false),
    };
    let number = recorder.next_sample(&parts);
    let mut counts = read(recorder, presence, &listed, number).await;
    // Channels that were live a moment ago are sampled even if the list lacks them.
    let missing = recorder.missing(&parts, number);
    counts.extend(read(recorder, presence, &missing, number).await);
    if counts.is_empty() {
        // The count of any channel shows the store's time, and whether the store has lost data.
        counts = read(recorder, presence, ChannelId::parse("any").ok().as_slice(), number).await;
    }
    let times = || counts.iter().filter(|count| is_fresh(count)).map(|count| count.as_of);
    if let Some(now) = times().max() {
        recorder.note_time(now);
    }
    let is_whole = is_listed && counts.iter().all(is_fresh) && presence.is_complete();
    // All channels were observed up to the oldest reading.
    let complete_at = times().min().filter(|_| is_whole);
    for part in parts {
        recorder.sampled_part(part, complete_at);
    }
    if presence.takes_many_channels() { 1 } else { counts.len() }
}

/// Reads and records counts.
async fn read(recorder: &Recorder, presence: &Presence, channels: &[ChannelId], number: u64) -> Vec<Count> {
    if channels.is_empty() {
        return Vec::new();
    }
    let counts = presence.sample(channels).await;
    for (channel, count) in channels.iter().zip(&counts) {
        recorder.sampled(channel, *count, number);
    }
    counts
}

fn is_fresh(count: &Count) -> bool {
    count.value.is_some() && !count.stale
}
