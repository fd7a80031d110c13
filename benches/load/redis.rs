//! Redis servers for a run, single or as a cluster, and their statistics.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use redis::{Client, Connection, FromRedisValue, RedisResult};

use crate::{
    Result,
    process::{Process, Scratch, free_address},
};

/// A Redis server without persistence.
pub struct Redis {
    process: Process,
    connection: Connection,
}

impl Redis {
    /// Starts an empty server.
    pub fn start(scratch: &Scratch, flags: &[&str]) -> Result<Self> {
        let addr = free_address()?;
        let port = addr.port().to_string();
        let folder = scratch.path(format!("redis-{port}"));
        fs::create_dir_all(&folder)?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
        command.arg(&folder).args(flags);
        let mut process = Process::start("redis-server", &mut command, addr, &folder.join("log"))?;
        process.wait_until(|addr| connect(addr.port()).is_ok())?;
        let connection = connect(addr.port())?;
        Ok(Self { process, connection })
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.process.addr)
    }

    pub fn port(&self) -> u16 {
        self.process.addr.port()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a command and waits for the response.
    pub fn command<T: FromRedisValue>(&mut self, words: &[&str]) -> Result<T> {
        Ok(redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connection)?)
    }

    /// Runs a pipeline of commands.
    pub fn pipeline(&mut self, pipeline: &redis::Pipeline) -> Result<()> {
        pipeline.exec(&mut self.connection)?;
        Ok(())
    }

    /// The statistics since the start of the server.
    pub fn stats(&mut self) -> Result<Stats> {
        let info: String = self.command(&["INFO", "all"])?;
        Ok(Stats::parse(&info))
    }

    /// The memory of a key in bytes, counted without sampling.
    pub fn memory_of(&mut self, key: &[u8]) -> Result<u64> {
        let mut usage = redis::cmd("MEMORY");
        Ok(usage.arg("USAGE").arg(key).arg("SAMPLES").arg(0).query(&mut self.connection)?)
    }

    /// The number of members of a sorted set.
    pub fn size_of(&mut self, key: &[u8]) -> Result<u64> {
        Ok(redis::cmd("ZCARD").arg(key).query(&mut self.connection)?)
    }

    /// The keys that match a pattern.
    pub fn keys(&mut self, pattern: &str) -> Result<Vec<Vec<u8>>> {
        Ok(redis::cmd("KEYS").arg(pattern).query(&mut self.connection)?)
    }
}

fn connect(port: u16) -> RedisResult<Connection> {
    let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    redis::cmd("PING").exec(&mut connection)?;
    Ok(connection)
}

/// A cluster of three primaries.
pub fn start_cluster(scratch: &Scratch) -> Result<Vec<Redis>> {
    let flags = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Redis::start(scratch, &flags)?);
    }
    let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes").stdout(Stdio::null());
    if !create.status()?.success() {
        return Err("redis-cli cannot create a cluster".into());
    }
    let since = Instant::now();
    for server in &mut servers {
        while !server.command::<String>(&["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
            if since.elapsed() > Duration::from_secs(20) {
                return Err("the cluster did not become healthy in time".into());
            }
            sleep(Duration::from_millis(50));
        }
    }
    Ok(servers)
}

/// Statistics of a server since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// CPU time in seconds.
    pub cpu: f64,
    /// The number of script calls.
    pub scripts: u64,
    /// The time inside scripts in seconds.
    pub script_time: f64,
    /// The number of `INFO` calls. Reading the statistics is one.
    pub infos: u64,
}

impl Stats {
    fn parse(info: &str) -> Self {
        let mut stats = Self::default();
        for line in info.lines() {
            if let Some(seconds) =
                line.strip_prefix("used_cpu_user:").or_else(|| line.strip_prefix("used_cpu_sys:"))
            {
                stats.cpu += seconds.trim().parse().unwrap_or(0.0);
            } else if let Some((command, numbers)) =
                line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':'))
            {
                let number = |name| {
                    let number = numbers.split(',').find_map(|pair| pair.strip_prefix(name))?;
                    number.parse::<u64>().ok()
                };
                let (calls, micros) = (number("calls=").unwrap_or(0), number("usec=").unwrap_or(0));
                // The statistics also include the commands inside scripts, which are no network traffic.
                if command.starts_with("eval") || command.starts_with("fcall") {
                    stats.scripts += calls;
                    stats.script_time += micros as f64 / 1e6;
                } else if command == "info" {
                    stats.infos += calls;
                }
            }
        }
        stats
    }

    /// The number of calls since `before`, without the one that read the statistics.
    pub fn calls_since(&self, before: &Self) -> u64 {
        self.scripts - before.scripts + (self.infos - before.infos).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_count_network_calls() {
        let before =
            Stats::parse("used_cpu_sys:0.5\r\nused_cpu_user:1.25\r\ncmdstat_info:calls=2,usec=9\r\n");
        assert_eq!(before, Stats { cpu: 1.75, infos: 2, ..Stats::default() });
        let after = Stats::parse(
            "used_cpu_sys:0.5\r\nused_cpu_sys_children:9.0\r\nused_cpu_user:2.5\r\n\
             cmdstat_evalsha:calls=10,usec=2000000,usec_per_call=1.0\r\ncmdstat_eval:calls=1,usec=500000\r\n\
             cmdstat_time:calls=11,usec=5\r\ncmdstat_info:calls=6,usec=9\r\n",
        );
        assert_eq!(after, Stats { cpu: 3.0, scripts: 11, script_time: 2.5, infos: 6 });
        assert_eq!(after.calls_since(&before), 14);
    }
}
