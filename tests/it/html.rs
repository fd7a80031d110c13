//! Checks all pages with the checker of the HTML standard (<https://github.com/validator/validator>, which needs Java).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aforo::server::clock::{Clock, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{TestApp, past::Past, viewer};

const CHECKER: &str = "end2end/node_modules/vnu-jar/build/dist/vnu.jar";

/// The errors and warnings of the checker for these documents.
fn errors_in(documents: &[&Path]) -> Vec<String> {
    assert!(Path::new(CHECKER).exists(), "{CHECKER} is missing; `make test` installs it");
    let output = Command::new("java")
        .args(["-jar", CHECKER, "--format", "json", "--stdout", "--exit-zero-always"])
        .args(documents)
        .output()
        .expect("Java is installed (by `make test`)");
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
    let messages = report["messages"].as_array().unwrap().iter();
    messages
        .filter(|message| message["type"] == "error" || message["subType"] == "warning")
        .map(|message| format!("{}: {}: {}", message["url"], message["message"], message["extract"]))
        .collect()
}

#[tokio::test]
async fn pages_are_valid_html() {
    let player = "--stream-url-template=https://cdn.example/hls/{channel}/index.m3u8";
    let folder = TempDir::new().unwrap();
    let mut documents = Vec::new();
    for (name, flags) in [
        ("poster", &[][..]),
        ("player", &[player]),
        ("signal", &["--live=signal"]),
        ("signal-player", &["--live=signal", player]),
    ] {
        let app = TestApp::with(flags).await;
        for channel in ["iblups", "eva.tv"] {
            app.join(channel, viewer()).await;
        }
        for (number, path) in [
            "/",
            "/iblups",
            "/embed/iblups",
            "/embed/iblups?counter=1",
            "/embed/iblups?counter=1&transparent=1",
            "/overlay/iblups?milestones=100,500",
            "/overlay/a%20b",
            "/no/such/page",
            "/a%20b",
        ]
        .into_iter()
        .enumerate()
        {
            let document = folder.path().join(format!("{name}{number}.html"));
            fs::write(&document, app.get(path).await.bytes().await.unwrap()).unwrap();
            documents.push(document);
        }
    }
    documents.extend(statistics(folder.path()).await);
    let documents: Vec<_> = documents.iter().map(AsRef::as_ref).collect();
    assert_eq!(errors_in(&documents), Vec::<String>::new());
}

/// The statistics page in each range, with gaps and without any data, and for those who may not see it.
async fn statistics(folder: &Path) -> Vec<PathBuf> {
    let now = SystemClock::start().now().as_millis() / 60_000 * 60_000;
    let past = Past::new().await;
    let count = |nth| (nth % 50 > 20).then_some(7);
    past.minutes("ana", now - 7_200_000, 120, count, |_| (1, Some("news.example"))).await;
    past.broadcast("ana", now - 7_200_000, now - 1, 3).await;
    let public = TestApp::with(&["--stats=public", &past.flag]).await;
    let private = TestApp::start().await;
    let mut documents = Vec::new();
    for (number, (app, path)) in [
        (&public, "/ana/stats"),
        (&public, "/ana/stats?range=24h&tz=America/Lima"),
        (&public, "/ana/stats?range=30d"),
        (&public, "/ana/stats?before=5"),
        (&public, "/nobody/stats"),
        (&public, "/ana"),
        (&private, "/ana/stats"),
    ]
    .into_iter()
    .enumerate()
    {
        let document = folder.join(format!("statistics{number}.html"));
        fs::write(&document, app.get(path).await.bytes().await.unwrap()).unwrap();
        documents.push(document);
    }
    documents
}

#[test]
fn the_checker_reports_errors() {
    let folder = TempDir::new().unwrap();
    let document = folder.path().join("wrong.html");
    let wrong = r#"<!DOCTYPE html><html lang="es"><title>x</title><link rel="icon" href="x" crossorigin="nonce"></html>"#;
    fs::write(&document, wrong).unwrap();
    let errors = errors_in(&[&document]);
    assert!(errors.iter().any(|error| error.contains("crossorigin")), "{errors:?}");
}
