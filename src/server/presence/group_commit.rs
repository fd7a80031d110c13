//! Group commit: operations that arrive during a write are queued, and the next write takes all of them. A single
//! operation is written at once; under load, writes become fewer and larger.
//!
//! An operation that has waited longer than [`BACKDATE_AFTER`] is written with the time at which it arrived, so a slow
//! store does not lengthen a lease.
//!
//! Every operation gets the result of the write that contained it. A store that takes many channels in one call has one
//! write in flight. Otherwise each channel has its own write, so a slow channel does not delay the others.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use smallvec::SmallVec;
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;
use crate::{
    domain::{ChannelId, Op, Timestamp},
    server::{
        spans,
        store::{Batch, MAX_OPS, Reading, Store, StoreError, Written},
    },
};

/// An operation that has waited longer than this is written with the time at which it arrived.
pub(super) const BACKDATE_AFTER: Duration = Duration::from_millis(250);

/// Sets the time of an operation to the given duration ago.
type Backdate = dyn Fn(Op, Duration) -> Op + Send + Sync;

/// Batches the writes to a store.
pub(super) struct GroupCommit {
    store: Arc<dyn Store>,
    /// The shortest time between two writes.
    interval: Duration,
    backdate: Box<Backdate>,
    /// The operations that wait for the next write: by channel, or under `None` for all channels.
    lanes: Lanes<Option<ChannelId>, Waiting>,
    /// Canceled when the server shuts down. Writes then no longer wait for the interval.
    flush: CancellationToken,
}

/// Receives the result of an operation.
type Response = oneshot::Sender<Result<Committed, StoreError>>;

struct Waiting {
    channel: ChannelId,
    op: Op,
    since: Instant,
    response: Response,
}

/// The result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    /// Whether its session is counted.
    pub active: bool,
    /// Whether it was written with the time at which it arrived.
    pub is_backdated: bool,
    /// When it was applied, by the store's clock.
    pub applied: Timestamp,
    /// The channel's count after the write.
    pub reading: Reading,
}

impl GroupCommit {
    /// Writes to `store`, at most once per `interval`. `backdate` sets an operation's time to the given duration ago.
    #[must_use]
    pub(super) fn new(
        store: Arc<dyn Store>,
        interval: Duration,
        backdate: impl Fn(Op, Duration) -> Op + Send + Sync + 'static,
    ) -> Self {
        let (lanes, flush) = (Lanes::default(), CancellationToken::new());
        Self { store, interval, backdate: Box::new(backdate), lanes, flush }
    }

    /// Ends the wait between two writes, from now on.
    pub(super) fn flush(&self) {
        self.flush.cancel();
    }

    /// Whether no operation waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.are_idle()
    }

    /// Writes an operation whose request arrived at `since`.
    ///
    /// # Errors
    /// When the write that contained the operation fails.
    pub(super) async fn write(
        self: &Arc<Self>,
        channel: &ChannelId,
        op: Op,
        since: Instant,
    ) -> Result<Committed, StoreError> {
        let span = spans::store("write");
        let (response, received) = oneshot::channel();
        let waiting = Waiting { channel: channel.clone(), op, since, response };
        let lane = (!self.store.takes_many_channels()).then(|| channel.clone());
        if let Some(first) = self.lanes.add(lane.clone(), waiting) {
            // The write runs in its own task, so it continues if the first request is canceled.
            tokio::spawn(Arc::clone(self).drain(lane, vec![first]));
        }
        let written = received
            .await
            .unwrap_or_else(|_| Err(StoreError::Unreachable("the write was abandoned".to_owned())));
        if written.is_err() {
            spans::store_failed(&span);
        }
        written
    }

    /// Writes a lane until no operation waits in it.
    async fn drain(self: Arc<Self>, lane: Option<ChannelId>, mut work: Vec<Waiting>) {
        while !work.is_empty() {
            self.write_all(work).await;
            if !self.interval.is_zero() {
                tokio::select! {
                    () = sleep(self.interval) => {}
                    () = self.flush.cancelled() => {}
                }
            }
            // Requests that have arrived meanwhile, and that no task has read yet, join the next write.
            yield_now().await;
            work = self.lanes.next(&lane, std::mem::take);
        }
    }

    async fn write_all(&self, work: Vec<Waiting>) {
        let mut groups: Vec<(Batch, Vec<(Response, bool)>)> = Vec::new();
        let mut open: HashMap<ChannelId, usize> = HashMap::new();
        for Waiting { channel, op: accepted, since, response } in work {
            let waited = since.elapsed();
            let op = if waited > BACKDATE_AFTER { (self.backdate)(accepted, waited) } else { accepted };
            let response = (response, op != accepted);
            match open.get(&channel).map(|at| &mut groups[*at]).filter(|(batch, _)| batch.ops.len() < MAX_OPS)
            {
                Some((batch, responses)) => {
                    batch.ops.push(op);
                    responses.push(response);
                }
                None => {
                    open.insert(channel.clone(), groups.len());
                    groups.push((Batch { channel, ops: SmallVec::from_slice(&[op]) }, vec![response]));
                }
            }
        }
        let (batches, responses): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        // After a panic in the store the lane must go on for its waiting operations.
        let written = AssertUnwindSafe(self.store.write(&batches)).catch_unwind().await;
        let written = written.unwrap_or_else(|_| {
            vec![Err(StoreError::Refused("the store panicked".to_owned())); batches.len()]
        });
        for (responses, written) in responses.into_iter().zip(written) {
            for (nth, (response, is_backdated)) in responses.into_iter().enumerate() {
                // The request may have been canceled. The operation is written regardless.
                let _canceled = response.send(committed(&written, nth, is_backdated));
            }
        }
    }
}

fn committed(
    written: &Result<Written, StoreError>,
    nth: usize,
    is_backdated: bool,
) -> Result<Committed, StoreError> {
    let written = written.as_ref().map_err(Clone::clone)?;
    let active = written.active.get(nth).copied().unwrap_or_default();
    Ok(Committed { active, is_backdated, applied: written.applied_at(nth), reading: written.reading })
}
