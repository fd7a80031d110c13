//! The metrics of this node, in the Prometheus text format.
//!
//! No metric has a label for channels, viewers or addresses, so the number of time series is fixed.

use std::{sync::Arc, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector, process_collector::ProcessCollector,
};

/// Buckets of the number of operations in a write to the store.
const OPS_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 32.0, 128.0, 512.0, 2048.0];

/// Buckets of the duration of a call to the store or the database, in seconds.
const SECONDS_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// All metrics. Cloning is cheap; clones share their values.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// By the class of the status, from 1xx to 5xx.
    responses: [IntCounter; 5],
    joins: IntCounter,
    heartbeats: IntCounter,
    leaves: IntCounter,
    counts_read: IntCounter,
    refused: IntCounterVec,
    ticket_joins: IntCounter,
    ticket_rejections: IntCounterVec,
    robots: IntCounter,
    panics: IntCounter,
    restarts: IntCounterVec,
    write_ops: Histogram,
    store_seconds: Histogram,
    store_errors: IntCounter,
    store_up: IntGauge,
    database_seconds: Histogram,
    database_errors: IntCounter,
    database_up: IntGauge,
    restored: IntCounter,
    streams: IntGauge,
    watched: IntGauge,
    tasks: IntGauge,
    history_waiting: IntGauge,
    history_lost: IntCounter,
    on_air: IntGauge,
    signal_errors: IntCounter,
    likely_waves: IntCounter,
    likely_joins: IntCounter,
    webhooks: IntCounterVec,
    webhooks_waiting: IntGauge,
    webhooks_oldest: IntGauge,
    webhooks_disabled: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with all values at zero.
    ///
    /// # Panics
    /// Never: the names are valid and unique.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let responses = counters(&registry, "http_responses_total", "HTTP responses", &["status"]);
        let beats = counters(&registry, "beats_total", "Accepted joins, heartbeats and leaves", &["act"]);
        let webhooks = counters(
            &registry,
            "webhook_deliveries_total",
            "Attempts to deliver a webhook by outcome; dropped: given up after the last attempt or three days",
            &["outcome"],
        );
        for outcome in ["delivered", "failed", "dropped"] {
            webhooks.with_label_values(&[outcome]).inc_by(0);
        }
        Self(Arc::new(Inner {
            responses: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|status| responses.with_label_values(&[status])),
            joins: beats.with_label_values(&["join"]),
            heartbeats: beats.with_label_values(&["heartbeat"]),
            leaves: beats.with_label_values(&["leave"]),
            counts_read: counter(&registry, "counts_read_total", "Counts in answers to calls"),
            refused: counters(
                &registry,
                "limit_rejections_total",
                "Calls and connections refused by a limit",
                &["limit"],
            ),
            ticket_joins: counter(&registry, "ticket_joins_total", "Accepted joins with a ticket"),
            ticket_rejections: counters(
                &registry,
                "ticket_rejections_total",
                "Joins and heartbeats refused for their ticket, or for having none",
                &["reason"],
            ),
            robots: counter(
                &registry,
                "robots_total",
                "Joins and heartbeats of robots, which are not counted",
            ),
            panics: counter(&registry, "panics_total", "Requests that ended in a panic"),
            restarts: counters(
                &registry,
                "loop_restarts_total",
                "Restarts of background loops after a panic",
                &["loop"],
            ),
            write_ops: histogram(
                &registry,
                "store_write_ops",
                "Operations in a write to the store",
                &OPS_BUCKETS,
            ),
            store_seconds: histogram(
                &registry,
                "store_call_duration_seconds",
                "Duration of successful store calls",
                &SECONDS_BUCKETS,
            ),
            store_errors: counter(&registry, "store_errors_total", "Failed store calls"),
            store_up: gauge(&registry, "store_up", "1 if the store responds, otherwise 0"),
            database_seconds: histogram(
                &registry,
                "database_call_duration_seconds",
                "Duration of successful database calls",
                &SECONDS_BUCKETS,
            ),
            database_errors: counter(&registry, "database_errors_total", "Failed database calls"),
            database_up: gauge(
                &registry,
                "database_up",
                "1 if the database takes reads and writes, otherwise 0",
            ),
            restored: counter(
                &registry,
                "restored_total",
                "Sessions written again after the store lost them",
            ),
            streams: gauge(&registry, "streams_open", "Open streams"),
            watched: gauge(&registry, "channels_watched", "Channels with at least one open stream"),
            tasks: gauge(&registry, "tasks", "Live tasks of the runtime"),
            history_waiting: gauge(
                &registry,
                "history_rows_waiting",
                "Rows of history that wait for the database",
            ),
            history_lost: counter(
                &registry,
                "history_rows_lost_total",
                "Rows of history lost because the database was away for too long",
            ),
            on_air: gauge(&registry, "channels_on_air", "Channels that are on air by the live signal"),
            signal_errors: counter(
                &registry,
                "live_signal_poll_errors_total",
                "Failed reads of the live signals from the database",
            ),
            likely_waves: counter(
                &registry,
                "likely_invented_waves_total",
                "Waves of joins that are likely to be invented",
            ),
            likely_joins: counter(&registry, "likely_invented_joins_total", "Joins in these waves"),
            webhooks,
            webhooks_waiting: gauge(
                &registry,
                "webhooks_waiting",
                "Webhooks that wait for a receiver, of the channels that this node owns",
            ),
            webhooks_oldest: gauge(
                &registry,
                "webhooks_oldest_seconds",
                "Age of the oldest of these webhooks",
            ),
            webhooks_disabled: gauge(
                &registry,
                "webhook_receivers_disabled",
                "Receivers that have answered 410 Gone since this node started",
            ),
            registry: with_process(registry),
        }))
    }

    /// Counts a response.
    pub fn response(&self, status: u16) {
        if let Some(responses) = self.0.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            responses.inc();
        }
    }

    /// Sets the number of rows of history that wait for the database.
    pub fn history_waiting(&self, rows: usize) {
        self.0.history_waiting.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Counts rows of history that were lost because the database was away for too long.
    pub fn history_lost(&self, rows: u64) {
        self.0.history_lost.inc_by(rows);
    }

    /// Counts an attempt to deliver a webhook.
    pub fn webhook(&self, outcome: &str) {
        self.0.webhooks.with_label_values(&[outcome]).inc();
    }

    /// Counts webhooks that were dropped because their receiver was too far behind.
    pub fn webhooks_dropped(&self, number: u64) {
        self.0.webhooks.with_label_values(&["dropped"]).inc_by(number);
    }

    /// Sets the number of webhooks that wait, and the age of the oldest in seconds.
    pub fn webhooks_waiting(&self, number: u64, oldest_seconds: u64) {
        self.0.webhooks_waiting.set(i64::try_from(number).unwrap_or(i64::MAX));
        self.0.webhooks_oldest.set(i64::try_from(oldest_seconds).unwrap_or(i64::MAX));
    }

    /// Counts a receiver of webhooks that was disabled.
    pub fn webhook_receiver_disabled(&self) {
        self.0.webhooks_disabled.inc();
    }

    /// Counts an accepted join.
    pub fn join(&self) {
        self.0.joins.inc();
    }

    /// Counts an accepted heartbeat.
    pub fn heartbeat(&self) {
        self.0.heartbeats.inc();
    }

    /// Counts an accepted leave.
    pub fn leave(&self) {
        self.0.leaves.inc();
    }

    /// Counts the counts in an answer.
    pub fn counts_read(&self, counts: usize) {
        self.0.counts_read.inc_by(u64::try_from(counts).unwrap_or(u64::MAX));
    }

    /// Exports the limits with the value 0 before they refuse anything: Prometheus's `rate` needs a first value.
    pub fn limits(&self, names: &[&str]) {
        for name in names {
            self.0.refused.with_label_values(&[name]).inc_by(0);
        }
    }

    /// Counts a refusal by a limit.
    pub fn refused(&self, limit: &str) {
        self.0.refused.with_label_values(&[limit]).inc();
    }

    /// Counts an accepted join with a ticket.
    pub fn ticket_join(&self) {
        self.0.ticket_joins.inc();
    }

    /// Exports the reasons for which tickets are refused, with the value 0.
    pub fn ticket_reasons(&self, names: &[&str]) {
        for name in names {
            self.0.ticket_rejections.with_label_values(&[name]).inc_by(0);
        }
    }

    /// Counts a call that was refused for its ticket.
    pub fn ticket_refused(&self, reason: &str) {
        self.0.ticket_rejections.with_label_values(&[reason]).inc();
    }

    /// Counts a join or heartbeat of a robot.
    pub fn robot(&self) {
        self.0.robots.inc();
    }

    /// Counts a request that ended in a panic.
    pub fn panic(&self) {
        self.0.panics.inc();
    }

    /// Exports a background loop with 0 restarts.
    pub fn runs(&self, name: &str) {
        self.0.restarts.with_label_values(&[name]).inc_by(0);
    }

    /// Counts a restart of a background loop.
    pub fn restart(&self, name: &str) {
        self.0.restarts.with_label_values(&[name]).inc();
    }

    /// Records a store call: its duration and the number of errors among its results. The duration of a failed call is
    /// not recorded, because it says nothing about the speed of the store.
    pub fn store_call(&self, took: Duration, errors: usize) {
        if errors == 0 {
            self.0.store_seconds.observe(took.as_secs_f64());
        }
        self.store_failed(errors);
    }

    /// Counts failed store calls.
    pub fn store_failed(&self, errors: usize) {
        self.0.store_errors.inc_by(u64::try_from(errors).unwrap_or(u64::MAX));
    }

    /// Records a write to the store: the number of operations, and how many of them restore lost sessions.
    pub fn store_write(&self, ops: usize, restored: usize) {
        self.0.write_ops.observe(f64::from(u32::try_from(ops).unwrap_or(u32::MAX)));
        self.0.restored.inc_by(u64::try_from(restored).unwrap_or(u64::MAX));
    }

    /// Records the duration of a successful database call.
    pub fn database_call(&self, took: Duration) {
        self.0.database_seconds.observe(took.as_secs_f64());
    }

    /// Counts a failed database call.
    pub fn database_failed(&self) {
        self.0.database_errors.inc();
    }

    /// Records whether the database is available.
    pub fn database_up(&self, is_up: bool) {
        self.0.database_up.set(is_up.into());
    }

    /// Sets the number of channels that are on air.
    pub fn on_air(&self, channels: usize) {
        self.0.on_air.set(i64::try_from(channels).unwrap_or(i64::MAX));
    }

    /// Counts a failed read of the live signals.
    pub fn signal_poll_failed(&self) {
        self.0.signal_errors.inc();
    }

    /// Counts waves of joins that are likely to be invented, and their joins.
    pub fn likely_invented(&self, waves: u64, joins: u64) {
        self.0.likely_waves.inc_by(waves);
        self.0.likely_joins.inc_by(joins);
    }

    /// All metrics in the Prometheus text format. Sets the gauges to the given values first.
    #[must_use]
    pub fn text(&self, streams: u32, watched: usize, tasks: usize, is_store_up: bool) -> String {
        self.0.store_up.set(is_store_up.into());
        self.0.streams.set(streams.into());
        self.0.watched.set(i64::try_from(watched).unwrap_or(i64::MAX));
        self.0.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Encoding fails only at a metric without samples. What was encoded before stays.
        let _incomplete = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text);
        text
    }
}

fn with_process(registry: Registry) -> Registry {
    let registered = registry.register(Box::new(ProcessCollector::for_self()));
    debug_assert!(registered.is_ok());
    registry
}

fn name(metric: &str) -> String {
    format!("aforo_{metric}")
}

fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the name is valid");
    registry.register(Box::new(metric.clone())).expect("the name is unique");
    metric
}

fn counter(registry: &Registry, metric: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name(metric), help))
}

fn counters(registry: &Registry, metric: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name(metric), help), labels))
}

fn gauge(registry: &Registry, metric: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name(metric), help))
}

fn histogram(registry: &Registry, metric: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name(metric), help).buckets(buckets.to_vec())))
}
