//! Performance goals, for a machine with two processors that the server and the load tool share.

/// A figure and its bound.
pub struct Goal {
    pub scenario: &'static str,
    pub row: &'static str,
    pub column: &'static str,
    pub bound: Bound,
}

/// The bound of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    /// At least this share of the figure of another row in the same column.
    ShareOf(f64, &'static str),
    /// At most this multiple of the figure of another row in the same column.
    TimesOf(f64, &'static str),
}

use Bound::{AtMost, ShareOf, TimesOf};

const fn goal(scenario: &'static str, row: &'static str, column: &'static str, bound: Bound) -> Goal {
    Goal { scenario, row, column, bound }
}

/// All goals, by the names in the tables of the report. Where another server shows the limit, the goal is relative to it.
pub const GOALS: &[Goal] = &[
    goal("rates", "memory: join", "per CPU-s", ShareOf(0.9, "bare axum: join")),
    goal("rates", "memory: heartbeat", "per CPU-s", ShareOf(0.9, "bare axum: heartbeat")),
    goal("rates", "memory: count", "per CPU-s", ShareOf(0.95, "bare axum: count")),
    goal("rates", "Redis: join", "per CPU-s", ShareOf(0.5, "bare axum: join")),
    goal("rates", "Redis: heartbeat", "per CPU-s", ShareOf(0.5, "bare axum: heartbeat")),
    goal("rates", "Redis: count", "per CPU-s", ShareOf(0.9, "bare axum: count")),
    goal("rates", "Redis: heartbeat", "Redis calls per call", AtMost(0.125)),
    goal("rates", "cluster of 3: heartbeat", "per CPU-s", ShareOf(0.4, "bare axum: heartbeat")),
    goal("tickets", "join with HS256", "µs more", AtMost(60.0)),
    goal("tickets", "join with Ed25519", "µs more", AtMost(60.0)),
    goal("latency", "Redis: heartbeat at half of the peak", "p99 ms", AtMost(1.5)),
    goal("streams", "memory: 10,000", "KB each", AtMost(1.1)),
    goal("streams", "memory: 10,000 over TLS", "KB each", AtMost(5.0)),
    goal("streams", "memory: 10,000 over HTTP/2, 100 a connection", "KB each", AtMost(2.0)),
    goal("streams", "memory: 10,000", "cores while quiet", AtMost(0.01)),
    goal("streams", "memory: 18,000", "MB in all", AtMost(150.0)),
    goal("streams", "3 nodes, Redis: 16,700 each", "MB in all", AtMost(450.0)),
    goal("fan-out", "memory: 10,000", "µs of CPU per event", TimesOf(1.15, "raw sender: 10,000")),
    goal("fan-out", "memory: 10,000", "last, p99 ms", TimesOf(1.3, "raw sender: 10,000")),
    goal("fan-out", "memory: 18,000", "µs of CPU per event", TimesOf(1.15, "raw sender: 18,000")),
    goal("fan-out", "memory: 18,000", "last, p99 ms", TimesOf(1.3, "raw sender: 18,000")),
    goal("fan-out", "2 nodes, Redis: 15,000 each", "last after a node's first, p99 ms", AtMost(280.0)),
    goal("fan-out", "3 nodes, Redis: 16,700 each", "last after a node's first, p99 ms", AtMost(450.0)),
    goal("memory", "a viewer in Redis", "bytes", AtMost(160.0)),
    goal("large channel", "count of 1,000,000 viewers", "µs of Redis", AtMost(10.0)),
    goal("bulk", "10,000 counts in 10 calls", "ms", AtMost(15.0)),
    goal("quiet", "10,000 quiet channels watched", "Redis calls per s", AtMost(20.0)),
    goal("quiet", "10,000 quiet channels watched", "ms of Redis per s", AtMost(5.0)),
    goal("wipe", "100,000 viewers after FLUSHALL", "ms until shown", AtMost(4_000.0)),
    goal("wipe", "1,000,000 viewers of 2 nodes after FLUSHALL", "ms until shown", AtMost(5_000.0)),
    goal("wipe", "1,000,000 viewers of 2 nodes after FLUSHALL", "others' p99 ms", AtMost(50.0)),
    goal("history", "recording a heartbeat", "µs", AtMost(1.0)),
    goal("history", "recording a join", "µs", AtMost(1.0)),
    goal("history", "memory: 10,000 live channels", "% of a core", AtMost(3.0)),
    goal("history", "Redis: 10,000 live channels", "% of a core", AtMost(3.0)),
    goal("history", "chart of 30 days", "p50 ms", AtMost(50.0)),
];
