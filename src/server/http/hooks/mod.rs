//! The hooks of video servers: they report who publishes, in the words of each server.
//!
//! A hook is admitted by `LIVE_HOOK_SECRET`, as `?secret=` or as a bearer token; those of OvenMediaEngine also by their
//! signature. Video servers refuse a publisher whose hook fails, so a stream with an invalid name is not published.

mod calls;
mod object;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use self::calls::{Call, Fields};
use super::{access, caching::uncached, extract::ClientAddress, server_fn::read_body, state::AppState};
use crate::{api::Problem, server::limits::Address};

/// The largest body of a hook, in bytes, unless `LIMIT_BODY_BYTES` is greater. Those of OvenMediaEngine have whole
/// addresses with signatures.
const MAX_BYTES: usize = 16 * 1024;

/// The header with OvenMediaEngine's signature: the HMAC-SHA1 of the body in base64 for URLs.
const OME_SIGNATURE: &str = "x-ome-signature";

/// The routes of the hooks.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/hooks/nginx-rtmp", hook(|_, body| calls::nginx_rtmp(body)))
        .route("/api/hooks/srs", hook(|_, body| calls::srs(body)))
        .route("/api/hooks/mediamtx", hook(calls::mediamtx))
        .route("/api/hooks/ome", hook(|_, body| calls::ome(body)))
}

/// The handler of a hook. `read` reads the call from the fields of the query and the body.
fn hook(read: fn(&Fields, &[u8]) -> Result<Call, Problem>) -> axum::routing::MethodRouter<AppState> {
    post(
        async move |State(state): State<AppState>,
                    ClientAddress(address): ClientAddress,
                    request: Request| {
            answer(&state, address, request, read).await.into_response()
        },
    )
}

async fn answer(
    state: &AppState,
    address: Address,
    request: Request,
    read: fn(&Fields, &[u8]) -> Result<Call, Problem>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let refused = || state.access.refused(address);
    let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let is_admitted = has_secret(state, &parts, &query);
    let signature = signature(&parts.headers);
    // Without a secret the body is read only to check its signature.
    if !is_admitted && (signature.is_none() || !state.access.hook_secret.is_set()) {
        return Err(refused());
    }
    let body = read_body(body, Some(state.body_limit.unwrap_or_default().max(MAX_BYTES))).await?;
    let has_signed = |signature: &Vec<u8>| state.access.hook_secret.has_signed(&body, signature);
    if !is_admitted && !signature.as_ref().is_some_and(has_signed) {
        return Err(refused());
    }
    let Call { report, answer } = read(&query, &body)?;
    if let Some((channel, report)) = report {
        state.signals.report(&channel, report).await?;
    }
    Ok(uncached(([(header::CONTENT_TYPE, "application/json")], answer)))
}

fn has_secret(state: &AppState, parts: &Parts, query: &Fields) -> bool {
    let in_query = query.one("secret").ok().flatten();
    let given = in_query.map(str::as_bytes).or_else(|| access::bearer(&parts.headers));
    state.access.hook_secret.matches(given)
}

fn signature(headers: &HeaderMap) -> Option<Vec<u8>> {
    let text = headers.get(OME_SIGNATURE)?.as_bytes();
    BASE64_URL_SAFE_NO_PAD.decode(text.strip_suffix(b"=").unwrap_or(text)).ok()
}
