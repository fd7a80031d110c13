//! What the server tells monitoring, in Prometheus's text format.
//!
//! No metric has a label for a channel, a viewer or an address: the number of series is fixed.

use std::{sync::Arc, time::Duration};

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector, process_collector::ProcessCollector,
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
    /// By the first digit of the status, from 1.
    answers: [IntCounter; 5],
    joins: IntCounter,
    heartbeats: IntCounter,
    leaves: IntCounter,
    refused: IntCounterVec,
    robots: IntCounter,
    panics: IntCounter,
    restarts: IntCounterVec,
    write_ops: Histogram,
    store_seconds: Histogram,
    store_errors: IntCounter,
    store_up: IntGauge,
    restored: IntCounter,
    streams: IntGauge,
    watched: IntGauge,
    tasks: IntGauge,
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
    pub fn new() -> Self {
        let registry = Registry::new();
        let answers = counters(&registry, "http_responses_total", "Requests answered", &["status"]);
        let beats = counters(&registry, "beats_total", "Joins, heartbeats and leaves accepted", &["act"]);
        Self(Arc::new(Inner {
            answers: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| answers.with_label_values(&[status])),
            joins: beats.with_label_values(&["join"]),
            heartbeats: beats.with_label_values(&["heartbeat"]),
            leaves: beats.with_label_values(&["leave"]),
            refused: counters(
                &registry,
                "limit_rejections_total",
                "Calls that a limit has refused",
                &["limit"],
            ),
            robots: counter(&registry, "robots_total", "Beats of robots, which are not counted"),
            panics: counter(&registry, "panics_total", "Requests that ended in a panic"),
            restarts: counters(&registry, "loop_restarts_total", "Background loops started anew", &["loop"]),
            write_ops: histogram(&registry, "store_write_ops", "Operations in one write", &BATCH_BUCKETS),
            store_seconds: histogram(
                &registry,
                "store_call_duration_seconds",
                "Time of a call that the store has answered",
                &TIME_BUCKETS,
            ),
            store_errors: counter(&registry, "store_errors_total", "Calls that the store did not answer"),
            store_up: gauge(&registry, "store_up", "1 if the store answers, 0 if it does not"),
            restored: counter(
                &registry,
                "restored_total",
                "Sessions written again to a store that lost them",
            ),
            streams: gauge(&registry, "streams_open", "Open streams"),
            watched: gauge(&registry, "channels_watched", "Channels with at least one stream"),
            tasks: gauge(&registry, "tasks", "Tasks under way: loops, and connections with a request"),
            registry: with_process(registry),
        }))
    }

    /// A request was answered.
    pub fn answer(&self, status: u16) {
        if let Some(answers) = self.0.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            answers.inc();
        }
    }

    /// A join was accepted.
    pub fn join(&self) {
        self.0.joins.inc();
    }

    /// A heartbeat was accepted.
    pub fn heartbeat(&self) {
        self.0.heartbeats.inc();
    }

    /// A leave was accepted.
    pub fn leave(&self) {
        self.0.leaves.inc();
    }

    /// Tells monitoring of limits before they refuse anything: a rate needs a first value.
    pub fn limits(&self, names: &[&str]) {
        for name in names {
            self.0.refused.with_label_values(&[name]).inc_by(0);
        }
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

    /// A background loop runs: from now on monitoring is told how often it was started anew, which is never so far.
    pub fn runs(&self, name: &str) {
        self.0.restarts.with_label_values(&[name]).inc_by(0);
    }

    /// A background loop had to be started anew.
    pub fn restart(&self, name: &str) {
        self.0.restarts.with_label_values(&[name]).inc();
    }

    /// The store was called: how long it took, and how many of the answers were errors. The time of a call that failed is
    /// left out: it says nothing about the speed of the store.
    pub fn store_call(&self, took: Duration, errors: usize) {
        if errors == 0 {
            self.0.store_seconds.observe(took.as_secs_f64());
        }
        self.store_failed(errors);
    }

    /// So many calls were not answered by the store.
    pub fn store_failed(&self, errors: usize) {
        self.0.store_errors.inc_by(u64::try_from(errors).unwrap_or(u64::MAX));
    }

    /// The store was given so many operations, so many of them to restore what it had lost.
    pub fn store_write(&self, ops: usize, restored: usize) {
        self.0.write_ops.observe(f64::from(u32::try_from(ops).unwrap_or(u32::MAX)));
        self.0.restored.inc_by(u64::try_from(restored).unwrap_or(u64::MAX));
    }

    /// All of them, as Prometheus reads them.
    #[must_use]
    pub fn text(&self, streams: u32, watched: usize, tasks: usize, is_store_up: bool) -> String {
        self.0.store_up.set(is_store_up.into());
        self.0.streams.set(streams.into());
        self.0.watched.set(i64::try_from(watched).unwrap_or(i64::MAX));
        self.0.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        // It fails for metrics without samples only, which are left out then.
        let _incomplete = TextEncoder::new().encode(&self.0.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn with_process(registry: Registry) -> Registry {
    let registered = registry.register(Box::new(ProcessCollector::for_self()));
    debug_assert!(registered.is_ok());
    registry
}

fn name(name: &str) -> String {
    format!("aforo_{name}")
}

fn register<M: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<M>) -> M {
    let metric = made.expect("a constant name");
    registry.register(Box::new(metric.clone())).expect("a name of its own");
    metric
}

fn counter(registry: &Registry, of: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name(of), help))
}

fn counters(registry: &Registry, of: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name(of), help), labels))
}

fn gauge(registry: &Registry, of: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name(of), help))
}

fn histogram(registry: &Registry, of: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name(of), help).buckets(buckets.to_vec())))
}
