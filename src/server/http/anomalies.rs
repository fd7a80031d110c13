//! `GET /api/channel/{channel}/anomalies`: waves of joins that look invented, for the operator. Signed links and public
//! statistics don't open it, so nobody can use it to see which inventions are noticed.

use axum::{Json, Router, extract::State, response::Response, routing::get};
use serde::Serialize;

use super::{
    caching::uncached,
    extract::{ChannelPath, Operator},
    state::AppState,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::anomalies::{Hour, Report, WaveReport},
};

/// The route of this call.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/channel/{channelId}/anomalies", get(anomalies))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnomaliesResponse {
    channel_id: ChannelId,
    since: Option<Timestamp>,
    as_of: Timestamp,
    is_complete: bool,
    hours: Vec<Hour>,
    waves: Vec<WaveReport>,
}

async fn anomalies(
    _: Operator,
    State(state): State<AppState>,
    ChannelPath(channel_id): ChannelPath,
) -> Response {
    let Report { since, as_of, is_complete, hours, waves } = state.anomalies.report(&channel_id);
    let response = AnomaliesResponse { channel_id, since, as_of, is_complete, hours, waves };
    uncached(Json(response))
}
