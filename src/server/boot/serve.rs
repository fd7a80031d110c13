//! The server: binds its port, serves until a signal, and drains. From the end of its delay, a shutdown takes less than
//! 10 s, and writes as much as it can in that time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{error::BootError, loops, services::Services};
use crate::server::{
    clock::{Clock, SystemClock},
    config::{Config, TlsFiles},
    database::Database,
    http::{
        direct,
        router::{limit_reached, overloaded, panic_response, router},
    },
    limits::{Connections, Streams},
    listen::{Apps, Listener, Tls},
    store::{self, Store},
    supervisor::Supervisor,
    traces::Traces,
};

/// How long the shutdown waits for the database.
const DATABASE_DRAIN_LIMIT: Duration = Duration::from_millis(1_500);

/// How long a shutdown tries to give its parts of the channels back.
const RESIGN_LIMIT: Duration = Duration::from_millis(500);

/// How long a shutdown takes from the end of its delay. Connections have 5 s of it to finish, the store has the rest but
/// [`HISTORY_RESERVE`].
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(9_800);

/// What is left of that after the history is written: to close the database and to give the parts of the channels back.
const CLOSE_RESERVE: Duration = Duration::from_millis(800);

/// What is left when the store has all that was accepted, or is still away: half a second to leave the roll call, a second
/// and a half for the history, and [`CLOSE_RESERVE`].
const HISTORY_RESERVE: Duration = Duration::from_millis(2_800);

/// A server that is bound to its port and ready to serve.
pub struct Server {
    pub(super) listener: Listener,
    connections: Connections,
    addr: SocketAddr,
    router: Router,
    services: Services,
    /// How long to keep serving after the shutdown signal.
    shutdown_delay: Duration,
    background: Supervisor,
    /// The export of traces, which the shutdown ends.
    traces: Option<Traces>,
}

impl Server {
    /// Opens the configured store and assembles the server.
    ///
    /// # Errors
    /// See [`BootError`].
    pub async fn bind(config: &Config) -> Result<Self, BootError> {
        let clock = Arc::new(SystemClock::start());
        let store = store::open(config, config.policy.lease_rules(), clock.clone())?;
        Self::over(store, Database::open(&config.database).await?, clock, config).await
    }

    /// Assembles the server over a store and a database, and binds the port. Port 0 takes a free port.
    ///
    /// # Errors
    /// See [`BootError`].
    pub async fn over(
        store: Arc<dyn Store>,
        database: Database,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Result<Self, BootError> {
        let load = |TlsFiles { certificate, key }: &TlsFiles| Tls::load(certificate, key);
        let tls = config.tls.as_ref().map(load).transpose()?;
        let listener = Listener::bind(config.site_addr, tls.as_ref().map(Tls::acceptor).transpose()?)
            .map_err(|source| BootError::Listen { addr: config.site_addr, source })?;
        let addr = listener.addr()?;
        let services = Services::assemble(store, database, Arc::clone(&clock), config, addr).await?;
        let background = loops::spawn(&services, config, clock, tls)?;
        let state = &services.state;
        let connections = Connections::new(config.limit_connections_per_address, state.proxies.clone());
        let router =
            router(&config.site, state.clone()).map_err(|source| BootError::site(&config.site, source))?;
        Ok(Self {
            listener,
            connections,
            addr,
            router,
            services,
            shutdown_delay: config.shutdown_delay,
            background,
            traces: None,
        })
    }

    /// Ends the export of traces with the server.
    #[must_use]
    pub fn export(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// The bound address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The open streams.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.services.state.streams
    }

    /// Serves until `shutdown` resolves, then ends all streams, finishes the requests in flight and tries to write
    /// what the store and the database have not accepted yet.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Services { state, hub, followers, reported, shareholder, writer } = self.services;
        let stop_listening = CancellationToken::new();
        let stop = async {
            shutdown.await;
            // `/readyz` says `ending` now, so load balancers stop sending requests.
            state.shutdown.set();
            sleep(self.shutdown_delay).await;
            let until = Instant::now() + SHUTDOWN_LIMIT;
            tracing::info!("shutting down: closing streams, finishing requests");
            hub.close();
            state.presence.flush();
            stop_listening.cancel();
            until
        };
        let metrics = &state.metrics;
        let apps = Apps {
            app: self.router,
            direct: direct::calls(&state),
            overloaded: overloaded(metrics.clone()),
            limit_reached: limit_reached(metrics.clone()),
            on_panic: Arc::new(panic_response(metrics.clone())),
            on_unread: {
                let metrics = metrics.clone();
                Arc::new(move || metrics.refused("unread-responses"))
            },
            connections: self.connections,
            proxies: state.proxies.clone(),
        };
        let (until, ()) = tokio::join!(stop, self.listener.serve(apps, stop_listening.clone()));
        // The history has what the other steps leave of the 10 s.
        let written = async {
            let kept = async {
                let followers = followers.flush(DATABASE_DRAIN_LIMIT);
                let signals = reported.flush(DATABASE_DRAIN_LIMIT);
                if tokio::join!(followers, signals) != (true, true) {
                    tracing::warn!(
                        "database unavailable at shutdown; follows and live signals that were not answered are not \
                         written"
                    );
                }
            };
            tokio::join!(state.presence.drain(until - HISTORY_RESERVE), kept);
            drop(self.background);
            match timeout_at(until - CLOSE_RESERVE, writer.finish()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(
                    %error,
                    "history not written at shutdown; the last seconds of history are lost"
                ),
                Err(_elapsed) => tracing::warn!(
                    "writing history at shutdown took too long; the last seconds of history are lost"
                ),
            }
            state.database.close().await;
            let _elapsed = timeout(RESIGN_LIMIT, shareholder.resign(state.recorder.ownership())).await;
        };
        let exported = async {
            if let Some(traces) = self.traces {
                traces.end().await;
            }
        };
        let (written, ()) = tokio::join!(timeout_at(until, written), exported);
        if written.is_err() {
            tracing::warn!("the shutdown took too long; the last seconds of history may be lost");
        }
    }
}
