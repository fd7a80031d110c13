//! `.env.example` and `docs/deploy` match the program.

use std::collections::{BTreeMap, BTreeSet};

use aforo::server::{config::Flags, metrics::Metrics};
use clap::CommandFactory;
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{Program, TestApp, viewer};

const EXAMPLE: &str = include_str!("../../.env.example");
const DASHBOARD: &str = include_str!("../../docs/deploy/grafana.json");
const ALERTS: &str = include_str!("../../docs/deploy/alerts.yaml");

/// All settings with their defaults. A setting without a default has an empty one.
fn settings() -> BTreeMap<String, String> {
    let command = Flags::command();
    let settings = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?.to_string_lossy().into_owned();
        let default = arg.get_default_values().first();
        Some((name, default.map_or_else(String::new, |value| value.to_string_lossy().into_owned())))
    });
    settings.collect()
}

#[test]
fn the_example_has_every_setting_with_a_comment_and_its_default() {
    let lines: Vec<_> = EXAMPLE.lines().collect();
    let mut listed = BTreeMap::new();
    for pair in lines.windows(2) {
        if let Some((name, value)) = pair[1].strip_prefix('#').and_then(|line| line.split_once('='))
            && !name.contains(' ')
        {
            assert!(pair[0].starts_with("# "), "{name} has no comment");
            assert_eq!(listed.insert(name.to_owned(), value.to_owned()), None, "{name} is listed twice");
        }
    }
    assert_eq!(listed, settings());
    // Unchanged, the file sets nothing.
    assert!(lines.iter().all(|line| line.is_empty() || line.starts_with('#')));
}

/// The words in a text that begin with one of these prefixes.
fn words<'a>(text: &'a str, prefixes: &[&str]) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[test]
fn deployment_files_name_only_existing_settings() {
    let settings = settings();
    let files = [
        include_str!("../../docs/deploy/Dockerfile"),
        include_str!("../../docs/deploy/compose.yaml"),
        include_str!("../../docs/deploy/nginx.conf"),
        include_str!("../../docs/deploy/Caddyfile"),
        include_str!("../../docs/deploy/aforo.service"),
        include_str!("../../docs/deploy/kubernetes/configmap.yaml"),
        include_str!("../../docs/deploy/kubernetes/kustomization.yaml"),
        include_str!("../../docs/deploy/README.md"),
        ALERTS,
    ];
    let mut found = 0;
    for name in files.iter().flat_map(|file| {
        words(
            file,
            &["LEPTOS_", "VIEWER_", "REDIS_", "UPSTASH_", "LIMIT_", "TRUSTED_", "SHUTDOWN_", "TLS_", "LOG_"],
        )
    }) {
        assert!(settings.contains_key(name), "unknown setting: {name}");
        found += 1;
    }
    assert!(found > 10, "the search finds {found} names");
}

/// The names of all metrics. Some are exported only after their first event.
async fn metric_names() -> BTreeSet<String> {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let metrics = Metrics::new();
    metrics.refused("test");
    metrics.ticket_refused("test");
    metrics.runs("test");
    let text = app.get("/metrics").await.text().await.unwrap() + &metrics.text(0, 0, 0, true);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_match_the_exported_metrics() {
    let exported = metric_names().await;
    for metric in ["aforo_beats_total", "aforo_store_call_duration_seconds_bucket", "process_open_fds"] {
        assert!(exported.contains(metric), "{metric} in {exported:?}");
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: String = targets.map(|target| target["expr"].as_str().unwrap().to_owned() + "\n").collect();
    let rules: String = ALERTS.lines().filter(|line| line.contains(" expr: ")).collect();
    for queries in [&queries, &rules] {
        let named = words(queries, &["aforo_", "process_"]);
        assert!(named.len() >= 7, "{named:?}");
        for metric in named {
            assert!(exported.contains(metric), "{metric} is not exported: {exported:?}");
        }
    }
    // In the other direction, the dashboard shows all metrics of the program.
    for metric in exported.iter().filter(|metric| metric.starts_with("aforo_")) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| metric.strip_suffix(part));
        assert!(queries.contains(base.unwrap_or(metric)), "{metric} is in no panel");
    }
}

/// The image is nothing but the program, so everything that it does is done by the program.
#[test]
fn the_image_is_the_static_program_alone() {
    let dockerfile = include_str!("../../docs/deploy/Dockerfile");
    let (_, image) = dockerfile.split_once("\nFROM scratch\n").expect("the image starts from nothing");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let copied: Vec<_> = image.lines().filter(|line| line.starts_with("COPY ")).map(words).collect();
    let targets: Vec<_> = copied.iter().map(|words| words.last().unwrap().as_str()).collect();
    assert_eq!(targets, ["/aforo", "/etc/ssl/certs/ca-certificates.crt", "/var/lib/aforo"]);
    assert!(!image.contains("\nRUN "), "there is no shell");
    for line in ["USER 65532:65532", "EXPOSE 3000", "ENTRYPOINT [\"/aforo\"]"] {
        assert!(image.lines().any(|it| it == line), "{line}");
    }
    let subcommand = image.split_once("CMD [\"/aforo\", \"").unwrap().1.split('"').next().unwrap();
    assert!(image.contains("HEALTHCHECK ") && Flags::command().find_subcommand(subcommand).is_some());
    let settings = settings();
    let names = words_of_settings(image);
    assert!(!names.is_empty() && names.iter().all(|name| settings.contains_key(*name)), "{names:?}");
    // What is copied from the build is what `make dist` makes.
    let script = include_str!("../../scripts/dist.sh");
    assert!(dockerfile.contains("RUN make dist") && script.contains("dist=target/dist"));
    assert!(copied[0].iter().any(|word| word == "/src/target/dist/aforo"));
}

/// The settings that an image sets.
fn words_of_settings(image: &str) -> BTreeSet<&str> {
    let lines = image.lines().map(|line| line.trim_start_matches("ENV ").trim());
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect()
}

#[tokio::test]
async fn sighup_without_a_certificate_changes_nothing() {
    let server = Program::start(&[]).await;
    server.signal("HUP");
    server.wait_for_log("SIGHUP").await;
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK);
}
