//! Calls per second and per second of CPU time in a closed loop, with every store and on a bare axum server.

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    Result,
    calls::{Audience, Call},
    loops::{Outcome, Plan, Until, closed},
    meter::{Meter, Usage},
    redis::{Redis, Stats},
    report::{Figures, Report},
    target::{Running, Starter, Target},
};

/// The duration of the load before the measurement.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Rates {
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', default_values = ["memory", "redis", "cluster", "bare"])]
    targets: Vec<Name>,
    #[arg(long, default_value_t = 10_000)]
    viewers: u64,
    #[arg(long, default_value_t = 100)]
    channels: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Measured time for each kind of call
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// A server to measure, as a command-line value.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Name {
    Memory,
    Redis,
    Cluster,
    Bare,
}

impl From<Name> for Target {
    fn from(name: Name) -> Self {
        match name {
            Name::Memory => Self::Memory,
            Name::Redis => Self::Redis { nodes: 1 },
            Name::Cluster => Self::Cluster,
            Name::Bare => Self::Bare,
        }
    }
}

impl Rates {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        for _ in 0..self.rounds {
            for name in &self.targets {
                let mut running = starter.start((*name).into(), &[])?;
                for call in Call::ALL {
                    let figures = self.measure(&mut running, call)?;
                    report.add("rates", self.row(&running, call), figures)?;
                }
            }
        }
        Ok(())
    }

    fn row(&self, running: &Running, call: Call) -> String {
        let row = format!("{}: {}", running.target.name(), call.name());
        match self.channels {
            100 => row,
            1 => format!("{row}, 1 channel"),
            channels => format!("{row}, {channels} channels"),
        }
    }

    fn measure(&self, running: &mut Running, call: Call) -> Result<Figures> {
        let audience = Audience { viewers: self.viewers, channels: self.channels };
        let mut next = audience.round(call);
        let plan = Plan { addr: running.addr(), connections: self.connections, next: &mut next };
        let until = Until::Over { warm_up: WARM_UP, window: Duration::from_secs(self.seconds) };
        let meter = running.meter()?;
        let probe = || Probe::take(&meter, &mut running.stores);
        let (outcome, before, after) = closed(plan, until, probe)?;
        Ok(figures(&outcome.all_ok()?, &before, &after))
    }
}

struct Probe {
    usage: Usage,
    all_stats: Vec<Stats>,
}

impl Probe {
    fn take(meter: &Meter, stores: &mut [Redis]) -> Result<Self> {
        let all_stats = stores.iter_mut().map(Redis::stats).collect::<Result<_>>()?;
        Ok(Self { usage: meter.read()?, all_stats })
    }
}

fn figures(outcome: &Outcome, before: &Probe, after: &Probe) -> Figures {
    let usage = after.usage.since(&before.usage);
    let calls = outcome.times.len() as f64;
    let mut figures = vec![
        ("req/s", outcome.rate()),
        ("per CPU-s", calls / usage.served()),
        ("CPU-s per million", usage.served() * 1e6 / calls),
        ("p50 ms", outcome.time(0.5)),
        ("p99 ms", outcome.time(0.99)),
    ];
    if !after.all_stats.is_empty() {
        let redis_calls: u64 = after
            .all_stats
            .iter()
            .zip(&before.all_stats)
            .map(|(after, before)| after.calls_since(before))
            .sum();
        figures.push(("Redis calls per call", redis_calls as f64 / calls));
        figures.push(("of CPU in Redis", usage.store / usage.served()));
    }
    figures.push(("tool cores", usage.tool / outcome.seconds));
    figures.push(("others' cores", usage.others() / outcome.seconds));
    figures
}
