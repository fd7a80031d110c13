//! `aforo check`: tries what the settings name, and tells in plain words what the server would do.
//!
//! Promises:
//! - It finds all problems in one run, and prints no secret.
//! - It changes nothing: it creates no file, runs no migration and writes no key. A Redis server keeps the text of the
//!   script that reads counts, as it does of every script.

use std::{
    fmt::Write,
    io, slice,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::UnixTime;
use tokio::time::sleep;

use super::{
    clock::{Clock, SystemClock},
    config::{Config, DatabaseConfig, Draft, StoreConfig},
    database::{self, Inspection, Kind, Tables},
    listen::{Tls, socket},
    redis::{ClusterRunner, RedisRunner, ServerFacts},
    site::{Site, builds},
    store::{self, StoreError},
};
use crate::domain::{ChannelId, LiveMode};

/// How long the store may take to answer a read. A server that has just connected waits as long.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// The pause before the next attempt to read.
const PAUSE: Duration = Duration::from_millis(100);

/// The channel that is read. Reading leaves nothing behind.
const CHANNEL: &str = "aforo-check";

/// The width of the names in front of the lines.
const WIDTH: usize = 10;

/// What the server would do, and what is in its way.
#[derive(Debug)]
pub struct Report {
    /// What it would do, in lines.
    pub text: String,
    /// All problems, one sentence each. The server does not start with them, or does not work.
    pub problems: Vec<String>,
}

/// Tries what the settings name. Parts whose own settings are wrong are not tried.
pub async fn check(draft: &Draft) -> Report {
    let config = &draft.config;
    let mut report = Report { text: String::new(), problems: draft.problems.clone() };
    report.line("Aforo", &draft.version);
    report.address(config);
    report.site(&config.site);
    report.store(config).await;
    report.database(&config.database).await;
    report.counting(config);
    report.limits(config);
    report.access(config);
    report.webhooks(config);
    report.warnings(config);
    let given = draft.given.iter().map(|(name, value)| format!("{name}={value}"));
    let given: Vec<_> = given.collect();
    report.line("Settings", if given.is_empty() { "all have their defaults" } else { "changed:" });
    given.iter().for_each(|setting| report.line("", setting));
    report
}

impl Report {
    /// Adds a line to the text.
    fn line(&mut self, name: &str, text: &str) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{name:WIDTH$} {text}");
    }

    fn problem(&mut self, sentence: impl Into<String>) {
        self.problems.push(sentence.into());
    }

    /// Whether a problem names one of these settings.
    fn blames(&self, settings: &[&str]) -> bool {
        let names = |problem: &String| settings.iter().any(|setting| problem.contains(setting));
        self.problems.iter().any(names)
    }

    fn address(&mut self, config: &Config) {
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let reach = if config.site_addr.ip().is_loopback() { ", for this machine only" } else { "" };
        self.line("Address", &format!("{scheme}://{}{reach}", config.site_addr));
        match socket::check(config.site_addr) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                self.line("", "in use now; the server starts only when it is free (is a node running?)");
            }
            Err(error) => {
                self.problem(format!("LEPTOS_SITE_ADDR: cannot listen on {}: {error}", config.site_addr));
            }
        }
        if let Some(files) = &config.tls {
            let names = format!("{}, {}", files.certificate.display(), files.key.display());
            self.line("", &format!("TLS and HTTP/2 with the certificate and the key in {names}"));
            let now = Duration::from_millis(SystemClock::start().now().as_millis());
            // Files that can't be loaded are a problem of the settings already.
            if let Ok(tls) = Tls::load(&files.certificate, &files.key)
                && let Some(refusal) = tls.refusal(UnixTime::since_unix_epoch(now))
            {
                self.problem(format!("TLS_CERT: {}: {refusal}", files.certificate.display()));
            }
        }
    }

    fn site(&mut self, site: &Site) {
        match builds::current(site) {
            Ok(build) => self.line("Site", &format!("from {site}, build {build}")),
            Err(error) => {
                self.line("Site", &format!("from {site}"));
                let advice = "run `make site`, or set LEPTOS_SITE_ROOT";
                self.problem(format!(
                    "LEPTOS_SITE_ROOT: cannot read the site files from {site}: {error}; {advice}"
                ));
            }
        }
    }

    async fn store(&mut self, config: &Config) {
        let place = match &config.store {
            StoreConfig::Memory => {
                self.line(
                    "Store",
                    "memory of the process: one node; leases end with it, and pages renew them",
                );
                return;
            }
            StoreConfig::Redis { url, .. } => format!("Redis at {}", RedisRunner::place(url)),
            StoreConfig::Cluster { urls, .. } => {
                let places: Vec<_> = urls.iter().map(|url| RedisRunner::place(url)).collect();
                format!("Redis Cluster at {}", places.join(", "))
            }
            StoreConfig::Upstash { .. } => "Upstash".to_owned(),
        };
        self.line("Store", &format!("{place}, keys begin with {}", config.redis_key_prefix));
        if self.blames(&["REDIS_URL", "UPSTASH_REDIS"]) {
            self.line("", "not tried, because its settings are wrong");
            return;
        }
        let inspected = match &config.store {
            StoreConfig::Redis { url, .. } => RedisRunner::inspect(url).await.map(|facts| vec![facts]),
            StoreConfig::Cluster { urls, .. } => {
                let urls: Vec<&str> = urls.iter().map(|url| &**url).collect();
                ClusterRunner::inspect(&urls).await
            }
            StoreConfig::Memory | StoreConfig::Upstash { .. } => Ok(Vec::new()),
        };
        let setting = if matches!(config.store, StoreConfig::Upstash { .. }) {
            "UPSTASH_REDIS_REST_URL, UPSTASH_REDIS_REST_TOKEN"
        } else {
            "REDIS_URL"
        };
        let facts = match inspected {
            Ok(facts) => facts,
            Err(error) => return self.problem(format!("{setting}: cannot use {place}: {error}")),
        };
        if let Err(error) = read(config).await {
            return self.problem(format!("{setting}: cannot use {place}: {error}"));
        }
        self.line("", "it answers, and takes scripts");
        for ServerFacts { version, eviction, is_replica } in facts {
            self.line("", &format!("version {version}"));
            if let Some(policy) = eviction {
                let advice = "set noeviction there, or viewers vanish when it is full";
                self.line("", &format!("its maxmemory-policy is {policy}; {advice}"));
            }
            if is_replica {
                self.problem(format!(
                    "REDIS_URL: {place} is a replica, which takes no writes; set the primary"
                ));
            }
        }
    }

    async fn database(&mut self, config: &DatabaseConfig) {
        if self.blames(&["DATABASE_URL", "DATA_DIR"]) {
            self.line("Database", "not tried, because its settings are wrong");
            return;
        }
        match database::inspect(config).await {
            Ok(Inspection { kind, place, tables }) => {
                let place = match kind {
                    Kind::Sqlite => format!("SQLite in the file {place}"),
                    Kind::Postgres => place,
                };
                let tables = match tables {
                    Tables::NoFile => "the start creates the file with its tables".to_owned(),
                    Tables::None => "the start creates the tables".to_owned(),
                    Tables::Earlier { from, to } => {
                        format!(
                            "the start migrates the tables from version {from} to {to}; make a backup before"
                        )
                    }
                    Tables::Current => "the tables are up to date".to_owned(),
                };
                self.line("Database", &format!("{place}; {tables}"));
            }
            Err(problem) => {
                self.line("Database", "can't be used");
                self.problem(format!("DATABASE_URL: {problem}"));
            }
        }
    }

    fn counting(&mut self, config: &Config) {
        let policy = config.policy;
        let s = |duration: Duration| format!("{} s", duration.as_secs_f64());
        self.line(
            "Counting",
            &format!(
                "pages beat every {} at most; a session counts for {} after a beat, {} when hidden",
                s(policy.heartbeat_interval),
                s(policy.timeout),
                s(policy.hidden_timeout)
            ),
        );
        self.line(
            "",
            &format!("streams of a channel get an update every {} at most", s(policy.update_interval)),
        );
        self.line(
            "",
            match config.live {
                LiveMode::Viewers => "a channel is live while it has viewers",
                LiveMode::Signal => "a channel is live while the video server says so",
            },
        );
        let history =
            config.history_days.map_or_else(|| "for good".to_owned(), |days| format!("{days} days"));
        self.line("", &format!("history is kept {history}"));
    }

    fn limits(&mut self, config: &Config) {
        let limit = |number: u32, of: &str| match number {
            0 => format!("no limit of {of}"),
            number => format!("{number} {of}"),
        };
        let per_address = config.per_address;
        let joins = match (per_address.joins_burst, per_address.joins_per_second) {
            (0, _) | (_, 0) => "no limit of new sessions".to_owned(),
            (burst, rate) => format!("{burst} new sessions at once, then {rate} a second"),
        };
        self.line("Limits", &format!("of one address: {joins}"));
        for (number, of) in [
            (per_address.sessions_per_channel, "live sessions in a channel"),
            (per_address.new_channels_per_minute, "new channels a minute"),
            (config.limit_follows_per_minute, "follows a minute"),
            (config.limit_connections_per_address, "open connections"),
            (config.limit_streams_per_address, "open streams"),
            (config.limit_reads_per_address, "reads of statistics at once"),
            (config.limit_figures_per_address, "channels with figures on streams"),
        ] {
            self.line("", &limit(number, of));
        }
        let body = config.body_limit.unwrap_or_default();
        let node = limit(config.limit_streams, "open streams");
        let body = limit(u32::try_from(body).unwrap_or(u32::MAX), "bytes in a request body");
        self.line("", &format!("of this node: {node}; {body}"));
    }

    fn access(&mut self, config: &Config) {
        let is_set = |is_set: bool| if is_set { "is set" } else { "is not set" };
        self.line(
            "Access",
            &match config.trusted_proxies.len() {
                0 => "no trusted proxy: a viewer's address is that of the connection. Behind a proxy set \
                      TRUSTED_PROXIES"
                    .to_owned(),
                count => format!("{count} trusted networks of proxies, whose X-Forwarded-For is believed"),
            },
        );
        let origins = config.allowed_origins.len();
        self.line("", &format!("pages of this site count viewers, and those of {origins} other origins"));
        self.line("", &format!("frames are allowed on: {}", config.embed_frame_ancestors.as_str()));
        self.line(
            "",
            if config.access.has_public_statistics {
                "everyone may see statistics"
            } else {
                "the operator and owners of signed links may see statistics"
            },
        );
        self.line("", &format!("the operator's API_TOKEN {}", is_set(config.access.token.is_some())));
        self.line("", &format!("API_SECRET, which signs links, {}", is_set(config.access.secret.is_some())));
        self.line("", &format!("LIVE_HOOK_SECRET {}", is_set(config.live_hook_secret.is_some())));
        self.line(
            "",
            if config.tickets.are_required() {
                "only viewers with a ticket count"
            } else if config.tickets.are_accepted() {
                "viewers count with and without a ticket"
            } else {
                "tickets are ignored"
            },
        );
    }

    fn webhooks(&mut self, config: &Config) {
        let text = match config.webhooks.targets.len() {
            0 => "none".to_owned(),
            count => format!("signed events to {count} receivers; `aforo webhook test URL` sends one"),
        };
        self.line("Webhooks", &text);
    }

    fn warnings(&mut self, config: &Config) {
        for (index, warning) in config.warnings.iter().enumerate() {
            self.line(if index == 0 { "Warnings" } else { "" }, warning);
        }
    }
}

/// Reads a count as the server does, so that missing rights show too.
async fn read(config: &Config) -> Result<(), String> {
    let clock = Arc::new(SystemClock::start());
    let store = store::open(config, config.policy.lease_rules(), clock)
        .map_err(|_| "the address is invalid".to_owned())?;
    let channel = ChannelId::parse(CHANNEL).map_err(|error| error.to_string())?;
    let began = Instant::now();
    loop {
        match store.counts(slice::from_ref(&channel)).await.pop() {
            // The first connection may still be under way.
            Some(Err(StoreError::Unreachable(_))) if began.elapsed() < READ_LIMIT => sleep(PAUSE).await,
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(_)) | None => return Ok(()),
        }
    }
}
