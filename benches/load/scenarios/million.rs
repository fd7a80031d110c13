//! The cost of a count in a large and in a small channel, and the memory of a node per viewer.

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::{Audience, Call, channel, get},
    loops::{Plan, Until, closed},
    process::ask,
    redis::Stats,
    report::{Figures, Report, number},
    target::{Running, Starter, Target},
    wire,
};

#[derive(clap::Args)]
pub struct Million {
    /// Viewers of the large channel
    #[arg(long, default_value_t = 1_000_000)]
    viewers: u64,
    /// Viewers of the small channel
    #[arg(long, default_value_t = 1_000)]
    few: u64,
    /// Number of counts to read from each channel
    #[arg(long, default_value_t = 20_000)]
    reads: u64,
}

impl Million {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        for viewers in [self.few, self.viewers] {
            let mut running = starter.start(Target::Redis { nodes: 1 }, &LONG_LEASES)?;
            let before = running.resident()?;
            let outcome = fill(&running, Audience { viewers, channels: 1 })?;
            let grown = running.resident()?.saturating_sub(before) as f64;
            let shown = ask(running.addr(), &get(&format!("/api/viewer/count/{}", channel(0))))?;
            if wire::count(&shown) != Some(viewers) {
                return Err(
                    format!("wrong count of {viewers} viewers: {}", String::from_utf8_lossy(&shown)).into()
                );
            }
            let name = format!("count of {} viewers", number(viewers as f64));
            let reads = self.read(&mut running)?;
            report.add("large channel", name, reads)?;
            if viewers == self.viewers {
                let beats = self.beat(&mut running)?;
                report.add(
                    "large channel",
                    format!("beat among {} viewers", number(viewers as f64)),
                    beats,
                )?;
                let filled = vec![("joins per s", outcome.rate()), ("bytes", grown / viewers as f64)];
                report.add("large channel", "joins; memory of the node per viewer", filled)?;
            }
        }
        Ok(())
    }

    fn read(&self, running: &mut Running) -> Result<Figures> {
        calls(running, self.reads, &mut || Audience { viewers: 1, channels: 1 }.request(Call::Count, 0))
    }

    fn beat(&self, running: &mut Running) -> Result<Figures> {
        let audience = Audience { viewers: self.viewers, channels: 1 };
        let mut next = 0;
        let mut beat = || {
            next += 7_919;
            audience.request(Call::Heartbeat, next % self.viewers)
        };
        calls(running, self.reads, &mut beat)
    }
}

/// One call after the other, so that each call is a separate call to Redis.
fn calls(running: &mut Running, calls: u64, next: &mut dyn FnMut() -> Vec<u8>) -> Result<Figures> {
    let plan = Plan { addr: running.addr(), connections: 1, next };
    let mut stats = || running.redis()?.stats();
    let (outcome, before, after): (_, Stats, Stats) = closed(plan, Until::Calls(calls), &mut stats)?;
    outcome.all_ok()?;
    let scripts = (after.scripts - before.scripts).max(1) as f64;
    Ok(vec![
        ("µs of Redis", (after.script_time - before.script_time) * 1e6 / scripts),
        ("with its network", (after.cpu - before.cpu) * 1e6 / scripts),
    ])
}
