//! The time until counts are restored after Redis is emptied, while viewers send no heartbeats, and how long heartbeats
//! in other channels take meanwhile.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use super::LONG_LEASES;
use crate::{
    Result,
    calls::{Audience, Call, channel, get, post, uuid},
    crowd::{Crowd, Shape},
    loops::{Outcome, Plan, Until, closed, open},
    process::ask,
    redis::Redis,
    report::{Report, number},
    target::{Starter, Target},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The heartbeats in other channels, per second.
const OTHER_RATE: f64 = 200.0;

/// The number of other channels, with a viewer each.
const OTHERS: u64 = 20;

#[derive(clap::Args)]
pub struct Wipe {
    #[arg(long, default_value_t = 100_000)]
    viewers: u64,
    #[arg(long, default_value_t = 100)]
    channels: u64,
    /// Nodes with one Redis
    #[arg(long, default_value_t = 1)]
    nodes: u64,
    /// The viewers of the first node, in percent. The other nodes have equally many
    #[arg(long)]
    first: Option<u64>,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

impl Wipe {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let nodes = usize::try_from(self.nodes)?;
        let mut running = starter.start(Target::Redis { nodes }, &LONG_LEASES)?;
        let addrs: Vec<SocketAddr> = running.nodes.iter().map(|node| node.addr).collect();
        for (node, addr) in (0..).zip(&addrs) {
            self.fill(*addr, self.share(node))?;
        }
        let shape = Shape { streams: u32::try_from(self.channels)?, channels: self.channels, per_stream: 1 };
        let _crowd = Crowd::open(&running.nodes, shape)?;
        let last = *addrs.last().ok_or("no node")?;
        // The first heartbeats create the sessions.
        heartbeats(last, Duration::from_secs(1))?;
        for round in 0..self.rounds {
            // Nodes check Redis at intervals. Each round begins at another point of the interval.
            sleep(Duration::from_secs(3) + Duration::from_millis(700) * round);
            let meter = running.meter()?;
            let usage = meter.read()?;
            let is_over = AtomicBool::new(false);
            let redis = running.redis()?;
            let (stored, shown, others) = thread::scope(|scope| -> Result<_> {
                let others =
                    scope.spawn(|| heartbeats_until(last, &is_over).map_err(|error| error.to_string()));
                let times = self.recover(redis, &addrs);
                is_over.store(true, SeqCst);
                let others = others.join().map_err(|_| "the loop of heartbeats has panicked")??;
                let (stored, shown) = times?;
                Ok((stored, shown, others))
            })?;
            let usage = meter.read()?.since(&usage);
            let figures = vec![
                ("ms until shown", shown.as_secs_f64() * 1000.0),
                ("ms until stored", stored.as_secs_f64() * 1000.0),
                ("others' p50 ms", others.time(0.5)),
                ("others' p99 ms", others.time(0.99)),
                ("CPU-s", usage.served()),
            ];
            report.add("wipe", self.row(), figures)?;
        }
        Ok(())
    }

    fn row(&self) -> String {
        let nodes = match (self.nodes, self.first) {
            (1, _) => String::new(),
            (nodes, None) => format!(" of {nodes} nodes"),
            (nodes, Some(first)) => format!(" of {nodes} nodes, {first} % on the first"),
        };
        format!("{} viewers{nodes} after FLUSHALL", number(self.viewers as f64))
    }

    /// The viewers of a node.
    fn share(&self, node: u64) -> Range<u64> {
        let first = match self.first {
            Some(percent) if self.nodes > 1 => self.viewers * percent / 100,
            _ => self.viewers / self.nodes,
        };
        let others = (self.viewers - first) / (self.nodes - 1).max(1);
        match node {
            0 => 0..if self.nodes == 1 { self.viewers } else { first },
            node if node + 1 == self.nodes => first + (node - 1) * others..self.viewers,
            node => first + (node - 1) * others..first + node * others,
        }
    }

    /// Sends the joins of some viewers at full speed.
    fn fill(&self, addr: SocketAddr, viewers: Range<u64>) -> Result<()> {
        let audience = Audience { viewers: self.viewers, channels: self.channels };
        let (calls, mut left) = (viewers.end - viewers.start, viewers);
        let next = &mut || audience.request(Call::Join, left.next().unwrap_or_default());
        let (outcome, (), ()) = closed(Plan { addr, connections: 64, next }, Until::Calls(calls), || Ok(()))?;
        outcome.all_ok().map(drop)
    }

    /// Empties Redis. Returns the times until it has all viewers again, and until all nodes show them.
    fn recover(&self, redis: &mut Redis, nodes: &[SocketAddr]) -> Result<(Duration, Duration)> {
        redis.command::<()>(&["FLUSHALL", "ASYNC"])?;
        let since = Instant::now();
        wait(since, || self.is_stored(redis))?;
        let stored = since.elapsed();
        for addr in nodes {
            wait(since, || self.is_shown(&ask(*addr, &self.request())?))?;
        }
        Ok((stored, since.elapsed()))
    }

    /// Whether Redis has all viewers again. It asks Redis and not the node, since a request would trigger the recovery.
    fn is_stored(&self, redis: &mut Redis) -> Result<bool> {
        let mut viewers = 0;
        for key in redis.keys("*{channel-*}:viewers")? {
            viewers += redis.size_of(&key)?;
        }
        Ok(viewers >= self.viewers)
    }

    fn request(&self) -> Vec<u8> {
        let names: Vec<_> = (0..self.channels).map(channel).collect();
        get(&format!("/api/viewer/counts?channels={}", names.join(",")))
    }

    fn is_shown(&self, answer: &[u8]) -> Result<bool> {
        let start = answer.iter().position(|byte| *byte == b'{').ok_or("no counts")?;
        let counts: serde_json::Value = serde_json::from_slice(&answer[start..])?;
        let counts = counts["counts"].as_array().ok_or("no counts")?;
        let fresh = counts.iter().filter(|count| count["stale"] == false);
        Ok(fresh.filter_map(|count| count["count"].as_u64()).sum::<u64>() == self.viewers)
    }
}

/// Sends heartbeats in other channels until `is_over` is set.
fn heartbeats_until(addr: SocketAddr, is_over: &AtomicBool) -> Result<Outcome> {
    let mut all = Outcome::default();
    while !is_over.load(SeqCst) {
        let some = heartbeats(addr, Duration::from_millis(250))?;
        all.times.extend(some.times);
        all.seconds += some.seconds;
    }
    all.times.sort_unstable();
    Ok(all)
}

/// Sends heartbeats in other channels for a while, at a fixed rate.
fn heartbeats(addr: SocketAddr, window: Duration) -> Result<Outcome> {
    let mut viewers = (0..OTHERS).cycle();
    let next = &mut || {
        let other = viewers.next().unwrap_or_default();
        let (viewer, session) = (uuid(6, other), uuid(7, other));
        let body =
            format!(r#"{{"channelId":"other-{other}","viewerId":"{viewer}","sessionId":"{session}"}}"#);
        post("/api/viewer/heartbeat", &body)
    };
    open(Plan { addr, connections: 16, next }, OTHER_RATE, Duration::ZERO, window)?.all_ok()
}

fn wait(since: Instant, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    while !condition()? {
        if since.elapsed() > PATIENCE {
            return Err("counts are not restored after a minute".into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_viewer_is_on_one_node() {
        for (nodes, first) in [(1, None), (1, Some(90)), (2, None), (2, Some(90)), (3, None), (4, Some(1))] {
            let wipe = Wipe { viewers: 1_001, channels: 10, nodes, first, rounds: 1 };
            let all: Vec<u64> = (0..nodes).flat_map(|node| wipe.share(node)).collect();
            assert_eq!(all, (0..1_001).collect::<Vec<_>>(), "{nodes} nodes, first {first:?}");
        }
        let unequal = Wipe { viewers: 1_000, channels: 10, nodes: 3, first: Some(90), rounds: 1 };
        assert_eq!(unequal.share(0), 0..900);
        assert_eq!(unequal.share(2), 950..1_000);
    }
}
