//! Invalid settings: the program reports all of them at once, without secrets.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use aforo::server::config::{self, Flags};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::CommandFactory;
use serde_json::json;

use crate::support::{Postgres, Program, RedisServer, Upstash, viewer};

/// A password that must not appear in any output.
const SECRET: &str = "hunter2";

/// Runs the program to its end with only these environment variables. Returns the exit code, stdout and stderr.
fn run(settings: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    let Output { status, stdout, stderr } =
        command.env_clear().envs(settings.iter().copied()).args(flags).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs the program with invalid settings. Returns its error messages, one for each invalid setting.
fn errors_of(settings: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let (code, stdout, stderr) = run(settings, flags);
    assert_eq!(code, Some(2), "{settings:?}: {stderr}");
    assert_eq!(stdout, "");
    let mut lines = stderr.lines();
    assert_eq!(lines.next(), Some("aforo: invalid configuration; server not started:"), "{stderr}");
    assert!(!stderr.contains(SECRET), "{stderr}");
    lines.map(|line| line.strip_prefix("  - ").unwrap_or_else(|| panic!("{stderr}")).to_owned()).collect()
}

#[test]
fn all_invalid_settings_are_reported_at_once_with_the_expected_format() {
    let redis_url = format!("redis://aforo:{SECRET}@127.0.0.1:6379/seven");
    let upstash_url = format!("ftp://{SECRET}.example");
    let ticket_key = format!("hs256:{}", STANDARD.encode(SECRET));
    let database_url = format!("mysql://aforo:{SECRET}@db.example/aforo");
    let wrong = [
        ("LEPTOS_SITE_ADDR", "localhost", "an address with a port"),
        ("COUNT_MAX_AGE", "61", "from 0 to 60"),
        ("STREAM_URL_TEMPLATE", "http://cdn.example/", "https://cdn.example/{channel}"),
        ("VIEWER_TIMEOUT", "abc", "a whole number"),
        ("VIEWER_HIDDEN_TIMEOUT", "99999999999", "a whole number"),
        ("VIEWER_HEARTBEAT_INTERVAL", "5", "at least 100 ms"),
        ("VIEWER_CLEANUP_INTERVAL", "0", "at least 1 s"),
        ("REDIS_URL", &redis_url, "redis://, rediss:// or unix:"),
        ("UPSTASH_REDIS_REST_URL", &upstash_url, "https://"),
        ("DATABASE_URL", &database_url, "sqlite: and the path of a file, or postgres://"),
        ("REDIS_KEY_PREFIX", "a{b}", "without spaces, quotes, braces"),
        ("REDIS_CHANNEL_PARTS", "1,ana:65", "a list such as 1,ana:8"),
        ("LIVE", "always", "viewers, signal"),
        ("LIVE_SIGNAL_TIMEOUT", "1h", "a whole number"),
        ("API_TOKEN", "hunter2 hunter2 hunter2", "not ASCII characters without spaces"),
        ("LIVE_HOOK_SECRET", "hunter2&hunter2&hunter2", "not letters, digits"),
        ("LIMIT_STREAMS", "-1", "a whole number from 0"),
        ("LIMIT_BODY_BYTES", "1", "0 or a whole number from 512"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/99", "a network such as 10.0.0.0/8"),
        ("VIEWER_ALLOWED_ORIGINS", "partner", "https://partner.example"),
        ("VIEWER_TICKETS", "maybe", "off, accept, require"),
        ("VIEWER_TICKET_KEYS", &ticket_key, "an hs256 key of 7 bytes; at least 32"),
        ("VIEWER_TICKET_ID_SECRET", SECRET, "BASE64 of at least 32 bytes"),
        ("EMBED_FRAME_ANCESTORS", ";", "a list of sources"),
        ("SHUTDOWN_DELAY", "1.5", "a whole number from 0 to 600000"),
        ("TLS_CERT", "/nowhere.pem", "TLS_KEY is not"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("RUST_LOG", "aforo=loud", "aforo=debug,warn"),
    ];
    let errors = errors_of(&wrong.map(|(name, value, _)| (name, value)), &[]);
    for (name, _, expected) in wrong {
        let is_reported = errors.iter().any(|error| error.starts_with(name) && error.contains(expected));
        assert!(is_reported, "{name}: {expected} in {errors:#?}");
    }
    assert!(errors.iter().any(|error| error.contains("are both set")), "{errors:#?}");
    assert!(errors.iter().any(|error| error.contains("UPSTASH_REDIS_REST_TOKEN")), "{errors:#?}");
    // In addition to the invalid values, there is one error for the two stores and one for the missing token. No error
    // is reported twice.
    assert_eq!(errors.len(), wrong.len() + 2, "{errors:#?}");
}

#[tokio::test]
async fn weak_secrets_are_told_in_the_log_and_refuse_nothing() {
    let secret = format!("{SECRET}, and more so that it is long enough");
    let (same, zeros) = (STANDARD.encode(&secret), STANDARD.encode([0; 32]));
    let keys = format!("hs256:{zeros},hs256:{same}");
    for mode in ["off", "accept", "require"] {
        let settings = [
            ("API_TOKEN", SECRET),
            ("LIVE_HOOK_SECRET", SECRET),
            ("API_SECRET", &*secret),
            ("VIEWER_TICKET_KEYS", &*keys),
            ("VIEWER_TICKETS", mode),
        ];
        let server = Program::start(&settings).await;
        for warning in [
            "API_TOKEN is shorter than 16 characters",
            "LIVE_HOOK_SECRET is shorter than 16 characters",
            "VIEWER_TICKET_KEYS has a key whose bytes are all the same",
            "API_SECRET is the same as a key of VIEWER_TICKET_KEYS",
        ] {
            server.wait_for_log(warning).await;
        }
        let log = server.log();
        for secret in [SECRET, &same, &zeros] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let command = Flags::command();
    let names = command.get_arguments().map(|setting| setting.get_env().unwrap().to_str().unwrap());
    let value = |name: &str| if name == "LIMIT_STREAMS" { "x" } else { "" };
    let settings: Vec<_> = names.map(|name| (name, value(name))).collect();
    let errors = errors_of(&settings, &[]);
    assert!(errors.len() == 1 && errors[0].starts_with("LIMIT_STREAMS"), "{errors:?}");
    // A flag without a value is a mistake.
    let errors = errors_of(&[("VIEWER_TIMEOUT", "")], &["--timeout="]);
    assert!(errors.len() == 1 && errors[0].starts_with("VIEWER_TIMEOUT (--timeout)"), "{errors:?}");
}

#[test]
fn a_flag_may_have_the_name_of_its_variable() {
    let flags = ["--viewer-timeout=soon", "--tickets=maybe", "--viewer-ticket-keys=hunter2"];
    let errors = errors_of(&[], &flags);
    assert_eq!(errors.len(), 3, "{errors:?}");
    for setting in ["VIEWER_TIMEOUT (--timeout)", "VIEWER_TICKETS (--tickets)", "VIEWER_TICKET_KEYS"] {
        assert!(errors.iter().any(|error| error.starts_with(setting)), "{setting} in {errors:?}");
    }
}

#[test]
fn only_redis_keeps_channels_in_parts() {
    let errors = errors_of(&[("REDIS_CHANNEL_PARTS", "4"), ("LIMIT_STREAMS", "x")], &[]);
    assert!(
        errors.iter().any(|error| error.contains("REDIS_CHANNEL_PARTS is set but REDIS_URL is not")),
        "{errors:?}"
    );
    let redis = [("REDIS_CHANNEL_PARTS", "4"), ("REDIS_URL", "redis://127.0.0.1"), ("LIMIT_STREAMS", "x")];
    assert_eq!(errors_of(&redis, &[]).len(), 1);
}

#[test]
fn invalid_list_entries_and_flags_are_named() {
    let errors = errors_of(&[("TRUSTED_PROXIES", "10.0.0.0/8,here,there")], &["--timeout=soon"]);
    assert_eq!(errors.len(), 3, "{errors:?}");
    for expected in ["\"here\"", "\"there\"", "VIEWER_TIMEOUT (--timeout) is \"soon\""] {
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected} in {errors:?}");
    }
    // A flag takes precedence, so the variable is not checked.
    let errors = errors_of(&[("VIEWER_TIMEOUT", "abc")], &["--timeout=soon"]);
    assert!(errors.len() == 1 && errors[0].contains("soon"), "{errors:?}");
}

#[test]
fn an_invalid_setting_causes_no_follow_up_errors() {
    // A heartbeat interval of a minute is too long for the default timeout. With an invalid timeout, it is not checked.
    let errors = errors_of(&[("VIEWER_HEARTBEAT_INTERVAL", "60000"), ("VIEWER_TIMEOUT", "abc")], &[]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let errors = errors_of(&[("VIEWER_HEARTBEAT_INTERVAL", "60000"), ("LIMIT_STREAMS", "abc")], &[]);
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn an_invalid_database_url_is_reported_without_its_password() {
    for (url, expected) in [
        ("aforo.db", "sqlite: and the path of a file, or postgres://"),
        ("sqlite:", "the path of a file"),
        ("sqlite::memory:", "the path of a file"),
        ("sqlite:aforo.db?mode=ro", "without parameters"),
        ("postgres://aforo:hunter2@db:port/aforo", "not an address of PostgreSQL"),
        ("postgres://aforo:hunter2@db/aforo?sslmode=maybe", "not an address of PostgreSQL"),
        ("postgres://", "no host"),
        ("postgres:///aforo", "no host"),
        ("postgres:///aforo?host=&user=aforo", "no host"),
        ("postgres://aforo@db/aforo?passwort=hunter2", "a parameter after the ? is not known"),
        ("postgres://aforo@db/aforo?sslmode=require&hunter2", "a parameter after the ? is not known"),
    ] {
        let errors = errors_of(&[("DATABASE_URL", url)], &[]);
        let is_reported = errors[0].starts_with("DATABASE_URL") && errors[0].contains(expected);
        assert!(errors.len() == 1 && is_reported, "{url}: {errors:?}");
    }
    for url in [
        "postgres://aforo:hunter2@[::1]:5432/aforo",
        "postgres://aforo@%2Frun%2Fpostgresql/aforo",
        "postgres:///aforo?host=/run/postgresql&user=aforo",
    ] {
        assert!(config::read(["aforo", &format!("--database-url={url}")]).is_ok(), "{url}");
    }
}

/// Settings that have the right form, but with which the server could not do what they say.
#[test]
fn settings_that_could_not_work_are_refused() {
    let padded = format!("{SECRET}, and more so that it is long enough\n");
    for (name, value, expected) in [
        ("REDIS_URL", "redis://127.0.0.1/-1", "the number of the database is negative"),
        ("REDIS_URL", "unix:///run/redis.sock?db=-1", "the number of the database is negative"),
        (
            "REDIS_URL",
            "redis://127.0.0.1:1/-1,redis://127.0.0.1:2/-1",
            "the number of the database is negative",
        ),
        ("EMBED_FRAME_ANCESTORS", "'none' https://partner.example", "'none' must stand alone"),
        ("EMBED_FRAME_ANCESTORS", "'none',https://partner.example", "'none' must stand alone"),
        ("VIEWER_ALLOWED_ORIGINS", "https://*.partner.example", "wildcards within a host are not supported"),
        ("LIMIT_BODY_BYTES", "511", "a whole number from 512"),
        ("API_SECRET", &padded, "ends with white space"),
        ("API_SECRET", "a secret that is 31 bytes long!", "must have 32 bytes or more"),
    ] {
        let errors = errors_of(&[(name, value)], &[]);
        let is_reported = errors[0].starts_with(name) && errors[0].contains(expected);
        assert!(errors.len() == 1 && is_reported, "{value}: {errors:?}");
    }
    let url = ("UPSTASH_REDIS_REST_URL", "https://example.upstash.io");
    let errors = errors_of(&[url, ("UPSTASH_REDIS_REST_TOKEN", "hunter2 hunter2")], &[]);
    assert!(errors.iter().any(|error| error.starts_with("UPSTASH_REDIS_REST_TOKEN")), "{errors:?}");
}

#[test]
fn tickets_need_keys_of_the_right_kind() {
    let secret = STANDARD.encode(b"hunter2 is 32 bytes long in this");
    let long_key = format!("hs256:{secret}");
    let public = format!("ed25519:{secret}");
    let both = format!("{long_key},{public}");
    let pem = format!("ed25519:{}", STANDARD.encode([7; 44]));
    let some = format!("{long_key},rs256:{secret},{pem},nonsense");
    for (keys, mode, expected) in [
        (None, "require", &["VIEWER_TICKET_KEYS has no key"][..]),
        (None, "accept", &["VIEWER_TICKET_KEYS has no key"]),
        (Some(&both), "accept", &["the same key as hs256 and as ed25519"]),
        (
            Some(&some),
            "accept",
            &["not hs256:BASE64 or ed25519:BASE64", "an ed25519 key of 44 bytes", "BASE64"],
        ),
        (Some(&some), "off", &["not hs256:BASE64 or ed25519:BASE64", "an ed25519 key of 44 bytes", "BASE64"]),
    ] {
        let mut settings = vec![("VIEWER_TICKETS", mode)];
        settings.extend(keys.map(|keys| ("VIEWER_TICKET_KEYS", keys.as_str())));
        let errors = errors_of(&settings, &[]);
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for part in expected {
            assert!(errors.iter().any(|error| error.contains(part)), "{part} in {errors:#?}");
        }
        assert!(errors.iter().all(|error| !error.contains(&secret)), "{errors:#?}");
    }
}

#[test]
fn receivers_of_webhooks_need_secrets_and_safe_addresses() {
    let right = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (settings, expected) in [
        (&[("WEBHOOK_URLS", "https://hunter2.example/")][..], &["WEBHOOK_SECRET is not; set both"][..]),
        (
            &[
                ("WEBHOOK_URLS", "https://a.example/hunter2,http://b.example/,https://10.0.0.1/"),
                ("WEBHOOK_SECRET", right),
            ],
            &["http://b.example is not encrypted", "10.0.0.1 is a private address"],
        ),
        (
            &[
                ("WEBHOOK_URLS", "http://169.254.169.254/hunter2,nonsense"),
                ("WEBHOOK_SECRET", "hunter2,whsec_aHVudGVyMg=="),
                ("WEBHOOK_MILESTONES", "100,0,many"),
                ("WEBHOOK_ALLOW_PRIVATE", "maybe"),
            ],
            &[
                "169.254.169.254, to which nothing is ever sent",
                "not an address such as",
                "not whsec_ and Base64",
                "a secret of 7 bytes",
                "WEBHOOK_MILESTONES is \"0\"",
                "WEBHOOK_MILESTONES is \"many\"",
                "WEBHOOK_ALLOW_PRIVATE is \"maybe\", not one of true, false",
            ],
        ),
    ] {
        let errors = errors_of(settings, &[]);
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for part in expected {
            assert!(errors.iter().any(|error| error.contains(part)), "{part} in {errors:#?}");
        }
        assert!(errors.iter().all(|error| !error.contains(SECRET)), "{errors:#?}");
    }
}

#[test]
fn unknown_flags_are_rejected() {
    for (settings, flags) in [(&[][..], &["--nope"][..]), (&[("VIEWER_TIMEOUT", "abc")], &["--nope"])] {
        let (code, _, stderr) = run(settings, flags);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("unexpected argument '--nope'"), "{stderr}");
    }
    let (code, stdout, _) = run(&[], &["--version"]);
    assert_eq!((code, stdout.trim()), (Some(0), concat!("aforo ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn help_lists_every_setting_under_a_heading_and_no_secret() {
    let url = format!("redis://:{SECRET}@redis.example");
    let secrets = [
        ("REDIS_URL", &*url),
        ("DATABASE_URL", "postgres://aforo:hunter2@db.example/aforo"),
        ("UPSTASH_REDIS_REST_URL", "https://hunter2.example"),
        ("UPSTASH_REDIS_REST_TOKEN", SECRET),
        ("VIEWER_TICKET_KEYS", "hs256:hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2"),
        ("VIEWER_TICKET_ID_SECRET", "hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2"),
        ("API_TOKEN", "hunter2-hunter2-hunter2"),
        ("LIVE_HOOK_SECRET", "hunter2-hunter2-hunter2"),
        ("WEBHOOK_URLS", "https://hooks.example/hunter2"),
        ("WEBHOOK_SECRET", "whsec_hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2"),
    ];
    for flag in ["--help", "-h"] {
        let (code, help, stderr) = run(&secrets, &[flag]);
        assert_eq!((code, &*stderr), (Some(0), ""));
        assert!(!help.contains(SECRET), "{help}");
        let in_one_line = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let command = Flags::command();
        let mut headings = BTreeSet::new();
        for setting in command.get_arguments() {
            let (name, long) = (setting.get_env().unwrap().to_str().unwrap(), setting.get_long().unwrap());
            assert!(in_one_line.contains(&format!("[env: {name}")), "{name} in {help}");
            assert!(help.contains(&format!("--{long} <")), "--{long} in {help}");
            let heading = setting.get_help_heading();
            headings.insert(heading.unwrap_or_else(|| panic!("{name} is under no heading")));
        }
        assert_eq!(headings.len(), 8, "{headings:?}");
        assert!(help.contains("\n  check ") && help.contains("\n  health "), "{help}");
        assert!(headings.iter().all(|heading| help.contains(&format!("\n{heading}:\n"))), "{help}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_or_response_even_at_debug() {
    let redis = RedisServer::start().await;
    redis.add_user(SECRET, &[]);
    let right = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let wrong = format!("redis://other:{SECRET}@127.0.0.1:{}", redis.port);
    let cluster = format!("{right},redis://aforo:{SECRET}@127.0.0.1:1");
    let upstash = Upstash::start().await;
    let postgres = Postgres::shared().await;
    let database = postgres.database().await;
    let name = database.rsplit('/').next().unwrap();
    let role = format!("CREATE ROLE secret_{name} SUPERUSER LOGIN PASSWORD '{SECRET}'");
    postgres.execute(name, &role).await;
    let database = format!("postgres://secret_{name}:{SECRET}@127.0.0.1:{}/{name}", postgres.port);
    let away = format!("postgres://aforo:{SECRET}@127.0.0.1:1/aforo?password={SECRET}");
    for settings in [
        vec![("DATABASE_URL", &*database)],
        vec![("DATABASE_URL", &*away)],
        vec![("REDIS_URL", &*right)],
        vec![("REDIS_URL", &*wrong)],
        vec![("REDIS_URL", &*cluster)],
        vec![("UPSTASH_REDIS_REST_URL", &*upstash.url), ("UPSTASH_REDIS_REST_TOKEN", SECRET)],
        vec![
            ("UPSTASH_REDIS_REST_URL", "https://hunter2@localhost:1/hunter2"),
            ("UPSTASH_REDIS_REST_TOKEN", SECRET),
        ],
        vec![
            ("WEBHOOK_URLS", "http://aforo:hunter2@127.0.0.1:1/hunter2?token=hunter2"),
            ("WEBHOOK_SECRET", "whsec_hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2"),
            ("WEBHOOK_ALLOW_PRIVATE", "true"),
        ],
    ] {
        let server = Program::start(&[&settings[..], &[("RUST_LOG", "debug")]].concat()).await;
        let join = json!({"channelId": "ana", "viewerId": viewer()});
        let answers = [
            server.post("/api/viewer/join", &join).await,
            server.get("/api/viewer/count/ana").await,
            server.get("/readyz").await,
            server.get("/metrics").await,
            server.get("/ana").await,
            server.post("/api/channel/follow", &join).await,
        ];
        server.wait_for_log("[VIEWER] join").await;
        if settings[0].0 == "WEBHOOK_URLS" {
            server.wait_for_log("webhook not delivered").await;
        }
        for answer in answers {
            let (headers, body) = (format!("{:?}", answer.headers()), answer.text().await.unwrap());
            assert!(!headers.contains(SECRET) && !body.contains(SECRET), "{settings:?}: {headers} {body}");
        }
        assert!(!server.log().contains(SECRET), "{settings:?}: {}", server.log());
    }
}
