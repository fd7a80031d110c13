//! The latency of heartbeats with Redis at a steady rate, and of a bare axum server. The default rate is half of the
//! peak rate, which is measured first.

use std::time::Duration;

use crate::{
    Result,
    calls::{Audience, Call},
    loops::{Plan, Until, closed, open},
    report::Report,
    target::{Running, Starter, Target},
};

#[derive(clap::Args)]
pub struct Latency {
    /// Heartbeats per second
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 10_000)]
    viewers: u64,
    #[arg(long, default_value_t = 100)]
    channels: u64,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

impl Latency {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        for _ in 0..self.rounds {
            for target in [Target::Redis { nodes: 1 }, Target::Bare] {
                let running = starter.start(target, &[])?;
                let audience = Audience { viewers: self.viewers, channels: self.channels };
                let mut next = audience.round(Call::Heartbeat);
                let warm_up = Duration::from_secs(1);
                let rate = match self.rate {
                    Some(rate) => rate,
                    None => {
                        let until = Until::Over { warm_up, window: Duration::from_secs(2) };
                        closed(self.plan(&running, &mut next), until, || Ok(()))?.0.all_ok()?.rate() / 2.0
                    }
                };
                let meter = running.meter()?;
                let before = meter.read()?;
                let window = Duration::from_secs(self.seconds);
                let outcome = open(self.plan(&running, &mut next), rate, warm_up, window)?.all_ok()?;
                let usage = meter.read()?.since(&before);
                let seconds = (warm_up + window).as_secs_f64();
                let pace = if self.rate.is_some() { "at the given rate" } else { "at half of the peak" };
                let figures = vec![
                    ("per s", rate),
                    ("p50 ms", outcome.time(0.5)),
                    ("p99 ms", outcome.time(0.99)),
                    ("p99.9 ms", outcome.time(0.999)),
                    ("tool cores", usage.tool / seconds),
                    ("others' cores", usage.others() / seconds),
                ];
                report.add("latency", format!("{}: heartbeat {pace}", target.name()), figures)?;
            }
        }
        Ok(())
    }

    fn plan<'a>(&self, running: &Running, next: &'a mut dyn FnMut() -> Vec<u8>) -> Plan<'a> {
        Plan { addr: running.addr(), connections: self.connections, next }
    }
}
