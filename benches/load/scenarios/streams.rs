//! The cost of open streams: memory in a new process, and CPU time while nothing happens, including ticks.

use std::{thread::sleep, time::Duration};

use super::fanout::{CrowdArgs, crowds};
use crate::{
    Result,
    carried::{Carried, Carrier, Certificate},
    crowd::{Crowd, Shape},
    report::{Report, number},
    target::{Running, Starter},
};

#[derive(clap::Args)]
pub struct Streams {
    #[command(flatten)]
    crowd: CrowdArgs,
    /// Channels that the streams are spread over
    #[arg(long, default_value_t = 1)]
    channels: u64,
    /// What carries the streams. Other than plain: on one node, of one channel
    #[arg(long, value_enum, default_value = "plain")]
    over: Carrier,
    /// How long the streams are open. Streams get a tick after 25 s of silence
    #[arg(long, default_value_t = 25)]
    seconds: u64,
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

impl Streams {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let certificate = Certificate::make(&starter.scratch)?;
        let (cert, key) = (certificate.cert.to_string_lossy(), certificate.key.to_string_lossy());
        let tls = [("TLS_CERT", &*cert), ("TLS_KEY", &*key)];
        let settings = if self.over == Carrier::Tls { &tls[..] } else { &[] };
        for _ in 0..self.rounds {
            for (target, row) in crowds(&self.crowd) {
                let running = starter.start(target, settings)?;
                running.announce(self.channels)?;
                let empty = running.resident()?;
                let shape = Shape { streams: self.crowd.streams, channels: self.channels, per_stream: 1 };
                let mut meter = running.meter()?;
                let opening = meter.read()?;
                let crowd = self.open(&running, shape, &certificate)?;
                let opening = meter.read()?.since(&opening);
                sleep(Duration::from_secs(2));
                let full = running.resident()?;
                meter.helpers = crowd.pids();
                let before = meter.read()?;
                sleep(Duration::from_secs(self.seconds));
                let usage = meter.read()?.since(&before);
                let held = running.resident()?;
                let all = f64::from(shape.streams) * running.nodes.len() as f64;
                let seconds = self.seconds as f64;
                let figures = vec![
                    ("KB each", full.saturating_sub(empty) as f64 / all / 1000.0),
                    ("MB in all", full as f64 / 1e6),
                    ("MB when held", held as f64 / 1e6),
                    ("µs of CPU to open", opening.served() * 1e6 / all),
                    ("cores while quiet", usage.app / seconds),
                    ("tool cores", usage.tool / seconds),
                ];
                report.add("streams", self.row(row), figures)?;
            }
        }
        Ok(())
    }

    fn open(&self, running: &Running, shape: Shape, certificate: &Certificate) -> Result<Held> {
        Ok(match self.over {
            Carrier::Plain => Held::Crowd(Crowd::open(&running.nodes, shape)?),
            over => Held::Carried(Carried::open(running.addr(), shape.streams, over, &certificate.cert)?),
        })
    }

    fn row(&self, crowd: String) -> String {
        let crowd = format!("{crowd}{}", self.over.suffix());
        match self.channels {
            1 => crowd,
            channels => format!("{crowd} over {} channels", number(channels as f64)),
        }
    }
}

/// Open streams.
enum Held {
    Crowd(Crowd),
    Carried(Carried),
}

impl Held {
    /// The ids of the helper processes.
    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Crowd(crowd) => crowd.pids(),
            Self::Carried(carried) => vec![carried.pid()],
        }
    }
}
