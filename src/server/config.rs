//! Settings: environment variables, each with a flag. Read once, at the start.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use super::{
    limits::{PerAddress, address::Network},
    origins::Origin,
};
use crate::domain::{Policy, StreamTemplate};

/// Live viewer counts for streaming channels.
///
/// Every setting is an environment variable; the flag of the same name wins over it.
#[derive(Debug, Clone, Parser)]
#[command(name = "aforo", version, max_term_width = 100, args_override_self = true)]
pub struct Config {
    /// Address and port to listen on
    #[arg(long, env = "LEPTOS_SITE_ADDR", default_value = "127.0.0.1:3000")]
    pub site_addr: SocketAddr,

    /// Folder with what the browser loads, as `make site` builds it
    #[arg(long, env = "LEPTOS_SITE_ROOT", default_value = "target/site")]
    pub site_root: PathBuf,

    /// How often a page beats, at most, in ms
    #[arg(long, env = "VIEWER_HEARTBEAT_INTERVAL", default_value_t = 30_000)]
    heartbeat_interval: u64,

    /// How long a viewer counts without a beat, in s; at least twice the heartbeat interval
    #[arg(long, env = "VIEWER_TIMEOUT", default_value_t = 60)]
    timeout: u64,

    /// The same for a page that is hidden, whose timers browsers slow down, in s
    #[arg(long, env = "VIEWER_HIDDEN_TIMEOUT", default_value_t = 150)]
    hidden_timeout: u64,

    /// A channel's streams get one update per this interval, at most, in ms
    #[arg(long, env = "VIEWER_COUNT_UPDATE_INTERVAL", default_value_t = 2_000)]
    count_update_interval: u64,

    /// The shortest time between two writes to Redis, in ms; for stores that are paid by the command
    #[arg(long, env = "VIEWER_WRITE_INTERVAL", default_value_t = 0)]
    write_interval: u64,

    /// How often memory of expired viewers is freed, in s
    #[arg(long, env = "VIEWER_CLEANUP_INTERVAL", default_value_t = 120)]
    cleanup_interval: u64,

    /// Where leases are kept: redis://, rediss:// or unix: of one server, or several addresses of a
    /// cluster, separated by commas. In this process if it isn't set
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// The REST address of a database at Upstash, which then keeps the leases
    #[arg(long, env = "UPSTASH_REDIS_REST_URL", hide_env_values = true)]
    pub upstash_redis_rest_url: Option<String>,

    /// The token of that database
    #[arg(long, env = "UPSTASH_REDIS_REST_TOKEN", hide_env_values = true)]
    pub upstash_redis_rest_token: Option<String>,

    /// What the names of keys in Redis start with
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "aforo")]
    pub redis_key_prefix: String,

    /// New viewers that may come at once from one address; 0: no limit, as for all that follow
    #[arg(long, env = "LIMIT_JOINS_BURST", default_value_t = 300)]
    limit_joins_burst: u32,

    /// New viewers of one address per second from then on
    #[arg(long, env = "LIMIT_JOINS_PER_SECOND", default_value_t = 2)]
    limit_joins_per_second: u32,

    /// Live sessions of one address in one channel
    #[arg(long, env = "LIMIT_SESSIONS_PER_CHANNEL", default_value_t = 2_000)]
    limit_sessions_per_channel: u32,

    /// Channels per minute that one address may open, where nobody was before
    #[arg(long, env = "LIMIT_NEW_CHANNELS_PER_MINUTE", default_value_t = 30)]
    limit_new_channels_per_minute: u32,

    /// The most streams that one address may have open; 0: no limit
    #[arg(long, env = "LIMIT_STREAMS_PER_ADDRESS", default_value_t = 200)]
    pub limit_streams_per_address: u32,

    /// The most streams that this node has open; 0: no limit
    #[arg(long, env = "LIMIT_STREAMS", default_value_t = 100_000)]
    pub limit_streams: u32,

    /// Networks of our own proxies, separated by commas, whose X-Forwarded-For is believed
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,

    /// Other sites whose scripts may count viewers here, separated by commas; `null` for sandboxed frames, `*` for all
    #[arg(long, env = "VIEWER_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,

    /// Sites that may frame the embed page, as in the policy of that name
    #[arg(long, env = "EMBED_FRAME_ANCESTORS", default_value = "*", value_parser = FrameAncestors::parse)]
    pub embed_frame_ancestors: FrameAncestors,

    /// How long to serve on after SIGTERM, not ready any more, until balancers have noticed, in ms
    #[arg(long, env = "SHUTDOWN_DELAY", default_value_t = 0)]
    shutdown_delay: u64,

    /// Certificate to speak TLS with, and those that lead to its root (PEM). SIGHUP reads it again
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of that certificate (PEM)
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Folder for what is kept on this node when Redis keeps nothing: who follows which channel
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,

    /// Where the stream of a channel is played from: https://…/{channel}/index.m3u8. A poster if it isn't set
    #[arg(long, env = "STREAM_URL_TEMPLATE")]
    pub stream_url_template: Option<StreamTemplate>,

    /// How logs are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Which logs are written, as in `info` or `aforo=debug,warn`
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object per line.
    Json,
}

/// Sources of the `frame-ancestors` directive (CSP 3, section 6.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameAncestors(String);

impl FrameAncestors {
    fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',');
        let sources: Vec<_> = text.split_whitespace().collect();
        if sources.is_empty() || !sources.iter().all(|source| source.chars().all(fits)) {
            return Err(
                "not a list of sources separated by spaces, such as 'self' https://partner.example".into()
            );
        }
        Ok(Self(sources.join(" ")))
    }

    /// As it stands in the policy.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The settings don't fit together; one sentence per fault.
#[derive(Debug, thiserror::Error)]
#[error("the settings don't fit together:{}", .0.iter().map(|fault| format!("\n  - {fault}")).collect::<String>())]
pub struct InvalidConfig(Vec<String>);

impl Config {
    /// How long to serve on after the end was asked for.
    #[must_use]
    pub const fn shutdown_delay(&self) -> Duration {
        Duration::from_millis(self.shutdown_delay)
    }

    /// What one address may add to the count.
    #[must_use]
    pub const fn per_address(&self) -> PerAddress {
        PerAddress {
            joins_burst: self.limit_joins_burst,
            joins_per_second: self.limit_joins_per_second,
            sessions_per_channel: self.limit_sessions_per_channel,
            new_channels_per_minute: self.limit_new_channels_per_minute,
        }
    }

    /// The intervals of counting.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn policy(&self) -> Result<Policy, InvalidConfig> {
        let policy = Policy {
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval),
            timeout: Duration::from_secs(self.timeout),
            hidden_timeout: Duration::from_secs(self.hidden_timeout),
            update_interval: Duration::from_millis(self.count_update_interval),
            write_interval: Duration::from_millis(self.write_interval),
            cleanup_interval: Duration::from_secs(self.cleanup_interval),
        };
        let faults = policy.problems();
        if faults.is_empty() { Ok(policy) } else { Err(InvalidConfig(faults)) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let config =
            Config::parse_from(["aforo", "--timeout=20", "--hidden-timeout=10", "--count-update-interval=1"]);
        let message = config.policy().unwrap_err().to_string();
        for name in ["VIEWER_TIMEOUT", "VIEWER_HIDDEN_TIMEOUT", "VIEWER_COUNT_UPDATE_INTERVAL"] {
            assert!(message.contains(name), "{name} in {message}");
        }
    }
}
