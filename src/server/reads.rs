//! Reads that are no server functions.

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::get,
};

use super::{calls::answer_count, presence::Presence, state::AppState};
use crate::{
    api::Problem,
    domain::{ChannelId, channel::InvalidChannel},
};

/// Routes under `/api/viewer`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/viewer/count/{channelId}", get(count))
}

async fn count(
    State(presence): State<Presence>,
    channel: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    answer_count(presence.count(&channel_in_path(channel)?).await)
}

/// The channel in a path. What can't even be decoded is no channel either.
pub(super) fn channel_in_path(
    path: Result<Path<String>, PathRejection>,
) -> Result<ChannelId, InvalidChannel> {
    ChannelId::parse(&path.map_err(|_| InvalidChannel)?.0)
}
