//! A test for leaks: opens and ends connections of all kinds, including broken ones. Afterwards, the server must not
//! use more descriptors, tasks, streams, connections to Redis, keys in Redis or memory than before.
//!
//! The baseline is measured after a warm-up with a tenth of the connections, in which tables and the allocator grow to
//! the size that the concurrency needs. A leak grows with the total number of connections.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    calls::{Audience, get},
    process::ask,
    procfs,
    report::{Report, number},
    target::{Running, Starter, Target},
    visit::Visit,
};

/// Concurrent connections.
const AT_ONCE: u32 = 256;

/// Short leases, so that they end during the test.
const SHORT_LEASES: [(&str, &str); 4] = [
    ("VIEWER_HEARTBEAT_INTERVAL", "1000"),
    ("VIEWER_TIMEOUT", "4"),
    ("VIEWER_HIDDEN_TIMEOUT", "4"),
    ("VIEWER_CLEANUP_INTERVAL", "2"),
];

/// The timeout for releasing everything. Leases, sweeps and the leave memory in Redis end within half of it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Soak {
    /// Connections that are opened and closed
    #[arg(long, env = "SOAK_CONNECTIONS", default_value_t = 100_000)]
    connections: u32,
    /// Channels that the connections are spread over
    #[arg(long, default_value_t = 1_000)]
    channels: u64,
}

/// The resources that a server uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Held {
    descriptors: f64,
    tasks: f64,
    streams: f64,
    watched: f64,
    redis_clients: f64,
    redis_keys: f64,
    megabytes: f64,
}

/// A kind of resource.
struct Kind {
    name: &'static str,
    of: fn(&Held) -> f64,
    /// The allowed increase.
    slack: f64,
}

/// Two connections may belong to the measurement itself. Six megabytes are 60 bytes for each of 100,000 connections.
const KINDS: [Kind; 7] = [
    Kind { name: "open descriptors", of: |held| held.descriptors, slack: 2.0 },
    Kind { name: "tasks", of: |held| held.tasks, slack: 2.0 },
    Kind { name: "open streams", of: |held| held.streams, slack: 0.0 },
    Kind { name: "channels watched", of: |held| held.watched, slack: 0.0 },
    Kind { name: "clients of Redis", of: |held| held.redis_clients, slack: 0.0 },
    Kind { name: "channels' keys in Redis", of: |held| held.redis_keys, slack: 0.0 },
    Kind { name: "memory, MB", of: |held| held.megabytes, slack: 6.0 },
];

impl Soak {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let mut running = starter.start(Target::Redis { nodes: 1 }, &SHORT_LEASES)?;
        let fresh = Held { megabytes: f64::MAX, redis_keys: 0.0, ..usage(&mut running)? };
        let warm_up = self.connections / 10;
        self.load(&mut running, 0, warm_up)?;
        let (before, leaks) = settle(&mut running, &fresh)?;
        if !leaks.is_empty() {
            return Err(format!(
                "not released after the warm-up: {}, {before:?}, {fresh:?}",
                leaks.join(", ")
            )
            .into());
        }
        let since = Instant::now();
        let peak = self.load(&mut running, warm_up, self.connections)?;
        let load = since.elapsed();
        let (after, leaks) = settle(&mut running, &before)?;
        let settled = since.elapsed() - load;
        for kind in KINDS {
            let of = kind.of;
            let figures = vec![
                ("before", of(&before)),
                ("peak", of(&peak)),
                ("after", of(&after)),
                ("allowed increase", kind.slack),
            ];
            report.add("soak", kind.name, figures)?;
        }
        eprintln!(
            "  {} connections in {:.0} s, {} at a time; everything released {:.0} s later",
            number(self.connections.into()),
            load.as_secs_f64(),
            AT_ONCE,
            settled.as_secs_f64()
        );
        if leaks.is_empty() { Ok(()) } else { Err(format!("not released: {}", leaks.join(", ")).into()) }
    }

    /// Opens and ends connections, numbered from `first` on. Returns the peak usage of the server.
    fn load(&self, running: &mut Running, first: u32, connections: u32) -> Result<Held> {
        let audience = Audience { viewers: u64::MAX, channels: self.channels };
        let (addr, next, is_over) = (running.addr(), AtomicU32::new(first), AtomicBool::new(false));
        let visits = || -> std::result::Result<(), String> {
            loop {
                let number = next.fetch_add(1, SeqCst);
                if number >= first + connections || is_over.load(SeqCst) {
                    return Ok(());
                }
                if let Err(error) = Visit::make(addr, number, audience) {
                    is_over.store(true, SeqCst);
                    return Err(error.to_string());
                }
            }
        };
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(visits)).collect();
            let mut most = Held::default();
            while visitors.iter().any(|visitor| !visitor.is_finished()) {
                most = most.max(&usage(running)?);
                thread::sleep(Duration::from_millis(250));
            }
            for visitor in visitors {
                visitor.join().map_err(|_| "a visitor thread panicked")??;
            }
            Ok(most)
        })
    }
}

impl Held {
    fn max(&self, other: &Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            tasks: self.tasks.max(other.tasks),
            streams: self.streams.max(other.streams),
            watched: self.watched.max(other.watched),
            redis_clients: self.redis_clients.max(other.redis_clients),
            redis_keys: self.redis_keys.max(other.redis_keys),
            megabytes: self.megabytes.max(other.megabytes),
        }
    }

    /// The kinds whose increase since `before` is larger than allowed.
    fn leaks(&self, before: &Self) -> Vec<&'static str> {
        let is_more = |kind: &Kind| (kind.of)(self) > (kind.of)(before) + kind.slack;
        KINDS.iter().filter(|kind| is_more(kind)).map(|kind| kind.name).collect()
    }
}

/// Waits until the usage of the server is back at `before`, or until a timeout. Returns the usage and the leaks.
fn settle(running: &mut Running, before: &Held) -> Result<(Held, Vec<&'static str>)> {
    let since = Instant::now();
    loop {
        let held = usage(running)?;
        let leaks = held.leaks(before);
        if leaks.is_empty() || since.elapsed() > PATIENCE {
            return Ok((held, leaks));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn usage(running: &mut Running) -> Result<Held> {
    let (addr, pid) = (running.addr(), running.nodes[0].pid());
    let metrics = metrics(addr)?;
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("missing metric {name}"))
    };
    let redis = running.redis()?;
    let clients: String = redis.command(&["CLIENT", "LIST"])?;
    // Only the keys of channels: the list of live channels has a few keys that expire after ten minutes.
    let keys = redis.keys("*{channel-*")?;
    Ok(Held {
        descriptors: procfs::descriptors(pid)? as f64,
        tasks: metric("aforo_tasks")?,
        streams: metric("aforo_streams_open")?,
        watched: metric("aforo_channels_watched")?,
        redis_clients: clients.lines().count() as f64,
        redis_keys: keys.len() as f64,
        megabytes: procfs::resident(pid)? as f64 / 1e6,
    })
}

fn metrics(addr: SocketAddr) -> Result<String> {
    Ok(String::from_utf8(ask(addr, &get("/metrics"))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_are_named() {
        let before =
            Held { descriptors: 20.0, tasks: 9.0, redis_clients: 2.0, megabytes: 30.0, ..Held::default() };
        assert!(before.leaks(&before).is_empty());
        let after = Held { descriptors: 23.0, streams: 1.0, megabytes: 35.0, ..before };
        assert_eq!(after.leaks(&before), ["open descriptors", "open streams"]);
        let grown = Held { megabytes: 37.0, redis_keys: 1.0, redis_clients: 3.0, ..before };
        assert_eq!(grown.leaks(&before), ["clients of Redis", "channels' keys in Redis", "memory, MB"]);
    }
}
