//! Renewals: heartbeats that only prolong a lease. While many calls are under way, they are appended to the node's log in the
//! store, which is one small operation for all that wait, and written to their channels later, many at a time.
//!
//! Promises:
//! - A renewal is in the log before its call is answered. If the node dies, another node writes what is in its log
//!   ([`Orphans`](super::orphans::Orphans)).
//! - A channel gets a renewal long before the lease that it has ends ([`MARGIN`]), so no count lacks it.
//! - What can't be written, or not in time, is left to the journal, which replays it. Counts are stale until then.
//! - Memory is bounded: at most [`MAX_GATHERED`] renewals are gathered. Beyond that, and while the store is slow, heartbeats are
//!   written to their channels at once.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, oneshot},
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    gathered::Gathered,
    group_commit::BACKDATE_AFTER,
    journal::{Journal, Loss, RenewalRule},
    lanes::Lanes,
    recovery::{Recovery, WAIT_FOR_NODES},
};
use crate::{
    domain::{Act, Op, Policy, Timestamp},
    server::{
        clock::Clock,
        store::{Append, Appended, Batch, LogId, MAX_OPS, Renewal, RenewalLog, Store, StoreError, Written},
    },
};

/// How long the lease in the channel has to go on, so that a heartbeat is a renewal: longer than it takes until the renewal gets
/// there, also if the node dies and another one writes it.
const MARGIN: Duration = Duration::from_secs(20);

/// How long the node is taken to be busy after many calls were under way at once, in milliseconds.
const BUSY_FOR: u64 = 50;

/// How long renewals are gathered before they are written to their channels.
const GATHER_FOR: Duration = Duration::from_secs(1);

/// If the oldest renewal has waited this long for its channel, no more are appended.
const MAX_AGE: Duration = Duration::from_secs(3);

/// After this time of writing, no other call begins. So the next ones are not overdue yet, which are gathered meanwhile and for
/// [`GATHER_FOR`].
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// What has waited this long for its channel is left to the journal, so that counts are stale until it is written.
const OVERDUE: Duration = Duration::from_secs(5);

// A node that dies is gone for the others after a bit more than `WAIT_FOR_NODES`.
const _: () = assert!(MARGIN.as_secs() > WAIT_FOR_NODES.as_secs() + OVERDUE.as_secs() + 5);

/// The most renewals that are gathered, so that writing them takes the store a fraction of a second.
const MAX_GATHERED: usize = 50_000;

/// How often a step is tried. Each attempt but the last one finds renewals that have to be written to their channels.
const MAX_ATTEMPTS: usize = 3;

/// How long nothing is appended after the store failed to, and after it could not for now.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// The renewals of a node.
pub(super) struct Renewals {
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    recovery: Arc<Recovery>,
    clock: Arc<dyn Clock>,
    /// Which heartbeats are renewals. `None`: none are.
    rule: Option<RenewalRule>,
    /// The number of joins, heartbeats and leaves that are under way.
    in_flight: AtomicUsize,
    /// Until when a log is worth it, in milliseconds since `started`.
    busy_until: AtomicU64,
    started: Instant,
    /// The renewals that wait to be appended.
    waiting: Lanes<(), Waiting>,
    /// Held while renewals are appended.
    log: AsyncMutex<Log>,
    /// Nothing is appended until then.
    paused: Mutex<Option<Instant>>,
    /// Canceled when the server shuts down.
    flush: CancellationToken,
}

/// A renewal that waits to be appended.
struct Waiting {
    renewal: Renewal,
    since: Instant,
    response: Response,
}

/// Receives whether and when a renewal was appended.
type Response = oneshot::Sender<Option<Appended>>;

/// What is in the log and not yet in the channels.
#[derive(Default)]
struct Log {
    is_second: bool,
    gathered: Gathered,
    /// When the oldest of them was appended.
    since: Option<Instant>,
    /// Whether a task writes them to their channels.
    is_flushing: bool,
}

/// A call that is under way.
pub(super) struct InFlight<'a> {
    calls: &'a AtomicUsize,
    /// Which heartbeats are renewals. `None`: none are, or too few calls are under way, and were a moment ago, for a log to be
    /// worth it.
    pub rule: Option<RenewalRule>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Relaxed);
    }
}

impl Renewals {
    /// Nothing is gathered yet.
    pub(super) fn new(
        store: Arc<dyn Store>,
        journal: Arc<Journal>,
        recovery: Arc<Recovery>,
        clock: Arc<dyn Clock>,
        policy: &Policy,
    ) -> Self {
        // The operator may want calls to gather for as long as the write interval: then the fewest commands count.
        let shortest_lease = policy.lease(false).min(policy.lease(true));
        let beaten_within = shortest_lease.checked_sub(MARGIN).filter(|_| policy.write_interval.is_zero());
        // Where each channel has its own write, at least two heartbeats have to share it.
        let shared = 2 * policy.heartbeat_interval.as_millis().div_ceil(GATHER_FOR.as_millis());
        let least_sessions =
            if store.takes_many_channels() { 0 } else { shared.try_into().unwrap_or(usize::MAX) };
        Self {
            store,
            journal,
            recovery,
            clock,
            rule: beaten_within.map(|beaten_within| RenewalRule { beaten_within, least_sessions }),
            in_flight: AtomicUsize::default(),
            busy_until: AtomicU64::default(),
            started: Instant::now(),
            waiting: Lanes::default(),
            log: AsyncMutex::default(),
            paused: Mutex::default(),
            flush: CancellationToken::new(),
        }
    }

    /// Takes note of a call, until the result is dropped.
    pub(super) fn begin(&self) -> InFlight<'_> {
        let calls = self.in_flight.fetch_add(1, Relaxed) + 1;
        let is_one_of_many = self.store.renewal_log().is_some_and(|log| {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or_default();
            if calls >= log.worth_from() {
                self.busy_until.store(now + BUSY_FOR, Relaxed);
            }
            now < self.busy_until.load(Relaxed)
        });
        InFlight { calls: &self.in_flight, rule: self.rule.filter(|_| is_one_of_many) }
    }

    /// Writes what is gathered without delay, from now on.
    pub(super) fn flush(&self) {
        self.flush.cancel();
    }

    /// Whether all renewals are in their channels.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.are_idle() && self.log.try_lock().is_ok_and(|log| !log.is_flushing)
    }

    /// Appends a renewal that arrived at `since` to the log. `None` if it was not appended, or may not have been: then it has to
    /// be written to its channel.
    pub(super) async fn append(self: &Arc<Self>, renewal: Renewal, since: Instant) -> Option<Appended> {
        if self.is_paused() || !self.store.renewal_log().is_some_and(RenewalLog::admit) {
            return None;
        }
        let (response, received) = oneshot::channel();
        let waiting = Waiting { renewal, since, response };
        if let Some(first) = self.waiting.add((), waiting) {
            // In a task of its own, so that it continues if the call is canceled.
            tokio::spawn(Arc::clone(self).append_all(vec![first]));
        }
        received.await.ok().flatten()
    }

    /// Appends until no renewal waits.
    async fn append_all(self: Arc<Self>, mut work: Vec<Waiting>) {
        while !work.is_empty() {
            let rest = work.split_off(work.len().min(MAX_OPS));
            // After a panic, those that wait have to be answered. Those of the failed step are dropped, and so answered.
            let _panicked = AssertUnwindSafe(self.append_step(work)).catch_unwind().await;
            work = rest;
            if work.is_empty() {
                // Calls that have arrived meanwhile, and that no task has read yet, join the next step.
                yield_now().await;
                work = self.waiting.next(&(), std::mem::take);
            }
        }
    }

    async fn append_step(self: &Arc<Self>, mut work: Vec<Waiting>) {
        // What has waited is written with the time at which it arrived.
        let late = work.extract_if(.., |waiting| waiting.since.elapsed() > BACKDATE_AFTER);
        late.for_each(|waiting| self.refuse(waiting));
        let mut log = self.log.lock().await;
        let id = LogId { node: self.recovery.node(), is_second: log.is_second };
        for _ in 0..MAX_ATTEMPTS {
            let Some(logs) = self.store.renewal_log() else { break };
            if work.is_empty() || self.is_paused() || log.is_full() {
                break;
            }
            let renewals: Vec<_> = work.iter().map(|waiting| waiting.renewal.clone()).collect();
            match logs.append(id, &renewals).await {
                Ok(Append::Done(appended)) => {
                    self.gather(&mut log, renewals, appended);
                    for waiting in work.drain(..) {
                        // The call may have been canceled. The renewal is written regardless.
                        let _canceled = waiting.response.send(Some(appended));
                    }
                }
                Ok(Append::Refused(flags)) => {
                    let mut flags = flags.into_iter();
                    let refused = work.extract_if(.., |_| flags.next().unwrap_or_default());
                    refused.for_each(|waiting| self.refuse(waiting));
                }
                Ok(Append::NotNow) => self.pause(PAUSES.1),
                Err(error) => {
                    tracing::debug!(%error, "renewals not logged; writing them to their channels");
                    self.pause(PAUSES.0);
                }
            }
        }
        drop(log);
        work.into_iter().for_each(|waiting| self.refuse(waiting));
    }

    /// Lets the call write the heartbeat to its channel.
    fn refuse(&self, Waiting { renewal, response, .. }: Waiting) {
        if response.send(None).is_err() {
            // The call was canceled.
            let Renewal { channel, viewer, session, lease } = renewal;
            self.journal.mark_unwritten(&channel, &Op { viewer, session, act: Act::Heartbeat { lease } });
            self.recovery.trigger();
        }
    }

    fn gather(self: &Arc<Self>, log: &mut Log, renewals: Vec<Renewal>, appended: Appended) {
        log.since.get_or_insert_with(Instant::now);
        renewals.into_iter().for_each(|renewal| log.gathered.add(renewal, appended.at));
        if !std::mem::replace(&mut log.is_flushing, true) {
            tokio::spawn(Arc::clone(self).flush_until_empty());
        }
    }

    fn pause(&self, pause: Duration) {
        *self.paused.lock() = Some(Instant::now() + pause);
    }

    fn is_paused(&self) -> bool {
        let mut paused = self.paused.lock();
        paused.take_if(|until| *until <= Instant::now());
        paused.is_some()
    }

    /// Writes what is gathered to the channels, again and again until there is nothing.
    async fn flush_until_empty(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = sleep(GATHER_FOR) => {}
                () = self.flush.cancelled() => {}
            }
            let (id, since, gathered) = {
                let mut log = self.log.lock().await;
                let id = LogId { node: self.recovery.node(), is_second: log.is_second };
                let (since, gathered) = log.take();
                log.is_flushing = !gathered.is_empty();
                (id, since, gathered)
            };
            if gathered.is_empty() {
                return;
            }
            if self.write_all(gathered, since).await
                && let Some(logs) = self.store.renewal_log()
            {
                // A log that stays expires by itself. Writing it again would change nothing.
                let _cleared = logs.clear(id).await;
            }
        }
    }

    /// Writes renewals to their channels, over half of the time until the next ones. Returns whether all were written; the others
    /// are left to the journal. On a cluster, no channel waits for another.
    async fn write_all(&self, gathered: Gathered, since: Instant) -> bool {
        let lanes = gathered.into_lanes(self.store.takes_many_channels());
        let number = lanes.iter().map(Vec::len).sum::<usize>();
        let pause = GATHER_FOR / 2 / u32::try_from(number).unwrap_or(u32::MAX).max(1);
        let began = Instant::now();
        let until = (since + OVERDUE).min(began + FLUSH_LIMIT);
        let mut next = began;
        let lanes = lanes.into_iter().map(|calls| {
            let timed: Vec<_> = calls
                .into_iter()
                .map(|batches| {
                    next += pause;
                    (next, batches)
                })
                .collect();
            self.write_lane(timed, until)
        });
        join_all(lanes).await.into_iter().all(|are_written| are_written)
    }

    /// Writes calls one after the other, each no sooner than its time. After `until`, the rest is left to the journal; on a cluster, also
    /// once one has failed.
    async fn write_lane(&self, calls: Vec<(Instant, Vec<Batch>)>, until: Instant) -> bool {
        let mut are_all_written = true;
        let mut has_failed = false;
        for (at, batches) in &calls {
            tokio::select! {
                () = sleep_until(*at) => {}
                () = self.flush.cancelled() => {}
            }
            has_failed |= Instant::now() >= until;
            // After a panic the others have to be written.
            let failures = if has_failed {
                None
            } else {
                AssertUnwindSafe(self.write_call(batches)).catch_unwind().await.ok()
            };
            if failures.is_none() {
                batches.iter().for_each(|batch| self.leave_to_journal(batch));
            }
            has_failed |= failures != Some(0) && !self.store.takes_many_channels();
            are_all_written &= failures == Some(0);
        }
        are_all_written
    }

    /// Returns how many of the batches could not be written.
    async fn write_call(&self, batches: &[Batch]) -> usize {
        let began = self.clock.now();
        let written = self.store.write(batches).await;
        let settle = |(batch, written)| self.settle(batch, written, began);
        batches.iter().zip(written).map(settle).filter(|is_written| !is_written).count()
    }

    /// Tells the journal the result of a batch. Returns whether it was written.
    fn settle(&self, batch: &Batch, written: Result<Written, StoreError>, began: Timestamp) -> bool {
        let is_written = written.is_ok();
        match &written {
            Ok(Written { active, reading, .. }) => {
                let ended = batch.ops.iter().zip(active).filter(|(_, is_active)| !**is_active);
                ended.for_each(|(op, _)| self.journal.note_left(&batch.channel, op, reading));
            }
            Err(_) => self.leave_to_journal(batch),
        }
        let reading = written.map(|written| written.reading);
        let (_, loss) = self.journal.observe(&batch.channel, &reading, began);
        if loss != Loss::None {
            self.recovery.trigger();
        }
        is_written
    }

    fn leave_to_journal(&self, batch: &Batch) {
        for op in &batch.ops {
            self.journal.mark_unwritten(&batch.channel, op);
        }
        self.recovery.trigger();
    }
}

impl Log {
    /// Whether nothing more may be gathered for now.
    fn is_full(&self) -> bool {
        self.gathered.len() >= MAX_GATHERED || self.since.is_some_and(|since| since.elapsed() >= MAX_AGE)
    }

    /// Takes what is gathered, and since when. What comes next goes to the other log.
    fn take(&mut self) -> (Instant, Gathered) {
        self.is_second = !self.is_second;
        let since = self.since.take().unwrap_or_else(Instant::now);
        (since, std::mem::take(&mut self.gathered))
    }
}

#[cfg(test)]
mod tests;
