//! Turns flags into a [`Config`]. All problems are reported at once, so that an operator can fix them together.

use std::{
    env,
    error::Error,
    ffi::{OsStr, OsString},
    iter,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Arg, ArgMatches, Command, CommandFactory, FromArgMatches,
    builder::{OsStringValueParser, Resettable},
    error::ErrorKind,
    parser::ValueSource,
};

use super::{
    AccessConfig, Config, DatabaseConfig, DemoHistory, Flags, Secret, StoreConfig, Task, TlsFiles, TopTask,
    defaults::{follow, is_given},
    flags, misspelled,
    values::{StatisticsMode, TicketMode},
    warnings::warnings,
};
use crate::{
    domain::Policy,
    server::{
        access::MIN_SECRET_BYTES,
        limits::PerAddress,
        listen::Tls,
        redis::{ChannelParts, ClusterRunner, RedisRunner, UpstashRunner},
        site::{Embedded, Site},
        tickets::{self, Tickets},
        webhooks::settings::WebhookSettings,
    },
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Help or the version was requested, or a flag is unknown. clap has the output and the exit status.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Settings are invalid, alone or in combination.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

/// All problems of a configuration, one sentence each. No sentence contains a secret.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration; server not started:{}", .0.iter().map(|problem| format!("\n  - {problem}")).collect::<String>())]
pub struct InvalidConfig(pub Vec<String>);

/// The settings as they were found: the configuration that they make, and what is wrong with them.
#[derive(Debug)]
pub struct Draft {
    /// The configuration, with the default in place of each invalid value.
    pub config: Config,
    /// All problems, one sentence each, without secrets.
    pub problems: Vec<String>,
    /// The settings that have a value in the environment or by a flag, with the value. A secret's value is not shown.
    pub given: Vec<(String, String)>,
    /// The version of the program, with the build of the site inside it.
    pub version: String,
}

impl Draft {
    /// The configuration, if nothing is wrong.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn complete(self) -> Result<Config, SettingsError> {
        if self.problems.is_empty() { Ok(self.config) } else { Err(InvalidConfig(self.problems).into()) }
    }
}

/// Reads the configuration from the environment and `args`, for a program without a site inside. The first of `args` is
/// the program.
///
/// # Errors
/// All problems of the configuration.
pub fn read<T: Into<OsString>>(args: impl IntoIterator<Item = T>) -> Result<Config, SettingsError> {
    draft(args, None)?.complete()
}

/// Reads the settings from the environment and `args`. The first of `args` is the program. `embedded` is the site inside
/// the program.
///
/// # Errors
/// When help or the version was requested, or a flag is unknown.
pub fn draft<T: Into<OsString>>(
    args: impl IntoIterator<Item = T>,
    embedded: Option<Embedded>,
) -> Result<Draft, SettingsError> {
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    // Flags may follow the word, too.
    if args.get(1).is_some_and(|arg| arg == CHECK) {
        args[1..].rotate_left(1);
    }
    let version = version(embedded.as_ref());
    let command = command().version(version.clone());
    let parsed = command
        .try_get_matches_from(&args)
        .and_then(|given| Flags::from_arg_matches(&given).map(|flags| (flags, given)));
    let (mut flags, mut problems, given) = match parsed {
        Ok((flags, given)) => (flags, Problems::default(), given),
        Err(error) => parse_one_by_one(&args, error)?,
    };
    follow(&mut flags, &given);
    let (mut config, mut sentences) = assemble(flags, embedded);
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    config.warnings.extend(misspelled::variables(names, &settings()));
    config.warnings.extend(misspelled::levels(&config.log));
    if let Some(TlsFiles { certificate, key }) = &config.tls {
        let loaded = Tls::load(certificate, key);
        sentences.extend(loaded.err().map(|error| format!("TLS_CERT, TLS_KEY: {error}")));
    }
    sentences.into_iter().for_each(|sentence| problems.add_unless_derived(sentence));
    let given = shown(&given);
    Ok(Draft { config, problems: problems.sentences, given, version })
}

/// The word that asks for a check.
const CHECK: &str = "check";

/// The default folder of a program without a site inside: where `make site` puts it.
const DEFAULT_SITE_ROOT: &str = "target/site";

/// The version of this program, with the build of the site inside it.
fn version(embedded: Option<&Embedded>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match embedded.and_then(Embedded::build) {
        Some(build) => format!("{version} (build {build})"),
        None => version.to_owned(),
    }
}

/// The command that reads the settings. A variable that is set to nothing counts as not set. Each setting has a second
/// flag by the name of its variable, if its own flag has another name.
fn command() -> Command {
    Flags::command().mut_args(|arg| {
        let Some(variable) = arg.get_env().map(ToOwned::to_owned) else { return arg };
        let is_empty = env::var_os(&variable).is_some_and(|value| value.is_empty());
        let arg = if is_empty { arg.env(Resettable::Reset) } else { arg };
        let flag = flag_of(&variable.to_string_lossy());
        if arg.get_long() == Some(&*flag) { arg } else { arg.alias(flag) }
    })
}

/// The names of all settings in the environment.
fn settings() -> Vec<String> {
    let command = Flags::command();
    let commands = iter::once(&command).chain(command.get_subcommands());
    let names = commands.flat_map(Command::get_arguments).filter_map(Arg::get_env);
    names.filter_map(|name| name.to_str().map(str::to_owned)).collect()
}

/// The flag by the name of a variable, without the dashes before it: `viewer-timeout` for `VIEWER_TIMEOUT`.
fn flag_of(variable: &str) -> String {
    variable.to_ascii_lowercase().replace('_', "-")
}

/// The settings that have a value, in the order of the flags, with the value unless it is a secret.
fn shown(given: &ArgMatches) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for arg in Flags::command().get_arguments() {
        let values = values(arg, given);
        if values.is_empty() {
            continue;
        }
        let value = if arg.is_hide_env_values_set() {
            "(secret)".to_owned()
        } else {
            values.iter().map(|value| without_user(value)).collect::<Vec<_>>().join(",")
        };
        shown.push((name(arg), value));
    }
    shown
}

/// Makes the configuration, and the problems of settings that are valid alone but not together. A part with a problem
/// has some valid value.
fn assemble(flags: Flags, embedded: Option<Embedded>) -> (Config, Vec<String>) {
    let mut problems = Vec::new();
    let warnings = warnings(&flags);
    let policy = Policy {
        heartbeat_interval: Duration::from_millis(flags.heartbeat_interval.into()),
        timeout: Duration::from_secs(flags.timeout.into()),
        hidden_timeout: Duration::from_secs(flags.hidden_timeout.into()),
        update_interval: Duration::from_millis(flags.count_update_interval.into()),
        write_interval: Duration::from_millis(flags.write_interval.into()),
        cleanup_interval: Duration::from_secs(flags.cleanup_interval.into()),
    };
    problems.extend(policy.problems());
    let mut missing = |one, other| problems.push(format!("{one} is set but {other} is not; set both"));
    let tls = match (flags.tls_cert, flags.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (Some(_), None) => {
            missing("TLS_CERT", "TLS_KEY");
            None
        }
        (None, Some(_)) => {
            missing("TLS_KEY", "TLS_CERT");
            None
        }
        (None, None) => None,
    };
    let upstash = (flags.upstash_redis_rest_url, flags.upstash_redis_rest_token);
    let store = store(flags.redis_url, flags.redis_channel_parts, upstash, &mut problems);
    let access = access(flags.stats, flags.api_token, flags.api_secret, &mut problems);
    let database = database(flags.database_url, &flags.data_dir, &mut problems);
    let tickets = tickets(flags.tickets, &flags.ticket_keys, flags.ticket_id_secret, &mut problems);
    let (webhooks, wrong) = WebhookSettings::new(
        flags.webhook_urls,
        flags.webhook_secret,
        flags.webhook_milestones,
        flags.webhook_allow_private,
    );
    problems.extend(wrong);
    let task = task(flags.task, &webhooks, &mut problems);
    let site = match (flags.site_root, embedded) {
        (Some(folder), _) => Site::Folder(folder),
        (None, Some(files)) => Site::Embedded(files),
        (None, None) => Site::Folder(DEFAULT_SITE_ROOT.into()),
    };
    let config = Config {
        task,
        site_addr: flags.site_addr,
        site,
        tls,
        stream_url_template: flags.stream_url_template,
        count_max_age: NonZeroU32::new(flags.count_max_age),
        policy,
        live: flags.live,
        live_signal_timeout: Some(flags.live_signal_timeout)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into())),
        store,
        redis_key_prefix: flags.redis_key_prefix,
        database,
        access,
        history_days: (flags.history_days > 0).then_some(flags.history_days),
        per_address: PerAddress {
            joins_burst: flags.limit_joins_burst,
            joins_per_second: flags.limit_joins_per_second,
            sessions_per_channel: flags.limit_sessions_per_channel,
            new_channels_per_minute: flags.limit_new_channels_per_minute,
        },
        limit_follows_per_minute: flags.limit_follows_per_minute,
        limit_connections_per_address: flags.limit_connections_per_address,
        limit_streams_per_address: flags.limit_streams_per_address,
        limit_reads_per_address: flags.limit_reads_per_address,
        limit_figures_per_address: flags.limit_figures_per_address,
        limit_streams: flags.limit_streams,
        body_limit: usize::try_from(flags.limit_body_bytes).ok().filter(|bytes| *bytes > 0),
        trusted_proxies: flags.trusted_proxies,
        allowed_origins: flags.allowed_origins,
        tickets,
        webhooks,
        embed_frame_ancestors: flags.embed_frame_ancestors,
        live_hook_secret: flags.live_hook_secret,
        shutdown_delay: Duration::from_millis(flags.shutdown_delay.into()),
        log_format: flags.log_format,
        log: flags.log,
        otlp_endpoint: flags.otlp_endpoint,
        warnings,
    };
    (config, problems)
}

/// What the program does. Adds problems to `problems`.
fn task(task: Option<flags::Task>, webhooks: &WebhookSettings, problems: &mut Vec<String>) -> Task {
    let url = match task {
        None => return Task::Serve,
        Some(flags::Task::Check) => return Task::Check,
        Some(flags::Task::Health) => return Task::Health,
        Some(flags::Task::Top(flags::Top { url, once })) => return Task::Top(TopTask { url, once }),
        Some(flags::Task::DemoHistory { file, channels }) => {
            return Task::DemoHistory(DemoHistory { file, channels });
        }
        Some(flags::Task::Webhook(flags::WebhookTask::Test { url })) => url,
    };
    if let Err(error) = url.check(webhooks.allows_private) {
        problems.push(format!("the address to test: {error}"));
    }
    if webhooks.keys.is_empty() {
        problems.push("WEBHOOK_SECRET is not set, so the test event cannot be signed".to_owned());
    }
    Task::TestWebhook(url)
}

/// The configured store. Adds problems to `problems`; does not connect.
fn store(
    redis: Option<Secret>,
    parts: ChannelParts,
    upstash: (Option<Secret>, Option<Secret>),
    problems: &mut Vec<String>,
) -> StoreConfig {
    if redis.is_some() && (upstash.0.is_some() || upstash.1.is_some()) {
        problems.push("REDIS_URL and UPSTASH_REDIS_REST_URL are both set; set one of them".to_owned());
    }
    if upstash.0.is_some() != upstash.1.is_some() {
        let both = "UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN";
        problems.push(format!("only one of {both} is set; set both"));
    }
    if let Some(Err(error)) = upstash.0.as_deref().map(UpstashRunner::check) {
        problems.push(error.to_string());
    }
    if !parts.are_one() && redis.is_none() {
        problems.push(
            "REDIS_CHANNEL_PARTS is set but REDIS_URL is not; parts are for a Redis Cluster".to_owned(),
        );
    }
    match (redis, upstash) {
        (Some(urls), _) if urls.contains(',') => {
            let urls: Vec<&str> = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
            problems.extend(ClusterRunner::check(&urls).err().map(redis_url_problem));
            let urls = urls.into_iter().map(|url| url.to_owned().into()).collect();
            StoreConfig::Cluster { urls, parts }
        }
        (Some(url), _) => {
            problems.extend(RedisRunner::check(&url).err().map(redis_url_problem));
            StoreConfig::Redis { url, parts }
        }
        (None, (Some(url), Some(token))) => StoreConfig::Upstash { url, token },
        (None, _) => StoreConfig::Memory,
    }
}

/// The access to what is not public. Adds problems to `problems`.
fn access(
    stats: StatisticsMode,
    token: Option<Secret>,
    secret: Option<Secret>,
    problems: &mut Vec<String>,
) -> AccessConfig {
    if secret.as_ref().is_some_and(|secret| secret.len() < MIN_SECRET_BYTES) {
        problems.push(format!("API_SECRET is too short; it must have {MIN_SECRET_BYTES} bytes or more"));
    }
    AccessConfig { has_public_statistics: stats == StatisticsMode::Public, token, secret }
}

/// The file of the default database, in `DATA_DIR`.
const DATABASE_FILE: &str = "aforo.db";

/// The configured database. Adds problems to `problems`; does not connect.
fn database(url: Option<Secret>, data_dir: &Path, problems: &mut Vec<String>) -> DatabaseConfig {
    let default = DatabaseConfig::Sqlite(data_dir.join(DATABASE_FILE));
    let Some(url) = url else { return default };
    let mut problem = |text: &str| problems.push(format!("DATABASE_URL is invalid: {text}"));
    if let Some(file) = url.strip_prefix("sqlite:") {
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() || file.contains(":memory:") || file.contains('?') {
            problem("expected sqlite: and the path of a file, without parameters");
            return default;
        }
        return DatabaseConfig::Sqlite(PathBuf::from(file));
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        problem("expected sqlite: and the path of a file, or postgres://");
        return default;
    }
    // The message of the library may contain a part of the address, and so a password.
    if url.parse::<sqlx::postgres::PgConnectOptions>().is_err() {
        problem("not an address of PostgreSQL");
    } else if !has_host(&url) {
        problem("no host in the address of PostgreSQL");
    } else if has_unknown_parameter(&url) {
        // The library would ignore it, and log its value at every connection.
        problem("a parameter after the ? is not known");
    }
    DatabaseConfig::Postgres(url)
}

/// Whether an address of PostgreSQL names a host. Without one, the library falls back to the environment or to this machine.
fn has_host(url: &str) -> bool {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let authority = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let names_host = |parameter: &str| {
        parameter
            .split_once('=')
            .is_some_and(|(name, value)| matches!(name, "host" | "hostaddr") && !value.is_empty())
    };
    !host.is_empty() || parameters.split('&').any(names_host)
}

/// Whether an address of PostgreSQL has a parameter that the library does not know.
fn has_unknown_parameter(url: &str) -> bool {
    const KNOWN: [&str; 18] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    let parameters = url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    let name = |parameter: &str| parameter.split(['=', '[']).next().unwrap_or_default().to_owned();
    parameters.split('&').filter(|parameter| !parameter.is_empty()).any(|it| !KNOWN.contains(&&*name(it)))
}

/// How viewers with tickets are told. Adds problems to `problems`.
fn tickets(
    mode: TicketMode,
    keys: &[tickets::Key],
    id_secret: Option<Secret>,
    problems: &mut Vec<String>,
) -> Tickets {
    let id_secret = id_secret.map(|text| tickets::decode_base64(text.trim()).unwrap_or_default());
    if id_secret.as_ref().is_some_and(|secret| secret.len() < tickets::MIN_SECRET_BYTES) {
        let least = tickets::MIN_SECRET_BYTES;
        problems.push(format!("VIEWER_TICKET_ID_SECRET is not BASE64 of at least {least} bytes"));
    }
    let is_required = match mode {
        TicketMode::Off => return Tickets::off(),
        TicketMode::Accept => false,
        TicketMode::Require => true,
    };
    Tickets::new(is_required, keys, id_secret.as_deref()).unwrap_or_else(|error| {
        problems.push(format!("VIEWER_TICKET_KEYS {error}, and VIEWER_TICKETS is not off"));
        Tickets::off()
    })
}

/// The problem of `REDIS_URL`. The text after the dash in the library's message is dropped: it may contain a part of
/// the address, and so a password.
fn redis_url_problem(error: redis::RedisError) -> String {
    let message = error.to_string();
    let reason = message.split(" - ").next().unwrap_or_default();
    format!(
        "REDIS_URL is invalid ({reason}); expected redis://, rediss:// or unix:, or several addresses separated by \
         commas"
    )
}

/// The problems found so far.
#[derive(Default)]
struct Problems {
    /// The settings with invalid values.
    settings: Vec<String>,
    sentences: Vec<String>,
}

impl Problems {
    /// Adds a problem of several settings, unless one of them has an invalid value: the default that replaces it could
    /// be the cause.
    fn add_unless_derived(&mut self, sentence: String) {
        if !self.settings.iter().any(|setting| sentence.contains(setting)) {
            self.sentences.push(sentence);
        }
    }
}

/// Parses each setting alone, because clap stops at the first invalid one. Returns the flags with defaults in place of
/// invalid values, the problems of those values, and the values.
fn parse_one_by_one(
    args: &[OsString],
    error: clap::Error,
) -> Result<(Flags, Problems, ArgMatches), clap::Error> {
    // This parser accepts any value, so it fails only for invalid flags.
    let any_value = command().mut_args(|arg| arg.value_parser(OsStringValueParser::new()));
    let given = match any_value.try_get_matches_from(args) {
        Ok(given) => given,
        Err(other) => return Err(if other.kind() == error.kind() { error } else { other }),
    };
    let mut problems = Problems::default();
    let mut valid = vec![OsString::from("aforo")];
    for arg in Flags::command().get_arguments() {
        let values = values(arg, &given);
        let invalid: Vec<_> = values.iter().filter_map(|value| problem(arg, value, &given)).collect();
        if invalid.is_empty() {
            if !values.is_empty() {
                valid.push(flag(arg, &values.join(&OsString::from(","))));
            }
        } else {
            problems.settings.push(name(arg));
            problems.sentences.extend(invalid);
        }
    }
    let without_environment = Flags::command().mut_args(|arg| arg.env(Resettable::Reset));
    let mut flags = Flags::from_arg_matches(&without_environment.try_get_matches_from(valid)?)?;
    if given.subcommand().is_some() {
        flags.task = Some(flags::Task::from_arg_matches(&given)?);
    }
    Ok((flags, problems, given))
}

/// The given values of a setting: several for a list, none if only the default applies.
fn values(arg: &Arg, given: &ArgMatches) -> Vec<OsString> {
    let setting = arg.get_id().as_str();
    if !is_given(setting, given) {
        return Vec::new();
    }
    given.get_raw(setting).into_iter().flatten().map(ToOwned::to_owned).collect()
}

/// A value to show: without what may be a user and a password, even if they are not encoded. A path may contain an `@`.
fn without_user(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    let parts = text.rsplit_once('@').filter(|(before, _)| before.contains(':'));
    let Some((before, host)) = parts else { return text.into_owned() };
    let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
    format!("{scheme}…@{host}")
}

/// The problem of one value, if it is invalid: a sentence with the setting and the expected value.
fn problem(arg: &Arg, value: &OsString, given: &ArgMatches) -> Option<String> {
    let parser = Command::new("aforo").arg(arg.clone().env(Resettable::Reset));
    let error = parser.try_get_matches_from(["aforo".into(), flag(arg, value)]).err()?;
    let expected = match (error.kind(), error.source()) {
        (ErrorKind::InvalidUtf8, _) => "not text in UTF-8".to_owned(),
        (_, Some(reason)) => reason.to_string(),
        (_, None) => {
            let possible: Vec<_> =
                arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            format!("not one of {}", possible.join(", "))
        }
    };
    let source = match given.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => format!(" (--{})", arg.get_long().unwrap_or_default()),
        _ => String::new(),
    };
    let shown =
        if arg.is_hide_env_values_set() { String::new() } else { format!(" is {:?},", without_user(value)) };
    Some(format!("{}{source}{shown} {expected}", name(arg)))
}

fn name(arg: &Arg) -> String {
    arg.get_env().unwrap_or_default().to_string_lossy().into_owned()
}

fn flag(arg: &Arg, value: &OsString) -> OsString {
    let mut flag = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
    flag.push(value);
    flag
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    /// The configuration by these flags.
    fn config(flags: &[&str]) -> Config {
        read([&["aforo"][..], flags].concat()).unwrap()
    }

    #[test]
    fn an_address_is_shown_without_its_user() {
        let settings = [
            (
                "--stream-url-template=https://me:hunter2@cdn example/{channel}",
                "https://…@cdn example/{channel}",
            ),
            ("--viewer-allowed-origins=https://me:hun/ter2@x.example", "https://…@x.example"),
            ("--viewer-allowed-origins=me:hunter2@x.example", "…@x.example"),
            ("--viewer-allowed-origins=https://x.example/a", "https://x.example/a"),
        ];
        for (flag, shown) in settings {
            let error = read(["aforo", flag]).unwrap_err().to_string();
            assert!(error.contains(&format!("is {shown:?},")) && !error.contains("hun"), "{error}");
            let settings = draft(["aforo", flag], None).unwrap().given;
            assert!(settings.iter().any(|(_, value)| value == shown), "{settings:?}");
        }
        assert_eq!(without_user(OsStr::new("/srv/aforo@one/data")), "/srv/aforo@one/data");
    }

    #[test]
    fn every_setting_has_a_flag_by_the_name_of_its_variable() {
        command().debug_assert();
        let settings = Flags::command();
        let read = command();
        for (setting, arg) in settings.get_arguments().zip(read.get_arguments()) {
            let flag = flag_of(&name(setting));
            let aliases = arg.get_all_aliases().unwrap_or_default();
            assert!(arg.get_long() == Some(&*flag) || aliases == [&*flag], "--{flag}");
            assert!(arg.get_visible_aliases().unwrap_or_default().is_empty(), "--{flag}");
        }
        let config = config(&["--timeout=70", "--viewer-timeout=90", "--leptos-site-addr=127.0.0.1:4000"]);
        assert_eq!((config.policy.timeout.as_secs(), config.site_addr.port()), (90, 4_000));
    }

    #[test]
    fn a_wrong_value_is_told_by_the_names_of_the_setting() {
        let problems = draft(["aforo", "--viewer-timeout=soon"], None).unwrap().problems;
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with("VIEWER_TIMEOUT (--timeout) is \"soon\""), "{problem}");
    }

    #[test]
    fn lists_may_have_spaces_around_their_commas() {
        let key = format!("hs256:{}", BASE64_STANDARD.encode("hunter2 is 32 bytes long in this"));
        let config = config(&[
            "--trusted-proxies=10.0.0.0/8 , fd00::/8",
            "--allowed-origins=https://partner.example, null",
            &format!("--ticket-keys={key} , {key}"),
            "--webhook-urls=https://a.example/ , https://b.example/",
            "--webhook-secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw , whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "--webhook-milestones=100 , 1000",
            "--redis-url=redis://127.0.0.1:1 , redis://127.0.0.1:2",
            "--redis-channel-parts=1 , ana:8",
            "--embed-frame-ancestors='self' , https://partner.example",
        ]);
        let counts =
            [config.trusted_proxies.len(), config.allowed_origins.len(), config.webhooks.targets.len()];
        assert_eq!(counts, [2; 3]);
        assert_eq!(config.embed_frame_ancestors.as_str(), "'self' https://partner.example");
    }
}
