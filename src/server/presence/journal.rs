//! What a node remembers beside a store that can be away or lose its data: each channel's ledger, and its last good count.
//!
//! No lock is held for longer than it takes to look at some hundred sessions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::time::Instant;

use super::roll_call::{Completeness, Roll};
use crate::{
    domain::{
        Act, ChannelId, Count, LeaseRules, Ledger, Op, Session, Timestamp,
        ledger::{Pending, Why},
    },
    server::{
        clock::Skew,
        store::{Batch, Mark, Reading, StoreError},
    },
};

/// For how long the last good count is shown as stale before it becomes unknown.
pub const STALE_FOR: Duration = Duration::from_secs(60);

/// For how long a mark tells a node of a loss although the node remembers no session of the channel. Nodes that do remember
/// some notice a loss within this time.
const MARK_TELLS_FOR: Duration = Duration::from_secs(10);

/// How many sessions are swept before others get at their channel.
const SWEEP_STEP: usize = 500;

/// A node's memory of all channels.
pub struct Journal {
    channels: DashMap<ChannelId, ChannelEntry>,
    rules: LeaseRules,
    /// How long a channel that was lost is not believed, where no roll call tells.
    settle: Duration,
    roll: Arc<Roll>,
    /// From the node's clock to the store's.
    skew: Skew,
    /// A channel was found to be lost since that was last asked for.
    has_found_loss: AtomicBool,
    /// A later version was found to keep a channel since that was last asked for.
    is_locked_out: AtomicBool,
}

#[derive(Default)]
struct ChannelEntry {
    ledger: Ledger,
    /// The store's mark of the channel; another one means that it was lost in between.
    mark: Option<Mark>,
    /// When the mark was read: here, and by the store's clock.
    mark_read: Option<(Instant, Timestamp)>,
    /// The last good count, and when it came.
    good: Option<(Count, Instant)>,
    /// When the channel was found to be lost, until it is whole again: by the store's clock, and here.
    lost: Option<(Timestamp, Instant)>,
    /// It is written again for no other reason than that it may have been lost.
    is_suspect: bool,
}

/// A piece of what is to be written again of one channel.
pub struct Piece {
    /// As the store takes it.
    pub batch: Batch,
    sessions: Vec<Pending>,
}

impl Piece {
    /// Whether it may change what other nodes have to write: it holds more than repeated leaves.
    pub fn is_news(&self) -> bool {
        self.sessions.iter().any(|pending| pending.why != Why::Repeated)
    }
}

/// Whether a reading shows that the store has lost the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It has not, as far as is known.
    None,
    /// It has, and that is news.
    Detected,
    /// It has, and it is being mended.
    Recovering,
    /// The store may have lost everything: the next roll call tells.
    Unverified,
}

impl Journal {
    /// An empty memory. `update_interval` is the time within which every node notices a loss.
    #[must_use]
    pub fn new(rules: LeaseRules, update_interval: Duration, roll: Arc<Roll>) -> Self {
        Self {
            channels: DashMap::new(),
            rules,
            settle: update_interval,
            roll,
            skew: Skew::default(),
            has_found_loss: AtomicBool::new(false),
            is_locked_out: AtomicBool::new(false),
        }
    }

    /// Takes in an operation before it is written; see [`Ledger::accept`].
    pub fn accept(&self, channel: &ChannelId, op: &Op, happened: Timestamp, now: Timestamp) -> bool {
        if matches!(op.act, Act::Renew { .. } | Act::LeaveKnown) {
            // These bring nothing into being, here neither.
            let entry = self.channels.get_mut(channel);
            return entry.is_some_and(|mut known| known.ledger.accept(op, happened, now, &self.rules));
        }
        let mut entry = self.channels.entry(channel.clone()).or_default();
        if entry.ledger.useful_until() <= now {
            // What was in the store may have expired by itself.
            entry.mark = None;
        }
        entry.ledger.accept(op, happened, now, &self.rules)
    }

    /// The store has taken an operation: it was asked and heard at these instants of the node's clock. `happened` is when it
    /// happened by the store's clock; `None`: when it was accepted here.
    pub fn confirm(
        &self,
        channel: &ChannelId,
        op: &Op,
        (accepted, heard): (Timestamp, Timestamp),
        happened: Option<Timestamp>,
        is_active: bool,
    ) {
        if let Some(as_of) = happened {
            self.skew.observe(accepted, heard, as_of);
        }
        if let Some(mut entry) = self.channels.get_mut(channel) {
            let happened = happened.map_or(accepted, |as_of| self.skew.to_node(as_of));
            entry.ledger.confirm(op, accepted, happened, is_active, &self.rules);
        }
    }

    /// An operation that happened `waited` ago, as the store takes it; unchanged if the store's clock is not known yet.
    pub fn backdated(&self, op: Op, waited: Duration, now: Timestamp) -> Op {
        let Some(at) = self.skew.to_store(now - waited) else { return op };
        let act = match op.act {
            Act::Join { lease } => Act::Late(Session::beating(at, lease, true)),
            Act::Heartbeat { lease } => Act::Late(Session::beating(at, lease, false)),
            Act::Leave => Act::Late(Session::left_unknown(at)),
            other => other,
        };
        Op { act, ..op }
    }

    /// The store's clock showed `as_of` between these instants of the node's.
    pub fn learn_time(&self, asked: Timestamp, heard: Timestamp, as_of: Timestamp) {
        self.skew.observe(asked, heard, as_of);
    }

    /// Takes in what the store has said of a channel, by a read or a write, and says what to show, and whether that says that
    /// the channel was lost. `asked` is when the node began to read or write, by its clock.
    pub fn observe(
        &self,
        channel: &ChannelId,
        reading: &Result<Reading, StoreError>,
        asked: Timestamp,
    ) -> (Count, Loss) {
        let now = Instant::now();
        let reading = match reading {
            Ok(reading) => reading,
            Err(StoreError::Damaged) => return (self.lost(channel, now), Loss::Detected),
            Err(error) => {
                self.note_error(error);
                return (self.last_good(channel, now), Loss::None);
            }
        };
        let completeness = self.roll.judge(reading);
        if completeness == Completeness::Incomplete && !self.roll.was_asked_since(reading.restored) {
            // Something was restored and nobody has asked the nodes to look: this node does.
            self.has_found_loss.store(true, Relaxed);
        }
        let Some(mut entry) = self.channels.get_mut(channel) else {
            // Nothing was accepted here, so there is nothing to lose, and nothing to remember but the count and its mark.
            return match completeness {
                Completeness::Complete => {
                    if reading.count > 0 {
                        let mut entry = self.channels.entry(channel.clone()).or_default();
                        entry.good = Some((Count::from(*reading), now));
                        entry.take_mark(reading, now);
                    }
                    (Count::from(*reading), Loss::None)
                }
                Completeness::Incomplete => (incomplete(reading), Loss::Recovering),
                Completeness::Unverified => (incomplete(reading), Loss::Unverified),
            };
        };
        if completeness == Completeness::Unverified {
            return (entry.stale(now), Loss::Unverified);
        }
        let is_lately_read = entry.mark_read.is_some_and(|(at, _)| now < at + MARK_TELLS_FOR);
        let lost = entry.take_mark(reading, now)
            && !entry.has_ended(asked, now, self.rules.longest_lease)
            && (!entry.ledger.is_empty() || is_lately_read);
        if lost {
            self.note_loss(&mut entry, reading.as_of);
        }
        let is_written = entry.is_suspect || !entry.ledger.is_lacking();
        let is_over = |(at, here): (Timestamp, Instant)| match self.roll.sure_since() {
            Some(sure) => sure >= at,
            None => now >= here + self.settle,
        };
        let is_complete = completeness == Completeness::Complete;
        if !(is_complete && is_written && entry.lost.is_none_or(is_over)) {
            return (entry.stale(now), if lost { Loss::Detected } else { Loss::Recovering });
        }
        entry.lost = None;
        let count = Count::from(*reading);
        if entry.good.is_none_or(|(good, _)| good.as_of <= count.as_of) {
            entry.good = Some((count, now));
        }
        (count, Loss::None)
    }

    /// A call has failed.
    pub fn note_error(&self, error: &StoreError) {
        if matches!(error, StoreError::Newer) {
            self.is_locked_out.store(true, Relaxed);
        }
    }

    /// Whether a later version was found to keep a channel since this was last asked.
    pub fn take_locked_out(&self) -> bool {
        self.is_locked_out.swap(false, Relaxed)
    }

    /// The store has not taken an operation. What to show.
    pub fn mark_unwritten(&self, channel: &ChannelId, op: &Op) -> Count {
        let now = Instant::now();
        let Some(mut entry) = self.channels.get_mut(channel) else {
            return Count::unknown(Timestamp::default());
        };
        entry.ledger.mark_unwritten(op);
        entry.is_suspect = false;
        entry.stale(now)
    }

    /// Servers of the store are not those that they were: any channel may have been lost in part. Everything is written
    /// again to be sure; which channels are incomplete, their marks tell.
    pub fn mark_all_suspect(&self) {
        for mut entry in self.channels.iter_mut() {
            entry.is_suspect |= !entry.ledger.is_lacking();
            entry.ledger.lost();
        }
    }

    /// Leaves that the store may have forgotten are to be written once more; see [`Ledger::repeat_leaves`].
    pub fn repeat_leaves(&self) {
        for mut entry in self.channels.iter_mut() {
            entry.ledger.repeat_leaves();
        }
    }

    /// Whether a channel was found to be lost since this was last asked.
    pub fn take_found_loss(&self) -> bool {
        self.has_found_loss.swap(false, Relaxed)
    }

    /// All channels of which something could be written again.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelId> {
        let matters = |ledger: &Ledger| !ledger.is_empty();
        self.channels.iter().filter(|entry| matters(&entry.ledger)).map(|entry| entry.key().clone()).collect()
    }

    /// The channels of which something is to be written again.
    #[must_use]
    pub fn unwritten(&self) -> Vec<ChannelId> {
        let unwritten = self.channels.iter().filter(|entry| entry.ledger.is_unwritten());
        unwritten.map(|entry| entry.key().clone()).collect()
    }

    /// Whether the store has all that was accepted here.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.channels.iter().any(|entry| entry.ledger.is_lacking())
    }

    /// The sessions that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.iter().map(|entry| entry.ledger.len()).sum()
    }

    /// The channels of which anything is remembered, be it only their last count.
    #[must_use]
    pub fn known(&self) -> usize {
        self.channels.len()
    }

    /// Whether the store's time is known. Before that, nothing can be written again: instants are of the node's clock.
    #[must_use]
    pub fn knows_time(&self) -> bool {
        self.skew.millis().is_some()
    }

    /// The next piece of what is to be written again of a channel, of `most` sessions. `None`: there is no more, or all that
    /// is left was handed out since the last `None`, or the store's time is not known.
    #[must_use]
    pub fn next_piece(&self, channel: &ChannelId, now: Timestamp, most: usize) -> Option<Piece> {
        let (skew, there) = (self.skew.millis()?, self.skew.to_store(now)?);
        loop {
            let mut entry = self.channels.get_mut(channel)?;
            let sessions = entry.ledger.pending(most, now, &self.rules);
            if sessions.is_empty() {
                if entry.ledger.is_at_end() {
                    return None;
                }
                continue;
            }
            let restore = |pending: &Pending| Op {
                viewer: pending.viewer,
                session: pending.session,
                act: match pending.why {
                    Why::Lost => Act::Restore,
                    Why::Late => Act::Late,
                    Why::Repeated => Act::Withdraw,
                }(pending.state.moved(skew, there)),
            };
            let batch = Batch { channel: channel.clone(), ops: sessions.iter().map(restore).collect() };
            return Some(Piece { batch, sessions });
        }
    }

    /// A piece has been written again. What the store says of the channel may show that it was lost since it was last read.
    pub fn mark_written(&self, piece: &Piece, reading: &Reading) {
        if let Some(mut entry) = self.channels.get_mut(&piece.batch.channel) {
            entry.ledger.written(&piece.sessions);
            entry.is_suspect &= entry.ledger.is_unwritten();
            // A write of nothing but repeated leaves makes no channel, so it may have no mark.
            if reading.mark.is_some() && entry.take_mark(reading, Instant::now()) {
                self.note_loss(&mut entry, reading.as_of);
            }
        }
    }

    /// Forgets what no longer matters, a little at a time.
    pub async fn sweep(&self, now: Timestamp) {
        let channels: Vec<_> = self.channels.iter().map(|entry| entry.key().clone()).collect();
        for channel in channels {
            loop {
                let Some(mut entry) = self.channels.get_mut(&channel) else { break };
                let is_end = entry.ledger.sweep(now, SWEEP_STEP, &self.rules);
                drop(entry);
                tokio::task::yield_now().await;
                if is_end {
                    break;
                }
            }
            let old = |(_, at): &(Count, Instant)| at.elapsed() >= STALE_FOR;
            self.channels.remove_if(&channel, |_, entry| {
                entry.ledger.is_empty() && entry.good.as_ref().is_none_or(old)
            });
        }
    }

    /// The store has lost a channel: everything of it is to be written again, and no count of it is believed until then.
    fn note_loss(&self, entry: &mut ChannelEntry, as_of: Timestamp) {
        self.has_found_loss.store(true, Relaxed);
        entry.ledger.lost();
        entry.lost = Some((as_of, Instant::now()));
        entry.is_suspect = false;
    }

    fn lost(&self, channel: &ChannelId, now: Instant) -> Count {
        let Some(mut entry) = self.channels.get_mut(channel) else {
            return Count::unknown(Timestamp::default());
        };
        self.has_found_loss.store(true, Relaxed);
        entry.ledger.lost();
        entry.is_suspect = false;
        entry.stale(now)
    }

    fn last_good(&self, channel: &ChannelId, now: Instant) -> Count {
        let entry = self.channels.get(channel);
        entry.map_or(Count::unknown(Timestamp::default()), |entry| entry.stale(now))
    }
}

/// A count that others are still adding to.
fn incomplete(reading: &Reading) -> Count {
    Count { stale: true, ..Count::from(*reading) }
}

impl ChannelEntry {
    /// Takes in the mark of a reading. Whether it is another one than before. Readings may come in another order than they
    /// were made; one that is older than the mark tells nothing.
    fn take_mark(&mut self, reading: &Reading, now: Instant) -> bool {
        let is_other = self.mark != reading.mark;
        let is_old = |(_, as_of)| reading.as_of < as_of || is_other && reading.as_of == as_of;
        if self.mark.is_some() && self.mark_read.is_some_and(is_old) {
            return false;
        }
        let was_known = self.mark.is_some();
        (self.mark, self.mark_read) = (reading.mark, Some((now, reading.as_of)));
        was_known && is_other
    }

    /// Whether all viewers that were known of are gone, so that their channel may have ended by itself.
    fn has_ended(&self, asked: Timestamp, now: Instant, longest_lease: Duration) -> bool {
        let are_gone = |(count, at): (Count, Instant)| count.value == Some(0) || now >= at + longest_lease;
        self.ledger.useful_until() <= asked && self.good.is_none_or(are_gone)
    }

    /// The last good count as stale, or unknown if it is too old.
    fn stale(&self, now: Instant) -> Count {
        match self.good {
            Some((good, at)) if now < at + STALE_FOR => Count { stale: true, ..good },
            Some((good, _)) => Count::unknown(good.as_of),
            None => Count::unknown(Timestamp::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{Policy, SessionId, ViewerId},
        server::store::RollCall,
    };

    fn join(n: u128) -> Op {
        let uuid = Uuid::from_u128(n);
        let act = Act::Join { lease: Duration::from_secs(60) };
        Op { viewer: ViewerId::new(uuid).unwrap(), session: SessionId::new(uuid).unwrap(), act }
    }

    fn reading(mark: u64, millis: u64) -> Reading {
        Reading { mark: Some(Mark(mark)), ..Reading::certain(1, Timestamp::from_millis(millis)) }
    }

    #[test]
    fn nodes_are_asked_to_look_when_something_was_restored_and_nobody_has_asked() {
        let (policy, roll) = (Policy::default(), Arc::new(Roll::default()));
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll));
        let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
        let at = Timestamp::from_millis;
        let call = |asked, sure_since| RollCall {
            now: at(9_000),
            number: 1,
            epoch: None,
            lost: at(0),
            asked,
            sure_since,
            nodes: Vec::new(),
        };
        let restored = Reading { restored: at(5_000), ..reading(7, 9_000) };
        roll.set(call(at(4_000), at(4_500)));
        assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::Recovering);
        assert!(journal.take_found_loss());
        roll.set(call(at(6_000), at(4_500)));
        assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::Recovering);
        assert!(!journal.take_found_loss(), "they have been asked");
        roll.set(call(at(6_000), at(6_500)));
        assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::None);
    }

    #[test]
    fn a_channel_that_was_only_read_here_is_noticed_to_be_lost() {
        let policy = Policy::default();
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::default());
        let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
        assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_000)), now).1, Loss::None);
        let empty = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(3_000)) };
        let (count, loss) = journal.observe(&channel, &Ok(empty), now);
        assert_eq!((count.value, count.stale, loss), (Some(1), true, Loss::Detected));
    }

    #[test]
    fn a_reading_that_comes_late_tells_of_no_loss() {
        let policy = Policy::default();
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::default());
        let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
        journal.accept(&channel, &join(1), now, now);
        assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_002)), now).1, Loss::None);
        // It was read before the join was written.
        for as_of in [1_001, 1_002] {
            let before = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(as_of)) };
            assert_eq!(journal.observe(&channel, &Ok(before), now).1, Loss::None);
        }
        let after = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(1_003)) };
        assert_eq!(journal.observe(&channel, &Ok(after), now).1, Loss::Detected);
    }

    #[test]
    fn nothing_is_written_again_before_the_time_of_the_store_is_known() {
        let policy = Policy::default();
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::default());
        let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
        journal.accept(&channel, &join(1), now, now);
        journal.mark_unwritten(&channel, &join(1));
        assert!(!journal.knows_time());
        assert!(journal.next_piece(&channel, now, 100).is_none());
        journal.learn_time(now, now, Timestamp::from_millis(7_001_000));
        let piece = journal.next_piece(&channel, now, 100).unwrap();
        let Act::Late(session) = piece.batch.ops[0].act else { panic!("it comes late") };
        assert_eq!(session.at(), Timestamp::from_millis(7_001_000));
    }

    #[test]
    fn a_loss_is_noticed_by_what_a_late_write_says() {
        let policy = Policy::default();
        let journal = Journal::new(policy.lease_rules(), policy.update_interval, Arc::default());
        let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
        journal.accept(&channel, &join(1), now, now);
        assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_000)), now).1, Loss::None);
        // The store is away for a while, and comes back without the channel.
        journal.accept(&channel, &join(2), now, now);
        journal.mark_unwritten(&channel, &join(2));
        journal.learn_time(now, now, now);
        let piece = journal.next_piece(&channel, now, 100).unwrap();
        assert_eq!(piece.batch.ops.len(), 1);
        journal.mark_written(&piece, &reading(8, 2_000));
        assert!(journal.take_found_loss());
        let piece = journal.next_piece(&channel, now, 100).unwrap();
        assert_eq!(piece.batch.ops.len(), 2, "both are written again");
        journal.mark_written(&piece, &reading(8, 3_000));
        assert!(journal.unwritten().is_empty());
    }
}
