//! The time until counts are restored after Redis is emptied, while viewers send no heartbeats.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::{Audience, channel, get},
    crowd::{Crowd, Shape},
    process::ask,
    redis::Redis,
    report::{Report, number},
    target::{Starter, Target},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Wipe {
    #[arg(long, default_value_t = 100_000)]
    viewers: u64,
    #[arg(long, default_value_t = 100)]
    channels: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

impl Wipe {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let mut running = starter.start(Target::Redis { nodes: 1 }, &LONG_LEASES)?;
        fill(&running, Audience { viewers: self.viewers, channels: self.channels })?;
        let shape = Shape { streams: u32::try_from(self.channels)?, channels: self.channels, per_stream: 1 };
        let _crowd = Crowd::open(&running.nodes, shape)?;
        for round in 0..self.rounds {
            // Nodes check Redis at intervals. Each round begins at another point of the interval.
            sleep(Duration::from_secs(3) + Duration::from_millis(700) * round);
            let meter = running.meter()?;
            let usage = meter.read()?;
            running.redis()?.command::<()>(&["FLUSHALL"])?;
            let since = Instant::now();
            wait(since, || self.is_stored(running.redis()?))?;
            let stored = since.elapsed();
            let addr = running.addr();
            wait(since, || self.is_shown(&ask(addr, &self.request())?))?;
            let shown = since.elapsed();
            let usage = meter.read()?.since(&usage);
            let figures = vec![
                ("ms until shown", shown.as_secs_f64() * 1000.0),
                ("ms until stored", stored.as_secs_f64() * 1000.0),
                ("CPU-s", usage.served()),
            ];
            report.add("wipe", format!("{} viewers after FLUSHALL", number(self.viewers as f64)), figures)?;
        }
        Ok(())
    }

    /// Whether Redis has all viewers again. It asks Redis and not the node, since a request would trigger the recovery.
    fn is_stored(&self, redis: &mut Redis) -> Result<bool> {
        let mut viewers = 0;
        for key in redis.keys("*:viewers")? {
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

fn wait(since: Instant, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    while !condition()? {
        if since.elapsed() > PATIENCE {
            return Err("counts are not restored after a minute".into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
