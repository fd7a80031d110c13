//! The event stream: the count of one or many channels, now and at every change.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body::Frame;
use uuid::Uuid;

use super::{
    counts::{channel_in_path, channels_in_query},
    state::AppState,
};
use crate::server::{
    fanout::{Subscription, frame},
    limits::{StreamPermit, streams::StreamLimit},
    listen::ConnectionInfo,
};
use crate::{
    api::{Code, Problem},
    domain::ChannelId,
};

/// The most channels of one stream.
const MAX_CHANNELS: usize = 50;

/// How long browsers wait before they reconnect, in milliseconds: the shortest, and how much is added at random so that
/// they don't all come back together.
const RETRY: (u32, u32) = (1_000, 4_000);

/// When to try again where there are too many streams, in seconds.
const FULL_RETRY: u32 = 5;

/// Both forms of the stream.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/viewer/sse/{channelId}", get(one)).route("/api/viewer/sse", get(many))
}

async fn one(
    State(state): State<AppState>,
    Extension(link): Extension<ConnectionInfo>,
    headers: HeaderMap,
    channel: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    stream(&state, &link, &headers, &[channel_in_path(channel)?])
}

async fn many(
    State(state): State<AppState>,
    Extension(link): Extension<ConnectionInfo>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    stream(&state, &link, &headers, &channels_in_query(&uri, MAX_CHANNELS)?)
}

fn stream(
    state: &AppState,
    link: &ConnectionInfo,
    headers: &HeaderMap,
    channels: &[ChannelId],
) -> Result<Response, Problem> {
    let address = state.proxies.client(link.peer(), headers);
    let permit = state.streams.permit(address, channels.len()).map_err(|full| {
        state.metrics.refused(full.name());
        let problem = match full {
            StreamLimit::Address => {
                Problem::new(Code::LimitReached).detail("too many streams are open from this address")
            }
            StreamLimit::Node => Problem::new(Code::Overloaded),
        };
        problem.retry_after(FULL_RETRY)
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Intermediaries must neither keep nor compress it; nginx must not buffer it.
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let retry = RETRY.0 + Uuid::new_v4().as_fields().0 % RETRY.1;
    let body = EventStream {
        greeting: Some(frame::retry(retry)),
        subscription: state.presence.watch(channels),
        _seat: permit,
    };
    Ok((headers, link.long_body(Box::pin(body))).into_response())
}

/// The body: nothing but a view of the hub, polled when the hub has news.
struct EventStream {
    greeting: Option<Bytes>,
    subscription: Subscription,
    _seat: StreamPermit,
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(Ok(Frame::data(greeting))));
        }
        self.subscription.poll_frame(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}
