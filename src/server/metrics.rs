//! What the server tells monitoring, in Prometheus's text format.
//!
//! No metric has a label for a channel, a viewer or an address: the number of series is fixed.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    process_collector::ProcessCollector,
};

/// Beats in one write to the store.
const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 32.0, 128.0, 512.0, 2048.0];

/// Seconds that a call of the store takes.
const TIME_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Every metric. Cloning is cheap.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: IntCounterVec,
    beats: IntCounterVec,
    refused: IntCounterVec,
    robots: IntCounter,
    panics: IntCounter,
    restarts: IntCounterVec,
    write_ops: Histogram,
    store_seconds: Histogram,
    store_errors: IntCounter,
    restored: IntCounter,
    streams: IntGauge,
    watched: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    ///
    /// # Panics
    /// Never: the names are constants, each used once.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "said above")]
    pub fn new() -> Self {
        let registry = Registry::new();
        Self(Arc::new(Inner {
            requests: counters(&registry, "http_requests_total", "Requests answered", &["route", "status"]),
            beats: counters(&registry, "beats_total", "Joins, heartbeats and leaves accepted", &["act"]),
            refused: counters(&registry, "refused_total", "What a limit has refused", &["limit"]),
            robots: counter(&registry, "robots_total", "Beats of robots, which are not counted"),
            panics: counter(&registry, "panics_total", "Requests that ended in a panic"),
            restarts: counters(&registry, "loop_restarts_total", "Background loops started anew", &["loop"]),
            write_ops: histogram(&registry, "store_write_ops", "Operations in one write", &BATCH_BUCKETS),
            store_seconds: histogram(
                &registry,
                "store_seconds",
                "Time of a call to the store",
                &TIME_BUCKETS,
            ),
            store_errors: counter(&registry, "store_errors_total", "Calls that the store did not answer"),
            restored: counter(
                &registry,
                "restored_total",
                "Sessions written again to a store that lost them",
            ),
            streams: gauge(&registry, "streams_open", "Open streams"),
            watched: gauge(&registry, "channels_watched", "Channels with at least one stream"),
            registry: with_process(registry),
        }))
    }

    /// A join, heartbeat or leave was accepted.
    pub fn beat(&self, act: &str) {
        self.0.beats.with_label_values(&[act]).inc();
    }

    /// A limit has refused something.
    pub fn refused(&self, limit: &str) {
        self.0.refused.with_label_values(&[limit]).inc();
    }

    /// A robot was answered.
    pub fn robot(&self) {
        self.0.robots.inc();
    }

    /// A handler has panicked.
    pub fn panic(&self) {
        self.0.panics.inc();
    }

    /// A background loop had to be started anew.
    pub fn restart(&self, name: &str) {
        self.0.restarts.with_label_values(&[name]).inc();
    }

    /// The store was called: how long it took, and how many of the answers were errors.
    pub fn store_call(&self, seconds: f64, errors: usize) {
        self.0.store_seconds.observe(seconds);
        self.0.store_errors.inc_by(u64::try_from(errors).unwrap_or(u64::MAX));
    }

    /// The store was given so many operations, so many of them to restore what it had lost.
    pub fn store_write(&self, ops: usize, restored: usize) {
        self.0.write_ops.observe(f64::from(u32::try_from(ops).unwrap_or(u32::MAX)));
        self.0.restored.inc_by(u64::try_from(restored).unwrap_or(u64::MAX));
    }

    /// All of them, as Prometheus reads them.
    #[must_use]
    pub fn text(&self, streams: u32, watched: usize) -> String {
        self.0.streams.set(streams.into());
        self.0.watched.set(i64::try_from(watched).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        // It fails for metrics without samples only, which are left out then.
        let _incomplete = TextEncoder::new().encode(&self.0.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Counts every answer by route and status.
pub async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    metrics.0.requests.with_label_values(&[route, response.status().as_str()]).inc();
    response
}

fn with_process(registry: Registry) -> Registry {
    let registered = registry.register(Box::new(ProcessCollector::for_self()));
    debug_assert!(registered.is_ok());
    registry
}

fn name(name: &str) -> String {
    format!("aforo_{name}")
}

fn counter(registry: &Registry, of: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name(of), help).expect("a constant name");
    registry.register(Box::new(counter.clone())).expect("a name of its own");
    counter
}

fn counters(registry: &Registry, of: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name(of), help), labels).expect("a constant name");
    registry.register(Box::new(counters.clone())).expect("a name of its own");
    counters
}

fn gauge(registry: &Registry, of: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name(of), help).expect("a constant name");
    registry.register(Box::new(gauge.clone())).expect("a name of its own");
    gauge
}

fn histogram(registry: &Registry, of: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name(of), help).buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(options).expect("a constant name");
    registry.register(Box::new(histogram.clone())).expect("a name of its own");
    histogram
}
