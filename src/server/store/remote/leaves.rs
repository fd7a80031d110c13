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

use super::{answer::parse, encoding::digits, parts::PartBatch, renewal_log::member, store::RemoteStore};
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
    /// How often departures were added, and up to which addition all are entered.
    added: u64,
    entered: u64,
    /// Up to which addition some were answered before they were entered.
    answered: u64,
    /// No beat waits for a call until then, since one has failed.
    paused_until: Option<Instant>,
    /// How often sessions were dropped, and how often as of the last roll call that knows it.
    dropped: u64,
    told: u64,
}

impl Waiting {
    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn keep(&mut self, departures: impl IntoIterator<Item = (Vec<u8>, Departure)>) {
        for (session, departure) in departures {
            match self.departures.entry(session) {
                Entry::Vacant(vacant) => drop(vacant.insert(departure)),
                Entry::Occupied(mut known) if departure.replaces(*known.get()) => {
                    known.insert(departure);
                }
                Entry::Occupied(_) => {}
            }
        }
        if self.departures.len() > MAX_WAITING {
            self.departures = HashMap::new();
            self.dropped += 1;
        }
    }
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
        if is_unknown || self.at == other.at { self.has_left } else { self.at > other.at }
    }
}

/// What a node tells the others at a roll call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Whether all are entered that were answered.
    pub are_entered: bool,
    /// Whether some never will be.
    pub are_dropped: bool,
    dropped: u64,
}

impl Leaves {
    /// Adds departures that wait to be entered. Returns the number of the addition, or `None` during a pause: then they are answered
    /// before.
    fn add(&self, departures: Vec<(Vec<u8>, Departure)>) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        waiting.keep(departures);
        waiting.added += 1;
        if waiting.is_paused() {
            waiting.answered = waiting.added;
            return None;
        }
        Some(waiting.added)
    }

    /// Takes all that wait, unless those of an addition are entered, or a call has failed since.
    fn take_for(&self, addition: u64) -> Option<Taken<'_>> {
        let is_done = {
            let waiting = self.waiting.lock();
            waiting.entered >= addition || waiting.is_paused()
        };
        (!is_done).then(|| self.take())
    }

    /// Takes all that wait. What is not entered waits again.
    fn take(&self) -> Taken<'_> {
        let mut waiting = self.waiting.lock();
        let departures: Vec<_> = mem::take(&mut waiting.departures).into_iter().collect();
        if departures.is_empty() {
            // The rest was dropped.
            waiting.entered = waiting.added;
        }
        Taken { leaves: self, departures, up_to: waiting.added }
    }

    pub(super) fn report(&self) -> Report {
        let Waiting { answered, entered, dropped, told, .. } = *self.waiting.lock();
        Report { are_entered: answered <= entered, are_dropped: dropped != told, dropped }
    }

    /// Takes note that the others know what was reported.
    pub(super) fn reported(&self, report: Report) {
        self.waiting.lock().told = report.dropped;
    }
}

/// Departures that are being entered.
struct Taken<'a> {
    leaves: &'a Leaves,
    departures: Vec<(Vec<u8>, Departure)>,
    /// The last addition among them.
    up_to: u64,
}

impl Taken<'_> {
    /// The departures of the next call.
    fn next_call(&self) -> &[(Vec<u8>, Departure)] {
        &self.departures[self.departures.len().saturating_sub(MAX_OPS)..]
    }

    fn call_is_done(&mut self) {
        self.departures.truncate(self.departures.len().saturating_sub(MAX_OPS));
        if self.departures.is_empty() {
            let mut waiting = self.leaves.waiting.lock();
            waiting.entered = self.up_to;
            waiting.paused_until = None;
        }
    }

    fn call_has_failed(self) {
        self.leaves.waiting.lock().paused_until = Some(Instant::now() + PAUSE);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.departures.is_empty() {
            let mut waiting = self.leaves.waiting.lock();
            waiting.keep(mem::take(&mut self.departures));
            // Their calls no longer wait.
            waiting.answered = waiting.added;
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
        self.enter_all(departures(gone, true).chain(departures(back, false)).collect()).await;
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
            self.enter_all(leaves).await;
        }
    }

    async fn enter_all(&self, departures: Vec<(Vec<u8>, Departure)>) {
        let Some(addition) = self.leaves.add(departures) else { return };
        let _turn = self.leaves.turn.lock().await;
        if let Some(taken) = self.leaves.take_for(addition) {
            self.enter_taken(taken).await;
        }
    }

    /// Enters what waits, also during a pause.
    pub(super) async fn enter_before_roll_call(&self) {
        if let Ok(_turn) = timeout(CALL_LIMIT, self.leaves.turn.lock()).await {
            self.enter_taken(self.leaves.take()).await;
        }
    }

    /// Enters departures, until a call fails or this takes long.
    async fn enter_taken(&self, mut taken: Taken<'_>) {
        let began = Instant::now();
        while !taken.departures.is_empty() && began.elapsed() < CALL_LIMIT {
            if !self.try_enter(taken.next_call()).await {
                return taken.call_has_failed();
            }
            taken.call_is_done();
        }
    }

    async fn try_enter(&self, departures: &[(Vec<u8>, Departure)]) -> bool {
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

    fn leaves(number: usize) -> Vec<(Vec<u8>, Departure)> {
        (0..number).map(|n| (n.to_be_bytes().to_vec(), Departure { at: AT, has_left: true })).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_call_has_not_entered_waits_for_the_next_one() {
        let all = Leaves::default();
        let addition = all.add(leaves(MAX_OPS + 1)).unwrap();
        assert!(all.report().are_entered, "its beats are not answered yet");
        let mut taken = all.take_for(addition).unwrap();
        assert_eq!(taken.next_call().len(), MAX_OPS);
        taken.call_is_done();
        assert_eq!(taken.next_call().len(), 1);
        taken.call_has_failed();
        assert_eq!(all.waiting.lock().departures.len(), 1);
        assert!(!all.report().are_entered);
        assert!(
            all.take_for(addition).is_none() && all.add(leaves(1)).is_none(),
            "nothing waits during the pause"
        );
        let taken = all.take();
        assert!(!all.report().are_entered, "they are under way");
        drop(taken);
        advance(PAUSE).await;
        let addition = all.add(leaves(2)).unwrap();
        let mut taken = all.take_for(addition).unwrap();
        assert!(taken.next_call().len() >= 2, "with those of the failed call");
        taken.call_is_done();
        assert!(all.report().are_entered && !all.report().are_dropped);
        assert!(all.take_for(addition).is_none(), "another call has entered them");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_do_not_wait_one_after_the_other_for_a_server_that_hangs() {
        let store = RemoteStore::new(Hung, "aforo", Policy::default().lease_rules());
        let began = Instant::now();
        join_all((1..=20).map(|number| store.enter_all(leaves(number)))).await;
        assert_eq!(began.elapsed(), CALL_LIMIT);
        store.enter_all(leaves(21)).await;
        assert_eq!(began.elapsed(), CALL_LIMIT, "nor during the pause");
        store.enter_before_roll_call().await;
        assert_eq!(began.elapsed(), 2 * CALL_LIMIT);
        assert!(!store.leaves.report().are_entered);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_wait_are_dropped_and_reported_once() {
        let all = Leaves::default();
        let add = |number| all.add(leaves(number)).is_some();
        assert!(add(MAX_WAITING) && add(MAX_WAITING));
        assert!(!all.report().are_dropped, "they are the same");
        all.take().call_has_failed();
        assert!(!add(MAX_WAITING + 1) && !all.report().are_entered);
        assert!(all.take().departures.is_empty() && all.report().are_entered);
        let report = all.report();
        assert!(report.are_dropped);
        assert!(!add(MAX_WAITING + 1));
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
        assert!(left(5).replaces(back(5)) && !back(5).replaces(left(5)), "a tie");
        assert!(Departure::POSSIBLE.replaces(back(5)) && !back(5).replaces(Departure::POSSIBLE));
    }
}
