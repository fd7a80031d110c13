//! Webhooks, with real receivers.

// What receivers get when they fail, are slow, or are gone.
mod deliveries;
// The events of a broadcast.
mod events;
// Several nodes that are up: each channel has one that delivers.
mod owners;
// The contract of the outbox.
mod outbox;
// Nodes that are killed, and databases that are away.
mod outages;
// The addresses that deliveries may reach, and the command that sends a test event.
mod reach;
// The recipe of the documentation.
mod recipes;

use std::{sync::Arc, time::Duration};

use aforo::{domain::Timestamp, server::clock::ManualClock};

use crate::support::{Receiver, TestApp, receiver::LONG_PATIENCE};

/// The example of the libraries of Standard Webhooks.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The metric of attempts that are repeated later.
const FAILED: &str = "aforo_webhook_deliveries_total{outcome=\"failed\"}";

/// A clock of a day in 2026.
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_790_000_000_000)))
}

/// The flags of webhooks to some receivers.
fn flags(receivers: &[&Receiver], more: &[&str]) -> Vec<String> {
    let urls: Vec<&str> = receivers.iter().map(|receiver| &*receiver.url).collect();
    let urls = (!urls.is_empty()).then(|| format!("--webhook-urls={}", urls.join(",")));
    let own = [
        format!("--webhook-secret={SECRET}"),
        "--webhook-allow-private=true".to_owned(),
        "--stats=public".to_owned(),
    ];
    own.into_iter().chain(urls).chain(more.iter().map(|flag| (*flag).to_owned())).collect()
}

/// A server with webhooks to some receivers, whose clock stands still.
async fn server(clock: &Arc<ManualClock>, receivers: &[&Receiver], more: &[&str]) -> TestApp {
    let flags = flags(receivers, more);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    TestApp::with_clock_and(clock.clone(), &flags).await
}

/// The value of a metric.
async fn metric(app: &TestApp, name: &str) -> f64 {
    let text = app.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

/// Waits until so many attempts have failed. From then on it is known when they are repeated.
async fn failures(app: &TestApp, number: f64) {
    until("the failures are counted", async || metric(app, FAILED).await >= number).await;
}

/// Waits until a condition holds.
async fn until(what: &str, mut is_met: impl AsyncFnMut() -> bool) {
    let met = async {
        while !is_met().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG_PATIENCE, met).await.unwrap_or_else(|_| panic!("{what}"));
}
