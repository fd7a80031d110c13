//! The data of the simulated store, and what the scripts of `RemoteStore` do to it: `write`, `counts`, `attend` and
//! `sweep`.
//!
//! A channel gets a mark when its first session counts. It stores the time of its last restored session, and it
//! expires. The roll call is part of the data: it is lost when the store is emptied, and an old copy of the data has an
//! old roll call.

use std::{collections::BTreeMap, time::Duration};

use smallvec::SmallVec;

use aforo::{
    domain::{
        Act, ChannelId, LeaseRules, Op, Roster, Session, SessionId, Timestamp, ViewerId,
        policy::LEAVE_MEMORY,
        session::{Parts, Phase},
    },
    server::store::{
        Append, Appended, Attendance, Batch, Epoch, Left, LeftSince, Live, LogId, Mark, Reading, Renewal,
        RollCall, ShortIds, Written,
    },
};

use crate::{oracle::plan::Millis, shares::Shares, store::millis};

/// The rules of the default `Policy`.
const RULES: LeaseRules = LeaseRules { longest_lease: millis(150_000), leave_memory: LEAVE_MEMORY };

/// A call whose transit took longer than the first bound is dated to when it was sent. One that took as long as the second
/// is not applied.
const LATE: (Millis, Millis) = (250, 10_000);

/// The data of the store.
#[derive(Default)]
pub struct Data {
    channels: BTreeMap<ChannelId, Kept>,
    roll: Option<Roll>,
    /// All earlier roll calls, for old copies.
    rolls: Vec<(Timestamp, Roll)>,
    /// Counts the restarts of the server.
    pub incarnation: u64,
    /// The shares of the nodes in the parts of the channels.
    pub shares: Shares,
    /// The sessions that do not count after an operation, and when that was.
    leaves: BTreeMap<(ViewerId, SessionId), (ChannelId, Timestamp)>,
    /// The logs of renewals.
    logs: BTreeMap<(u64, bool), Vec<(Renewal, Timestamp)>>,
}

struct Kept {
    /// One roster per viewer, which makes it cheap to check whether an operation has changed anything.
    viewers: BTreeMap<ViewerId, Roster>,
    mark: Option<Mark>,
    restored: Timestamp,
    expires: Timestamp,
    /// All operations so far, for old copies.
    log: Vec<Done>,
}

/// An operation that the store has executed.
#[derive(Clone, Copy)]
struct Done {
    op: Op,
    /// When it arrived.
    now: Timestamp,
    /// When it was sent, if it arrived late.
    sent: Option<Timestamp>,
    /// The mark for a channel without one.
    mark: Mark,
}

#[derive(Clone)]
struct Roll {
    epoch: u64,
    server: u64,
    lost: Timestamp,
    asked: Timestamp,
    /// For each node: until when it is expected, and since when it has been sure.
    nodes: BTreeMap<u64, (Timestamp, Timestamp)>,
    expires: Timestamp,
}

impl Data {
    /// Loses all data.
    pub fn empty(&mut self) {
        *self = Self { incarnation: self.incarnation, ..Self::default() };
    }

    /// Loses one of every `every` channels.
    pub fn lose(&mut self, every: u64) {
        let mut nth = 0;
        self.channels.retain(|_, _| {
            nth += 1;
            nth % every != 0
        });
    }

    /// Restores the data of an earlier time.
    pub fn roll_back(&mut self, then: Timestamp) {
        for kept in self.channels.values_mut() {
            let log = std::mem::take(&mut kept.log);
            *kept = Kept::new(then);
            for done in log.into_iter().filter(|done| done.now <= then) {
                kept.apply(done);
            }
        }
        self.channels.retain(|_, kept| !kept.log.is_empty());
        self.rolls.retain(|(at, _)| *at <= then);
        self.roll = self.rolls.last().map(|(_, roll)| roll.clone());
        self.leaves.retain(|_, (_, at)| *at <= then);
        self.logs.values_mut().for_each(|log| log.retain(|(_, at)| *at <= then));
    }

    pub fn append(&mut self, log: LogId, renewals: &[Renewal], sent: Timestamp, now: Timestamp) -> Append {
        if now.as_millis().saturating_sub(sent.as_millis()) > LATE.0 {
            return Append::NotNow;
        }
        self.leaves.retain(|_, (_, at)| *at + RULES.longest_lease > now);
        let has_left = |renewal: &Renewal| self.leaves.contains_key(&(renewal.viewer, renewal.session));
        if renewals.iter().any(has_left) {
            return Append::Refused(renewals.iter().map(has_left).collect());
        }
        let entries = renewals.iter().map(|renewal| (renewal.clone(), now));
        self.logs.entry((log.node, log.is_second)).or_default().extend(entries);
        Append::Done(Appended { at: now, epoch: Some(self.epoch(now)) })
    }

    /// The sessions that have left since then.
    pub fn left_since(&self, since: Timestamp) -> LeftSince {
        /// So few that nodes have to read several times.
        const AT_ONCE: usize = 3;
        let later = self.leaves.iter().filter(|(_, (_, at))| *at >= since);
        let left = |((viewer, session), (channel, at)): (&(ViewerId, SessionId), &(ChannelId, Timestamp))| {
            Left { channel: channel.clone(), ids: ShortIds::of(*viewer, *session), at: *at }
        };
        let mut left: Vec<Left> = later.map(left).collect();
        left.sort_by_key(|left| left.at);
        let rest = left.get(AT_ONCE).map(|next| next.at);
        // Those of the same millisecond are read together.
        left.retain(|left| rest.is_none_or(|rest| left.at < rest || rest == since));
        let rest = rest.filter(|rest| *rest > since);
        LeftSince { left, rest }
    }

    /// What is in a log.
    pub fn logged(&self, log: LogId) -> Vec<(Renewal, Timestamp)> {
        self.logs.get(&(log.node, log.is_second)).cloned().unwrap_or_default()
    }

    /// Deletes a log.
    pub fn clear(&mut self, log: LogId) {
        self.logs.remove(&(log.node, log.is_second));
    }

    /// The nodes whose last log began a while ago.
    pub fn owners(&self, idle_for: Duration, now: Timestamp) -> Vec<u64> {
        let logs = self.logs.iter().filter_map(|((node, _), log)| Some((*node, log.first()?.1)));
        let mut last = BTreeMap::new();
        for (node, began) in logs {
            let at = last.entry(node).or_insert(began);
            *at = began.max(*at);
        }
        last.into_iter().filter(|(_, began)| *began + idle_for <= now).map(|(node, _)| node).collect()
    }

    /// Deletes the logs of a node, unless it attends.
    pub fn remove(&mut self, node: u64, now: Timestamp) {
        if !self.roll(now).is_some_and(|roll| roll.nodes.contains_key(&node)) {
            self.logs.retain(|(owner, _), _| *owner != node);
        }
    }

    fn epoch(&self, now: Timestamp) -> Epoch {
        Epoch(self.roll(now).map_or(0, |roll| roll.epoch))
    }

    /// The channels with any data.
    pub fn channels(&mut self, now: Timestamp) -> Vec<String> {
        self.channels.retain(|_, kept| kept.expires > now);
        self.channels.keys().map(ToString::to_string).collect()
    }

    /// The number of viewers with any data.
    pub fn viewers(&self) -> usize {
        self.channels.values().map(|kept| kept.viewers.len()).sum()
    }

    /// `None` if the batch arrived too late.
    pub fn write(&mut self, batch: &Batch, sent: Timestamp, now: Timestamp, mark: Mark) -> Option<Written> {
        let took = now.as_millis().saturating_sub(sent.as_millis());
        if took >= LATE.1 {
            return None;
        }
        let sent = (took > LATE.0).then_some(sent);
        self.channels.retain(|channel, kept| *channel != batch.channel || kept.expires > now);
        let kept = self.channels.entry(batch.channel.clone()).or_insert_with(|| Kept::new(now));
        let active: SmallVec<[bool; 1]> =
            batch.ops.iter().map(|op| kept.apply(Done { op: *op, now, sent, mark })).collect();
        for (op, is_active) in batch.ops.iter().zip(&active) {
            let session = (op.viewer, op.session);
            if *is_active {
                self.leaves.remove(&session)
            } else {
                self.leaves.insert(session, (batch.channel.clone(), now))
            };
        }
        if kept.mark.is_none() && kept.viewers.is_empty() {
            self.channels.remove(&batch.channel);
        }
        Some(Written::at_once(active, self.read(&batch.channel, now)))
    }

    pub fn read(&mut self, channel: &ChannelId, now: Timestamp) -> Reading {
        let epoch = Some(self.epoch(now));
        let nothing = Reading { epoch, ..Reading::certain(0, now) };
        let kept = self.channels.get_mut(channel).filter(|kept| kept.expires > now);
        kept.map_or(nothing, |kept| Reading {
            count: kept.count(now),
            mark: kept.mark,
            restored: kept.restored,
            ..nothing
        })
    }

    pub fn live(&mut self, as_of: Timestamp) -> Vec<Live> {
        let channels: Vec<_> = self.channels.keys().cloned().collect();
        let live = channels.into_iter().map(|channel| {
            let Reading { count, restored, .. } = self.read(&channel, as_of);
            Live { channel, count, as_of, restored }
        });
        live.filter(|live| live.count > 0).collect()
    }

    pub fn sweep(&mut self, now: Timestamp) {
        for kept in self.channels.values_mut() {
            kept.count(now);
            kept.viewers.retain(|_, roster| !roster.is_empty());
        }
    }

    pub fn attend(&mut self, own: &Attendance, now: Timestamp, new_epoch: u64) -> RollCall {
        let never = Timestamp::default();
        let until = now + own.expected_for;
        let mut roll = self.roll(now).cloned().unwrap_or_else(|| {
            let (epoch, server) = (new_epoch, self.incarnation);
            Roll { epoch, server, lost: never, asked: never, nodes: BTreeMap::new(), expires: now }
        });
        let loss = if roll.server != self.incarnation {
            Some(now)
        } else if own.known.is_some_and(|known| known != roll.epoch) {
            // The loss that another node has noted is not noted again.
            Some(if roll.lost + own.expected_for > now { roll.lost } else { now })
        } else {
            None
        };
        if let Some(at) = loss {
            (roll.asked, roll.lost) = (roll.asked.max(at), roll.lost.max(at));
            roll.server = self.incarnation;
            // The roll call waits for all nodes that attended before.
            for peer in &own.peers {
                let (expected, _) = roll.nodes.entry(*peer).or_insert((at + own.expected_for, never));
                if *expected <= now {
                    *expected = at + own.expected_for;
                }
            }
        }
        if roll.epoch != new_epoch && own.has_found_loss {
            roll.asked = now;
        }
        if roll.nodes.values().all(|(expected, _)| *expected <= now) {
            // No node could attend for a while: the roll call waits for all of them again.
            roll.nodes.values_mut().for_each(|(expected, _)| *expected = until);
        }
        roll.nodes.insert(own.node, (until, own.sure_since.unwrap_or(now)));
        roll.expires = now + (own.expected_for * 4).max(millis(1_000));
        roll.nodes.retain(|_, (expected, _)| *expected > now);
        let sure_since = roll.nodes.values().map(|(_, sure)| *sure).min().unwrap_or(now).min(now);
        self.roll = Some(roll.clone());
        self.rolls.push((now, roll.clone()));
        let nodes = roll.nodes.into_keys().collect();
        RollCall {
            now,
            number: roll.epoch,
            epoch: Some(Epoch(roll.epoch)),
            lost: roll.lost,
            asked: roll.asked,
            sure_since,
            nodes,
        }
    }

    fn roll(&self, now: Timestamp) -> Option<&Roll> {
        self.roll.as_ref().filter(|roll| roll.expires > now)
    }
}

impl Kept {
    fn new(now: Timestamp) -> Self {
        let expires = now + RULES.leave_memory;
        let (viewers, log) = (BTreeMap::new(), Vec::new());
        Self { viewers, mark: None, restored: Timestamp::default(), expires, log }
    }

    /// Executes an operation. Returns whether its session counts afterwards.
    fn apply(&mut self, done: Done) -> bool {
        let Done { op, now, sent, mark } = done;
        self.log.push(done);
        let roster = self.viewers.entry(op.viewer).or_default();
        roster.expire(now, usize::MAX, &RULES);
        let before = format!("{roster:?}");
        let counted = roster.count();
        let act = match (op.act, sent) {
            (Act::Renew { lease }, Some(sent)) if roster.clone().apply(&op, now, &RULES) => {
                Act::Late(Session::beating(sent, lease, false))
            }
            (act, sent) => sent.map_or(act, |sent| when_sent(act, sent)),
        };
        let is_live = roster.apply(&Op { act, ..op }, now, &RULES);
        roster.expire(now, usize::MAX, &RULES);
        let has_changed = format!("{roster:?}") != before;
        let counts = roster.count();
        if roster.is_empty() {
            self.viewers.remove(&op.viewer);
        }
        if !has_changed {
            return is_live;
        }
        // A leave of an unknown session sets no mark.
        let sets_mark = matches!(op.act, Act::Restore(session) | Act::Late(session) | Act::Logged(session) if session.parts().phase != Phase::LeftUnknown);
        if self.mark.is_none() && (is_live || sets_mark) {
            (self.mark, self.expires) = (Some(mark), now);
        }
        if self.mark.is_some() {
            let over = match op.act {
                Act::Join { lease } | Act::Heartbeat { lease } | Act::Renew { lease } => now + lease,
                Act::Restore(session)
                | Act::Late(session)
                | Act::Logged(session)
                | Act::Withdraw(session) => session.useless_from(&RULES),
                Act::Leave | Act::LeaveKnown => now + RULES.longest_lease,
            };
            let spare = RULES.longest_lease / 8;
            if over + spare / 2 > self.expires {
                self.expires = over + spare;
            }
            let has_restored = match op.act {
                Act::Restore(_) => counted != counts,
                Act::Late(session) => counts > counted && may_have_left(session, now),
                Act::Logged(session) => counts > counted && session.at() + LEAVE_MEMORY <= now,
                _ => false,
            };
            if has_restored {
                self.restored = now;
            }
        }
        is_live
    }

    fn count(&mut self, now: Timestamp) -> u32 {
        let count = |roster: &mut Roster| {
            roster.expire(now, usize::MAX, &RULES);
            roster.count()
        };
        self.viewers.values_mut().map(count).sum()
    }
}

/// Converts an operation that arrived late to one that is dated to when it was sent.
fn when_sent(act: Act, sent: Timestamp) -> Act {
    match act {
        Act::Join { lease } => Act::Late(Session::beating(sent, lease, true)),
        Act::Heartbeat { lease } => Act::Late(Session::beating(sent, lease, false)),
        Act::Leave => Act::Late(Session::left_unknown(sent)),
        Act::Renew { .. }
        | Act::LeaveKnown
        | Act::Restore(_)
        | Act::Late(_)
        | Act::Logged(_)
        | Act::Withdraw(_) => act,
    }
}

/// Whether a late beat may come after a leave, since its join and within the leave memory, that the store has forgotten.
fn may_have_left(session: Session, now: Timestamp) -> bool {
    let Parts { at, delta, .. } = session.parts();
    let at = at.min(now);
    let joined = if delta == u16::MAX { Timestamp::default() } else { at.minus_millis(delta.into()) };
    joined.max(at - LEAVE_MEMORY) + LEAVE_MEMORY < now
}
