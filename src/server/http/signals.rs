//! `PUT /api/channel/{channel}/live`: the operator's own programs say whether a channel is on air.

use axum::{
    Json, Router,
    extract::{Request, State},
    response::Response,
    routing::put,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{
    caching::uncached,
    extract::{ChannelPath, Operator},
    server_fn::{check_media_type, parse_json, read_body},
    state::AppState,
};
use crate::{
    api::Problem,
    domain::{ChannelId, Timestamp, signal::Report},
};

/// The earliest start that is accepted: the year 2000. An earlier one is in another unit than milliseconds.
const EARLIEST: Timestamp = Timestamp::from_millis(946_684_800_000);

/// The latest start that is accepted: the year 2100.
const LATEST: Timestamp = Timestamp::from_millis(4_102_444_800_000);

/// The route of this call.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/channel/{channelId}/live", put(set_live))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignalRequest {
    live: bool,
    #[serde(default, deserialize_with = "instant")]
    started_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignalResponse {
    channel_id: ChannelId,
    live: bool,
    /// When the present broadcast began.
    started_at: Option<Timestamp>,
}

async fn set_live(
    _: Operator,
    State(state): State<AppState>,
    ChannelPath(channel): ChannelPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    check_media_type(&parts.headers, &["application/json"])?;
    let SignalRequest { live, started_at } = parse_json(&read_body(body, state.body_limit).await?)?;
    let report =
        if live { Report::OnAir { started_at, publisher: None } } else { Report::OffAir { publisher: None } };
    let started_at = state.signals.report(&channel, report).await?;
    let response = SignalResponse { channel_id: channel, live: started_at.is_some(), started_at };
    Ok(uncached(Json(response)))
}

/// Reads an instant: milliseconds since the epoch, or a time by RFC 3339.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Instant {
        Millis(u64),
        Text(String),
    }
    let expected =
        || D::Error::custom("startedAt must be milliseconds since the epoch, or a time by RFC 3339");
    let instant = Option::<Instant>::deserialize(deserializer).map_err(|_| expected())?;
    let Some(instant) = instant else { return Ok(None) };
    let instant = match instant {
        Instant::Millis(millis) => Some(millis),
        Instant::Text(text) => {
            let parsed = text.parse::<jiff::Timestamp>().ok();
            parsed.and_then(|instant| u64::try_from(instant.as_millisecond()).ok())
        }
    };
    let instant = instant.map(Timestamp::from_millis).filter(|instant| (EARLIEST..LATEST).contains(instant));
    instant.map(Some).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_in_milliseconds_or_by_rfc_3339() {
        let parse = |json: &str| serde_json::from_str::<SignalRequest>(json);
        let start = |value: &str| {
            let parsed = parse(&format!(r#"{{"live":true,"startedAt":{value}}}"#));
            parsed.map(|request| request.started_at.map(Timestamp::as_millis))
        };
        assert_eq!(parse(r#"{"live":false}"#).unwrap().started_at, None);
        assert_eq!(start("null").unwrap(), None);
        assert_eq!(start("1790000000123").unwrap(), Some(1_790_000_000_123));
        for text in ["2026-09-21T14:13:20Z", "2026-09-21T09:13:20-05:00", "2026-09-21T14:13:20.000+00:00"] {
            assert_eq!(start(&format!("\"{text}\"")).unwrap(), Some(1_790_000_000_000), "{text}");
        }
        for wrong in [
            "1790000000",
            "1790000000123456",
            "-1",
            "1.5",
            "true",
            "[]",
            "\"\"",
            "\"now\"",
            "\"2026-09-21\"",
            "\"2026-09-21T14:13:20\"",
            "\"1790000000123\"",
        ] {
            assert!(start(wrong).is_err(), "{wrong}");
        }
        for wrong in ["{}", r#"{"live":1}"#, r#"{"live":null}"#, r#"{"live":"true"}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
