//! The time from a beat to the last of many streams of its channel.

use std::{thread::sleep, time::Duration};

use clap::ValueEnum;

use crate::{
    Result,
    calls::{Audience, Call, channel, post},
    crowd::{Crowd, Receipts, Shape},
    meter::Usage,
    nchan,
    process::ask,
    report::{Figures, Report, number},
    stats::percentile,
    target::{Running, Starter, Target},
};

/// A short update interval, so that many changes can be measured.
const SHORT_INTERVAL: [(&str, &str); 1] = [("VIEWER_COUNT_UPDATE_INTERVAL", "500")];

/// The time between two changes, longer than the update interval.
const GAP: Duration = Duration::from_millis(700);

#[derive(clap::Args)]
pub struct CrowdArgs {
    /// Servers to measure
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', default_values = ["memory", "raw", "bare", "nchan"])]
    pub targets: Vec<Name>,
    /// Streams on each node
    #[arg(long, default_value_t = 10_000)]
    pub streams: u32,
    /// Nodes with one Redis, or workers of Nchan
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
}

/// A server to measure, as a command-line value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Memory,
    Redis,
    Raw,
    Bare,
    Nchan,
}

/// The targets and the names of their rows.
pub fn crowds(args: &CrowdArgs) -> Vec<(Target, String)> {
    let mut crowds = Vec::new();
    for name in &args.targets {
        let target = match name {
            Name::Memory => Target::Memory,
            Name::Redis => Target::Redis { nodes: args.nodes },
            Name::Raw => Target::Raw,
            Name::Bare => Target::Bare,
            Name::Nchan if nchan::module().is_none() => {
                eprintln!("  Nchan is skipped: it is not installed (Debian: nginx and libnginx-mod-nchan)");
                continue;
            }
            Name::Nchan => Target::Nchan { workers: args.nodes },
        };
        let each = if args.nodes > 1 { " each" } else { "" };
        crowds.push((target, format!("{}: {}{each}", target.name(), number(args.streams.into()))));
    }
    crowds
}

#[derive(clap::Args)]
pub struct Fanout {
    #[command(flatten)]
    crowd: CrowdArgs,
    /// Changes that are timed
    #[arg(long, default_value_t = 20)]
    changes: u64,
}

impl Fanout {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        for (target, row) in crowds(&self.crowd) {
            let running = starter.start(target, &SHORT_INTERVAL)?;
            let shape = Shape { streams: self.crowd.streams, channels: 1, per_stream: 1 };
            let mut crowd = Crowd::open(&running.nodes, shape)?;
            let mut meter = running.meter()?;
            meter.helpers = crowd.pids();
            sleep(Duration::from_secs(1));
            let mut receipts = Vec::new();
            let before = meter.read()?;
            for count in 1..=self.changes {
                receipts.push(crowd.await_count(count, || trigger(&running, count))?);
                sleep(GAP);
            }
            let usage = meter.read()?.since(&before);
            report.add("fan-out", row, figures(&receipts, &usage)?)?;
        }
        Ok(())
    }
}

/// Changes the count of the first channel to `count`.
fn trigger(running: &Running, count: u64) -> Result<()> {
    let request = match running.target {
        Target::Nchan { .. } => nchan::publication(&channel(0), count),
        Target::Bare | Target::Raw => post("/publish", "{}"),
        Target::Memory | Target::Redis { .. } | Target::Cluster => {
            Audience { viewers: count + 1, channels: 1 }.request(Call::Join, count)
        }
    };
    ask(running.addr(), &request)?;
    Ok(())
}

fn figures(changes: &[Vec<Receipts>], usage: &Usage) -> Result<Figures> {
    let missed: usize = changes.iter().flatten().map(|node| node.missed).sum();
    if missed > 0 {
        return Err(format!("{missed} events were not delivered").into());
    }
    let events: usize = changes.iter().flatten().map(|node| node.times.len()).sum();
    let last = |node: &Receipts| node.times.last().copied().unwrap_or(0.0);
    let first = |node: &Receipts| node.times.first().copied().unwrap_or(0.0);
    let of_all = |pick: &dyn Fn(&[Receipts]) -> f64| -> Vec<f64> {
        let mut picked: Vec<f64> = changes.iter().map(|nodes| pick(nodes)).collect();
        picked.sort_by(f64::total_cmp);
        picked
    };
    let own_first = of_all(&|nodes| nodes.iter().map(first).fold(f64::INFINITY, f64::min));
    let all_last = of_all(&|nodes| nodes.iter().map(last).fold(0.0, f64::max));
    let spans = of_all(&|nodes| nodes.iter().map(|node| last(node) - first(node)).fold(0.0, f64::max));
    let of = |sorted: &[f64], share| percentile(sorted, share).unwrap_or(0.0);
    let mut figures = vec![
        ("first, p50 ms", of(&own_first, 0.5)),
        ("last, p50 ms", of(&all_last, 0.5)),
        ("last, p99 ms", of(&all_last, 0.99)),
        ("last after a node's first, p99 ms", of(&spans, 0.99)),
        ("µs of CPU per event", usage.served() * 1e6 / events as f64),
        ("tool's µs per event", usage.tool * 1e6 / events as f64),
        ("others' CPU-s", usage.others()),
    ];
    if changes.first().is_none_or(|nodes| nodes.len() == 1) {
        figures.retain(|(name, _)| !name.starts_with("last after"));
    }
    Ok(figures)
}
