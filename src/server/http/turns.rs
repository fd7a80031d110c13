//! How many statistics an address reads at the same time.
//!
//! A read of statistics takes many rows of the database, and its answer may have megabytes.
//!
//! Promises:
//! - An address has few reads at the same time, so it leaves the database to others. Its next requests wait for a moment.
//!   A read goes on to its end when the client has gone, as the database does, and keeps its turn until then.
//! - An address has few responses that it has not read yet, so the memory that they hold has a bound.
//! - Calls with the operator's token have no such limits.

use std::{
    future::{Future, pending},
    panic::resume_unwind,
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::{
    task::JoinError,
    time::{Instant, sleep},
};
use tracing::Instrument;

use super::{access::bearer, extract::ClientAddress, state::AppState, statistics::Permitted};
use crate::{
    api::{Code, Problem},
    server::{
        limits::{Address, Concurrent, ConcurrentPermit},
        listen::HeldBody,
    },
};

/// The responses that an address may leave unread, for each read that it may have at the same time.
const ANSWERS_PER_READ: u32 = 4;

/// The requests of an address that wait for their turn. More are refused at once.
const MAX_WAITING: u32 = 32;

/// How long a request waits for its turn.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two attempts of a request that waits.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// `Retry-After` of a request that got no turn, in seconds.
const RETRY_AFTER: u32 = 5;

/// The turns of all addresses. Cloning is cheap.
#[derive(Clone)]
pub struct Turns {
    reads: Concurrent,
    answers: Concurrent,
    waiting: Concurrent,
}

/// The turn of a request: it may read, and then answer.
pub struct Turn {
    read: ConcurrentPermit,
    answer: Answer,
}

/// A permit for one response that the client has not read to its end.
pub struct Answer(ConcurrentPermit);

impl Turns {
    /// The name of the limit in metrics.
    pub const NAME: &str = "statistics";

    /// Allows each address a number of reads at the same time. 0: no limit.
    #[must_use]
    pub fn new(reads: u32) -> Self {
        Self {
            reads: Concurrent::new(reads),
            answers: Concurrent::new(reads.saturating_mul(ANSWERS_PER_READ)),
            waiting: Concurrent::new(MAX_WAITING),
        }
    }

    /// Waits for the turn of a request. `None` if there is none within five seconds, or too many requests of the address
    /// wait already.
    pub async fn take(&self, address: Address) -> Option<Turn> {
        let _waiting = self.waiting.permit(address)?;
        let until = Instant::now() + WAIT_LIMIT;
        loop {
            let turn = self.answers.permit(address).zip(self.reads.permit(address));
            if let Some((answer, read)) = turn {
                return Some(Turn { read, answer: Answer(answer) });
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(WAIT_STEP).await;
        }
    }
}

impl Turn {
    /// Reads with this turn. The read goes on if the caller drops this future, and the turn ends with the read.
    pub async fn read<T: Send + 'static>(
        self,
        read: impl Future<Output = T> + Send + 'static,
    ) -> (T, Answer) {
        let turn = self.read;
        let reading = async move {
            let done = read.await;
            drop(turn);
            done
        };
        match tokio::spawn(reading.in_current_span()).await.map_err(JoinError::try_into_panic) {
            Ok(done) => (done, self.answer),
            Err(Ok(panic)) => resume_unwind(panic),
            // Only the end of the server cancels a read.
            Err(Err(_canceled)) => pending().await,
        }
    }
}

impl Answer {
    /// The response counts until the client has read it, or it is dropped.
    pub fn hold(self, response: Response) -> Response {
        response.map(|body| Body::new(HeldBody::new(body, Arc::new(self.0))))
    }
}

/// The middleware of the calls that read statistics: each waits for its turn, except those of the operator, whose programs
/// read for everybody from one address. A call without access takes no turn, since anybody can make one.
///
/// Without access: `unauthorized`. Without a turn: `limit-reached`.
pub(super) async fn in_turn(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    _: Permitted,
    request: Request,
    next: Next,
) -> Response {
    if state.access.api_token.matches(bearer(request.headers())) {
        return next.run(request).await;
    }
    let Some(turn) = state.turns.take(address).await else {
        state.metrics.refused(Turns::NAME);
        let detail = "too many reads of statistics from this address";
        return Problem::new(Code::LimitReached).detail(detail).retry_after(RETRY_AFTER).into_response();
    };
    let (response, answer) = turn.read(next.run(request)).await;
    // Errors are short.
    if response.status().is_success() { answer.hold(response) } else { response }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_reads_one_answer_at_a_time() {
        let turns = Turns::new(1);
        let first = turns.take(address(1)).await.unwrap();
        assert!(turns.take(address(1)).await.is_none(), "the first read is not over");
        assert!(turns.take(address(2)).await.is_some(), "other addresses are not affected");
        let ((), second) = tokio::join!(
            async {
                sleep(WAIT_LIMIT / 2).await;
                drop(first);
            },
            turns.take(address(1))
        );
        assert!(second.is_some(), "it has waited for the end of the first");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_count_until_they_are_sent_or_dropped() {
        let turns = Turns::new(1);
        let mut answers = Vec::new();
        for _ in 0..ANSWERS_PER_READ {
            let turn = turns.take(address(1)).await.expect("the read before it is over");
            let (body, answer) = turn.read(async { Body::from("answer") }).await;
            answers.push(answer.hold(Response::new(body)));
        }
        assert!(turns.take(address(1)).await.is_none());
        let sent = axum::body::to_bytes(answers.pop().unwrap().into_body(), 100).await.unwrap();
        assert_eq!(sent, "answer");
        assert!(turns.take(address(1)).await.is_none(), "it is not sent yet");
        drop(sent);
        assert!(turns.take(address(1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_keeps_its_turn_when_the_client_has_gone() {
        let turns = Turns::new(1);
        let (end, ended) = oneshot::channel::<()>();
        let turn = turns.take(address(1)).await.unwrap();
        assert!(turn.read(ended).now_or_never().is_none(), "the caller is dropped during the read");
        assert!(turns.take(address(1)).await.is_none());
        end.send(()).unwrap();
        assert!(turns.take(address(1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn few_requests_of_an_address_wait() {
        let turns = Turns::new(1);
        let _first = turns.take(address(1)).await.unwrap();
        let began = Instant::now();
        let waits = futures::future::join_all((0..=MAX_WAITING).map(|_| async {
            assert!(turns.take(address(1)).await.is_none());
            began.elapsed()
        }));
        let waits = waits.await;
        let at_once = waits.iter().filter(|wait| wait.is_zero()).count();
        assert_eq!(at_once, 1, "one more than may wait: {waits:?}");
        assert!(turns.waiting.permit(address(1)).is_some(), "nobody waits any more");
    }
}
