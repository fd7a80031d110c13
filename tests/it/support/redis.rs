//! Real Redis servers, each on a free port with a folder of its own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{Client, Connection, RedisResult};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::PATIENCE;

/// A Redis server of the test. It ends when it is dropped.
pub struct RedisServer {
    pub port: u16,
    /// More of its flags.
    pub flags: Vec<String>,
    process: Option<Child>,
    folder: TempDir,
}

impl RedisServer {
    /// A server that is up, without persistence.
    pub async fn start() -> Self {
        let mut server = Self::reserve();
        server.run().await;
        server
    }

    /// A server that is not up yet, but has its port.
    pub fn reserve() -> Self {
        Self { port: free_port(), flags: Vec::new(), process: None, folder: TempDir::new().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it (again), empty.
    pub async fn run(&mut self) {
        let port = self.port.to_string();
        let process = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.flags)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: `make test` sees to it");
        self.process = Some(process);
        let up = async {
            while self.try_connect().is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("redis-server comes up");
    }

    /// Whether it has been started and not been killed.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends it a command and waits for the answer.
    pub fn command<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.request(&command.split(' ').collect::<Vec<_>>())
    }

    /// The same with arguments that may hold spaces.
    pub fn request<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut request = redis::cmd(words[0]);
        request.arg(&words[1..]);
        request.query(&mut self.try_connect().unwrap()).unwrap()
    }

    /// How many calls it has had in all, without those that this asks by.
    pub fn calls(&self) -> u64 {
        let stats: String = self.command("INFO commandstats");
        let calls = |line: &str| {
            let (command, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let ours = !["info", "ping", "client|setinfo", "client", "hello", "select"].contains(&command);
            numbers.split(',').next()?.parse::<u64>().ok().filter(|_| ours && !command.starts_with("client"))
        };
        // What scripts call is counted as well; the calls of scripts are what goes over the wire.
        stats.lines().filter(|line| line.contains("eval")).filter_map(calls).sum()
    }

    fn try_connect(&self) -> RedisResult<Connection> {
        let mut connection = Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(1))?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
