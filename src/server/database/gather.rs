//! Gathers calls: those that arrive while others are under way wait, and the next run takes all of them. A single call
//! runs at once; under load, runs become fewer and larger.
//!
//! Promises:
//! - **Bounded waiting**: a call has its answer within its limit, and at most [`MAX_WAITING`] wait. More are refused.
//! - **Progress**: a run takes fewer calls after one that took long, so that it ends in time ([`Batch`]).
//! - **Order**: calls run in the order in which they arrived.
//! - **Cancellation**: a call whose caller has gone still runs if it must ([`Canceled::Runs`]).
//! - **Truth**: a call is not run after its caller was told that it failed. A call runs only if half of its limit is left, and
//!   a run ends when the limit of one of its callers passes. The exception is a commit that is under way at that moment.

use std::{future::Future, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

use super::{Batch, CALL_LIMIT};
use crate::server::store_error::StoreError;

/// The most calls that wait. Each takes some hundred bytes, much less than the connection of its caller. What takes too
/// long is bounded by the limit of each call: this is only the bound of the memory.
const MAX_WAITING: usize = 65_536;

/// The most calls in a run.
const MAX_CALLS: usize = 1_024;

/// A call whose caller waits runs only if this much of its limit is left, so that it does not end the run of others early.
const LEAST_LEFT: Duration = CALL_LIMIT.checked_div(2).unwrap();

/// What becomes of a call whose caller has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canceled {
    /// It runs.
    Runs,
    /// It is dropped.
    Dropped,
}

/// A queue of calls that take a `Q` and answer an `A`.
pub(super) struct Gatherer<Q, A> {
    queue: mpsc::Sender<Entry<Q, A>>,
    waiting: Mutex<mpsc::Receiver<Entry<Q, A>>>,
    canceled: Canceled,
    limit: Duration,
    batch: Batch,
}

enum Entry<Q, A> {
    Call(Call<Q, A>),
    /// Answered when all entries before it are done.
    Flush(oneshot::Sender<()>),
}

struct Call<Q, A> {
    question: Q,
    until: Instant,
    response: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q, A> Gatherer<Q, A> {
    /// An empty queue, whose calls are answered within `limit`.
    pub(super) fn new(canceled: Canceled, limit: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        Self { queue, waiting: Mutex::new(waiting), canceled, limit, batch: Batch::new(MAX_CALLS) }
    }

    /// Adds a call, and waits for its answer.
    ///
    /// # Errors
    /// When the run fails, too many calls wait, or the limit passes.
    pub(super) async fn call(&self, question: Q) -> Result<A, StoreError> {
        let (until, (response, received)) = (Instant::now() + self.limit, oneshot::channel());
        let call = Entry::Call(Call { question, until, response });
        self.queue.try_send(call).map_err(|_| StoreError::Away("too many calls wait for it".to_owned()))?;
        match timeout_at(until, received).await {
            Ok(answer) => answer.unwrap_or(Err(StoreError::Away("the call was abandoned".to_owned()))),
            Err(_elapsed) => Err(StoreError::Away("it does not respond in time".to_owned())),
        }
    }

    /// Runs calls with `work`, which answers them in their order, and fails at the given time at the latest. Returns only if
    /// `work` panics.
    pub(super) async fn run<W>(&self, work: impl Fn(Vec<Q>, Instant) -> W)
    where
        W: Future<Output = Result<Vec<A>, StoreError>>,
    {
        let mut waiting = self.waiting.lock().await;
        let mut entries = Vec::new();
        while waiting.recv_many(&mut entries, self.batch.size()).await > 0 {
            let (mut questions, mut responses, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
            let mut until = Instant::now() + self.limit;
            for entry in entries.drain(..) {
                match entry {
                    Entry::Call(call) if self.is_wanted(&call) => {
                        if !call.response.is_closed() {
                            until = until.min(call.until);
                        }
                        questions.push(call.question);
                        responses.push(call.response);
                    }
                    Entry::Call(_) => {}
                    Entry::Flush(done) => flushes.push(done),
                }
            }
            if !questions.is_empty() {
                // A caller may have gone in the meantime, so an answer may have no receiver.
                match self.batch.run(questions.len(), work(questions, until)).await {
                    Ok(answers) => responses.into_iter().zip(answers).for_each(|(response, answer)| {
                        let _gone = response.send(Ok(answer));
                    }),
                    Err(error) => responses.into_iter().for_each(|response| {
                        let _gone = response.send(Err(error.clone()));
                    }),
                }
            }
            flushes.into_iter().for_each(|done| {
                let _gone = done.send(());
            });
        }
    }

    /// Waits until all calls so far have run, but no longer than `limit`. Returns whether they have.
    pub(super) async fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = oneshot::channel();
        let flush = async { self.queue.send(Entry::Flush(done)).await.is_ok() && flushed.await.is_ok() };
        timeout(limit, flush).await == Ok(true)
    }

    fn is_wanted(&self, call: &Call<Q, A>) -> bool {
        let now = Instant::now();
        if call.response.is_closed() {
            // The caller has gone before its limit, and has been told nothing.
            return self.canceled == Canceled::Runs && call.until > now;
        }
        call.until >= now + LEAST_LEFT
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use futures::future::join_all;
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    type Runs = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Answers each question with its double, after a second. Returns the questions of each run.
    fn doubling(canceled: Canceled) -> (Arc<Gatherer<u32, u32>>, Runs) {
        let gatherer = Arc::new(Gatherer::new(canceled, LIMIT));
        let runs = Runs::default();
        let (running, log) = (Arc::clone(&gatherer), Arc::clone(&runs));
        tokio::spawn(async move {
            running
                .run(async |questions: Vec<u32>, _| {
                    log.lock().push(questions.clone());
                    sleep(Duration::from_secs(1)).await;
                    Ok(questions.iter().map(|number| number * 2).collect())
                })
                .await;
        });
        (gatherer, runs)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_during_a_run_share_the_next_one_and_keep_their_order() {
        let (gatherer, runs) = doubling(Canceled::Runs);
        let answers = join_all((0..100).map(|number| {
            let gatherer = Arc::clone(&gatherer);
            async move {
                sleep(Duration::from_millis(number)).await;
                gatherer.call(u32::try_from(number).unwrap()).await.unwrap()
            }
        }));
        assert_eq!(answers.await, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(*runs.lock(), [vec![0], (1..100).collect()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_canceled_call_runs_if_it_must() {
        for (canceled, expected) in
            [(Canceled::Runs, vec![vec![1], vec![2]]), (Canceled::Dropped, vec![vec![1]])]
        {
            let (gatherer, runs) = doubling(canceled);
            let _first = tokio::spawn({
                let gatherer = Arc::clone(&gatherer);
                async move { gatherer.call(1).await }
            });
            sleep(Duration::from_millis(1)).await;
            let gone = timeout(Duration::from_millis(500), gatherer.call(2)).await;
            assert!(gone.is_err());
            assert!(gatherer.flush(LIMIT).await);
            assert_eq!(*runs.lock(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_run_delays_no_answer_beyond_the_limit_and_expired_calls_do_not_run() {
        let gatherer = Arc::new(Gatherer::<u32, u32>::new(Canceled::Runs, LIMIT));
        let began = Instant::now();
        let stuck = async { gatherer.run(async |_: Vec<u32>, _| pending().await).await };
        tokio::select! {
            () = stuck => unreachable!("the run is stuck"),
            answers = join_all((0..3).map(|number| gatherer.call(number))) => {
                assert!(answers.iter().all(Result::is_err));
            }
        }
        assert_eq!(began.elapsed(), LIMIT);
        assert!(!gatherer.flush(Duration::from_secs(1)).await, "nothing runs the queue");
        let late = gatherer.run(async |_: Vec<u32>, _| unreachable!("the calls have expired"));
        assert!(timeout(LIMIT, late).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_is_done_after_its_caller_was_told_that_it_failed() {
        let gatherer = Gatherer::<u64, u64>::new(Canceled::Runs, LIMIT);
        let (began, done) = (Instant::now(), Mutex::new(Vec::<u64>::new()));
        // Nothing is done before second 5, when a lock ends.
        let run = gatherer.run(async |questions: Vec<u64>, until| {
            if timeout_at(until, tokio::time::sleep_until(began + Duration::from_secs(5))).await.is_err() {
                return Err(StoreError::unexpected());
            }
            done.lock().extend(&questions);
            Ok(questions)
        });
        let calls = join_all([0, 500, 2_000].map(|after| {
            let gatherer = &gatherer;
            async move {
                sleep(Duration::from_millis(after)).await;
                gatherer.call(after).await.ok()
            }
        }));
        let answers = tokio::select! {
            answers = calls => answers,
            () = run => unreachable!("it runs forever"),
        };
        assert_eq!(answers, [None, None, Some(2_000)]);
        assert_eq!(*done.lock(), [2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_waited_for_long_ends_no_run_of_others() {
        let gatherer = Gatherer::<u64, u64>::new(Canceled::Runs, LIMIT);
        let run = gatherer.run(async |questions: Vec<u64>, until| {
            let takes = Duration::from_millis(if questions.len() == 8 { 3_700 } else { 1_300 });
            timeout_at(until, sleep(takes)).await.map(|()| questions).map_err(|_| StoreError::unexpected())
        });
        let calls = [0, 0, 0, 0, 0, 0, 0, 0, 100, 2_000].map(|after| {
            let gatherer = &gatherer;
            async move {
                sleep(Duration::from_millis(after)).await;
                gatherer.call(after).await.ok()
            }
        });
        let answers = tokio::select! {
            answers = join_all(calls) => answers,
            () = run => unreachable!("it runs forever"),
        };
        assert_eq!(answers[8..], [None, Some(2_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_has_gone_runs_although_its_limit_is_near() {
        let gatherer = Gatherer::<u64, u64>::new(Canceled::Runs, LIMIT);
        let done = Mutex::new(Vec::<u64>::new());
        let run = gatherer.run(async |questions: Vec<u64>, until| {
            let work = timeout_at(until, sleep(Duration::from_millis(3_000))).await;
            work.map_err(|_| StoreError::unexpected())?;
            done.lock().extend(&questions);
            Ok(questions)
        });
        let callers = async {
            let gone = async {
                sleep(Duration::from_millis(10)).await;
                timeout(Duration::from_millis(500), gatherer.call(1)).await.is_err()
            };
            let (first, is_gone) = tokio::join!(gatherer.call(0), gone);
            assert_eq!((first.unwrap(), is_gone), (0, true));
            assert!(gatherer.flush(LIMIT).await);
        };
        tokio::select! {
            () = callers => {}
            () = run => unreachable!("it runs forever"),
        }
        assert_eq!(*done.lock(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_at_once_is_answered_in_several_runs() {
        const CROWD: u32 = 10_000;
        let gatherer = Gatherer::<u32, u32>::new(Canceled::Runs, LIMIT);
        let largest = Mutex::new(0);
        let run = gatherer.run(async |questions: Vec<u32>, _| {
            sleep(Duration::from_millis(20)).await;
            let mut largest = largest.lock();
            *largest = questions.len().max(*largest);
            Ok(questions)
        });
        let calls = (0..CROWD).map(|number| gatherer.call(number));
        tokio::select! {
            biased;
            answers = join_all(calls) => assert!((0..CROWD).eq(answers.into_iter().map(Result::unwrap))),
            () = run => unreachable!("it runs forever"),
        }
        assert_eq!(*largest.lock(), MAX_CALLS);
    }

    #[tokio::test(start_paused = true)]
    async fn more_calls_than_fit_are_refused_at_once() {
        let gatherer = Gatherer::<u32, u32>::new(Canceled::Runs, LIMIT);
        let began = Instant::now();
        let calls = (0..=MAX_WAITING).map(|_| gatherer.call(0));
        let mut calls = calls.map(Box::pin).collect::<Vec<_>>();
        let last = calls.pop().unwrap();
        tokio::select! {
            biased;
            _ = join_all(calls) => unreachable!("nothing runs the queue"),
            answer = last => assert!(answer.is_err()),
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
