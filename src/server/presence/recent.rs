//! Recent counts: while many requests wait for the store, a count that was read a moment ago answers further requests,
//! so that a crowd that asks for the same channels costs the store little. While few wait, every request is read.
//!
//! Promises:
//! - A count that answers further requests is fresh, and was read at most [`KEEP_FOR`] ago.
//! - It contains every beat and leave that this node has answered, and is no older than what its streams show. A beat or
//!   leave of another node can be missing for that time.
//! - Memory is bounded by the channels that were asked for one by one, or written, within twice that time. Otherwise nothing
//!   is kept.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{ChannelId, Count};

/// How long a count answers further requests after the start of its read. A stream is allowed 250 ms for a change.
const KEEP_FOR: Duration = Duration::from_millis(50);

/// When this many requests wait, the node is busy for [`KEEP_FOR`].
const BUSY_FROM: usize = 8;

/// The most channels that are updated in one hold of the lock.
const LOCKED_STEP: usize = 250;

/// The counts that were read while the node was busy.
#[derive(Default)]
pub(super) struct RecentCounts {
    /// Whether `busy` may be set.
    is_busy: AtomicBool,
    busy: Mutex<Option<Busy>>,
}

/// A time in which the node is busy.
struct Busy {
    since: Instant,
    until: Instant,
    channels: HashMap<ChannelId, Recent>,
    /// When `channels` was last freed of what is too old.
    pruned: Instant,
}

/// What is known of a channel.
struct Recent {
    /// The start of the newest read, or the newest write after it.
    newest: Instant,
    /// A fresh count, and the start of its read. `None` after a write that may have changed it, and while the count is not
    /// known.
    count: Option<(Count, Instant)>,
}

impl Recent {
    /// What a read which began at `began` has returned.
    fn new(count: Count, began: Instant) -> Self {
        let is_fresh = count.live().is_some();
        Self { newest: began, count: is_fresh.then_some((count, began)) }
    }

    /// Takes over what a read which began at `began` has returned, unless something newer is known.
    fn update(&mut self, count: Count, began: Instant) {
        if self.newest < began {
            *self = Self::new(count, began);
        }
    }
}

impl RecentCounts {
    /// Notes how many requests wait for a read.
    pub(super) fn note_waiting(&self, requests: usize) {
        if requests < BUSY_FROM {
            return;
        }
        let mut busy = self.busy.lock();
        let now = Instant::now();
        if let Some(busy) = current(&mut busy, now) {
            busy.until = now + KEEP_FOR;
            return;
        }
        // A write that is not noted has ended before this, and so before every read that begins later.
        self.is_busy.store(true, SeqCst);
        let since = Instant::now();
        *busy = Some(Busy { since, until: since + KEEP_FOR, channels: HashMap::new(), pruned: since });
    }

    /// Keeps the count of a channel that a read which began at `began` has returned.
    pub(super) fn put(&self, channel: &ChannelId, count: Count, began: Instant) {
        self.while_busy(|busy, now| {
            if busy.accepts(began, now) {
                busy.prune(now);
                match busy.channels.get_mut(channel) {
                    Some(recent) => recent.update(count, began),
                    None => drop(busy.channels.insert(channel.clone(), Recent::new(count, began))),
                }
            }
        });
    }

    /// Updates the counts of the channels that are kept. Any read that began at `began` has returned `counts`.
    pub(super) fn update(&self, channels: &[ChannelId], counts: &[Count], began: Instant) {
        for (channels, counts) in channels.chunks(LOCKED_STEP).zip(counts.chunks(LOCKED_STEP)) {
            self.while_busy(|busy, now| {
                if !busy.accepts(began, now) {
                    return;
                }
                for (channel, count) in channels.iter().zip(counts) {
                    if let Some(recent) = busy.channels.get_mut(channel) {
                        recent.update(*count, began);
                    }
                }
            });
        }
    }

    /// The count of a channel, if it was read a moment ago and the node is busy.
    pub(super) fn get(&self, channel: &ChannelId) -> Option<Count> {
        self.while_busy(|busy, now| {
            let (count, began) = busy.channels.get(channel)?.count?;
            (began + KEEP_FOR > now).then_some(count)
        })?
    }

    /// Notes a write of a channel, which has returned `count`. Reads that have begun already may lack it. A
    /// recent count that the write has not changed stays valid.
    pub(super) fn note_write(&self, channel: &ChannelId, count: Count) {
        self.while_busy(|busy, now| {
            busy.prune(now);
            let known = busy.channels.get(channel).and_then(|recent| recent.count);
            let same = known.filter(|(known, _)| known.value() == count.live());
            busy.channels.insert(channel.clone(), Recent { newest: now, count: same });
        });
    }

    fn while_busy<T>(&self, act: impl FnOnce(&mut Busy, Instant) -> T) -> Option<T> {
        if !self.is_busy.load(SeqCst) {
            return None;
        }
        let mut busy = self.busy.lock();
        // With the lock, so that what is noted later has a later time.
        let now = Instant::now();
        let acted = current(&mut busy, now).map(|busy| act(busy, now));
        if acted.is_none() {
            self.is_busy.store(false, SeqCst);
        }
        acted
    }
}

/// Ends a busy time that is over.
fn current(busy: &mut Option<Busy>, now: Instant) -> Option<&mut Busy> {
    busy.take_if(|busy| busy.until <= now);
    busy.as_mut()
}

impl Busy {
    /// Whether a read that began at `began` can be kept. An earlier one may lack writes that were not noted, or that were noted
    /// and dropped.
    fn accepts(&self, began: Instant, now: Instant) -> bool {
        began >= self.since && began + KEEP_FOR > now
    }

    /// Drops what is too old, from time to time.
    fn prune(&mut self, now: Instant) {
        if self.pruned + KEEP_FOR <= now {
            self.channels.retain(|_, recent| recent.newest + KEEP_FOR > now);
            self.pruned = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::domain::Timestamp;

    fn channel(name: &str) -> ChannelId {
        ChannelId::parse(name).unwrap()
    }

    fn fresh(value: u32) -> Count {
        Count::fresh(value, Timestamp::default())
    }

    /// Recent counts of a node that has just become busy.
    fn busy() -> RecentCounts {
        let recent = RecentCounts::default();
        recent.note_waiting(BUSY_FROM);
        recent
    }

    /// Reads a channel at this moment.
    fn read(recent: &RecentCounts, name: &str, count: Count) {
        recent.put(&channel(name), count, Instant::now());
    }

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_while_few_requests_wait() {
        let recent = RecentCounts::default();
        recent.note_waiting(BUSY_FROM - 1);
        read(&recent, "a", fresh(1));
        assert_eq!(recent.get(&channel("a")), None);
        recent.note_waiting(BUSY_FROM);
        assert_eq!(recent.get(&channel("a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_is_given_again_for_a_short_time_only() {
        let recent = busy();
        read(&recent, "a", fresh(1));
        assert_eq!(recent.get(&channel("a")), Some(fresh(1)));
        assert_eq!(recent.get(&channel("b")), None);
        advance(KEEP_FOR - MILLISECOND).await;
        assert_eq!(recent.get(&channel("a")), Some(fresh(1)));
        recent.note_waiting(BUSY_FROM);
        advance(MILLISECOND).await;
        assert_eq!(recent.get(&channel("a")), None, "the node is still busy, but the count is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_no_longer_busy_keeps_nothing() {
        let recent = busy();
        advance(KEEP_FOR / 2).await;
        read(&recent, "a", fresh(1));
        advance(KEEP_FOR / 2).await;
        assert_eq!(recent.get(&channel("a")), None);
        assert!(recent.busy.lock().is_none());
        assert!(!recent.is_busy.load(SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn stale_and_unknown_counts_are_not_given_again() {
        let recent = busy();
        read(&recent, "a", fresh(1).into_stale());
        read(&recent, "b", Count::unknown(Timestamp::default()));
        assert_eq!((recent.get(&channel("a")), recent.get(&channel("b"))), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_makes_every_read_that_began_before_it_too_old() {
        let recent = busy();
        let began = Instant::now();
        read(&recent, "a", fresh(1));
        advance(MILLISECOND).await;
        recent.note_write(&channel("a"), fresh(9));
        assert_eq!(recent.get(&channel("a")), None);
        recent.put(&channel("a"), fresh(1), began);
        assert_eq!(recent.get(&channel("a")), None, "its read has ended after the write");
        advance(MILLISECOND).await;
        read(&recent, "a", fresh(2));
        assert_eq!(recent.get(&channel("a")), Some(fresh(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_returns_the_same_count_keeps_it() {
        let recent = busy();
        read(&recent, "a", fresh(1));
        recent.note_write(&channel("a"), fresh(1));
        assert_eq!(recent.get(&channel("a")), Some(fresh(1)));
        recent.note_write(&channel("a"), fresh(1).into_stale());
        assert_eq!(recent.get(&channel("a")), None);
        recent.note_write(&channel("a"), fresh(1));
        assert_eq!(recent.get(&channel("a")), None, "an earlier write may have returned it");
        advance(MILLISECOND).await;
        read(&recent, "a", fresh(1));
        advance(KEEP_FOR / 2).await;
        recent.note_waiting(BUSY_FROM);
        recent.note_write(&channel("a"), fresh(1));
        assert_eq!(recent.get(&channel("a")), Some(fresh(1)));
        advance(KEEP_FOR / 2).await;
        assert_eq!(recent.get(&channel("a")), None, "a write makes no count younger");
    }

    #[tokio::test(start_paused = true)]
    async fn any_read_updates_what_is_kept_and_adds_nothing() {
        let recent = busy();
        read(&recent, "a", fresh(1));
        let update = |name: &str, count: Count| recent.update(&[channel(name)], &[count], Instant::now());
        advance(MILLISECOND).await;
        update("a", fresh(2));
        update("b", fresh(2));
        assert_eq!((recent.get(&channel("a")), recent.get(&channel("b"))), (Some(fresh(2)), None));
        advance(MILLISECOND).await;
        update("a", fresh(2).into_stale());
        assert_eq!(recent.get(&channel("a")), None, "a stream of this node shows it as stale");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_from_before_the_node_was_busy_is_not_kept() {
        let recent = RecentCounts::default();
        let began = Instant::now();
        advance(MILLISECOND).await;
        recent.note_write(&channel("a"), fresh(9));
        recent.note_waiting(BUSY_FROM);
        recent.put(&channel("a"), fresh(1), began);
        assert_eq!(recent.get(&channel("a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_is_not_kept_when_its_writes_are_forgotten() {
        let recent = busy();
        let began = Instant::now();
        advance(MILLISECOND).await;
        recent.note_write(&channel("a"), fresh(9));
        for _ in 0..3 {
            recent.note_waiting(BUSY_FROM);
            advance(KEEP_FOR / 2).await;
            read(&recent, "b", fresh(1));
        }
        assert_eq!(recent.busy.lock().as_ref().unwrap().channels.len(), 1, "the write is forgotten");
        recent.put(&channel("a"), fresh(1), began);
        assert_eq!(recent.get(&channel("a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_by_what_is_read_in_a_short_time() {
        let recent = busy();
        for nth in 0..1_000 {
            recent.note_waiting(BUSY_FROM);
            advance(MILLISECOND).await;
            read(&recent, &format!("channel{nth}"), fresh(1));
        }
        assert!(recent.busy.lock().as_ref().unwrap().channels.len() <= 100);
    }
}
