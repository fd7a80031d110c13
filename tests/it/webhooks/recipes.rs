//! The recipes of the documentation, with stand-ins for the services that they call.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{SECRET, clock, server};
use crate::support::{Receiver, viewer};

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _exited = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// Starts the relay to Discord. Returns the process and its address.
fn relay(folder: &TempDir, discord: &str) -> (Running, String) {
    fs::copy("docs/recipes/discord.mjs", folder.path().join("discord.mjs")).unwrap();
    let packages = fs::canonicalize("tests/standard-webhooks/node_modules").unwrap();
    symlink(packages, folder.path().join("node_modules")).unwrap();
    let mut child = Command::new("node")
        .arg(folder.path().join("discord.mjs"))
        .env("WEBHOOK_SECRET", SECRET)
        .env("DISCORD_WEBHOOK_URL", discord)
        .env("SITE", "https://tv.example")
        .env("PORT", "0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js is installed");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{line}");
    (Running(child), url)
}

#[tokio::test]
async fn a_channel_that_goes_on_air_is_a_message_on_discord() {
    let (folder, discord) = (TempDir::new().unwrap(), Receiver::start().await);
    // Discord is busy at first.
    discord.answer_with(429, &[("retry-after", "1")]);
    let (_relay, url) = relay(&folder, &discord.url);
    let clock = clock();
    let app = server(&clock, &[], &[&format!("--webhook-urls={url}"), "--webhook-milestones=1"]).await;
    app.join("ana_tv", viewer()).await;
    discord.until_len(1).await;
    discord.answer(|_| Receiver::takes());
    super::failures(&app, 1.0).await;
    clock.advance(std::time::Duration::from_secs(6));
    let messages = discord.until_len(2).await;
    let message: Value = messages[1].json();
    assert_eq!(message["content"], "**ana\\_tv** is live: https://tv.example/ana_tv");
    assert_eq!(message["allowed_mentions"], serde_json::json!({"parse": []}));
    // The other events make no messages.
    super::until("the milestone is delivered", async || {
        super::metric(&app, "aforo_webhook_deliveries_total{outcome=\"delivered\"}").await >= 2.0
    })
    .await;
    assert_eq!(discord.received().len(), 2);
    // Whoever does not know the secret can't post.
    let forged = app.client.post(&url).body(messages[1].body.clone()).send().await.unwrap();
    assert_eq!(forged.status(), 401);
}
