//! The servers to measure: Aforo with each of its stores, and servers for comparison. Every start creates new
//! processes.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use crate::{
    Result, bare,
    calls::{channel, post},
    meter::Meter,
    nchan,
    process::{Process, Scratch, ask, free_address},
    raw,
    redis::{Redis, start_cluster},
};

/// Limits to switch off, since the load comes from few addresses.
const WITHOUT_LIMITS: [&str; 8] = [
    "LIMIT_JOINS_BURST",
    "LIMIT_JOINS_PER_SECOND",
    "LIMIT_SESSIONS_PER_CHANNEL",
    "LIMIT_CONNECTIONS_PER_ADDRESS",
    "LIMIT_STREAMS_PER_ADDRESS",
    "LIMIT_NEW_CHANNELS_PER_MINUTE",
    "LIMIT_FOLLOWS_PER_MINUTE",
    "LIMIT_STREAMS",
];

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Aforo with the memory store.
    Memory,
    /// Several nodes of Aforo with one Redis.
    Redis { nodes: usize },
    /// Aforo with a Redis cluster of three servers.
    Cluster,
    /// A bare axum server, which shows the cost of the framework.
    Bare,
    /// A loop that writes to sockets, which shows the cost of the kernel. It has streams of one channel only.
    Raw,
    /// nginx with Nchan.
    Nchan { workers: usize },
}

/// The processes of a running target.
pub struct Running {
    pub target: Target,
    pub nodes: Vec<Process>,
    pub stores: Vec<Redis>,
}

/// Starts targets.
pub struct Starter {
    pub server: PathBuf,
    pub site: PathBuf,
    pub scratch: Scratch,
}

impl Target {
    pub fn name(self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Redis { nodes: 1 } => "Redis".to_owned(),
            Self::Redis { nodes } => format!("{nodes} nodes, Redis"),
            Self::Cluster => "cluster of 3".to_owned(),
            Self::Bare => "bare axum".to_owned(),
            Self::Raw => "raw sender".to_owned(),
            Self::Nchan { workers: 1 } => "Nchan".to_owned(),
            Self::Nchan { workers } => format!("Nchan, {workers} workers"),
        }
    }
}

impl Starter {
    /// Starts a target. `settings` are environment variables of Aforo.
    pub fn start(&self, target: Target, settings: &[(&str, &str)]) -> Result<Running> {
        let stores = match target {
            Target::Redis { .. } => vec![Redis::start(&self.scratch, &[])?],
            Target::Cluster => start_cluster(&self.scratch)?,
            Target::Memory | Target::Bare | Target::Raw | Target::Nchan { .. } => Vec::new(),
        };
        let nodes = match target {
            Target::Memory | Target::Cluster => vec![self.node(&stores, settings)?],
            Target::Redis { nodes } => {
                (0..nodes).map(|_| self.node(&stores, settings)).collect::<Result<_>>()?
            }
            Target::Bare => vec![bare::start(&self.scratch)?],
            Target::Raw => vec![raw::start(&self.scratch)?],
            Target::Nchan { workers } => vec![nchan::start(&self.scratch, workers)?],
        };
        Ok(Running { target, nodes, stores })
    }

    fn node(&self, stores: &[Redis], settings: &[(&str, &str)]) -> Result<Process> {
        let addr = free_address()?;
        let mut command = Command::new(fs::canonicalize(&self.server)?);
        command
            .env("LEPTOS_SITE_ADDR", addr.to_string())
            .env("LEPTOS_SITE_ROOT", fs::canonicalize(&self.site)?);
        // Nodes with the same store share a database.
        let owner = stores.first().map_or_else(|| addr.port().to_string(), |store| store.port().to_string());
        command.env("DATA_DIR", self.scratch.path(format!("data-{owner}"))).env("RUST_LOG", "warn");
        command.envs(WITHOUT_LIMITS.map(|limit| (limit, "0"))).envs(settings.iter().copied());
        if !stores.is_empty() {
            command.env("REDIS_URL", stores.iter().map(Redis::url).collect::<Vec<_>>().join(","));
        }
        let log = self.scratch.path(format!("aforo-{}.log", addr.port()));
        let mut node = Process::start("aforo", &mut command, addr, &log)?;
        // Wait until the node counts viewers; listening is not enough, unless it is all that can be seen without TLS.
        let has_tls = settings.iter().any(|(name, _)| *name == "TLS_CERT");
        let join = post("/api/viewer/join", r#"{"channelId":"warming-up"}"#);
        let counts = |addr: SocketAddr| {
            if has_tls {
                return std::net::TcpStream::connect(addr).is_ok();
            }
            ask(addr, &join)
                .is_ok_and(|response| String::from_utf8_lossy(&response).contains("\"stale\":false"))
        };
        node.wait_until(counts)?;
        Ok(node)
    }
}

impl Running {
    pub fn addr(&self) -> SocketAddr {
        self.nodes[0].addr
    }

    /// The processes whose CPU time is measured.
    pub fn meter(&self) -> Result<Meter> {
        let mut app = Vec::new();
        for node in &self.nodes {
            app.push(node.pid());
            app.extend(crate::procfs::children(node.pid())?);
        }
        Ok(Meter { app, store: self.stores.iter().map(Redis::pid).collect(), helpers: Vec::new() })
    }

    /// The resident memory of the program under test, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let pids = self.meter()?.app;
        Ok(pids.into_iter().map(crate::procfs::resident).sum::<std::io::Result<u64>>()?)
    }

    /// Publishes a first event on each channel with Nchan, which has none otherwise.
    pub fn announce(&self, channels: u64) -> Result<()> {
        if matches!(self.target, Target::Nchan { .. }) {
            for number in 0..channels {
                ask(self.addr(), &nchan::publication(&channel(number), 0))?;
            }
        }
        Ok(())
    }

    /// The only store.
    pub fn redis(&mut self) -> Result<&mut Redis> {
        self.stores.first_mut().ok_or_else(|| "this target has no Redis".into())
    }
}
