//! The samples of an owner: the counts of all channels in its parts, once a second.
//!
//! A count holds until the next sample or call shows another one. So the time in which each count was known, and the time
//! in which nothing was known, are exact to the second, and to the millisecond where this node's own calls change the
//! count.

use std::{slice::Chunks, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::Recorder;
use crate::{
    domain::{ChannelId, Count, Timestamp},
    server::{fanout::Counts as _, presence::Presence, store::Names},
};

/// About how many channels are listed and read at once. A large sample in one piece would delay the calls of viewers, and
/// take memory for all of it.
const AT_ONCE: usize = 3_000;

/// The same where each channel is a call of its own.
const CALLS_AT_ONCE: usize = 1_000;

/// An answer of the store after this time is late.
const LATE: Duration = Duration::from_secs(1);

/// What one sample has read so far.
#[derive(Debug, Default)]
struct Reading {
    channels: usize,
    /// Whether something could not be listed or read.
    is_partial: bool,
    /// The time of the oldest count, by the store's clock.
    oldest: Option<Timestamp>,
}

impl Reading {
    fn add(&mut self, count: &Count) {
        self.channels += 1;
        if count.live().is_none() {
            self.is_partial = true;
            return;
        }
        self.oldest = Some(self.oldest.map_or(count.as_of(), |oldest| oldest.min(count.as_of())));
    }
}

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
    let number = recorder.next_sample(&parts);
    let mut reading = Reading::default();
    let at_once = if presence.takes_many_channels() { AT_ONCE } else { CALLS_AT_ONCE };
    let parts_at_once = (at_once * usize::from(ChannelId::PARTS) / recorder.len().max(1)).max(1);
    for parts in parts.chunks(parts_at_once) {
        match presence.names(parts).await {
            Ok(Names { channels, is_whole }) => {
                reading.is_partial |= !is_whole;
                read(recorder, presence, channels.chunks(at_once), number, &mut reading).await;
            }
            Err(_) => reading.is_partial = true,
        }
    }
    // Channels that were live a moment ago are sampled even if the list lacks them.
    let missing = recorder.missing(&parts, number);
    read(recorder, presence, missing.chunks(at_once), number, &mut reading).await;
    if reading.channels == 0 {
        // The count of any channel shows the store's time, and whether the store has lost data.
        let any = ChannelId::parse("any").ok();
        read(recorder, presence, any.as_slice().chunks(1), number, &mut reading).await;
    }
    // All channels were observed up to the oldest count.
    let is_whole = !reading.is_partial && presence.is_complete();
    let complete_at = reading.oldest.filter(|_| is_whole);
    for part in parts {
        recorder.sampled_part(part, complete_at);
    }
    if presence.takes_many_channels() { 1 } else { reading.channels }
}

/// Reads and records counts, one run after the other.
async fn read(
    recorder: &Recorder,
    presence: &Presence,
    runs: Chunks<'_, ChannelId>,
    number: u64,
    reading: &mut Reading,
) {
    for channels in runs {
        let began = Instant::now();
        let counts = presence.sample(channels).await;
        let fresh = counts.iter().filter(|count| count.live().is_some());
        // A late answer does not show the present time.
        let is_late = began.elapsed() > LATE && recorder.0.store_time.now().is_some();
        if let Some(newest) = fresh.map(Count::as_of).max().filter(|_| !is_late) {
            recorder.note_time(newest);
        }
        for (channel, count) in channels.iter().zip(&counts) {
            recorder.sampled(channel, *count, number);
            reading.add(count);
        }
    }
}
