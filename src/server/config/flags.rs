//! The flags and environment variables, as clap reads them.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use super::{
    Origin,
    values::{FrameAncestors, LogFormat, Secret, key_prefix, listen_addr, log_filter, whole},
};
use crate::{domain::StreamTemplate, server::limits::address::Network};

/// Live viewer counts for streaming channels.
///
/// Every setting is an environment variable; the flag of the same name wins over it.
#[derive(Debug, Clone, Parser)]
#[command(name = "aforo", version, max_term_width = 100, args_override_self = true)]
pub struct Flags {
    /// Address and port to listen on
    #[arg(long, env = "LEPTOS_SITE_ADDR", help_heading = "Serving", value_name = "ADDR:PORT")]
    #[arg(default_value = "127.0.0.1:3000", value_parser = listen_addr)]
    pub(super) site_addr: SocketAddr,

    /// Folder with what the browser loads, as `make site` builds it
    #[arg(long, env = "LEPTOS_SITE_ROOT", help_heading = "Serving", value_name = "DIR")]
    #[arg(default_value = "target/site")]
    pub(super) site_root: PathBuf,

    /// Certificate to speak TLS with, and those that lead to its root (PEM). SIGHUP reads it again
    #[arg(long, env = "TLS_CERT", help_heading = "Serving", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The key of that certificate (PEM)
    #[arg(long, env = "TLS_KEY", help_heading = "Serving", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,

    /// Where the stream of a channel is played from: https://…/{channel}/index.m3u8. A poster if it isn't set
    #[arg(long, env = "STREAM_URL_TEMPLATE", help_heading = "Serving", value_name = "URL")]
    pub(super) stream_url_template: Option<StreamTemplate>,

    /// How often a page beats, at most, in ms
    #[arg(long, env = "VIEWER_HEARTBEAT_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 30_000, value_parser = whole)]
    pub(super) heartbeat_interval: u32,

    /// How long a viewer counts without a beat, in s; at least twice the heartbeat interval
    #[arg(long, env = "VIEWER_TIMEOUT", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 60, value_parser = whole)]
    pub(super) timeout: u32,

    /// The same for a page that is hidden, whose timers browsers slow down, in s
    #[arg(long, env = "VIEWER_HIDDEN_TIMEOUT", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 150, value_parser = whole)]
    pub(super) hidden_timeout: u32,

    /// A channel's streams get one update per this interval, at most, in ms
    #[arg(long, env = "VIEWER_COUNT_UPDATE_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 2_000, value_parser = whole)]
    pub(super) count_update_interval: u32,

    /// The shortest time between two writes to Redis, in ms; for stores that are paid by the command
    #[arg(long, env = "VIEWER_WRITE_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 0, value_parser = whole)]
    pub(super) write_interval: u32,

    /// How often memory of expired viewers is freed, in s
    #[arg(long, env = "VIEWER_CLEANUP_INTERVAL", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 120, value_parser = whole)]
    pub(super) cleanup_interval: u32,

    /// Where leases are kept: redis://, rediss:// or unix: of one server, or several addresses of a
    /// cluster, separated by commas. In this process if it isn't set
    #[arg(long, env = "REDIS_URL", help_heading = "Store", value_name = "URL", hide_env_values = true)]
    pub(super) redis_url: Option<Secret>,

    /// The REST address of a database at Upstash, which then keeps the leases
    #[arg(long, env = "UPSTASH_REDIS_REST_URL", help_heading = "Store", value_name = "URL")]
    #[arg(hide_env_values = true)]
    pub(super) upstash_redis_rest_url: Option<Secret>,

    /// The token of that database
    #[arg(long, env = "UPSTASH_REDIS_REST_TOKEN", help_heading = "Store", value_name = "TOKEN")]
    #[arg(hide_env_values = true)]
    pub(super) upstash_redis_rest_token: Option<Secret>,

    /// What the names of keys in Redis start with
    #[arg(long, env = "REDIS_KEY_PREFIX", help_heading = "Store", value_name = "PREFIX")]
    #[arg(default_value = "aforo", value_parser = key_prefix)]
    pub(super) redis_key_prefix: String,

    /// Folder for what is kept on this node when Redis keeps nothing: who follows which channel
    #[arg(long, env = "DATA_DIR", help_heading = "Store", value_name = "DIR", default_value = "data")]
    pub(super) data_dir: PathBuf,

    /// New viewers that may come at once from one address
    #[arg(long, env = "LIMIT_JOINS_BURST", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 300, value_parser = whole)]
    pub(super) limit_joins_burst: u32,

    /// New viewers of one address per second from then on
    #[arg(long, env = "LIMIT_JOINS_PER_SECOND", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 2, value_parser = whole)]
    pub(super) limit_joins_per_second: u32,

    /// Live sessions of one address in one channel
    #[arg(long, env = "LIMIT_SESSIONS_PER_CHANNEL", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 2_000, value_parser = whole)]
    pub(super) limit_sessions_per_channel: u32,

    /// Channels per minute that one address may open, where nobody was before
    #[arg(long, env = "LIMIT_NEW_CHANNELS_PER_MINUTE", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 30, value_parser = whole)]
    pub(super) limit_new_channels_per_minute: u32,

    /// Follows of one address per minute, and at once
    #[arg(long, env = "LIMIT_FOLLOWS_PER_MINUTE", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 60, value_parser = whole)]
    pub(super) limit_follows_per_minute: u32,

    /// The most connections that one address may have open
    #[arg(long, env = "LIMIT_CONNECTIONS_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 1_000, value_parser = whole)]
    pub(super) limit_connections_per_address: u32,

    /// The most streams that one address may have open
    #[arg(long, env = "LIMIT_STREAMS_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 200, value_parser = whole)]
    pub(super) limit_streams_per_address: u32,

    /// The most streams that this node has open
    #[arg(long, env = "LIMIT_STREAMS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 100_000, value_parser = whole)]
    pub(super) limit_streams: u32,

    /// The largest body of a request, in bytes; those of our own pages have under 300
    #[arg(long, env = "LIMIT_BODY_BYTES", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 4_096, value_parser = whole)]
    pub(super) limit_body_bytes: u32,

    /// Networks of our own proxies, separated by commas, whose X-Forwarded-For is believed
    #[arg(long, env = "TRUSTED_PROXIES", help_heading = "Who may do what", value_name = "NETWORK,…")]
    #[arg(value_delimiter = ',')]
    pub(super) trusted_proxies: Vec<Network>,

    /// Other sites whose scripts may count viewers here, separated by commas; `null` for sandboxed frames, `*` for all
    #[arg(long, env = "VIEWER_ALLOWED_ORIGINS", help_heading = "Who may do what", value_name = "ORIGIN,…")]
    #[arg(value_delimiter = ',')]
    pub(super) allowed_origins: Vec<Origin>,

    /// Sites that may frame the embed page, as in the policy of that name
    #[arg(long, env = "EMBED_FRAME_ANCESTORS", help_heading = "Who may do what", value_name = "SOURCES")]
    #[arg(default_value = "*", value_parser = FrameAncestors::parse)]
    pub(super) embed_frame_ancestors: FrameAncestors,

    /// How long to serve on after SIGTERM, not ready any more, until balancers have noticed, in ms
    #[arg(long, env = "SHUTDOWN_DELAY", help_heading = "Operation", value_name = "MS")]
    #[arg(default_value_t = 0, value_parser = whole)]
    pub(super) shutdown_delay: u32,

    /// How logs are written
    #[arg(long, env = "LOG_FORMAT", help_heading = "Operation", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,

    /// Which logs are written, as in `info` or `aforo=debug,warn`
    #[arg(long, env = "RUST_LOG", help_heading = "Operation", value_name = "FILTER")]
    #[arg(default_value = "info", value_parser = log_filter)]
    pub(super) log: String,
}

const LIMITS: &str = "Limits (0: none)";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn secrets_are_not_shown_by_whoever_prints_the_settings() {
        let flags = Flags::parse_from(["aforo", "--redis-url=redis://:hunter2@redis.example"]);
        assert_eq!(flags.redis_url.as_deref(), Some("redis://:hunter2@redis.example"));
        assert!(!format!("{flags:?}").contains("hunter2"));
    }
}
