//! Group commit: while a write is under way, operations gather; the next write takes them all. Alone, an operation waits
//! for nothing; under load, writes get fewer and larger by themselves.
//!
//! An operation that had to wait for longer than [`PROMPT`] is written as what happened when it was accepted, so that no
//! lease is longer because the store was slow.
//!
//! Every operation is answered by the write that held it. Stores that take many channels in one call have one write under
//! way; where each channel has its own call, each has its own, so that one that is slow keeps no other waiting.

use std::{
    collections::{HashMap, hash_map::Entry},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{ChannelId, Op},
    server::store::{Batch, MAX_OPS, Reading, Store, StoreError, Written},
};

/// How long an operation may wait and still count as happening when it is written.
pub const PROMPT: Duration = Duration::from_millis(250);

/// Says what an operation is after it has waited: it happened so long ago.
type Backdate = dyn Fn(Op, Duration) -> Op + Send + Sync;

/// Writes to a store.
pub struct GroupCommit {
    store: Arc<dyn Store>,
    /// The shortest time between two writes.
    interval: Duration,
    backdate: Box<Backdate>,
    /// What has gathered behind the write that is under way, by channel or, under `None`, for all. A lane is there for
    /// as long as a write is.
    lanes: Mutex<HashMap<Option<ChannelId>, Vec<Waiting>>>,
    /// The server is ending: no write waits for its interval any more.
    flush: CancellationToken,
}

/// Where the answer to an operation goes.
type Answer = oneshot::Sender<Result<Committed, StoreError>>;

struct Waiting {
    channel: ChannelId,
    op: Op,
    since: Instant,
    answer: Answer,
}

/// What an operation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Whether its session is counted.
    pub active: bool,
    /// It was written as having happened when it was accepted.
    pub is_backdated: bool,
    /// The channel's count after the write.
    pub reading: Reading,
}

impl GroupCommit {
    /// Writes to `store`, once per `interval` at most. `backdate` turns an operation into one that happened so long ago.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        interval: Duration,
        backdate: impl Fn(Op, Duration) -> Op + Send + Sync + 'static,
    ) -> Self {
        let (lanes, flush) = (Mutex::default(), CancellationToken::new());
        Self { store, interval, backdate: Box::new(backdate), lanes, flush }
    }

    /// From now on no write waits for its interval.
    pub fn flush(&self) {
        self.flush.cancel();
    }

    /// Whether all that was to be written has been.
    pub fn is_idle(&self) -> bool {
        self.lanes.lock().is_empty()
    }

    /// Writes an operation that has waited since `since`.
    ///
    /// # Errors
    /// When the store could not take the write that held it.
    pub async fn write(
        self: &Arc<Self>,
        channel: &ChannelId,
        op: Op,
        since: Instant,
    ) -> Result<Committed, StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { channel: channel.clone(), op, since, answer };
        let lane = (!self.store.takes_many_channels()).then(|| channel.clone());
        let first = match self.lanes.lock().entry(lane.clone()) {
            Entry::Occupied(mut gathered) => {
                gathered.get_mut().push(waiting);
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Vec::new());
                Some(waiting)
            }
        };
        if let Some(first) = first {
            // A task of its own: whoever came first may go away, the others still want their answers.
            tokio::spawn(Arc::clone(self).drain(lane, vec![first]));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unreachable("the write was given up".to_owned())))
    }

    /// Writes until nothing has gathered any more.
    async fn drain(self: Arc<Self>, lane: Option<ChannelId>, mut work: Vec<Waiting>) {
        while !work.is_empty() {
            self.write_all(work).await;
            if !self.interval.is_zero() {
                tokio::select! {
                    () = sleep(self.interval) => {}
                    () = self.flush.cancelled() => {}
                }
            }
            let mut lanes = self.lanes.lock();
            work = lanes.get_mut(&lane).map(std::mem::take).unwrap_or_default();
            if work.is_empty() {
                lanes.remove(&lane);
            }
        }
    }

    async fn write_all(&self, work: Vec<Waiting>) {
        let mut groups: Vec<(Batch, Vec<(Answer, bool)>)> = Vec::new();
        let mut open: HashMap<ChannelId, usize> = HashMap::new();
        for Waiting { channel, op: accepted, since, answer } in work {
            let waited = since.elapsed();
            let op = if waited > PROMPT { (self.backdate)(accepted, waited) } else { accepted };
            let answer = (answer, op != accepted);
            match open.get(&channel).map(|at| &mut groups[*at]).filter(|(batch, _)| batch.ops.len() < MAX_OPS)
            {
                Some((batch, answers)) => {
                    batch.ops.push(op);
                    answers.push(answer);
                }
                None => {
                    open.insert(channel.clone(), groups.len());
                    groups.push((Batch { channel, ops: SmallVec::from_slice(&[op]) }, vec![answer]));
                }
            }
        }
        let (batches, answers): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        // A panic in a store must not leave the lane behind, with everyone waiting in it.
        let written = AssertUnwindSafe(self.store.write(&batches)).catch_unwind().await;
        let written = written.unwrap_or_else(|_| {
            vec![Err(StoreError::Refused("the store panicked".to_owned())); batches.len()]
        });
        for (answers, written) in answers.into_iter().zip(written) {
            for (nth, (answer, is_backdated)) in answers.into_iter().enumerate() {
                // Whoever asked may be gone; the write has been done all the same.
                let _gone = answer.send(committed(&written, nth, is_backdated));
            }
        }
    }
}

fn committed(
    written: &Result<Written, StoreError>,
    nth: usize,
    is_backdated: bool,
) -> Result<Committed, StoreError> {
    let Written { active, reading } = written.as_ref().map_err(Clone::clone)?;
    let active = active.get(nth).copied().unwrap_or_default();
    Ok(Committed { active, is_backdated, reading: *reading })
}
