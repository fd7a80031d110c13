//! What handlers take from a request: the channel, the address of the client, the rights of the operator.

use axum::{
    Extension,
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::state::AppState;
use crate::{
    api::{Code, Problem},
    domain::{ChannelId, channel::InvalidChannel},
    server::{limits::Address, listen::ConnectionInfo},
};

/// The channel in the path of a request.
///
/// Rejects a path whose channel is not valid, or cannot be decoded, with `invalid-channel`.
pub(super) struct ChannelPath(pub(super) ChannelId);

impl<S: Send + Sync> FromRequestParts<S> for ChannelPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| InvalidChannel)?;
        Ok(Self(ChannelId::parse(&name)?))
    }
}

/// The address of the client: the socket's, or the one that a trusted proxy names.
pub(super) struct ClientAddress(pub(super) Address);

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let connection = Extension::<ConnectionInfo>::from_request_parts(parts, state).await;
        let Extension(connection) = connection.map_err(|_| Problem::new(Code::Internal))?;
        Ok(Self(state.proxies.client(connection.peer(), &parts.headers)))
    }
}

/// Shows that a request has the `API_TOKEN`. As the first argument of a handler it is checked before anything else, so that a
/// refusal says nothing about the rest of the request.
///
/// Rejects other requests with `unauthorized`, or `limit-reached` after many.
pub(super) struct Operator;

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
        state.access.check_token(&parts.headers, address)?;
        Ok(Self)
    }
}
