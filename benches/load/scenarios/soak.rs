//! Whether everything is given back. Connections of all kinds are opened and end, well or not; then the server must hold
//! no more than before: descriptors, tasks, streams, connections to Redis, keys in Redis, memory.
//!
//! What it holds *before* is measured after a tenth as many connections, by which tables and the allocator have grown to
//! what so many at a time need; a leak grows with the number of all.

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

/// Connections at a time.
const AT_ONCE: u32 = 256;

/// Leases so short that they end while this looks on.
const SHORT_LEASES: [(&str, &str); 4] = [
    ("VIEWER_HEARTBEAT_INTERVAL", "1000"),
    ("VIEWER_TIMEOUT", "4"),
    ("VIEWER_HIDDEN_TIMEOUT", "4"),
    ("VIEWER_CLEANUP_INTERVAL", "2"),
];

/// How long the server may take until it is at rest: leases, clean-up and what Redis remembers of leaves are over in half
/// of that.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Soak {
    /// Connections that are opened and closed
    #[arg(long, env = "SOAK_CONNECTIONS", default_value_t = 100_000)]
    connections: u32,
    /// Channels that they are spread over
    #[arg(long, default_value_t = 1_000)]
    channels: u64,
}

/// What a server holds.
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

/// A kind of thing that is held.
struct Kind {
    name: &'static str,
    of: fn(&Held) -> f64,
    /// How many more than before are no leak.
    slack: f64,
}

/// Two connections may be those of whoever asks. Six megabytes are 60 bytes for each of 100,000 connections.
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
        let fresh = Held { megabytes: f64::MAX, redis_keys: 0.0, ..look(&mut running)? };
        let warm_up = self.connections / 10;
        self.load(&mut running, 0, warm_up)?;
        let (before, faults) = rest(&mut running, &fresh)?;
        if !faults.is_empty() {
            return Err(format!(
                "not given back after the first tenth: {}, {before:?}, {fresh:?}",
                faults.join(", ")
            )
            .into());
        }
        let since = Instant::now();
        let most = self.load(&mut running, warm_up, self.connections)?;
        let load = since.elapsed();
        let (after, faults) = rest(&mut running, &before)?;
        let settled = since.elapsed() - load;
        for kind in KINDS {
            let of = kind.of;
            let figures = vec![
                ("before", of(&before)),
                ("most", of(&most)),
                ("after", of(&after)),
                ("may be more by", kind.slack),
            ];
            report.add("soak", kind.name, figures)?;
        }
        eprintln!(
            "  {} connections in {:.0} s, {} at a time; at rest {:.0} s later",
            number(self.connections.into()),
            load.as_secs_f64(),
            AT_ONCE,
            settled.as_secs_f64()
        );
        if faults.is_empty() { Ok(()) } else { Err(format!("not given back: {}", faults.join(", ")).into()) }
    }

    /// Makes so many connections, numbered from `first` on; the most that the server held meanwhile.
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
                most = most.or_more(&look(running)?);
                thread::sleep(Duration::from_millis(250));
            }
            for visitor in visitors {
                visitor.join().map_err(|_| "a visitor has panicked")??;
            }
            Ok(most)
        })
    }
}

impl Held {
    fn or_more(&self, other: &Self) -> Self {
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

    /// What there is more of than before, and than is no leak.
    fn faults(&self, before: &Self) -> Vec<&'static str> {
        let is_more = |kind: &Kind| (kind.of)(self) > (kind.of)(before) + kind.slack;
        KINDS.iter().filter(|kind| is_more(kind)).map(|kind| kind.name).collect()
    }
}

/// Waits until a server holds no more than `before`, for as long as that may take. What it holds then, and what is too much.
fn rest(running: &mut Running, before: &Held) -> Result<(Held, Vec<&'static str>)> {
    let since = Instant::now();
    loop {
        let held = look(running)?;
        let faults = held.faults(before);
        if faults.is_empty() || since.elapsed() > PATIENCE {
            return Ok((held, faults));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn look(running: &mut Running) -> Result<Held> {
    let (addr, pid) = (running.addr(), running.nodes[0].pid());
    let metrics = metrics(addr)?;
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("{name} is not told"))
    };
    let redis = running.redis()?;
    let clients: String = redis.command(&["CLIENT", "LIST"])?;
    // Those of channels; the list of live channels is a few keys that stay for ten minutes.
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
    fn what_is_not_given_back_is_named() {
        let before =
            Held { descriptors: 20.0, tasks: 9.0, redis_clients: 2.0, megabytes: 30.0, ..Held::default() };
        assert!(before.faults(&before).is_empty());
        let after = Held { descriptors: 23.0, streams: 1.0, megabytes: 35.0, ..before };
        assert_eq!(after.faults(&before), ["open descriptors", "open streams"]);
        let grown = Held { megabytes: 37.0, redis_keys: 1.0, redis_clients: 3.0, ..before };
        assert_eq!(grown.faults(&before), ["clients of Redis", "channels' keys in Redis", "memory, MB"]);
    }
}
