//! Settings that are wrong, and what the real program says of them: all at once, and no secret.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use aforo::server::config::Flags;
use clap::CommandFactory;
use serde_json::json;

use crate::support::{Program, RedisServer, Upstash, viewer};

/// No output may hold it.
const SECRET: &str = "hunter2";

/// Runs the program to its end with an environment of these settings alone.
fn run(settings: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    let Output { status, stdout, stderr } =
        command.env_clear().envs(settings.iter().copied()).args(flags).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What the program says of wrong settings: a sentence for each.
fn faults(settings: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let (code, stdout, stderr) = run(settings, flags);
    assert_eq!(code, Some(2), "{settings:?}: {stderr}");
    assert_eq!(stdout, "");
    let mut lines = stderr.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("aforo: nothing was started")), "{stderr}");
    assert!(!stderr.contains(SECRET), "{stderr}");
    lines.map(|line| line.strip_prefix("  - ").unwrap_or_else(|| panic!("{stderr}")).to_owned()).collect()
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_what_is_expected() {
    let redis_url = format!("redis://aforo:{SECRET}@127.0.0.1:6379/seven");
    let upstash_url = format!("ftp://{SECRET}.example");
    let wrong = [
        ("LEPTOS_SITE_ADDR", "localhost", "an address with a port"),
        ("STREAM_URL_TEMPLATE", "http://cdn.example/", "https://cdn.example/{channel}"),
        ("VIEWER_TIMEOUT", "abc", "a whole number"),
        ("VIEWER_HIDDEN_TIMEOUT", "99999999999", "a whole number"),
        ("VIEWER_HEARTBEAT_INTERVAL", "5", "under 100 ms"),
        ("VIEWER_CLEANUP_INTERVAL", "0", "under a second"),
        ("REDIS_URL", &redis_url, "redis://, rediss:// or unix:"),
        ("UPSTASH_REDIS_REST_URL", &upstash_url, "https://"),
        ("REDIS_KEY_PREFIX", "a{b}", "without spaces, quotes, braces"),
        ("LIMIT_STREAMS", "-1", "a whole number from 0"),
        ("LIMIT_BODY_BYTES", "4k", "a whole number from 0"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/99", "a network such as 10.0.0.0/8"),
        ("VIEWER_ALLOWED_ORIGINS", "partner", "https://partner.example"),
        ("EMBED_FRAME_ANCESTORS", ";", "a list of sources"),
        ("SHUTDOWN_DELAY", "1.5", "a whole number"),
        ("TLS_CERT", "/nowhere.pem", "TLS_KEY is not"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("RUST_LOG", "aforo=loud", "aforo=debug,warn"),
    ];
    let faults = faults(&wrong.map(|(name, value, _)| (name, value)), &[]);
    for (name, _, expected) in wrong {
        let told = faults.iter().any(|fault| fault.starts_with(name) && fault.contains(expected));
        assert!(told, "{name}: {expected} in {faults:#?}");
    }
    assert!(faults.iter().any(|fault| fault.contains("are both set")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("UPSTASH_REDIS_REST_TOKEN")), "{faults:#?}");
    // The two stores, and the token that is missing, are faults beside those of single values; nothing is told twice.
    assert_eq!(faults.len(), wrong.len() + 2, "{faults:#?}");
}

#[test]
fn a_wrong_entry_of_a_list_and_a_wrong_flag_are_named() {
    let told = faults(&[("TRUSTED_PROXIES", "10.0.0.0/8,here,there")], &["--timeout=soon"]);
    assert_eq!(told.len(), 3, "{told:?}");
    for expected in ["\"here\"", "\"there\"", "VIEWER_TIMEOUT (--timeout) is \"soon\""] {
        assert!(told.iter().any(|fault| fault.contains(expected)), "{expected} in {told:?}");
    }
    // The flag wins, so what it hides is not looked at.
    let told = faults(&[("VIEWER_TIMEOUT", "abc")], &["--timeout=soon"]);
    assert!(told.len() == 1 && told[0].contains("soon"), "{told:?}");
}

#[test]
fn what_was_not_understood_is_not_blamed_on_others() {
    // A minute between beats is too long for the default timeout; whether for this one, nobody knows.
    let told = faults(&[("VIEWER_HEARTBEAT_INTERVAL", "60000"), ("VIEWER_TIMEOUT", "abc")], &[]);
    assert_eq!(told.len(), 1, "{told:?}");
    let told = faults(&[("VIEWER_HEARTBEAT_INTERVAL", "60000"), ("LIMIT_STREAMS", "abc")], &[]);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn flags_that_are_not_ours_are_refused_as_ever() {
    for (settings, flags) in [(&[][..], &["--nope"][..]), (&[("VIEWER_TIMEOUT", "abc")], &["--nope"])] {
        let (code, _, stderr) = run(settings, flags);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("unexpected argument '--nope'"), "{stderr}");
    }
    let (code, stdout, _) = run(&[], &["--version"]);
    assert_eq!((code, stdout.trim()), (Some(0), concat!("aforo ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn help_names_every_setting_under_a_heading_and_shows_no_secret() {
    let url = format!("redis://:{SECRET}@redis.example");
    let secrets = [
        ("REDIS_URL", &*url),
        ("UPSTASH_REDIS_REST_URL", "https://hunter2.example"),
        ("UPSTASH_REDIS_REST_TOKEN", SECRET),
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
        assert_eq!(headings.len(), 6, "{headings:?}");
        assert!(headings.iter().all(|heading| help.contains(&format!("\n{heading}:\n"))), "{help}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_even_at_debug() {
    let redis = RedisServer::start().await;
    redis.add_user(SECRET, &[]);
    let right = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let wrong = format!("redis://other:{SECRET}@127.0.0.1:{}", redis.port);
    let cluster = format!("{right},redis://aforo:{SECRET}@127.0.0.1:1");
    let upstash = Upstash::start().await;
    for settings in [
        vec![("REDIS_URL", &*right)],
        vec![("REDIS_URL", &*wrong)],
        vec![("REDIS_URL", &*cluster)],
        vec![("UPSTASH_REDIS_REST_URL", &*upstash.url), ("UPSTASH_REDIS_REST_TOKEN", SECRET)],
        vec![
            ("UPSTASH_REDIS_REST_URL", "https://hunter2@localhost:1/hunter2"),
            ("UPSTASH_REDIS_REST_TOKEN", SECRET),
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
        ];
        server.wait_for_log("[VIEWER] join").await;
        for answer in answers {
            let (headers, body) = (format!("{:?}", answer.headers()), answer.text().await.unwrap());
            assert!(!headers.contains(SECRET) && !body.contains(SECRET), "{settings:?}: {headers} {body}");
        }
        assert!(!server.log().contains(SECRET), "{settings:?}: {}", server.log());
    }
}
