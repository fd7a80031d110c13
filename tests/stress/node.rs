//! A program of ours: started, asked what it has open, and ended.

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

/// Settings of this environment that must not reach the program.
const UNSET: [&str; 5] =
    ["REDIS_URL", "UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How long a program may take to end when it is asked to, and what a busy machine may add.
const END_WITHIN: Duration = Duration::from_secs(10 + 10);

/// What a program has open that must go back to what it was.
pub const GAUGES: [&str; 4] =
    ["aforo_streams_open", "aforo_channels_watched", "aforo_tasks", "process_open_fds"];

/// How to start a node.
#[derive(Clone)]
pub struct Recipe {
    pub program: PathBuf,
    pub redis_url: String,
    /// Its log, which goes on when it is started again.
    pub log: PathBuf,
    pub rules: Rules,
}

/// A running node. It is killed when it is dropped.
pub struct Node {
    pub base: String,
    /// What it had open when it had started.
    pub before: Gauges,
    pid: u32,
    child: Mutex<Child>,
    _site: TempDir,
}

pub type Gauges = BTreeMap<&'static str, u64>;

impl Node {
    /// Starts it, and waits until it serves.
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
            .args(flags(&recipe.rules))
            .env("DATA_DIR", site.path().join("data"))
            .env("RUST_LOG", "info,aforo=debug")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program is there");
        processes::add(child.id());
        let (pid, child) = (child.id(), Mutex::new(child));
        let mut node = Self { base: String::new(), before: Gauges::new(), pid, child, _site: site };
        let began = Instant::now();
        while node.base.is_empty() {
            assert!(
                node.child.lock().try_wait().unwrap().is_none(),
                "a node has ended: {}",
                recipe.log.display()
            );
            assert!(began.elapsed() < PATIENCE, "a node does not serve: {}", recipe.log.display());
            sleep(Duration::from_millis(10)).await;
            node.base = serving(&recipe.log, old).unwrap_or_default();
        }
        node.before = gauges(&node.base).await.expect("a node that serves tells its metrics");
        node
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended by itself. Whether it did.
    pub async fn has_ended(&self) -> bool {
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
        // It may have ended by itself.
        let mut child = self.child.lock();
        let _ended = child.kill();
        let _ended = child.wait();
        processes::remove(self.pid);
    }
}

/// The address that it has logged after so many bytes.
fn serving(log: &Path, old: usize) -> Option<String> {
    let text = fs::read_to_string(log).unwrap();
    let (_, rest) = text.get(old..)?.split_once("serving ")?;
    let (address, _) = rest.split_once('\n')?;
    Some(address.trim().to_owned())
}

/// What it has open.
pub async fn gauges(base: &str) -> Option<Gauges> {
    let answer = client().get(format!("{base}/metrics")).timeout(PATIENCE).send().await.ok()?;
    let text = answer.text().await.ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    GAUGES.iter().map(|name| Some((*name, value(name)?))).collect()
}

/// The update interval stays as it is by default: it is part of the promise.
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
