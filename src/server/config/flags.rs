//! The flags and environment variables that clap reads.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand};
use reqwest::Url;

use super::{
    Origin,
    values::{
        FrameAncestors, LogFormat, Secret, StatisticsMode, TicketMode, api_secret, api_token, body_limit,
        collector_url, count_max_age, hook_secret, key_prefix, listen_addr, log_filter, milestone, node_url,
        shutdown_delay, upstash_token, whole_number,
    },
};
use crate::{
    domain::{ChannelId, LiveMode, StreamTemplate},
    server::{
        limits::address::Network,
        redis::ChannelParts,
        tickets,
        webhooks::settings::{SigningKey, Target},
    },
};

/// Live viewer counts for streaming channels.
///
/// Every setting is an environment variable with a flag. A flag overrides its variable.
#[derive(Debug, Clone, Parser)]
#[command(name = "aforo", version, max_term_width = 100, args_override_self = true)]
pub struct Flags {
    #[command(subcommand)]
    pub(super) task: Option<Task>,

    /// Address and port to listen on
    #[arg(long, env = "LEPTOS_SITE_ADDR", help_heading = "Serving", value_name = "ADDR:PORT")]
    #[arg(default_value = "127.0.0.1:3000", value_parser = listen_addr)]
    pub(super) site_addr: SocketAddr,

    /// Folder with the files for browsers, as `make site` builds it. Default: the files inside this program, or the
    /// folder target/site if it was built without them
    #[arg(long, env = "LEPTOS_SITE_ROOT", help_heading = "Serving", value_name = "DIR")]
    pub(super) site_root: Option<PathBuf>,

    /// File with the certificate and its chain (PEM) for TLS; SIGHUP reloads it
    #[arg(long, env = "TLS_CERT", help_heading = "Serving", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,

    /// File with the key of that certificate (PEM)
    #[arg(long, env = "TLS_KEY", help_heading = "Serving", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,

    /// Address of a channel's HLS stream: https://…/{channel}/index.m3u8. Default: pages show a poster
    #[arg(long, env = "STREAM_URL_TEMPLATE", help_heading = "Serving", value_name = "URL")]
    pub(super) stream_url_template: Option<StreamTemplate>,

    /// How long caches may keep counts, live lists and badges, in s, at most 60. 0: counts not at all, badges 5 s
    #[arg(long, env = "COUNT_MAX_AGE", help_heading = "Serving", value_name = "S")]
    #[arg(default_value_t = 0, value_parser = count_max_age)]
    pub(super) count_max_age: u32,

    /// Longest time between two heartbeats of a page, in ms
    #[arg(long, env = "VIEWER_HEARTBEAT_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 30_000, value_parser = whole_number)]
    pub(super) heartbeat_interval: u32,

    /// How long a session counts after its last join or heartbeat, in s; at least two heartbeat intervals
    #[arg(long, env = "VIEWER_TIMEOUT", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 60, value_parser = whole_number)]
    pub(super) timeout: u32,

    /// The same for a hidden page, in s; browsers slow down the timers of hidden pages. Not set: at least
    /// `VIEWER_TIMEOUT`
    #[arg(long, env = "VIEWER_HIDDEN_TIMEOUT", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 150, value_parser = whole_number)]
    pub(super) hidden_timeout: u32,

    /// Shortest time between two updates of a channel on streams, in ms
    #[arg(long, env = "VIEWER_COUNT_UPDATE_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 2_000, value_parser = whole_number)]
    pub(super) count_update_interval: u32,

    /// Shortest time between two writes to Redis, in ms; raise it where commands are billed
    #[arg(long, env = "VIEWER_WRITE_INTERVAL", help_heading = "Counting", value_name = "MS")]
    #[arg(default_value_t = 0, value_parser = whole_number)]
    pub(super) write_interval: u32,

    /// Time between two sweeps that free the memory of expired viewers, in s
    #[arg(long, env = "VIEWER_CLEANUP_INTERVAL", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 120, value_parser = whole_number)]
    pub(super) cleanup_interval: u32,

    /// What makes a channel live: its viewers, or the live signal of the video server
    #[arg(long, env = "LIVE", help_heading = "Counting", value_name = "MODE")]
    #[arg(value_enum, default_value_t = LiveMode::Viewers)]
    pub(super) live: LiveMode,

    /// How long a live signal lasts if it is not repeated, in s; 0: for good
    #[arg(long, env = "LIVE_SIGNAL_TIMEOUT", help_heading = "Counting", value_name = "S")]
    #[arg(default_value_t = 0, value_parser = whole_number)]
    pub(super) live_signal_timeout: u32,

    /// Address of the Redis that keeps the leases: redis://, rediss:// or unix:, or several addresses of
    /// a cluster, separated by commas. Default: leases are in this process
    #[arg(long, env = "REDIS_URL", help_heading = "Store", value_name = "URL", hide_env_values = true)]
    pub(super) redis_url: Option<Secret>,

    /// REST address of an Upstash database that keeps the leases
    #[arg(long, env = "UPSTASH_REDIS_REST_URL", help_heading = "Store", value_name = "URL")]
    #[arg(hide_env_values = true)]
    pub(super) upstash_redis_rest_url: Option<Secret>,

    /// Token of that database
    #[arg(long, env = "UPSTASH_REDIS_REST_TOKEN", help_heading = "Store", value_name = "TOKEN")]
    #[arg(hide_env_values = true, value_parser = upstash_token)]
    pub(super) upstash_redis_rest_token: Option<Secret>,

    /// Prefix of all keys in Redis
    #[arg(long, env = "REDIS_KEY_PREFIX", help_heading = "Store", value_name = "PREFIX")]
    #[arg(default_value = "aforo", value_parser = key_prefix)]
    pub(super) redis_key_prefix: String,

    /// In how many parts each channel is kept, such as 1,ana:8. The servers of a cluster share the viewers of a channel
    /// in several parts
    #[arg(long, env = "REDIS_CHANNEL_PARTS", help_heading = "Store", value_name = "LIST")]
    #[arg(default_value = "1")]
    pub(super) redis_channel_parts: ChannelParts,

    /// Address of the database that keeps followers and history: sqlite:FILE, or postgres://… for several machines.
    /// Default: the file aforo.db in the folder of `DATA_DIR`
    #[arg(long, env = "DATABASE_URL", help_heading = "Store", value_name = "URL", hide_env_values = true)]
    pub(super) database_url: Option<Secret>,

    /// Folder of the default database
    #[arg(long, env = "DATA_DIR", help_heading = "Store", value_name = "DIR", default_value = "data")]
    pub(super) data_dir: PathBuf,

    /// Days for which broadcasts and history are kept. 0: for good
    #[arg(long, env = "HISTORY_DAYS", help_heading = "Statistics", value_name = "DAYS")]
    #[arg(default_value_t = 0, value_parser = whole_number)]
    pub(super) history_days: u32,

    /// Who may see the statistics of channels: everyone, or the operator and the owners of signed links
    #[arg(long, env = "STATS", help_heading = "Statistics", value_name = "WHO")]
    #[arg(value_enum, default_value_t = StatisticsMode::Private)]
    pub(super) stats: StatisticsMode,

    /// Secret by which the site's backend signs links to the statistics of a channel (HS256), 32 bytes or more
    #[arg(long, env = "API_SECRET", help_heading = "Statistics", value_name = "SECRET")]
    #[arg(hide_env_values = true, value_parser = api_secret)]
    pub(super) api_secret: Option<Secret>,

    /// New sessions of one address, at once
    #[arg(long, env = "LIMIT_JOINS_BURST", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 300, value_parser = whole_number)]
    pub(super) limit_joins_burst: u32,

    /// New sessions of one address, per second after that
    #[arg(long, env = "LIMIT_JOINS_PER_SECOND", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 2, value_parser = whole_number)]
    pub(super) limit_joins_per_second: u32,

    /// Live sessions of one address in one channel
    #[arg(long, env = "LIMIT_SESSIONS_PER_CHANNEL", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 2_000, value_parser = whole_number)]
    pub(super) limit_sessions_per_channel: u32,

    /// Channels without viewers that one address may open, per minute
    #[arg(long, env = "LIMIT_NEW_CHANNELS_PER_MINUTE", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 30, value_parser = whole_number)]
    pub(super) limit_new_channels_per_minute: u32,

    /// Follows of one address, per minute and at once
    #[arg(long, env = "LIMIT_FOLLOWS_PER_MINUTE", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 60, value_parser = whole_number)]
    pub(super) limit_follows_per_minute: u32,

    /// Open connections of one address, streams included; trusted proxies are exempt. Not set: at least five times
    /// `LIMIT_STREAMS_PER_ADDRESS`, and no limit if that is 0
    #[arg(long, env = "LIMIT_CONNECTIONS_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 1_000, value_parser = whole_number)]
    pub(super) limit_connections_per_address: u32,

    /// Open streams of one address; a stream counts once for every ten channels or part of ten
    #[arg(long, env = "LIMIT_STREAMS_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 200, value_parser = whole_number)]
    pub(super) limit_streams_per_address: u32,

    /// Reads of statistics of one address at the same time; a further one waits for up to 5 s
    #[arg(long, env = "LIMIT_READS_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 1, value_parser = whole_number)]
    pub(super) limit_reads_per_address: u32,

    /// Channels whose statistics move on the streams of one address
    #[arg(long, env = "LIMIT_FIGURES_PER_ADDRESS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 8, value_parser = whole_number)]
    pub(super) limit_figures_per_address: u32,

    /// Open streams of this node
    #[arg(long, env = "LIMIT_STREAMS", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 100_000, value_parser = whole_number)]
    pub(super) limit_streams: u32,

    /// Largest request body, in bytes, at least 512; Aforo's own pages send less than 300 without a ticket
    #[arg(long, env = "LIMIT_BODY_BYTES", help_heading = LIMITS, value_name = "N")]
    #[arg(default_value_t = 4_096, value_parser = body_limit)]
    pub(super) limit_body_bytes: u32,

    /// Networks of trusted proxies, separated by commas, whose X-Forwarded-For is believed
    #[arg(long, env = "TRUSTED_PROXIES", help_heading = "Access", value_name = "NETWORK,…")]
    #[arg(value_delimiter = ',')]
    pub(super) trusted_proxies: Vec<Network>,

    /// Other sites whose scripts may count viewers here, separated by commas; `null` for sandboxed frames, `*` for all
    #[arg(long, env = "VIEWER_ALLOWED_ORIGINS", help_heading = "Access", value_name = "ORIGIN,…")]
    #[arg(value_delimiter = ',')]
    pub(super) allowed_origins: Vec<Origin>,

    /// Tickets of the site's backend, which say who a viewer is: ignored, accepted, or required of every viewer
    #[arg(long, env = "VIEWER_TICKETS", help_heading = "Access", value_name = "MODE")]
    #[arg(value_enum, default_value_t = TicketMode::Off)]
    pub(super) tickets: TicketMode,

    /// Keys that sign tickets, separated by commas: hs256:BASE64 of a secret, or ed25519:BASE64 of a public key
    #[arg(long, env = "VIEWER_TICKET_KEYS", help_heading = "Access", value_name = "KEY,…")]
    #[arg(value_delimiter = ',', hide_env_values = true)]
    pub(super) ticket_keys: Vec<tickets::Key>,

    /// Secret (BASE64, at least 32 bytes) from which the ids of viewers with tickets are made; the same on all
    /// nodes. Default: ids are made from the accounts alone
    #[arg(long, env = "VIEWER_TICKET_ID_SECRET", help_heading = "Access", value_name = "BASE64")]
    #[arg(hide_env_values = true)]
    pub(super) ticket_id_secret: Option<Secret>,

    /// Addresses that receive events, separated by commas; needs a secret
    #[arg(long, env = "WEBHOOK_URLS", help_heading = "Webhooks", value_name = "URL,…")]
    #[arg(value_delimiter = ',', hide_env_values = true)]
    pub(super) webhook_urls: Vec<Target>,

    /// Secrets that sign events, separated by commas: whsec_ and Base64. Each signs every event
    #[arg(long, env = "WEBHOOK_SECRET", help_heading = "Webhooks", value_name = "SECRET,…")]
    #[arg(value_delimiter = ',', hide_env_values = true)]
    pub(super) webhook_secret: Vec<SigningKey>,

    /// Counts that are announced once per broadcast, separated by commas
    #[arg(long, env = "WEBHOOK_MILESTONES", help_heading = "Webhooks", value_name = "N,…")]
    #[arg(value_delimiter = ',', value_parser = milestone)]
    pub(super) webhook_milestones: Vec<u32>,

    /// Whether events may be sent to private addresses and over plain HTTP
    #[arg(long, env = "WEBHOOK_ALLOW_PRIVATE", help_heading = "Webhooks", value_name = "BOOL")]
    #[arg(action = ArgAction::Set, default_value_t = false)]
    pub(super) webhook_allow_private: bool,

    /// Sites that may frame the embed page: sources of the CSP directive frame-ancestors, separated by commas or spaces
    #[arg(long, env = "EMBED_FRAME_ANCESTORS", help_heading = "Access", value_name = "SOURCES")]
    #[arg(default_value = "*", value_parser = FrameAncestors::parse)]
    pub(super) embed_frame_ancestors: FrameAncestors,

    /// Token of the operator's own programs, as a bearer token; use 16 characters or more
    #[arg(long, env = "API_TOKEN", help_heading = "Access", value_name = "TOKEN")]
    #[arg(hide_env_values = true, value_parser = api_token)]
    pub(super) api_token: Option<Secret>,

    /// Secret of the video servers that send live signals, in the query of their hooks; use 16 characters or more
    #[arg(long, env = "LIVE_HOOK_SECRET", help_heading = "Access", value_name = "SECRET")]
    #[arg(hide_env_values = true, value_parser = hook_secret)]
    pub(super) live_hook_secret: Option<Secret>,

    /// Time to keep serving after SIGTERM, in ms; /readyz says `ending`, so that load balancers notice
    #[arg(long, env = "SHUTDOWN_DELAY", help_heading = "Running", value_name = "MS")]
    #[arg(default_value_t = 0, value_parser = shutdown_delay)]
    pub(super) shutdown_delay: u32,

    /// Format of the log
    #[arg(long, env = "LOG_FORMAT", help_heading = "Running", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,

    /// Filter of the log, such as `info` or `aforo=debug,warn`
    #[arg(long, env = "RUST_LOG", help_heading = "Running", value_name = "FILTER")]
    #[arg(default_value = "info", value_parser = log_filter)]
    pub(super) log: String,

    /// Address of an OpenTelemetry collector that gets a trace of each request, by OTLP over HTTP. Other `OTEL_` variables
    /// apply, too. Default: no traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", help_heading = "Running", value_name = "URL")]
    #[arg(hide_env_values = true, value_parser = collector_url)]
    pub(super) otlp_endpoint: Option<Secret>,
}

const LIMITS: &str = "Limits (0: no limit)";

/// What the program does instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Task {
    /// Check the settings, try the store, the database and the certificate, and print what the server would do.
    /// Changes nothing
    Check,
    /// Ask the server at `LEPTOS_SITE_ADDR` on this machine whether it is alive, as container engines do
    Health,
    /// Show a running node in the terminal, each second anew: its live channels, rates, streams, store and database.
    /// Keys: q ends it, arrows scroll, s sorts
    Top(Top),
    /// Webhooks
    #[command(subcommand)]
    Webhook(WebhookTask),
    /// Write the history of `make demo` into a new SQLite file
    #[command(hide = true)]
    DemoHistory {
        /// The file
        file: PathBuf,
        /// The channels
        #[arg(value_parser = ChannelId::parse)]
        channels: Vec<ChannelId>,
    },
}

/// What `aforo top` shows.
#[derive(Debug, Clone, Args)]
pub(super) struct Top {
    /// Address of the node, such as `https://node.example`. Default: the server at `LEPTOS_SITE_ADDR` on this machine
    #[arg(value_name = "URL", value_parser = node_url)]
    pub(super) url: Option<Url>,

    /// Print what the node does within a second, and end; without a terminal this is the default
    #[arg(long)]
    pub(super) once: bool,
}

/// What the program does with webhooks.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum WebhookTask {
    /// Send one signed test event to an address, and tell what came of it
    Test {
        /// The address
        url: Target,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn debug_output_hides_secrets() {
        let key = "hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2";
        let keys = format!("--ticket-keys=hs256:{key}");
        let id_secret = format!("--ticket-id-secret={key}");
        let flags =
            Flags::parse_from(["aforo", "--redis-url=redis://:hunter2@redis.example", &keys, &id_secret]);
        assert_eq!(flags.redis_url.as_deref(), Some("redis://:hunter2@redis.example"));
        assert_eq!(flags.ticket_keys.len(), 1);
        assert!(!format!("{flags:?}").contains("hunter2"));
    }
}
