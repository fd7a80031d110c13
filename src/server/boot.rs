//! From settings to a server that answers, and from a signal to its end.

use std::{
    future::Future,
    io::{self, IsTerminal},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::server::{
    clock::{Clock, SystemClock},
    config::{self, Config, SettingsError, TlsFiles},
    fanout::{Hub, reader},
    follows::{self, Followers, Follows},
    http::pages,
    http::router::{busy, crowded, panicked, router},
    http::state::{AppState, Parts},
    limits::{self, Connections, Rate, SessionLimiter, Streams},
    listen::{Apps, Listener, Tls, TlsError},
    metrics::Metrics,
    presence::Presence,
    redis::OpenError,
    shutdown::{ShutdownFlag, shutdown_signal},
    store::{self, Measured, Opened, Store},
    supervisor::Supervisor,
    telemetry,
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address of Redis is invalid.
    #[error("an address of Redis is invalid")]
    Store(#[from] OpenError),
    /// Followers can't be kept.
    #[error(transparent)]
    Follow(#[from] follows::OpenError),
    /// The site root is not what `make site` builds.
    #[error(
        "the files for browsers can't be read from {path}: {source}. `make site` builds them; LEPTOS_SITE_ROOT says where they are"
    )]
    Site {
        /// Where they were looked for.
        path: String,
        /// What reading them said.
        source: io::Error,
    },
    /// The address can't be listened on.
    #[error("can't listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate can't be used.
    #[error("TLS_CERT, TLS_KEY: {0}")]
    Tls(#[from] TlsError),
    /// The system refuses what every server needs.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

impl BootError {
    /// Tells it where it is looked for, and how the program ends: with 2 for what is wrong with settings and flags, with 1 for
    /// what the machine refuses.
    #[must_use]
    pub fn report(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(usage)) => {
                // Help goes to standard output; if that is closed, nobody wants it.
                let _closed = usage.print();
                u8::try_from(usage.exit_code()).unwrap_or(2)
            }
            other => {
                eprintln!("aforo: {other}");
                if matches!(other, Self::Settings(_)) { 2 } else { 1 }
            }
        }
    }
}

/// The program: reads the settings, serves, and ends well on SIGTERM and SIGINT.
///
/// # Errors
/// When it can't start.
pub fn main() -> Result<(), BootError> {
    let config = config::read(std::env::args_os())?;
    telemetry::init(config.log_format, &config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::bind(&config).await?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        tracing::info!("up to {} connections at a time", server.listener.capacity());
        tracing::info!("serving {scheme}://{}", server.addr());
        server.serve(shutdown_signal()?).await;
        Ok(())
    })
}

/// A server that has its port and its parts, and is about to serve.
pub struct Server {
    listener: Listener,
    connections: Connections,
    addr: SocketAddr,
    router: Router,
    hub: Arc<Hub>,
    state: AppState,
    /// How long to serve on after the end was asked for.
    delay: Duration,
    background: Supervisor,
}

impl Server {
    /// Opens the store that the settings name, and puts the server together over it.
    ///
    /// # Errors
    /// See [`BootError`].
    pub async fn bind(config: &Config) -> Result<Self, BootError> {
        let clock = Arc::new(SystemClock::start());
        let Opened { store, runner } = store::open(config, config.policy.lease_rules(), clock.clone())?;
        Self::over(store, follows::open(config, runner)?, clock, config).await
    }

    /// Puts the parts together over the places for leases and for followers, and takes the port. Port 0 takes a free one.
    ///
    /// # Errors
    /// See [`BootError`].
    pub async fn over(
        store: Arc<dyn Store>,
        followers: Arc<dyn Followers>,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Result<Self, BootError> {
        let policy = config.policy;
        let load = |TlsFiles { certificate, key }: &TlsFiles| Tls::load(certificate, key);
        let tls = config.tls.as_ref().map(load).transpose()?;
        let listener = Listener::bind(config.site_addr, tls.as_ref().map(Tls::acceptor).transpose()?)
            .map_err(|source| BootError::Listen { addr: config.site_addr, source })?;
        let addr = listener.addr()?;
        let site_error = |source| BootError::Site { path: config.site_root.display().to_string(), source };
        let leptos = pages::leptos_options(addr, &config.site_root).map_err(site_error)?;

        let metrics = Metrics::new();
        metrics.limits(&limits::NAMES);
        let hub = Arc::new(Hub::new(policy.update_interval));
        let store = if store.is_shared() { Arc::new(Measured::new(store, metrics.clone())) } else { store };
        let presence = Presence::new(store, Arc::clone(&hub), policy, clock);
        let state = AppState::from(Parts {
            presence: presence.clone(),
            follows: Follows::new(followers),
            leptos,
            speaks_tls: tls.is_some(),
            proxies: config.trusted_proxies.iter().copied().collect(),
            origins: config.allowed_origins.iter().cloned().collect(),
            embed_frame_ancestors: config.embed_frame_ancestors.clone(),
            stream_url_template: config.stream_url_template.clone(),
            body_limit: config.body_limit,
            sessions: SessionLimiter::new(config.per_address),
            follow_rate: Rate::per_minute(config.limit_follows_per_minute),
            streams: Streams::new(config.limit_streams_per_address, config.limit_streams),
            metrics: metrics.clone(),
            ending: ShutdownFlag::default(),
        });

        let mut background = Supervisor::new(metrics);
        let (watched, source) = (Arc::clone(&hub), Arc::new(presence.clone()));
        background.spawn("reader", move || reader::run(Arc::clone(&watched), source.clone()));
        let swept = state.clone();
        background.spawn("sweep", move || sweep(swept.clone(), policy.cleanup_interval));
        let own = presence.clone();
        background.spawn("recovery", move || {
            let own = own.clone();
            async move { own.run_recovery().await }
        });
        // A terminal that is closed ends what runs in it; elsewhere it is a wish to read things again, and ends nothing.
        if tls.is_some() || !io::stdin().is_terminal() {
            background.spawn("certificate", move || reload(tls.clone()));
        }
        let connections = Connections::new(config.limit_connections_per_address, state.proxies.clone());
        let router = router(&config.site_root, state.clone()).map_err(site_error)?;
        Ok(Self { listener, connections, addr, router, hub, state, delay: config.shutdown_delay, background })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The streams that it has open.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.state.streams
    }

    /// Serves until `end`, then ends every stream and finishes what is under way.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let ending = CancellationToken::new();
        let stop = async {
            end.await;
            // Balancers see that it is not ready, and stop sending.
            self.state.ending.set();
            sleep(self.delay).await;
            tracing::info!("ending: streams are closed, requests are finished");
            self.hub.close();
            self.state.presence.flush();
            ending.cancel();
        };
        let metrics = &self.state.metrics;
        let apps = Apps {
            app: self.router,
            busy: busy(metrics.clone()),
            crowded: crowded(metrics.clone()),
            panicked: Arc::new(panicked(metrics.clone())),
            connections: self.connections,
        };
        tokio::join!(stop, self.listener.serve(apps, ending.clone()));
        self.state.presence.drain().await;
        drop(self.background);
    }
}

/// Frees memory of what has expired, again and again.
async fn sweep(state: AppState, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.sessions.sweep();
        state.follow_rate.sweep();
        if let Err(error) = state.presence.sweep().await {
            tracing::warn!(%error, "expired viewers were not cleaned up; trying again later");
        }
    }
}

/// Reads the certificate again at every SIGHUP; what renews certificates sends it.
async fn reload(tls: Option<Tls>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match tls.as_ref().map(Tls::reload) {
            None => tracing::info!("SIGHUP: there is no certificate to read again"),
            Some(Ok(())) => tracing::info!("the certificate was read again"),
            Some(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}
