//! The background loops of a server. The supervisor restarts a loop that panics, and ends all of them when it is dropped.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::services::Services;
use crate::server::{
    clock::Clock,
    config::Config,
    database::{Outbox, Retention},
    fanout::reader,
    http::state::AppState,
    listen::Tls,
    recording::{sampler, upkeep},
    supervisor::Supervisor,
    webhooks::{self, Webhooks, sender::SetUpError},
};

/// Starts all loops.
///
/// # Errors
/// When webhooks cannot be sent.
pub(super) fn spawn(
    Services { state, hub, followers, reported, shareholder, writer }: &Services,
    config: &Config,
    clock: Arc<dyn Clock>,
    tls: Option<Tls>,
) -> Result<Supervisor, SetUpError> {
    let mut background = Supervisor::new(state.metrics.clone());
    let own = (state.recorder.clone(), shareholder.clone());
    background.spawn("ownership", move || {
        let (recorder, shareholder) = own.clone();
        async move { shareholder.run(recorder.ownership()).await }
    });
    let anomalies = state.anomalies.clone();
    background.spawn("anomalies", move || anomalies.clone().run());
    let figures = state.figures.clone();
    background.spawn("figures", move || figures.clone().run());
    let own = (state.recorder.clone(), state.presence.clone());
    background.spawn("sampler", move || sampler::run(own.0.clone(), own.1.clone()));
    let own = webhooks::Parts {
        outbox: Outbox::new(state.database.clone()),
        archive: state.archive.clone(),
        recorder: state.recorder.clone(),
        clock,
        metrics: state.metrics.clone(),
    };
    if let Some(webhooks) = Webhooks::new(&config.webhooks, own)? {
        webhooks.spawn(&mut background);
    }
    let own = Arc::clone(writer);
    background.spawn("history", move || {
        let writer = Arc::clone(&own);
        async move { writer.run().await }
    });
    let own = (state.recorder.clone(), state.archive.clone());
    let retention = Retention::days(config.history_days);
    background.spawn("upkeep", move || {
        let (recorder, archive) = own.clone();
        upkeep::run(recorder, archive, retention)
    });
    let (reader_hub, source) = (Arc::clone(hub), Arc::new(state.presence.clone()));
    background.spawn("reader", move || reader::run(Arc::clone(&reader_hub), source.clone()));
    let (sweep_state, every) = (state.clone(), config.policy.cleanup_interval);
    background.spawn("sweep", move || sweep(sweep_state.clone(), every));
    let database = state.database.clone();
    background.spawn("database", move || database.clone().run());
    let own = Arc::clone(followers);
    background.spawn("followers", move || {
        let followers = Arc::clone(&own);
        async move { followers.run().await }
    });
    let own = Arc::clone(reported);
    background.spawn("signal reports", move || {
        let reported = Arc::clone(&own);
        async move { reported.run().await }
    });
    let signals = state.signals.clone();
    background.spawn("signals", move || signals.clone().run());
    let presence = state.presence.clone();
    background.spawn("recovery", move || {
        let presence = presence.clone();
        async move { presence.run_recovery().await }
    });
    // Without TLS, SIGHUP is ignored, except in a terminal: there it must end the process when the terminal closes.
    if tls.is_some() || !io::stdin().is_terminal() {
        background.spawn("certificate", move || reload_on_sighup(tls.clone()));
    }
    Ok(background)
}

/// Frees the memory of expired entries at an interval, forever.
async fn sweep(state: AppState, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.callers.sessions.sweep();
        state.callers.ticket_checks.sweep();
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
