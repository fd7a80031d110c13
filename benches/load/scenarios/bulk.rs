//! The counts of many channels, with requests for many channels at once.

use std::time::Instant;

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::{Audience, channel, get},
    loops::{Plan, Until, closed},
    report::{Report, number},
    target::{Starter, Target},
};

/// The maximum number of channels in one request.
const PER_CALL: u64 = 1_000;

#[derive(clap::Args)]
pub struct Bulk {
    /// Channels, with one viewer each
    #[arg(long, default_value_t = 10_000)]
    channels: u64,
    #[arg(long, default_value_t = 15)]
    rounds: u64,
}

impl Bulk {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let calls = self.channels.div_ceil(PER_CALL);
        let requests: Vec<_> = (0..calls)
            .map(|call| {
                let names = (call * PER_CALL..self.channels.min((call + 1) * PER_CALL)).map(channel);
                get(&format!("/api/viewer/counts?channels={}", names.collect::<Vec<_>>().join(",")))
            })
            .collect();
        let row = format!("{} counts in {calls} calls", number(self.channels as f64));
        let running = starter.start(Target::Redis { nodes: 1 }, &LONG_LEASES)?;
        fill(&running, Audience { viewers: self.channels, channels: self.channels })?;
        for round in 0..=self.rounds {
            for (row, connections) in [(row.clone(), 1), (format!("{row} at once"), calls)] {
                let mut at = 0;
                let mut next = || {
                    at += 1;
                    requests[at - 1].clone()
                };
                let plan = Plan {
                    addr: running.addr(),
                    connections: usize::try_from(connections)?,
                    next: &mut next,
                };
                let clock = || Ok(Instant::now());
                let (outcome, start, end) = closed(plan, Until::Calls(calls), clock)?;
                outcome.all_ok()?;
                // The first round is a warm-up.
                if round > 0 {
                    report.add("bulk", row, vec![("ms", (end - start).as_secs_f64() * 1000.0)])?;
                }
            }
        }
        Ok(())
    }
}
