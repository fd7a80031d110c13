//! The load on Redis while many channels are watched and nothing happens.

use std::{thread::sleep, time::Duration};

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::Audience,
    crowd::{Crowd, Shape},
    report::{Report, number},
    target::{Starter, Target},
};

#[derive(clap::Args)]
pub struct Quiet {
    /// Watched channels, with one viewer each
    #[arg(long, default_value_t = 10_000)]
    channels: u64,
    /// Channels on each stream
    #[arg(long, default_value_t = 50)]
    per_stream: u64,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Quiet {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let mut running = starter.start(Target::Redis { nodes: 1 }, &LONG_LEASES)?;
        fill(&running, Audience { viewers: self.channels, channels: self.channels })?;
        let streams = u32::try_from(self.channels / self.per_stream)?;
        let _crowd = Crowd::open(
            &running.nodes,
            Shape { streams, channels: self.channels, per_stream: self.per_stream },
        )?;
        sleep(Duration::from_secs(3));
        let meter = running.meter()?;
        let (before, usage) = (running.redis()?.stats()?, meter.read()?);
        sleep(Duration::from_secs(self.seconds));
        let (after, usage) = (running.redis()?.stats()?, meter.read()?.since(&usage));
        let per_second = |amount: f64| amount / self.seconds as f64;
        let figures = vec![
            ("Redis calls per s", per_second(after.calls_since(&before) as f64)),
            ("ms of Redis per s", per_second((after.cpu - before.cpu) * 1000.0)),
            ("ms of the node per s", per_second(usage.app * 1000.0)),
        ];
        report.add("quiet", format!("{} quiet channels watched", number(self.channels as f64)), figures)
    }
}
