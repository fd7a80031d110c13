//! What handlers are given.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use leptos::config::LeptosOptions;

use super::cors::Origins;
use crate::domain::StreamTemplate;
use crate::server::{
    config::FrameAncestors,
    follows::Follows,
    limits::{Proxies, Rate, SessionLimiter, Streams},
    metrics::Metrics,
    presence::Presence,
    shutdown::ShutdownFlag,
};

/// The parts that handlers may ask for. Cloning is cheap, and done for every request.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts themselves.
pub struct Parts {
    /// The service.
    pub presence: Presence,
    /// Who follows which channel.
    pub follows: Follows,
    /// Where the pages find their script, WebAssembly and styles.
    pub leptos: LeptosOptions,
    /// Whether browsers speak TLS with the server itself.
    pub speaks_tls: bool,
    /// Whose word on a client's address is taken.
    pub proxies: Proxies,
    /// The policy of the embed page on who may frame it.
    pub embed_frame_ancestors: FrameAncestors,
    /// Which sites may count viewers.
    pub origins: Origins,
    /// Where the streams of channels are.
    pub stream_url_template: Option<StreamTemplate>,
    /// The most bytes of a body, if there is a limit.
    pub body_limit: Option<usize>,
    /// What each address has brought in.
    pub sessions: SessionLimiter,
    /// How often each address may follow.
    pub follow_rate: Rate,
    /// What monitoring is told.
    pub metrics: Metrics,
    /// Whether the server is about to end.
    pub ending: ShutdownFlag,
    /// The open streams.
    pub streams: Streams,
}

impl From<Parts> for AppState {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<AppState> for Presence {
    fn from_ref(state: &AppState) -> Self {
        state.presence.clone()
    }
}

impl FromRef<AppState> for Follows {
    fn from_ref(state: &AppState) -> Self {
        state.follows.clone()
    }
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}
