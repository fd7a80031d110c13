//! Memory in Redis per viewer: a channel with one session per viewer and some remembered leaves, compared with a plain
//! sorted set of the same viewers with 36-character ids.

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::{Audience, Call, uuid},
    loops::{Plan, Until, closed},
    report::Report,
    target::{Starter, Target},
};

#[derive(clap::Args)]
pub struct Memory {
    /// Viewers in the channel
    #[arg(long, default_value_t = 10_000)]
    viewers: u64,
    /// Additional sessions that have left
    #[arg(long, default_value_t = 1_000)]
    leaves: u64,
}

impl Memory {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let mut running = starter.start(Target::Redis { nodes: 1 }, &LONG_LEASES)?;
        let everyone = Audience { viewers: self.viewers + self.leaves, channels: 1 };
        fill(&running, everyone)?;
        let leavers = Audience { viewers: self.leaves, channels: 1 };
        let mut next = leavers.once(Call::Leave);
        let plan = Plan { addr: running.addr(), connections: 32, next: &mut next };
        closed(plan, Until::Calls(self.leaves), || Ok(()))?.0.all_ok()?;

        let redis = running.redis()?;
        let (mut bytes, mut parts) = (0, Vec::new());
        for key in redis.keys("*{channel-0}*")? {
            let part = redis.memory_of(&key)?;
            bytes += part;
            let name = String::from_utf8_lossy(&key).rsplit(':').next().unwrap_or_default().to_owned();
            parts.push((format!("of it {name}"), part));
        }
        parts.sort();
        let mut plain = redis::pipe();
        for viewer in self.leaves..everyone.viewers {
            plain.zadd("plain", uuid(4, viewer), 1_764_000_000_000_u64 + viewer);
        }
        redis.pipeline(&plain)?;
        let plain = redis.memory_of(b"plain")?;
        let per_viewer = |bytes: u64| vec![("bytes", bytes as f64 / self.viewers as f64)];
        report.add("memory", "a viewer in Redis", per_viewer(bytes))?;
        for (name, part) in parts {
            report.add("memory", name, per_viewer(part))?;
        }
        report.add("memory", "the same, plain ZADD", per_viewer(plain))
    }
}
