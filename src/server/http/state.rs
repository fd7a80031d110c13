//! The state that handlers share.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use leptos::config::LeptosOptions;

use super::{access::Access, caching::CountCaching, cors::Origins, turns::Turns};
use crate::{
    domain::{LiveMode, StreamTemplate},
    server::{
        access::StatisticsAccess,
        anomalies::Anomalies,
        caller::CallerServices,
        config::FrameAncestors,
        database::{Archive, Database},
        follows::Follows,
        limits::{Proxies, Rate, Streams},
        metrics::Metrics,
        presence::Presence,
        recording::{FiguresFeed, Recorder},
        shutdown::ShutdownFlag,
        signals::Signals,
    },
};

/// The shared state. Cloning is cheap; axum clones it for every request.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts of the state.
pub struct Parts {
    /// The service that counts viewers.
    pub presence: Presence,
    /// The database of what is kept.
    pub database: Database,
    /// What is kept of the counts of channels.
    pub archive: Archive,
    /// The figures of present broadcasts for streams.
    pub figures: FiguresFeed,
    /// The recorder of this node.
    pub recorder: Recorder,
    /// The watch over waves of joins.
    pub anomalies: Anomalies,
    /// Who may see statistics.
    pub statistics: StatisticsAccess,
    /// The turns of addresses at the statistics.
    pub turns: Turns,
    /// The service that keeps followers.
    pub follows: Follows,
    /// What makes a channel live.
    pub live: LiveMode,
    /// The live signals of channels.
    pub signals: Signals,
    /// The secrets of the operator.
    pub access: Access,
    /// The paths of the script, WebAssembly and styles that pages load.
    pub leptos: LeptosOptions,
    /// Whether this server terminates TLS.
    pub speaks_tls: bool,
    /// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
    pub proxies: Proxies,
    /// The sites that may frame the embed page.
    pub embed_frame_ancestors: FrameAncestors,
    /// Other origins whose scripts may count viewers.
    pub origins: Origins,
    /// How long caches may keep counts.
    pub count_caching: CountCaching,
    /// The address of a channel's HLS stream.
    pub stream_url_template: Option<StreamTemplate>,
    /// The largest request body in bytes, if there is a limit.
    pub body_limit: Option<usize>,
    /// What serves the calls that count viewers.
    pub callers: Arc<CallerServices>,
    /// Limits the follows of each address.
    pub follow_rate: Rate,
    /// The metrics of this node.
    pub metrics: Metrics,
    /// Whether the server is shutting down.
    pub shutdown: ShutdownFlag,
    /// Limits and counts the open streams.
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

impl FromRef<AppState> for Metrics {
    fn from_ref(state: &AppState) -> Self {
        state.metrics.clone()
    }
}

impl FromRef<AppState> for Follows {
    fn from_ref(state: &AppState) -> Self {
        state.follows.clone()
    }
}

impl FromRef<AppState> for CountCaching {
    fn from_ref(state: &AppState) -> Self {
        state.count_caching.clone()
    }
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}
