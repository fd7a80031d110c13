//! Leaves on a cluster. The logs of renewals heed the sessions that have left (`log.lua`), but the server of a channel can't enter
//! them: the logs are on another one. So the node does, before the leave is answered.
//!
//! Promises:
//! - What can't be entered is kept and entered later. From the next roll call on, no node logs heartbeats until it is.
//! - A server that does not respond delays the calls only shortly, and seldom.
//! - Memory is bounded: at most [`MAX_WAITING`] sessions are kept. If there are more, or the node shuts down before, no node logs
//!   heartbeats for the longest lease. Then no node takes such a session for live. A node that is killed, or can't reach the
//!   server of the roll call, can't say so: then the writes of logged heartbeats find the leaves.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    time::Duration,
};

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
    departures: HashMap<Vec<u8>, Departure>,
    /// No beat waits for a call until then, since one has failed.
    paused_until: Option<Instant>,
    /// How often sessions were dropped, and how often as of the last roll call that knows it.
    dropped: u64,
    told: u64,
}

/// What a session has done last.
#[derive(Debug, Clone, Copy)]
struct Departure {
    /// When, by the channel's server. Zero if it is not known whether the session has left.
    at: Timestamp,
    /// Whether it has left. Otherwise it has come back.
    has_left: bool,
}

impl Departure {
    /// A session that may have left.
    const POSSIBLE: Self = Self { at: Timestamp::from_millis(0), has_left: true };

    /// Whether this one counts, and not the other one of the same session. If the order is not known, the one that has left does:
    /// then the session's heartbeats are only written at once.
    fn replaces(self, other: Self) -> bool {
        let is_unknown = self.at == Self::POSSIBLE.at || other.at == Self::POSSIBLE.at;
        if is_unknown { self.has_left } else { self.at > other.at }
    }
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
    fn add(&self, departures: impl IntoIterator<Item = (Vec<u8>, Departure)>) {
        let mut waiting = self.waiting.lock();
        for (session, departure) in departures {
            match waiting.departures.entry(session) {
                Entry::Vacant(vacant) => drop(vacant.insert(departure)),
                Entry::Occupied(mut known) if departure.replaces(*known.get()) => {
                    known.insert(departure);
                }
                Entry::Occupied(_) => {}
            }
        }
        if waiting.departures.len() > MAX_WAITING {
            waiting.departures = HashMap::new();
            waiting.dropped += 1;
        }
    }

    fn is_paused(&self) -> bool {
        self.waiting.lock().paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes sessions for a call. Unless [`Taken::are_entered`] is called, they wait again.
    fn take(&self) -> Option<Taken<'_>> {
        let departures: HashMap<_, _> =
            self.waiting.lock().departures.extract_if(|_, _| true).take(MAX_OPS).collect();
        (!departures.is_empty()).then_some(Taken { leaves: self, departures })
    }

    pub(super) fn report(&self) -> Report {
        let Waiting { departures, dropped, told, .. } = &*self.waiting.lock();
        let are_entered = !departures.values().any(|departure| departure.has_left);
        Report { are_entered, are_dropped: dropped != told, dropped: *dropped }
    }

    /// Takes note that the others know what was reported.
    pub(super) fn reported(&self, report: Report) {
        self.waiting.lock().told = report.dropped;
    }
}

/// Sessions that are being entered.
struct Taken<'a> {
    leaves: &'a Leaves,
    departures: HashMap<Vec<u8>, Departure>,
}

impl Taken<'_> {
    fn are_entered(mut self) {
        self.departures.clear();
        self.leaves.waiting.lock().paused_until = None;
    }
}

impl Drop for Taken<'_> {
    /// The call has failed or was canceled.
    fn drop(&mut self) {
        let departures = mem::take(&mut self.departures);
        if !departures.is_empty() {
            self.leaves.add(departures);
            self.leaves.waiting.lock().paused_until = Some(Instant::now() + PAUSE);
        }
    }
}

impl<R: Runner> RemoteStore<R> {
    /// Enters the sessions that have left a channel, and those that have come back, as its server has answered at `at`.
    pub(super) async fn enter_departures(&self, at: Timestamp, gone: &Value, back: &Value) {
        let departures = |value: &Value, has_left| {
            let sessions = parse::<Vec<Vec<u8>>>(value.clone()).unwrap_or_default();
            sessions.into_iter().map(move |session| (session, Departure { at, has_left }))
        };
        self.enter(departures(gone, true).chain(departures(back, false)).collect()).await;
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
        let leaves: Vec<_> = leaves.map(|session| (session, Departure::POSSIBLE)).collect();
        if !leaves.is_empty() {
            self.enter(leaves).await;
        }
    }

    async fn enter(&self, departures: Vec<(Vec<u8>, Departure)>) {
        self.leaves.add(departures);
        if !self.leaves.is_paused() {
            let turn = self.leaves.turn.lock().await;
            // The call before may have failed.
            if !self.leaves.is_paused() {
                self.enter_waiting().await;
            }
            drop(turn);
        }
    }

    /// Enters what waits before a roll call, also during a pause.
    pub(super) async fn enter_before_roll_call(&self) {
        let enter = async {
            let turn = self.leaves.turn.lock().await;
            self.enter_waiting().await;
            drop(turn);
        };
        let _in_time = timeout(CALL_LIMIT, enter).await;
    }

    /// Enters all that wait, until a call fails. Calls that come at the same time share their work.
    async fn enter_waiting(&self) {
        while let Some(taken) = self.leaves.take() {
            if !self.try_enter(&taken.departures).await {
                return;
            }
            taken.are_entered();
        }
    }

    async fn try_enter(&self, departures: &HashMap<Vec<u8>, Departure>) -> bool {
        let (gone, back): (Vec<_>, Vec<_>) = departures.iter().partition(|(_, departure)| departure.has_left);
        let [longest_lease, _] = self.rule_args();
        let mut args = vec![longest_lease, digits(gone.len() as u128)];
        for (session, Departure { at, .. }) in gone.into_iter().chain(back) {
            args.extend([digits(at.as_millis().into()), session.clone()]);
        }
        let keys = [self.keys.leaves()];
        let call = self.runner.run(&self.enter_leaves, &keys, &args);
        timeout(CALL_LIMIT, call).await.is_ok_and(|result| result.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::future::join_all;
    use tokio::time::advance;

    use super::*;
    use crate::{
        domain::Policy,
        server::{redis::Script, store::StoreError},
    };

    /// A cluster that does not respond.
    struct Hung;

    #[async_trait]
    impl Runner for Hung {
        async fn run(&self, _: &Script, _: &[Vec<u8>], _: &[Vec<u8>]) -> Result<Value, StoreError> {
            std::future::pending().await
        }

        fn takes_many_channels(&self) -> bool {
            false
        }

        async fn incarnation(&self) -> Result<Option<String>, StoreError> {
            std::future::pending().await
        }
    }

    const AT: Timestamp = Timestamp::from_millis(5);

    fn leaves(number: usize) -> impl Iterator<Item = (Vec<u8>, Departure)> {
        (0..number).map(|n| (n.to_be_bytes().to_vec(), Departure { at: AT, has_left: true }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_call_has_not_entered_waits_for_the_next_one() {
        let all = Leaves::default();
        all.add(leaves(MAX_OPS + 1));
        let taken = all.take().unwrap();
        assert_eq!(taken.departures.len(), MAX_OPS);
        assert!(!all.is_paused());
        drop(taken);
        assert!(all.is_paused() && !all.report().are_entered);
        advance(PAUSE).await;
        assert!(!all.is_paused());
        drop(all.take());
        all.take().unwrap().are_entered();
        assert!(!all.is_paused(), "the server responds again");
        assert!(!all.report().are_entered);
        all.take().unwrap().are_entered();
        assert!(all.take().is_none() && all.report().are_entered && !all.report().are_dropped);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_do_not_wait_one_after_the_other_for_a_server_that_hangs() {
        let store = RemoteStore::new(Hung, "aforo", Policy::default().lease_rules());
        let began = Instant::now();
        join_all((1..=20).map(|number| store.enter(leaves(number).collect()))).await;
        assert_eq!(began.elapsed(), CALL_LIMIT);
        store.enter(leaves(21).collect()).await;
        assert_eq!(began.elapsed(), CALL_LIMIT, "nor during the pause");
        store.enter_before_roll_call().await;
        assert_eq!(began.elapsed(), 2 * CALL_LIMIT);
        assert!(!store.leaves.report().are_entered);
    }

    #[test]
    fn more_than_can_wait_are_dropped_and_reported_once() {
        let all = Leaves::default();
        all.add(leaves(MAX_WAITING));
        all.add(leaves(MAX_WAITING));
        assert!(!all.report().are_dropped, "they are the same");
        all.add(leaves(MAX_WAITING + 1));
        let report = all.report();
        assert!(report.are_entered && report.are_dropped);
        all.add(leaves(MAX_WAITING + 1));
        all.reported(report);
        assert!(all.report().are_dropped, "others were dropped since");
        all.reported(all.report());
        assert!(!all.report().are_dropped);
    }

    #[test]
    fn the_last_departure_of_a_session_counts() {
        let left = |at| Departure { at: Timestamp::from_millis(at), has_left: true };
        let back = |at| Departure { has_left: false, ..left(at) };
        assert!(left(6).replaces(back(5)) && back(6).replaces(left(5)));
        assert!(!left(4).replaces(back(5)) && !back(4).replaces(left(5)));
        assert!(Departure::POSSIBLE.replaces(back(5)) && !back(5).replaces(Departure::POSSIBLE));
    }
}
