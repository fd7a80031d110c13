//! `GET /api/channel/{channel}/anomalies`: waves of joins that look invented, for the operator. Signed links and public
//! statistics don't open it, so nobody can use it to see which inventions are noticed.

use axum::{
    Extension, Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{counts::channel_in_path, state::AppState};
use crate::{
    api::Problem,
    domain::{ChannelId, Timestamp},
    server::{
        anomalies::{Hour, Report, WaveReport},
        listen::ConnectionInfo,
    },
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
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    channel: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    state.access.check_token(&headers, state.proxies.client(connection.peer(), &headers))?;
    let channel_id = channel_in_path(channel)?;
    let Report { since, as_of, is_complete, hours, waves } = state.anomalies.report(&channel_id);
    let response = AnomaliesResponse { channel_id, since, as_of, is_complete, hours, waves };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(response)).into_response())
}
