//! A node of the stress test: a child process that runs the real program.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    oracle::rules::Rules,
    processes,
    support::{PATIENCE, client, stub_site},
};

/// Environment variables that must not reach the program.
const UNSET: [&str; 5] =
    ["REDIS_URL", "UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How long a graceful shutdown may take: 10 s, and 10 s more on a busy machine.
const END_WITHIN: Duration = Duration::from_secs(10 + 10);

/// Metrics that must return to their initial value.
pub const GAUGES: [&str; 4] =
    ["aforo_streams_open", "aforo_channels_watched", "aforo_tasks", "process_open_fds"];

/// How to start a node.
#[derive(Clone)]
pub struct Recipe {
    pub program: PathBuf,
    pub redis_url: String,
    /// In how many parts each channel is kept.
    pub channel_parts: u8,
    /// The SQLite file that all nodes share.
    pub database: PathBuf,
    /// The log file. A restarted node appends to it.
    pub log: PathBuf,
    pub rules: Rules,
}

/// A running node. Dropping it kills the process.
pub struct Node {
    pub base: String,
    /// The metrics after the start.
    pub before: Gauges,
    pid: u32,
    child: Mutex<Child>,
    _site: TempDir,
}

pub type Gauges = BTreeMap<&'static str, u64>;

impl Node {
    /// Starts a node, and waits until it accepts requests.
    pub async fn start(recipe: &Recipe) -> Self {
        let site = stub_site("stress");
        let log = OpenOptions::new().create(true).append(true).open(&recipe.log).unwrap();
        let old = usize::try_from(log.metadata().unwrap().len()).unwrap();
        let mut command = Command::new(&recipe.program);
        for name in UNSET {
            command.env_remove(name);
        }
        let child = command
            .args(["--site-addr=127.0.0.1:0", "--trusted-proxies=127.0.0.1", "--site-root"])
            .arg(site.path())
            .arg(format!("--redis-url={}", recipe.redis_url))
            .arg(format!("--redis-channel-parts={}", recipe.channel_parts))
            .args(flags(&recipe.rules))
            .env("DATABASE_URL", format!("sqlite:{}", recipe.database.display()))
            .env("RUST_LOG", "info,aforo=debug")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program exists");
        processes::add(child.id());
        let (pid, child) = (child.id(), Mutex::new(child));
        let mut node = Self { base: String::new(), before: Gauges::new(), pid, child, _site: site };
        let began = Instant::now();
        while node.base.is_empty() {
            assert!(
                node.child.lock().try_wait().unwrap().is_none(),
                "a node has exited: {}",
                recipe.log.display()
            );
            assert!(began.elapsed() < PATIENCE, "a node does not accept requests: {}", recipe.log.display());
            sleep(Duration::from_millis(10)).await;
            node.base = serving(&recipe.log, old).unwrap_or_default();
        }
        node.before = gauges(&node.base).await.expect("a running node has metrics");
        node
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process to exit. Returns false after a timeout.
    pub async fn has_exited(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < END_WITHIN {
            if self.child.lock().try_wait().unwrap().is_some() {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail if the process has already exited.
        let mut child = self.child.lock();
        let _exited = child.kill();
        let _exited = child.wait();
        processes::remove(self.pid);
    }
}

/// The address that a node has logged after the first `old` bytes of its log.
fn serving(log: &Path, old: usize) -> Option<String> {
    let text = fs::read_to_string(log).unwrap();
    let (_, rest) = text.get(old..)?.split_once("serving ")?;
    let (address, _) = rest.split_once('\n')?;
    Some(address.trim().to_owned())
}

/// Reads the metrics of a node.
pub async fn gauges(base: &str) -> Option<Gauges> {
    let answer = client().get(format!("{base}/metrics")).timeout(PATIENCE).send().await.ok()?;
    let text = answer.text().await.ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    GAUGES.iter().map(|name| Some((*name, value(name)?))).collect()
}

/// The flags of a node. The update interval keeps its default, since the invariants depend on it.
fn flags(rules: &Rules) -> Vec<String> {
    let (policy, limits) = (&rules.policy, &rules.limits);
    vec![
        format!("--heartbeat-interval={}", policy.heartbeat_interval.as_millis()),
        format!("--timeout={}", policy.timeout.as_secs()),
        format!("--hidden-timeout={}", policy.hidden_timeout.as_secs()),
        format!("--cleanup-interval={}", policy.cleanup_interval.as_secs()),
        format!("--limit-joins-burst={}", limits.joins_burst),
        format!("--limit-joins-per-second={}", limits.joins_per_second),
        format!("--limit-sessions-per-channel={}", limits.sessions_per_channel),
        format!("--limit-new-channels-per-minute={}", limits.new_channels_per_minute),
    ]
}
