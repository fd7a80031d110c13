//! The cost of history: of recording a beat, of recording many live channels, of a day in the database, and of a chart.
//!
//! Beats and days are measured inside this process, with the recorder of the server and a clock that is advanced.

use std::{fs, path::Path, sync::Arc, thread::sleep, time::Duration};

use aforo::{
    domain::{Count, Policy, SessionKey, Timestamp},
    server::{
        clock::{Clock, ManualClock, SystemClock},
        config::DatabaseConfig,
        database::{Archive, Database, Retention},
        history::Place,
        presence::Observer,
        recording::{Recorder, Shareholder, simulated::SimulatedNode},
        store::MemoryStore,
    },
};
use tokio::runtime::Builder;

use super::{LONG_LEASES, fill};
use crate::{
    Result,
    calls::{Audience, channel, get, uuid},
    loops::{Plan, Until, closed},
    procfs,
    report::{Report, number},
    target::{Starter, Target},
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The viewers of each channel in a simulated day.
const VIEWERS: u64 = 20;

#[derive(clap::Args)]
pub struct History {
    /// Channels that are recorded at the same time by one node
    #[arg(long, default_value_t = 10_000)]
    live: u64,
    /// How long their recording is measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Channels that are live for a day
    #[arg(long, default_value_t = 1_000)]
    channels: u64,
    /// The simulated part of that day. The rest is extrapolated
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// The days of a chart
    #[arg(long, default_value_t = 30)]
    days: u32,
}

impl History {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        beats(report)?;
        for target in [Target::Memory, Target::Redis { nodes: 1 }] {
            self.live(target, starter, report)?;
        }
        self.day(starter, report)?;
        self.chart(starter, report)
    }

    /// The time that a node needs to record live channels in which nothing happens.
    fn live(&self, target: Target, starter: &Starter, report: &mut Report) -> Result<()> {
        let running = starter.start(target, &LONG_LEASES)?;
        let row = format!("{}: {} live channels", target.name(), number(self.live as f64));
        fill(&running, Audience { viewers: self.live, channels: self.live })?;
        // The first rows have been inserted. From now on they are updated.
        sleep(10 * SECOND);
        let meter = running.meter()?;
        let before = meter.read()?;
        sleep(Duration::from_secs(self.seconds));
        let usage = meter.read()?.since(&before);
        let percent = |cpu: f64| 100.0 * cpu / self.seconds as f64;
        let figures = vec![("% of a core", percent(usage.app)), ("% of Redis", percent(usage.store))];
        report.add("history", row, figures)
    }

    /// The size of a day in the database.
    fn day(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let file = starter.scratch.path("day.db");
        let from = SystemClock::start().now() - DAY;
        let simulated = Duration::from_secs(3_600) * self.hours;
        run(simulate(&file, self.channels, from, from + simulated))?;
        let empty = starter.scratch.path("empty.db");
        run(simulate(&empty, 0, from, from))?;
        let megabytes = (size(&file)? - size(&empty)?) as f64 / 1e6 * 24.0 / f64::from(self.hours);
        report.add(
            "history",
            format!("a day of {} channels", number(self.channels as f64)),
            vec![("MB", megabytes)],
        )
    }

    /// The time of a chart of many days.
    fn chart(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let file = starter.scratch.path("days.db");
        let now = SystemClock::start().now();
        let from = now - DAY * self.days;
        run(simulate(&file, 5, from, now))?;
        let url = format!("sqlite:{}", file.display());
        let running = starter.start(Target::Memory, &[("DATABASE_URL", &url), ("STATS", "public")])?;
        let name = channel(3);
        let range = format!("from={}&to={}", from.as_millis(), now.as_millis());
        for (row, path) in [
            ("chart", format!("/api/channel/{name}/history?{range}")),
            ("figures", format!("/api/channel/{name}/summary?range=30d")),
            ("page", format!("/{name}/stats?range=30d")),
        ] {
            let plan = Plan { addr: running.addr(), connections: 1, next: &mut || get(&path) };
            let (outcome, (), ()) = closed(plan, Until::Calls(100), || Ok(()))?;
            let outcome = outcome.all_ok()?;
            let figures = vec![("p50 ms", outcome.time(0.5)), ("p99 ms", outcome.time(0.99))];
            report.add("history", format!("{row} of {} days", self.days), figures)?;
        }
        Ok(())
    }
}

/// Runs a task to its end.
fn run(task: impl Future<Output = Result<()>>) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(task)
}

/// The time to record a beat, without the store and the network.
fn beats(report: &mut Report) -> Result<()> {
    const BEATS: u64 = 2_000_000;
    let audience = Audience { viewers: 10_000, channels: 100 };
    let viewers: Vec<_> =
        (0..audience.viewers).map(|viewer| who(viewer % audience.channels, viewer)).collect::<Result<_>>()?;
    let start = SystemClock::start().now();
    let clock = Arc::new(ManualClock::new(start));
    let store = Arc::new(MemoryStore::new(clock.clone(), Policy::default().lease_rules()));
    let recorder = Recorder::new(1, Duration::ZERO, clock);
    recorder.set_key(viewers[0].viewer.uuid());
    let shareholder = Shareholder { store, node: 1, database: None };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(shareholder.renew(recorder.ownership()))?;
    for (row, is_join) in [("recording a join", true), ("recording a heartbeat", false)] {
        let mut cpu = 0.0;
        for part in 0..20 {
            // The lease is of real time.
            runtime.block_on(shareholder.renew(recorder.ownership()))?;
            let before = procfs::cpu_of(std::process::id())?;
            for nth in part * BEATS / 20..(part + 1) * BEATS / 20 {
                let who = &viewers[usize::try_from(nth % audience.viewers)?];
                // 20,000 beats a second.
                let at = start + Duration::from_micros(50 * nth);
                recorder.wrote(&who.channel, Some(who.viewer), Count::fresh(100, at));
                if is_join {
                    recorder.joined(&who.channel, who.viewer, Place::Site, Some(true), Count::fresh(100, at));
                }
            }
            cpu += procfs::cpu_of(std::process::id())? - before;
            // As the writer does.
            drop(recorder.take(false));
        }
        report.add("history", row, vec![("µs", cpu * 1e6 / BEATS as f64)])?;
    }
    Ok(())
}

/// Simulates channels that are live from one instant to another. In each of them somebody comes or goes every 15 seconds.
async fn simulate(file: &Path, channels: u64, from: Timestamp, to: Timestamp) -> Result<()> {
    let policy = Policy { timeout: 100 * DAY, hidden_timeout: 100 * DAY, ..Policy::default() };
    let database = Database::open(&DatabaseConfig::Sqlite(file.to_owned())).await?;
    let node = SimulatedNode::new(&database, policy, from, 60 * SECOND);
    for number in 0..channels {
        for viewer in 0..VIEWERS {
            node.join(&who(number, number * VIEWERS + viewer)?, Place::Site).await?;
        }
    }
    let mut next = channels * VIEWERS;
    let mut guests: Vec<Option<SessionKey>> = (0..channels).map(|_| None).collect();
    for second in 1_u32.. {
        let now = from + second * SECOND;
        if now > to {
            break;
        }
        node.advance_to(now).await?;
        for (number, guest) in (0..).zip(&mut guests).skip(second as usize % 15).step_by(15) {
            match guest.take() {
                Some(guest) => node.leave(&guest).await?,
                None => {
                    let new = who(number, next)?;
                    next += 1;
                    node.join(&new, Place::Embed("news.example")).await?;
                    *guest = Some(new);
                }
            }
        }
    }
    node.finish().await?;
    let archive = Archive::new(database.clone());
    let mut cleaned = String::new();
    while let Some(last) = archive.clean(&cleaned, Retention::days(None), node.now()).await? {
        cleaned = last;
    }
    database.close().await;
    Ok(())
}

/// A viewer of a channel.
fn who(number: u64, viewer: u64) -> Result<SessionKey> {
    let (viewer, session) = (uuid(4, viewer), uuid(5, viewer));
    Ok(SessionKey::parse(&channel(number), &viewer, Some(&session))?)
}

/// The bytes of a database with its log.
fn size(file: &Path) -> Result<u64> {
    let log = file.with_extension("db-wal");
    Ok(fs::metadata(file)?.len() + fs::metadata(log).map_or(0, |log| log.len()))
}
