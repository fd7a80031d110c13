//! Leaves on a cluster. The logs of renewals heed the sessions that have left (`log.lua`), but the server of a channel can't enter
//! them: the logs are on another one. So the node does, before the leave is answered.
//!
//! Promises:
//! - What can't be entered is kept and entered later. Until then the node says so at the roll call, and no node logs heartbeats.
//! - A server that does not respond delays the calls only shortly, and seldom.
//! - Memory is bounded: at most [`MAX_WAITING`] sessions are kept. If there are more, or the node shuts down before, no node logs
//!   heartbeats for the longest lease. Then no node takes such a session for live.

use std::{mem, time::Duration};

use parking_lot::Mutex;
use redis::Value;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout},
};

use super::{
    parts::PartBatch,
    renewal_log::member,
    store::{RemoteStore, digits, parse},
};
use crate::{
    domain::Timestamp,
    server::{
        redis::Runner,
        store::{MAX_OPS, Store},
    },
};

/// How long a call may take.
const CALL_LIMIT: Duration = Duration::from_millis(250);

/// The pause after a failed call.
const PAUSE: Duration = Duration::from_secs(5);

/// The most sessions that wait to be entered.
const MAX_WAITING: usize = 10_000;

/// The leaves that a node enters.
#[derive(Default)]
pub(super) struct Leaves {
    waiting: Mutex<Waiting>,
    /// Held during a call.
    turn: AsyncMutex<()>,
}

#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    /// No beat waits for a call until then, since one has failed.
    paused_until: Option<Instant>,
    /// How often sessions were dropped, and how often as of the last roll call that knows it.
    dropped: u64,
    told: u64,
}

/// A session has left or has come back.
struct Change {
    session: Vec<u8>,
    /// When, by the channel's server. Zero if it is not known whether the session has left.
    at: Timestamp,
    has_left: bool,
}

/// What a node tells the others at a roll call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Whether all leaves are entered.
    pub are_entered: bool,
    /// Whether some never will be.
    pub are_dropped: bool,
    dropped: u64,
}

impl Leaves {
    fn add(&self, changes: Vec<Change>) {
        let mut waiting = self.waiting.lock();
        waiting.changes.extend(changes);
        if waiting.changes.len() > MAX_WAITING {
            waiting.changes.clear();
            waiting.dropped += 1;
        }
    }

    fn is_paused(&self) -> bool {
        self.waiting.lock().paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes changes for a call. Unless [`Taken::are_entered`] is called, they wait again.
    fn take(&self) -> Option<Taken<'_>> {
        let mut waiting = self.waiting.lock();
        let rest = waiting.changes.len().saturating_sub(MAX_OPS);
        let changes = waiting.changes.split_off(rest);
        drop(waiting);
        (!changes.is_empty()).then_some(Taken { leaves: self, changes })
    }

    pub(super) fn report(&self) -> Report {
        let Waiting { changes, dropped, told, .. } = &*self.waiting.lock();
        let are_entered = !changes.iter().any(|change| change.has_left);
        Report { are_entered, are_dropped: dropped != told, dropped: *dropped }
    }

    /// Takes note that the others know what was reported.
    pub(super) fn reported(&self, report: Report) {
        self.waiting.lock().told = report.dropped;
    }
}

/// Changes that are being entered.
struct Taken<'a> {
    leaves: &'a Leaves,
    changes: Vec<Change>,
}

impl Taken<'_> {
    fn are_entered(mut self) {
        self.changes.clear();
    }
}

impl Drop for Taken<'_> {
    /// The call has failed or was canceled.
    fn drop(&mut self) {
        let changes = mem::take(&mut self.changes);
        if !changes.is_empty() {
            self.leaves.add(changes);
            self.leaves.waiting.lock().paused_until = Some(Instant::now() + PAUSE);
        }
    }
}

impl<R: Runner> RemoteStore<R> {
    /// Enters the sessions that have left a channel, and those that have come back, as its server has answered at `at`.
    pub(super) async fn enter_changes(&self, at: Timestamp, gone: &Value, back: &Value) {
        let changes = |value: &Value, has_left| {
            let sessions = parse::<Vec<Vec<u8>>>(value.clone()).unwrap_or_default();
            sessions.into_iter().map(move |session| Change { session, at, has_left })
        };
        self.enter(changes(gone, true).chain(changes(back, false)).collect()).await;
    }

    /// Enters the sessions that a failed call may have ended.
    pub(super) async fn enter_possible_leaves(&self, batches: &[PartBatch<'_>]) {
        if self.runner.takes_many_channels() || self.renewal_log().is_none() {
            return;
        }
        let leaves = batches.iter().flat_map(|batch| {
            let leaves = batch.ops.iter().filter(|op| op.act.may_end_session());
            leaves.map(|op| member(batch.part.channel, op.viewer, op.session))
        });
        let change = |session| Change { session, at: Timestamp::default(), has_left: true };
        let changes: Vec<_> = leaves.map(change).collect();
        if !changes.is_empty() {
            self.enter(changes).await;
        }
    }

    async fn enter(&self, changes: Vec<Change>) {
        self.leaves.add(changes);
        if !self.leaves.is_paused() {
            self.enter_waiting().await;
        }
    }

    /// Enters all that wait, until a call fails. Calls that come at the same time share their work.
    pub(super) async fn enter_waiting(&self) {
        let _turn = self.leaves.turn.lock().await;
        while let Some(taken) = self.leaves.take() {
            if !self.try_enter(&taken.changes).await {
                return;
            }
            taken.are_entered();
        }
    }

    async fn try_enter(&self, changes: &[Change]) -> bool {
        let (gone, back): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.has_left);
        let [longest_lease, _] = self.rule_args();
        let mut args = vec![longest_lease, digits(gone.len() as u128)];
        for Change { session, at, .. } in gone.into_iter().chain(back) {
            args.extend([digits(at.as_millis().into()), session.clone()]);
        }
        let keys = [self.keys.leaves()];
        let call = self.runner.run(&self.leave, &keys, &args);
        timeout(CALL_LIMIT, call).await.is_ok_and(|result| result.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn leaves(number: usize) -> Vec<Change> {
        let leave = |_| Change { session: Vec::new(), at: Timestamp::default(), has_left: true };
        (0..number).map(leave).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_call_has_not_entered_waits_for_the_next_one() {
        let all = Leaves::default();
        all.add(leaves(MAX_OPS + 1));
        let taken = all.take().unwrap();
        assert_eq!(taken.changes.len(), MAX_OPS);
        assert!(!all.is_paused());
        drop(taken);
        assert!(all.is_paused() && !all.report().are_entered);
        advance(PAUSE).await;
        assert!(!all.is_paused());
        all.take().unwrap().are_entered();
        assert!(!all.report().are_entered);
        all.take().unwrap().are_entered();
        assert!(all.take().is_none() && all.report().are_entered && !all.report().are_dropped);
    }

    #[test]
    fn more_than_can_wait_are_dropped_and_reported_once() {
        let all = Leaves::default();
        all.add(leaves(MAX_WAITING));
        assert!(!all.report().are_dropped);
        all.add(leaves(1));
        let report = all.report();
        assert!(report.are_entered && report.are_dropped);
        all.add(leaves(MAX_WAITING + 1));
        all.reported(report);
        assert!(all.report().are_dropped, "others were dropped since");
        all.reported(all.report());
        assert!(!all.report().are_dropped);
    }
}
