//! The performance of Redis alone on this machine: `redis-benchmark` with ZADD.

use std::process::Command;

use crate::{Result, redis::Redis, report::Report, target::Starter};

#[derive(clap::Args)]
pub struct RedisAlone {
    #[arg(long, default_value_t = 200_000)]
    calls: u32,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

impl RedisAlone {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        for _ in 0..self.rounds {
            for depth in [1, 16] {
                let mut redis = Redis::start(&starter.scratch, &[])?;
                let calls = self.calls * if depth == 1 { 1 } else { 4 };
                let before = redis.stats()?;
                let mut benchmark = Command::new("redis-benchmark");
                benchmark.args(["-h", "127.0.0.1", "-p", &redis.port().to_string(), "-c", "32", "--csv"]);
                benchmark.args(["-P", &depth.to_string(), "-n", &calls.to_string(), "-r", "10000"]);
                benchmark.args(["ZADD", "viewers", "__rand_int__", "viewer:__rand_int__"]);
                let output = benchmark.output()?;
                let line = String::from_utf8_lossy(&output.stdout);
                let rate = line.lines().last().and_then(|line| line.split(',').nth(1));
                let rate = rate.and_then(|rate| rate.trim_matches('"').parse::<f64>().ok());
                let rate = rate.ok_or_else(|| format!("unexpected output of redis-benchmark: {line}"))?;
                let cpu = redis.stats()?.cpu - before.cpu;
                let name =
                    if depth == 1 { "ZADD one by one".to_owned() } else { format!("ZADD, {depth} deep") };
                let figures = vec![("req/s", rate), ("per CPU-s", f64::from(calls) / cpu)];
                report.add("Redis alone", name, figures)?;
            }
        }
        Ok(())
    }
}
