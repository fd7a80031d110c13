//! The live signal: the contract of its store, the calls that report it, and what follows from it.

mod calls;
mod effects;
mod hooks;
mod nodes;
mod servers;
mod store;

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aforo::{
    domain::{
        ChannelId, Timestamp,
        signal::{Publisher, Report},
    },
    server::{
        config::{self, Config, DatabaseConfig},
        database::{Database, DatabaseSignals},
        signals::{Change, SignalStore},
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE};
use reqwest::{Response, StatusCode, header};
use ring::hmac;
use serde_json::{Value, json};
use sqlx::{AnyPool, any::install_default_drivers};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{FailingStore, PATIENCE, Postgres, Program, Sse, TestApp, free_port, viewer};

const TOKEN: &str = "operator-token-0123456789";
const SECRET: &str = "hook-secret-0123456789";

/// The page with the configuration of each video server.
const GUIDE: &str = include_str!("../../../docs/live-signal.md");

/// Flags of a server with the live signal.
fn flags() -> Vec<String> {
    vec!["--live=signal".to_owned(), format!("--api-token={TOKEN}"), format!("--live-hook-secret={SECRET}")]
}

async fn app_with(more: &[&str]) -> TestApp {
    let flags = flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestApp::with(&flags).await
}

/// A `PUT` with this body and this `Authorization`.
async fn put(app: &TestApp, name: &str, authorization: Option<&str>, body: &Value) -> Response {
    let request = app.client.put(format!("{}/api/channel/{name}/live", app.base)).json(body);
    let request = match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    request.send().await.unwrap()
}

async fn signal(app: &TestApp, name: &str, body: &Value) -> Value {
    let response = put(app, name, Some(&format!("Bearer {TOKEN}")), body).await;
    assert_eq!(response.status(), StatusCode::OK, "{body}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.unwrap()
}

async fn set_live(app: &TestApp, name: &str, live: bool) {
    assert_eq!(signal(app, name, &json!({"live": live})).await["live"], live);
}

async fn count(app: &TestApp, name: &str) -> Value {
    app.get(&format!("/api/viewer/count/{name}")).await.json().await.unwrap()
}

/// The live list as pairs of name and count.
async fn listed(app: &TestApp) -> Vec<(String, Value)> {
    let answer: Value = app.get("/api/viewer/live").await.json().await.unwrap();
    let channels = answer["channels"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert!(channels.iter().all(|channel| channel["live"] == true), "{answer}");
    let pair =
        |channel: &Value| (channel["channelId"].as_str().unwrap().to_owned(), channel["count"].clone());
    channels.iter().map(pair).collect()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Reads the stream until it says whether the channel is on air.
async fn until_live(stream: &mut Sse, live: &Value) -> Value {
    let found = async {
        loop {
            let data = stream.data().await;
            if data["live"] == *live {
                return data;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no event with live {live}"))
}

async fn hook(app: &TestApp, server: &str, body: String) -> (StatusCode, String) {
    let request = app.client.post(format!("{}/api/hooks/{server}?secret={SECRET}", app.base)).body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}
