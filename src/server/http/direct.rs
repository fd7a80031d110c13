//! The calls that pages make all the time, as connections answer them without hyper and axum's router.
//!
//! They are the calls of [`viewers`] and [`counts`], with the same middleware.

use std::future::ready;

use axum::http::{
    HeaderName, Request, Response,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HOST, ORIGIN, USER_AGENT},
};
use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    counts,
    router::{ANY_ORIGIN, answer},
    state::AppState,
    viewers::{self, ViewerCall},
};
use crate::{
    api::{Code, Problem, viewers as api},
    domain::ChannelId,
    server::listen::{ConnectionInfo, DirectCalls},
};

/// The pattern of the path of a count.
const COUNT: &str = "/api/viewer/count/{channelId}";

/// All headers that these calls and their middleware read.
const HEADERS: [HeaderName; 9] = [
    HOST,
    CONTENT_TYPE,
    USER_AGENT,
    ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The calls.
#[must_use]
pub fn calls(state: &AppState) -> DirectCalls {
    let calls = DirectCalls::new(HEADERS.into());
    let calls = add_viewer_call::<api::Heartbeat>(calls, state);
    let calls = add_viewer_call::<api::Join>(calls, state);
    let calls = add_viewer_call::<api::Leave>(calls, state);
    let state = state.clone();
    calls.get(COUNT, Box::new(move |request, _| Box::pin(count(state.clone(), request))))
}

fn add_viewer_call<F: ViewerCall>(calls: DirectCalls, state: &AppState) -> DirectCalls {
    let state = state.clone();
    let handler = move |request, connection| -> BoxFuture<'static, Response<Vec<u8>>> {
        Box::pin(viewer_call::<F>(state.clone(), connection, request))
    };
    calls.post(F::PATH, Box::new(handler))
}

async fn viewer_call<F: ViewerCall>(
    state: AppState,
    connection: ConnectionInfo,
    request: Request<Bytes>,
) -> Response<Vec<u8>> {
    answer(&state.metrics, request, Some(F::PATH), async |request| {
        let (head, body) = request.into_parts();
        let is_too_large = state.body_limit.is_some_and(|limit| body.len() > limit);
        let body = if is_too_large { Err(Problem::new(Code::BodyTooLarge)) } else { Ok(body) };
        viewers::respond::<F, _>(&state, &connection, &head, ready(body)).await
    })
    .await
}

async fn count(state: AppState, request: Request<Bytes>) -> Response<Vec<u8>> {
    answer(&state.metrics, request, Some(COUNT), async |request| {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let mut response = match ChannelId::parse(name) {
            Ok(channel) => {
                counts::read(&state.presence, &state.count_caching, &state.metrics, &channel).await
            }
            Err(error) => Problem::from(error).response(),
        };
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
        response
    })
    .await
}
