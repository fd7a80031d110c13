//! Startup and shutdown: assembles the server from its configuration, serves until a signal, and drains.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::server::{
    access::StatisticsAccess,
    anomalies::Anomalies,
    check,
    clock::{Clock, SystemClock},
    config::{
        self, AccessConfig, Config, DatabaseConfig, DemoHistory, Draft, InvalidConfig, Secret, SettingsError,
        Task, TlsFiles,
    },
    database::{self, Archive, Database, DatabaseFollowers, DatabaseSignals, Outbox, Retention},
    fanout::{Hub, reader},
    follows::Follows,
    health,
    http::access::Access,
    http::caching::CountCaching,
    http::pages,
    http::router::{limit_reached, overloaded, panic_response, router},
    http::state::{AppState, Parts},
    http::turns::Turns,
    limits::{self, Connections, Rate, SessionLimiter, Streams, TicketChecks},
    listen::{Apps, Listener, Tls, TlsError},
    metrics::Metrics,
    presence::Presence,
    recording::{FiguresFeed, Recorder, Shareholder, past, sampler, upkeep, writer::Writer},
    redis::OpenError,
    shutdown::{ShutdownFlag, shutdown_signal},
    signals::{SignalSettings, Signals},
    site::Embedded,
    store::{self, Difference, Measured, Store},
    supervisor::Supervisor,
    telemetry,
    tickets::Refusal,
    top,
    traces::Traces,
    webhooks::{
        self, Webhooks,
        sender::{Outcome, SetUpError},
        settings::{Target, WebhookSettings},
    },
};

/// How long the shutdown waits for the database.
const DATABASE_DRAIN_LIMIT: Duration = Duration::from_millis(1_500);

/// How long the start of the server waits for the live signals.
const FIRST_SIGNALS_LIMIT: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A Redis address is invalid. The message does not contain it, because it may hold a password.
    #[error("invalid Redis address")]
    Store(#[from] OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] database::OpenError),
    /// The other nodes of the store have another setting.
    #[error(transparent)]
    Difference(#[from] Difference),
    /// The site cannot be read, or holds no build.
    #[error("cannot read the site files from {path}: {source}; run `make site`, or set LEPTOS_SITE_ROOT")]
    Site {
        /// The site.
        path: String,
        /// The error of reading it.
        source: io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The configured address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("TLS_CERT, TLS_KEY: {0}")]
    Tls(#[from] TlsError),
    /// Webhooks cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] SetUpError),
    /// The test event was not delivered.
    #[error("not delivered: {0}")]
    Undelivered(String),
    /// `aforo check` found problems.
    #[error("the server would not work:{}", .0.iter().map(|problem| format!("\n  - {problem}")).collect::<String>())]
    Check(Vec<String>),
    /// `aforo health` got no answer, or a bad one.
    #[error("{0}")]
    NotAlive(String),
    /// `aforo top` got no answer, or cannot use the terminal.
    #[error("{0}")]
    Top(String),
    /// The export of traces cannot start.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Traces(String),
    /// A call to the system failed.
    #[error("system error: {0}")]
    System(#[from] io::Error),
}

impl BootError {
    /// Prints the error and returns the exit status: 2 for invalid settings and flags, for a database that can't be used
    /// and for the problems that a check found, 1 for other errors. Help and version go to standard output with status 0.
    #[must_use]
    pub fn report(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(usage)) => {
                // A closed output is not an error.
                let _closed = usage.print();
                u8::try_from(usage.exit_code()).unwrap_or(2)
            }
            other => {
                eprintln!("aforo: {other}");
                let is_setting = matches!(
                    other,
                    Self::Settings(_) | Self::Database(_) | Self::Difference(_) | Self::Check(_)
                );
                if is_setting { 2 } else { 1 }
            }
        }
    }
}

/// Runs the program: reads the settings, serves, and shuts down on SIGTERM or SIGINT; or does what a subcommand asks.
/// `embedded` is the site inside the program, if it has one.
///
/// # Errors
/// When the server cannot start, or the subcommand fails.
pub fn main(embedded: Option<Embedded>) -> Result<(), BootError> {
    let draft = config::draft(std::env::args_os(), embedded)?;
    with_runtime(|runtime| run(runtime, draft))?
}

/// Runs `work` with a runtime. Does not wait for look-ups of names that are still under way at the end: they can take
/// longer than a shutdown may.
fn with_runtime<T>(work: impl FnOnce(&Runtime) -> T) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = work(&runtime);
    runtime.shutdown_background();
    Ok(result)
}

fn run(runtime: &Runtime, draft: Draft) -> Result<(), BootError> {
    if matches!(draft.config.task, Task::Check) {
        return runtime.block_on(check(&draft));
    }
    if let Task::DemoHistory(task) = &draft.config.task {
        return runtime.block_on(demo_history(task));
    }
    // It shows another node, so the settings of this one may be wrong.
    if let Task::Top(task) = &draft.config.task {
        return top::run(runtime, &draft.config, task).map_err(BootError::Top);
    }
    let config = draft.complete()?;
    if matches!(config.task, Task::Health) {
        return runtime.block_on(health::ask(&config)).map_err(BootError::NotAlive);
    }
    let start = |collector: &Secret| Traces::start(collector, runtime.handle().clone());
    let collector = config.otlp_endpoint.as_ref().filter(|_| matches!(config.task, Task::Serve));
    let traces = collector.map(start).transpose().map_err(BootError::Traces)?;
    telemetry::init(config.log_format, &config.log, traces.as_ref());
    runtime.block_on(async {
        if let Task::TestWebhook(target) = &config.task {
            return test_webhook(&config.webhooks, target).await;
        }
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let server = Server::bind(&config).await?.export(traces);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        if config.tickets.lacks_id_secret() {
            tracing::info!("VIEWER_TICKET_ID_SECRET is not set: ids of viewers are made from accounts alone");
        }
        tracing::info!("accepting up to {} connections", server.listener.capacity());
        tracing::info!("serving {scheme}://{}", server.addr());
        server.serve(shutdown_signal()?).await;
        Ok(())
    })
}

/// Prints what the server would do, and what is in its way.
async fn check(draft: &Draft) -> Result<(), BootError> {
    let report = check::check(draft).await;
    // A closed output is not an error.
    let _closed = io::stdout().write_all(report.text.as_bytes());
    if report.problems.is_empty() { Ok(()) } else { Err(BootError::Check(report.problems)) }
}

/// Writes the history of `make demo` into a new SQLite file. Prints each channel with the number of its viewers at the
/// end.
///
/// # Errors
/// When the file exists or cannot be written.
async fn demo_history(DemoHistory { file, channels }: &DemoHistory) -> Result<(), BootError> {
    if file.exists() {
        let problem = format!("demo-history: {} exists; name a new file", file.display());
        return Err(SettingsError::from(InvalidConfig(vec![problem])).into());
    }
    let database = Database::open(&DatabaseConfig::Sqlite(file.clone())).await?;
    let written = past::write(&database, channels, SystemClock::start().now()).await;
    let viewers = written.map_err(io::Error::other)?;
    database.close().await;
    for (channel, viewers) in channels.iter().zip(viewers) {
        println!("{channel} {viewers}");
    }
    Ok(())
}

/// A server that is bound to its port and ready to serve.
pub struct Server {
    listener: Listener,
    connections: Connections,
    addr: SocketAddr,
    router: Router,
    hub: Arc<Hub>,
    state: AppState,
    followers: Arc<DatabaseFollowers>,
    reported: Arc<DatabaseSignals>,
    /// How long to keep serving after the shutdown signal.
    shutdown_delay: Duration,
    background: Supervisor,
    recording: Recording,
    /// The export of traces, which the shutdown ends.
    traces: Option<Traces>,
}

/// What a shutdown needs of the recording of history.
struct Recording {
    recorder: Recorder,
    shareholder: Shareholder,
    writer: Arc<Writer>,
}

/// How long the start waits for the store to compare its database with that of the other nodes.
const CLAIM_LIMIT: Duration = Duration::from_millis(300);

/// How long a shutdown tries to give its parts of the channels back.
const RESIGN_LIMIT: Duration = Duration::from_millis(500);

/// How long a shutdown takes from the end of its delay. Connections have 5 s of it to finish, and the store 2.5 s after
/// that, so the history has 1.5 s even then.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(9_800);

/// What is left of that after the history is written: to close the database and to give the parts of the channels back.
const CLOSE_RESERVE: Duration = Duration::from_millis(800);

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
        let policy = config.policy;
        let load = |TlsFiles { certificate, key }: &TlsFiles| Tls::load(certificate, key);
        let tls = config.tls.as_ref().map(load).transpose()?;
        let listener = Listener::bind(config.site_addr, tls.as_ref().map(Tls::acceptor).transpose()?)
            .map_err(|source| BootError::Listen { addr: config.site_addr, source })?;
        let addr = listener.addr()?;
        let site_error = |source| BootError::Site { path: config.site.to_string(), source };
        let leptos = pages::leptos_options(addr, &config.site).map_err(site_error)?;

        let metrics = Metrics::new();
        metrics.limits(&limits::NAMES);
        metrics.ticket_reasons(&Refusal::NAMES);
        let hub = Arc::new(Hub::new(policy.update_interval));
        let store = if store.is_shared() { Arc::new(Measured::new(store, metrics.clone())) } else { store };
        let node = Uuid::new_v4().as_u64_pair().0;
        let shareholder = Shareholder { store: Arc::clone(&store), node, database: Some(database.clone()) };
        let recorder = Recorder::new(node, store.roll_call_pause(), Arc::clone(&clock));
        // A store that is away now is asked again later. The node then records nothing, but it does not end.
        let _asked_later = timeout(CLAIM_LIMIT, shareholder.renew(recorder.ownership())).await;
        if let Some(difference) = recorder.ownership().difference() {
            return Err(difference.into());
        }
        let settings = SignalSettings {
            mode: config.live,
            interval: policy.update_interval,
            timeout: config.live_signal_timeout,
        };
        let reported = Arc::new(DatabaseSignals::new(database.clone()));
        let signals = Signals::new(reported.clone(), settings, metrics.clone());
        let archive = Archive::new(database.clone());
        // The writer registers broadcasts for announcement, if there is someone to announce them to.
        let has_webhooks = !config.webhooks.targets.is_empty();
        let archive = if has_webhooks { archive.announcing() } else { archive };
        let archive = if signals.are_followed() { archive.with_signals() } else { archive };
        if let Some(id) = archive.id() {
            recorder.set_key(id);
        }
        let per_address = config.limit_figures_per_address;
        let figures = FiguresFeed::new(archive.clone(), recorder.clone(), per_address);
        let access =
            Access::new(config.access.token.as_ref(), config.live_hook_secret.as_ref(), metrics.clone());
        if signals.are_followed() && !access.api_token.is_set() && !access.hook_secret.is_set() {
            tracing::warn!(
                "LIVE is signal, but neither API_TOKEN nor LIVE_HOOK_SECRET is set: this node takes no signals"
            );
        }
        let anomalies = Anomalies::new(!store.is_shared(), Arc::clone(&clock), metrics.clone());
        let presence = {
            let signals = signals.are_followed().then(|| signals.clone());
            Presence::with_signals(store, Arc::clone(&hub), policy, Arc::clone(&clock), signals)
        };
        if signals.are_followed() {
            // So that the first pages know which channels are on air.
            let _unknown_until_later = timeout(FIRST_SIGNALS_LIMIT, signals.poll()).await;
        }
        if signals.are_followed() {
            recorder.follow_signals(signals.clone());
        }
        presence.observe_with(Arc::new((recorder.clone(), anomalies.clone())));
        database.measure(metrics.clone());
        let followers = Arc::new(DatabaseFollowers::new(database.clone()));
        let state = AppState::from(Parts {
            presence: presence.clone(),
            database: database.clone(),
            archive: archive.clone(),
            figures: figures.clone(),
            recorder: recorder.clone(),
            anomalies: anomalies.clone(),
            statistics: statistics_access(&config.access),
            turns: Turns::new(config.limit_reads_per_address),
            live: config.live,
            signals: signals.clone(),
            access,
            follows: Follows::new(followers.clone()),
            leptos,
            speaks_tls: tls.is_some(),
            proxies: config.trusted_proxies.iter().copied().collect(),
            origins: config.allowed_origins.iter().cloned().collect(),
            embed_frame_ancestors: config.embed_frame_ancestors.clone(),
            stream_url_template: config.stream_url_template.clone(),
            count_caching: CountCaching::new(config.count_max_age),
            body_limit: config.body_limit,
            sessions: SessionLimiter::new(config.per_address),
            tickets: config.tickets.clone(),
            ticket_checks: TicketChecks::new(&config.per_address),
            follow_rate: Rate::per_minute(config.limit_follows_per_minute),
            streams: Streams::new(config.limit_streams_per_address, config.limit_streams),
            metrics: metrics.clone(),
            shutdown: ShutdownFlag::default(),
        });

        let mut background = Supervisor::new(metrics.clone());
        let own = (recorder.clone(), shareholder.clone());
        background.spawn("ownership", move || {
            let (recorder, shareholder) = own.clone();
            async move { shareholder.run(recorder.ownership()).await }
        });
        background.spawn("anomalies", move || anomalies.clone().run());
        background.spawn("figures", move || figures.clone().run());
        let own = (recorder.clone(), presence.clone());
        background.spawn("sampler", move || sampler::run(own.0.clone(), own.1.clone()));
        let own = webhooks::Parts {
            outbox: Outbox::new(database.clone()),
            archive: archive.clone(),
            recorder: recorder.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        };
        if let Some(webhooks) = Webhooks::new(&config.webhooks, own)? {
            webhooks.spawn(&mut background);
        }
        let writer = Arc::new(Writer::new(recorder.clone(), archive.clone(), metrics));
        let own = Arc::clone(&writer);
        background.spawn("history", move || {
            let writer = Arc::clone(&own);
            async move { writer.run().await }
        });
        let (own, retention) = ((recorder.clone(), archive), Retention::days(config.history_days));
        background.spawn("upkeep", move || {
            let (recorder, archive) = own.clone();
            upkeep::run(recorder, archive, retention)
        });
        let (reader_hub, source) = (Arc::clone(&hub), Arc::new(presence.clone()));
        background.spawn("reader", move || reader::run(Arc::clone(&reader_hub), source.clone()));
        let sweep_state = state.clone();
        background.spawn("sweep", move || sweep(sweep_state.clone(), policy.cleanup_interval));
        background.spawn("database", move || database.clone().run());
        let own_followers = Arc::clone(&followers);
        background.spawn("followers", move || {
            let followers = Arc::clone(&own_followers);
            async move { followers.run().await }
        });
        let own_reported = Arc::clone(&reported);
        background.spawn("signal reports", move || {
            let reported = Arc::clone(&own_reported);
            async move { reported.run().await }
        });
        background.spawn("signals", move || signals.clone().run());
        background.spawn("recovery", move || {
            let presence = presence.clone();
            async move { presence.run_recovery().await }
        });
        // Without TLS, SIGHUP is ignored, except in a terminal: there it must end the process when the terminal closes.
        if tls.is_some() || !io::stdin().is_terminal() {
            background.spawn("certificate", move || reload_on_sighup(tls.clone()));
        }
        let connections = Connections::new(config.limit_connections_per_address, state.proxies.clone());
        let router = router(&config.site, state.clone()).map_err(site_error)?;
        Ok(Self {
            listener,
            connections,
            addr,
            router,
            hub,
            state,
            followers,
            reported,
            shutdown_delay: config.shutdown_delay,
            background,
            recording: Recording { recorder, shareholder, writer },
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
        &self.state.streams
    }

    /// Serves until `shutdown` resolves, then ends all streams, finishes the requests in flight and tries to write
    /// what the store and the database have not accepted yet.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let stop_listening = CancellationToken::new();
        let stop = async {
            shutdown.await;
            // `/readyz` says `ending` now, so load balancers stop sending requests.
            self.state.shutdown.set();
            sleep(self.shutdown_delay).await;
            let until = Instant::now() + SHUTDOWN_LIMIT;
            tracing::info!("shutting down: closing streams, finishing requests");
            self.hub.close();
            self.state.presence.flush();
            stop_listening.cancel();
            until
        };
        let metrics = &self.state.metrics;
        let apps = Apps {
            app: self.router,
            overloaded: overloaded(metrics.clone()),
            limit_reached: limit_reached(metrics.clone()),
            on_panic: Arc::new(panic_response(metrics.clone())),
            on_untaken: {
                let metrics = metrics.clone();
                Arc::new(move || metrics.refused("untaken-answers"))
            },
            connections: self.connections,
            proxies: self.state.proxies.clone(),
        };
        let (until, ()) = tokio::join!(stop, self.listener.serve(apps, stop_listening.clone()));
        // The history has what the other steps leave of the 10 s.
        let Recording { recorder, shareholder, writer } = self.recording;
        let written = async {
            let kept = async {
                let followers = self.followers.flush(DATABASE_DRAIN_LIMIT);
                let signals = self.reported.flush(DATABASE_DRAIN_LIMIT);
                if tokio::join!(followers, signals) != (true, true) {
                    tracing::warn!(
                        "database unavailable at shutdown; follows and live signals that were not answered are not \
                         written"
                    );
                }
            };
            tokio::join!(self.state.presence.drain(), kept);
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
            self.state.database.close().await;
            let _elapsed = timeout(RESIGN_LIMIT, shareholder.resign(recorder.ownership())).await;
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

/// Sends a test event, and prints what came of it.
async fn test_webhook(settings: &WebhookSettings, target: &Target) -> Result<(), BootError> {
    match webhooks::send_test(settings, target).await? {
        Outcome::Delivered(status) => {
            println!("delivered: {} answered {status}", target.host());
            Ok(())
        }
        Outcome::Gone => {
            Err(BootError::Undelivered("410 Gone: the receiver wants no more events".to_owned()))
        }
        Outcome::Failed { reason, .. } => Err(BootError::Undelivered(reason)),
    }
}

fn statistics_access(
    AccessConfig { has_public_statistics, token, secret }: &AccessConfig,
) -> StatisticsAccess {
    StatisticsAccess::new(*has_public_statistics, token.as_deref(), secret.as_deref())
}

/// Frees the memory of expired entries at an interval, forever.
async fn sweep(state: AppState, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.sessions.sweep();
        state.ticket_checks.sweep();
        state.follow_rate.sweep();
        state.access.sweep();
        if let Err(error) = state.presence.sweep().await {
            tracing::warn!(%error, "sweep of expired viewers failed; retrying later");
        }
        if let Err(error) = state.signals.sweep().await {
            tracing::warn!(%error, "sweep of ended live signals failed; retrying later");
        }
    }
}

/// Reloads the certificate at every SIGHUP. Tools that renew certificates send this signal.
async fn reload_on_sighup(tls: Option<Tls>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match tls.as_ref().map(Tls::reload) {
            None => tracing::info!("SIGHUP ignored: no certificate is configured"),
            Some(Ok(())) => tracing::info!("certificate reloaded"),
            Some(Err(error)) => tracing::error!(%error, "certificate not reloaded; keeping the old one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_look_up_that_hangs_does_not_hold_up_the_end() {
        let (release, released) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            // As tokio looks up names.
            let work = |runtime: &Runtime| drop(runtime.spawn_blocking(move || released.recv()));
            with_runtime(work).unwrap();
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(30)).expect("the end");
        drop(release);
    }
}
