//! The configuration: read once at startup, then complete and consistent.
//!
//! clap reads environment variables and flags into [`Flags`]. [`read`] turns them into a [`Config`], or reports all
//! problems at once.

mod defaults;
mod flags;
mod misspelled;
mod origin;
mod resolve;
mod values;
mod warnings;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use reqwest::Url;

pub use self::{
    flags::Flags,
    origin::Origin,
    resolve::{Draft, InvalidConfig, SettingsError, draft, read},
    values::{FrameAncestors, LogFormat, Secret},
};
use super::{
    limits::{PerAddress, address::Network},
    redis::ChannelParts,
    site::Site,
    tickets::Tickets,
    webhooks::settings::{Target, WebhookSettings},
};
use crate::domain::{ChannelId, LiveMode, Policy, StreamTemplate};

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the program does.
    pub task: Task,
    /// Address and port to listen on.
    pub site_addr: SocketAddr,
    /// The files for browsers.
    pub site: Site,
    /// The certificate, if the server terminates TLS.
    pub tls: Option<TlsFiles>,
    /// The address of a channel's HLS stream.
    pub stream_url_template: Option<StreamTemplate>,
    /// How long caches may keep counts, in seconds; `None`: not at all.
    pub count_max_age: Option<NonZeroU32>,
    /// The leases and intervals of counting.
    pub policy: Policy,
    /// What makes a channel live.
    pub live: LiveMode,
    /// How long a live signal lasts if it is not repeated. `None`: for good.
    pub live_signal_timeout: Option<Duration>,
    /// The store of leases.
    pub store: StoreConfig,
    /// The prefix of all keys in Redis.
    pub redis_key_prefix: String,
    /// The database of what is kept.
    pub database: DatabaseConfig,
    /// Who may see statistics, and who is the operator.
    pub access: AccessConfig,
    /// Days for which history is kept; `None`: for good.
    pub history_days: Option<u32>,
    /// The limits of sessions per address.
    pub per_address: PerAddress,
    /// Follows of one address per minute. 0: no limit.
    pub limit_follows_per_minute: u32,
    /// Open connections of one address. 0: no limit.
    pub limit_connections_per_address: u32,
    /// Open streams of one address. 0: no limit.
    pub limit_streams_per_address: u32,
    /// Reads of statistics of one address at the same time. 0: no limit.
    pub limit_reads_per_address: u32,
    /// Channels whose figures the streams of one address show. 0: no limit.
    pub limit_figures_per_address: u32,
    /// Open streams of this node. 0: no limit.
    pub limit_streams: u32,
    /// The largest request body in bytes, if there is a limit.
    pub body_limit: Option<usize>,
    /// Networks of trusted proxies, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Other sites whose scripts may count viewers.
    pub allowed_origins: Vec<Origin>,
    /// Which viewers need a ticket, and how tickets are checked.
    pub tickets: Tickets,
    /// The receivers of events.
    pub webhooks: WebhookSettings,
    /// Sites that may frame the embed page.
    pub embed_frame_ancestors: FrameAncestors,
    /// The secret of the video servers that send live signals.
    pub live_hook_secret: Option<Secret>,
    /// How long to keep serving after SIGTERM.
    pub shutdown_delay: Duration,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The filter of the log.
    pub log: String,
    /// The address of the collector of traces, which may hold a password. `None`: no traces.
    pub otlp_endpoint: Option<Secret>,
    /// What is unwise, though the server starts with it: one sentence each, without secrets.
    pub warnings: Vec<String>,
}

/// What the program does.
#[derive(Debug, Clone)]
pub enum Task {
    /// It serves.
    Serve,
    /// It checks the settings and tells what it would do.
    Check,
    /// It asks the running server whether it is alive.
    Health,
    /// It shows a running node in the terminal.
    Top(TopTask),
    /// It sends one test event.
    TestWebhook(Target),
    /// It writes the history of `make demo` into a new SQLite file.
    DemoHistory(DemoHistory),
}

/// The history of `make demo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoHistory {
    /// The file, which must not exist.
    pub file: PathBuf,
    /// The channels, the largest audience first.
    pub channels: Vec<ChannelId>,
}

/// What `aforo top` shows, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopTask {
    /// The address of the node. `None`: the server with this configuration, on this machine.
    pub url: Option<Url>,
    /// Whether to print what the node does within a second, and end.
    pub once: bool,
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and its chain (PEM).
    pub certificate: PathBuf,
    /// The key (PEM).
    pub key: PathBuf,
}

/// The access to what is not public.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// Whether everyone may see statistics.
    pub has_public_statistics: bool,
    /// The bearer token of the operator.
    pub token: Option<Secret>,
    /// The secret of signed links.
    pub secret: Option<Secret>,
}

/// The database of what is kept.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// SQLite in this file. It is created if it does not exist.
    Sqlite(PathBuf),
    /// PostgreSQL at this URL.
    Postgres(Secret),
}

/// The store of leases. Its addresses are valid.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// The memory of this process.
    Memory,
    /// A Redis server.
    Redis {
        /// The address.
        url: Secret,
        /// In how many parts each channel is kept.
        parts: ChannelParts,
    },
    /// A Redis Cluster.
    Cluster {
        /// The addresses of some of its servers.
        urls: Vec<Secret>,
        /// In how many parts each channel is kept.
        parts: ChannelParts,
    },
    /// An Upstash database.
    Upstash {
        /// The REST address.
        url: Secret,
        /// The token.
        token: Secret,
    },
}
