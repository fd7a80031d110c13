//! The configuration: read once at the start, complete and free of contradictions.
//!
//! [`Flags`] are what clap reads from environment variables and flags. [`read`] turns them into a [`Config`], or reports
//! every problem at once.

mod flags;
mod origin;
mod resolve;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use self::{
    flags::Flags,
    origin::Origin,
    resolve::{InvalidConfig, SettingsError, read},
    values::{FrameAncestors, LogFormat, Secret},
};
use super::limits::{PerAddress, address::Network};
use crate::domain::{Policy, StreamTemplate};

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen on.
    pub site_addr: SocketAddr,
    /// Folder with the files for browsers.
    pub site_root: PathBuf,
    /// The certificate, if the server speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// Where the stream of a channel is played from.
    pub stream_url_template: Option<StreamTemplate>,
    /// The intervals of counting.
    pub policy: Policy,
    /// Where leases are kept.
    pub store: StoreConfig,
    /// The start of the names of keys in Redis.
    pub redis_key_prefix: String,
    /// Folder for data that this node keeps.
    pub data_dir: PathBuf,
    /// How many viewers one address may add.
    pub per_address: PerAddress,
    /// Follows of one address per minute; 0: no limit.
    pub limit_follows_per_minute: u32,
    /// Connections of one address; 0: no limit.
    pub limit_connections_per_address: u32,
    /// Streams of one address; 0: no limit.
    pub limit_streams_per_address: u32,
    /// Streams of this node; 0: no limit.
    pub limit_streams: u32,
    /// The largest body of a request in bytes, if there is a limit.
    pub body_limit: Option<usize>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Other sites whose scripts may count viewers.
    pub allowed_origins: Vec<Origin>,
    /// Sites that may frame the embed page.
    pub embed_frame_ancestors: FrameAncestors,
    /// How long to go on serving after SIGTERM.
    pub shutdown_delay: Duration,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written.
    pub log: String,
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and its chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// Where leases are kept. The addresses have been checked.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In this process.
    Memory,
    /// In one Redis.
    Redis(Secret),
    /// In a Redis Cluster, by the addresses of some of its servers.
    Cluster(Vec<Secret>),
    /// At Upstash.
    Upstash {
        /// The REST address.
        url: Secret,
        /// The token.
        token: Secret,
    },
}
