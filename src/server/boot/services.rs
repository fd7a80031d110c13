//! The services of a server: builds, over its store and its database, what handlers and background loops share. Spawns
//! nothing, and waits for the store and the database only briefly, so that a node starts while they are away.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use uuid::Uuid;

use super::error::BootError;
use crate::server::{
    access::StatisticsAccess,
    anomalies::Anomalies,
    caller::CallerServices,
    clock::Clock,
    config::{AccessConfig, Config},
    database::{Archive, Database, DatabaseFollowers, DatabaseSignals},
    fanout::Hub,
    follows::Follows,
    http::{
        access::Access,
        caching::CountCaching,
        pages,
        state::{AppState, Parts},
        turns::Turns,
    },
    limits::{self, Rate, SessionLimiter, Streams, TicketChecks},
    metrics::Metrics,
    presence::Presence,
    recording::{FiguresFeed, Recorder, Shareholder, writer::Writer},
    shutdown::ShutdownFlag,
    signals::{SignalSettings, Signals},
    store::{Measured, Store},
    tickets::Refusal,
};

/// How long the start of the server waits for the live signals.
const FIRST_SIGNALS_LIMIT: Duration = Duration::from_secs(1);

/// How long the start waits for the store to compare its database with that of the other nodes.
const CLAIM_LIMIT: Duration = Duration::from_millis(300);

/// What handlers and background loops share. Handlers see the state only.
pub(super) struct Services {
    pub(super) state: AppState,
    pub(super) hub: Arc<Hub>,
    pub(super) followers: Arc<DatabaseFollowers>,
    pub(super) reported: Arc<DatabaseSignals>,
    pub(super) shareholder: Shareholder,
    pub(super) writer: Arc<Writer>,
}

impl Services {
    /// Assembles the services of the server at this address.
    ///
    /// # Errors
    /// When the site cannot be read, or the other nodes of the store have another setting.
    pub(super) async fn assemble(
        store: Arc<dyn Store>,
        database: Database,
        clock: Arc<dyn Clock>,
        config: &Config,
        addr: SocketAddr,
    ) -> Result<Self, BootError> {
        let policy = config.policy;
        let leptos = pages::leptos_options(addr, &config.site)
            .map_err(|source| BootError::site(&config.site, source))?;

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
            Presence::with_signals(store, Arc::clone(&hub), policy, clock, signals)
        };
        if signals.are_followed() {
            // So that the first pages know which channels are on air.
            let _unknown_until_later = timeout(FIRST_SIGNALS_LIMIT, signals.poll()).await;
            recorder.follow_signals(signals.clone());
        }
        presence.observe_with(Arc::new((recorder.clone(), anomalies.clone())));
        database.measure(metrics.clone());
        let followers = Arc::new(DatabaseFollowers::new(database.clone()));
        let writer = Arc::new(Writer::new(recorder.clone(), archive.clone(), metrics.clone()));
        let callers = Arc::new(CallerServices {
            presence: presence.clone(),
            sessions: SessionLimiter::new(config.per_address),
            recorder: recorder.clone(),
            tickets: config.tickets.clone(),
            ticket_checks: TicketChecks::new(&config.per_address),
            metrics: metrics.clone(),
        });
        let state = AppState::from(Parts {
            presence,
            database,
            archive,
            figures,
            recorder,
            anomalies,
            statistics: statistics_access(&config.access),
            turns: Turns::new(config.limit_reads_per_address),
            live: config.live,
            signals,
            access,
            follows: Follows::new(followers.clone()),
            leptos,
            speaks_tls: config.tls.is_some(),
            proxies: config.trusted_proxies.iter().copied().collect(),
            origins: config.allowed_origins.iter().cloned().collect(),
            embed_frame_ancestors: config.embed_frame_ancestors.clone(),
            stream_url_template: config.stream_url_template.clone(),
            count_caching: CountCaching::new(config.count_max_age),
            body_limit: config.body_limit,
            callers,
            follow_rate: Rate::per_minute(config.limit_follows_per_minute),
            streams: Streams::new(config.limit_streams_per_address, config.limit_streams),
            metrics,
            shutdown: ShutdownFlag::default(),
        });
        Ok(Self { state, hub, followers, reported, shareholder, writer })
    }
}

fn statistics_access(
    AccessConfig { has_public_statistics, token, secret }: &AccessConfig,
) -> StatisticsAccess {
    StatisticsAccess::new(*has_public_statistics, token.as_deref(), secret.as_deref())
}
