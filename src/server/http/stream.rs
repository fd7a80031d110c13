//! Event streams: the present counts of one or many channels, then an event for every change.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{BoxStream, unfold},
};
use http_body::{Body, Frame};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    counts::channels_in_query,
    extract::{ChannelPath, ClientAddress},
    state::AppState,
    statistics::check_access,
};
use crate::{
    api::{Code, Problem},
    domain::ChannelId,
    server::{
        access::Admission,
        fanout::{Subscription, frame},
        limits::{Address, StreamPermit, streams::StreamLimit},
        listen::{ConnectionInfo, LongBody},
    },
};

/// The most channels of one stream.
const MAX_CHANNELS: usize = 50;

/// How long browsers wait before they reconnect, in milliseconds: at least `MIN_RETRY`, plus a random part below
/// `RETRY_JITTER` so that they do not all reconnect at once.
const MIN_RETRY: u32 = 1_000;
const RETRY_JITTER: u32 = 4_000;

/// `Retry-After` of a stream that was refused by a limit, in seconds.
const REFUSED_RETRY: u32 = 5;

/// The routes of streams: one channel by path, or many by query.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/viewer/sse/{channelId}", get(one)).route("/api/viewer/sse", get(many))
}

async fn one(
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    headers: HeaderMap,
    ClientAddress(address): ClientAddress,
    ChannelPath(channel): ChannelPath,
    uri: Uri,
) -> Result<Response, Problem> {
    // The figures of the present broadcast are for those who may see the statistics.
    let admission = asks_for_statistics(&uri)
        .then(|| check_access(&state, &channel, address, &headers, &uri))
        .transpose()?;
    let counts = open(&state, address, std::slice::from_ref(&channel))?;
    let Some(Admission { lasts }) = admission else {
        return Ok(respond(&connection, Box::pin(counts)));
    };
    let figures = state.figures.watch(&channel, address);
    let figures = unfold(figures, async |mut figures| Some((figures.next().await, figures)));
    let figures = match lasts {
        None => figures.boxed(),
        Some(lasts) => figures.take_until(sleep(lasts)).boxed(),
    };
    Ok(respond(&connection, Box::pin(StatisticsStream { counts, figures: Some(figures) })))
}

/// Whether the query has `stats=1`.
fn asks_for_statistics(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "stats=1"))
}

async fn many(
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    ClientAddress(address): ClientAddress,
    uri: Uri,
) -> Result<Response, Problem> {
    let counts = open(&state, address, &channels_in_query(&uri, MAX_CHANNELS)?)?;
    Ok(respond(&connection, Box::pin(counts)))
}

/// Opens a stream of counts, if the limits allow one more.
fn open(state: &AppState, address: Address, channels: &[ChannelId]) -> Result<EventStream, Problem> {
    let permit = state.streams.permit(address, channels.len()).map_err(|limit| {
        state.metrics.refused(limit.name());
        let problem = match limit {
            StreamLimit::Address => {
                Problem::new(Code::LimitReached).detail("too many open streams from this address")
            }
            StreamLimit::Node => Problem::new(Code::Overloaded),
        };
        problem.retry_after(REFUSED_RETRY)
    })?;
    let retry = MIN_RETRY + Uuid::new_v4().as_fields().0 % RETRY_JITTER;
    Ok(EventStream { retry: Some(retry), subscription: state.presence.watch(channels), _permit: permit })
}

/// The response with a stream as its body.
fn respond(connection: &ConnectionInfo, body: LongBody) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies must neither cache nor compress the stream, and nginx must not buffer it.
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, connection.long_body(body)).into_response()
}

/// The response body: a `retry` field, then the frames of a subscription.
struct EventStream {
    /// In milliseconds, until it is sent.
    retry: Option<u32>,
    subscription: Subscription,
    _permit: StreamPermit,
}

/// The response body with the figures of the present broadcast between the counts.
struct StatisticsStream {
    counts: EventStream,
    /// `None` when the access has ended: the counts are for everyone.
    figures: Option<BoxStream<'static, Bytes>>,
}

impl Body for StatisticsStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.counts).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        // The counts end the stream.
        let Some(figures) = &mut self.figures else { return Poll::Pending };
        match figures.poll_next_unpin(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            Poll::Ready(None) => {
                self.figures = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(retry) = self.retry.take() {
            return Poll::Ready(Some(Ok(Frame::data(frame::retry(retry)))));
        }
        self.subscription.poll_frame(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// A node has one for each open stream.
    #[test]
    fn a_stream_of_one_channel_is_small() {
        assert!(size_of::<EventStream>() <= 96);
    }
}
