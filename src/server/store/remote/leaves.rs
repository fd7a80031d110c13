//! Leaves on a cluster. The logs of renewals heed the sessions that have left (`log.lua`), but the server of a channel can't enter
//! them: the logs are on another one. So the node does, before the leave is answered.
//!
//! Promises:
//! - If the node can't enter a leave, no node of the store logs heartbeats until none can take the session for live.
//! - A server that does not respond delays the calls only shortly, and seldom.

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

/// The leaves of a node.
#[derive(Default)]
pub(super) struct Leaves {
    /// What the next call enters.
    waiting: Mutex<Vec<Move>>,
    /// Held during a call.
    turn: AsyncMutex<()>,
    not_entered: Mutex<Option<NotEntered>>,
}

/// A session that has left or has come back.
struct Move {
    session: Vec<u8>,
    /// When, by the channel's server. Zero if it is not known whether the session has left.
    at: Timestamp,
    has_left: bool,
}

/// The leaves that could not be entered.
struct NotEntered {
    /// When a call failed last.
    failed: Instant,
    /// Until when a node may take their sessions for live.
    until: Instant,
}

impl Leaves {
    /// Whether all leaves were entered whose sessions a node may take for live.
    pub(super) fn are_entered(&self) -> bool {
        self.not_entered.lock().as_ref().is_none_or(|leaves| Instant::now() >= leaves.until)
    }

    /// Whether a call would probably fail too.
    fn is_paused(&self) -> bool {
        self.not_entered.lock().as_ref().is_some_and(|leaves| Instant::now() < leaves.failed + PAUSE)
    }

    fn miss(&self, longest_lease: Duration, has_failed: bool) {
        let (now, mut leaves) = (Instant::now(), self.not_entered.lock());
        let failed = leaves.as_ref().filter(|_| !has_failed).map_or(now, |leaves| leaves.failed);
        *leaves = Some(NotEntered { failed, until: now + longest_lease });
    }
}

/// Leaves that are being entered. Dropped, they were not, since a call has failed or was canceled.
struct Attempt<'a> {
    leaves: &'a Leaves,
    longest_lease: Duration,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.leaves.miss(self.longest_lease, true);
    }
}

impl<R: Runner> RemoteStore<R> {
    /// Enters the sessions that have left a channel, and those that have come back, as its server has answered at `at`.
    pub(super) async fn enter_moves(&self, at: Timestamp, gone: &Value, back: &Value) {
        let sessions = |value: &Value| parse::<Vec<Vec<u8>>>(value.clone()).unwrap_or_default();
        let moves =
            |value, has_left| sessions(value).into_iter().map(move |session| Move { session, at, has_left });
        self.enter_all(moves(gone, true).chain(moves(back, false)).collect()).await;
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
        let leave = |session| Move { session, at: Timestamp::default(), has_left: true };
        let leaves: Vec<_> = leaves.map(leave).collect();
        if !leaves.is_empty() {
            self.enter_all(leaves).await;
        }
    }

    /// Enters moves, in a call with those of others that wait. It returns when that is done.
    async fn enter_all(&self, moves: Vec<Move>) {
        let has_leaves = moves.iter().any(|entry| entry.has_left);
        if self.leaves.is_paused() {
            if has_leaves {
                self.leaves.miss(self.rules.longest_lease, false);
            }
            return;
        }
        self.leaves.waiting.lock().extend(moves);
        let _turn = self.leaves.turn.lock().await;
        // Another call may have entered them meanwhile.
        let moves = mem::take(&mut *self.leaves.waiting.lock());
        let attempt = moves
            .iter()
            .any(|entry| entry.has_left)
            .then(|| Attempt { leaves: &self.leaves, longest_lease: self.rules.longest_lease });
        for moves in moves.chunks(MAX_OPS) {
            if !self.enter(moves).await {
                return;
            }
        }
        mem::forget(attempt);
    }

    /// Returns whether the moves were entered.
    async fn enter(&self, moves: &[Move]) -> bool {
        let (gone, back): (Vec<_>, Vec<_>) = moves.iter().partition(|entry| entry.has_left);
        let [longest_lease, _] = self.rule_args();
        let mut args = vec![longest_lease, digits(gone.len() as u128)];
        for Move { session, at, .. } in gone.into_iter().chain(back) {
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

    #[tokio::test(start_paused = true)]
    async fn leaves_that_were_not_entered_are_known_until_their_sessions_have_expired() {
        let (leaves, lease) = (Leaves::default(), Duration::from_secs(60));
        assert!(leaves.are_entered() && !leaves.is_paused());
        drop(Attempt { leaves: &leaves, longest_lease: lease });
        assert!(!leaves.are_entered() && leaves.is_paused());
        advance(PAUSE - Duration::from_secs(1)).await;
        leaves.miss(lease, false);
        advance(Duration::from_secs(1)).await;
        assert!(!leaves.is_paused(), "one that was not tried does not prolong the pause");
        advance(lease - Duration::from_secs(2)).await;
        assert!(!leaves.are_entered());
        advance(Duration::from_secs(1)).await;
        assert!(leaves.are_entered());
    }
}
