//! Test support: starts a server for each test, and has helpers to call it.

mod cluster;
pub mod past;
pub mod postgres;
mod program;
pub mod receiver;
mod redis;
mod runners;
mod sampler;
mod slow_link;
mod stores;
pub mod upstash;

use std::{
    borrow::Cow,
    fs,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aforo::domain::Policy;
use aforo::server::{
    boot::Server,
    clock::{Clock, SystemClock},
    config::{self, Config},
    database::Database,
    limits::Streams,
    site::{Embedded, Site},
    store::{MemoryStore, Store, remote::RemoteStore},
};
use eventsource_stream::{Event, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use uuid::Uuid;

pub use self::{
    cluster::RedisCluster,
    postgres::Postgres,
    program::Program,
    receiver::{Received, Receiver},
    redis::{RedisServer, acl_line, database_of, free_port},
    runners::TestRunner,
    sampler::{Sample, Sampler},
    slow_link::SlowLink,
    stores::FailingStore,
    upstash::Upstash,
};

/// The timeout for every expected event. Much longer than necessary, so that no test fails on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Flags for tests with many clients at one address. Limits have their own tests.
pub const NO_LIMITS: [&str; 2] = ["--limit-joins-burst=0", "--limit-new-channels-per-minute=0"];

/// A running server. Dropping it ends the server.
pub struct TestApp {
    pub base: String,
    pub client: Client,
    /// The open streams.
    pub streams: Streams,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _site: Option<TempDir>,
}

impl TestApp {
    /// Starts a server with the embedded store and a short update interval.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with additional flags. The flags decide the store. Nodes with the same store share a database.
    pub async fn with(flags: &[&str]) -> Self {
        let (config, site) = Self::config(flags);
        Self::run(Server::bind(&config).await.unwrap(), site)
    }

    /// Starts a server that serves the files of this folder.
    pub async fn with_site(site: TempDir) -> Self {
        let config = Self::config_for(&site, &[]);
        Self::run(Server::bind(&config).await.unwrap(), site)
    }

    /// Starts a server with a copy of the files of this folder inside the program. Like the build, it keeps the times of
    /// changes in whole seconds.
    pub async fn with_embedded_site(site: TempDir) -> Self {
        let mut config = Self::config_for(&site, &[]);
        config.site = Site::Embedded(Embedded::new(files_in(site.path())));
        Self::run(Server::bind(&config).await.unwrap(), site)
    }

    /// Starts a node with a Redis server.
    pub async fn with_redis(redis: &RedisServer) -> Self {
        Self::with(&["--redis-url", &redis.url()]).await
    }

    /// Starts a server with the embedded store and a given clock.
    pub async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let store = MemoryStore::new(Arc::clone(&clock), Policy::default().lease_rules());
        Self::with_store_and_clock(Arc::new(store), clock, &[]).await
    }

    /// Starts a server with the embedded store, a given clock and additional flags.
    pub async fn with_clock_and(clock: Arc<dyn Clock>, flags: &[&str]) -> Self {
        let store = MemoryStore::new(Arc::clone(&clock), Policy::default().lease_rules());
        Self::with_store_and_clock(Arc::new(store), clock, flags).await
    }

    /// Starts a server with any store.
    pub async fn with_store(store: Arc<dyn Store>) -> Self {
        Self::with_store_and_clock(store, Arc::new(SystemClock::start()), &[]).await
    }

    /// Starts a node that calls Redis through `runner`, with additional flags.
    pub async fn with_runner(runner: Arc<TestRunner>, flags: &[&str]) -> Self {
        let flags = [flags, &[&*runner.database]].concat();
        let (config, _) = Self::config(&flags);
        let store = RemoteStore::new(Arc::clone(&runner), "aforo", config.policy.lease_rules());
        Self::with_store_and_clock(Arc::new(store), Arc::new(SystemClock::start()), &flags).await
    }

    /// Starts a server with any store and additional flags.
    pub async fn with_store_and_flags(store: Arc<dyn Store>, flags: &[&str]) -> Self {
        Self::with_store_and_clock(store, Arc::new(SystemClock::start()), flags).await
    }

    /// Starts a server with any store and any clock, with additional flags.
    pub async fn with_store_and_clock(store: Arc<dyn Store>, clock: Arc<dyn Clock>, flags: &[&str]) -> Self {
        let (config, site) = Self::config(flags);
        let database = Database::open(&config.database).await.unwrap();
        Self::run(Server::over(store, database, clock, &config).await.unwrap(), site)
    }

    /// A server that runs in another process.
    pub fn at(base: String) -> Self {
        let (streams, task) = (Streams::new(0, 0), tokio::spawn(async {}));
        Self { base, client: client(), streams, stop: None, task, _site: None }
    }

    fn config(flags: &[&str]) -> (Config, TempDir) {
        let site = stub_site("stub");
        (Self::config_for(&site, flags), site)
    }

    fn config_for(site: &TempDir, flags: &[&str]) -> Config {
        let root = format!("--site-root={}", site.path().display());
        let data = format!("--data-dir={}/data", site.path().display());
        let mut config =
            vec!["aforo", "--site-addr=127.0.0.1:0", "--count-update-interval=100", &root, &data];
        let shared =
            flags.iter().find_map(|flag| database_of(flag)).map(|url| format!("--database-url={url}"));
        if !flags.iter().any(|flag| flag.starts_with("--database-url")) {
            config.extend(shared.as_deref());
        }
        config::read(config.iter().chain(&NO_LIMITS).chain(flags)).unwrap()
    }

    fn run(server: Server, site: TempDir) -> Self {
        let base = format!("http://{}", server.addr());
        let streams = server.streams().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _dropped = stopped.await;
            };
            server.serve(stopped).await;
        });
        Self { base, client: client(), streams, stop: Some(stop), task, _site: Some(site) }
    }

    /// Shuts the server down, like SIGTERM does, and waits for its end.
    pub async fn stop(mut self) {
        self.stop.take();
        timeout(PATIENCE, self.task).await.expect("the server ends").unwrap();
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    /// Joins a channel as a viewer. Returns the body of the response.
    pub async fn join(&self, channel: &str, viewer: Uuid) -> Value {
        let response =
            self.post("/api/viewer/join", &json!({"channelId": channel, "viewerId": viewer})).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    pub async fn heartbeat(&self, channel: &str, viewer: Uuid) -> Value {
        let response =
            self.post("/api/viewer/heartbeat", &json!({"channelId": channel, "viewerId": viewer})).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    pub async fn leave(&self, channel: &str, viewer: Uuid) -> Value {
        let response =
            self.post("/api/viewer/leave", &json!({"channelId": channel, "viewerId": viewer})).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// The count of a channel. Panics if it is unknown.
    pub async fn count(&self, channel: &str) -> u64 {
        let response = self.get(&format!("/api/viewer/count/{channel}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json::<Value>().await.unwrap()["count"].as_u64().unwrap()
    }

    /// Opens an event stream: `sse/ana` or `sse?channels=ana,bob`.
    pub async fn sse(&self, path: &str) -> Sse {
        let response = self.get(&format!("/api/viewer/{path}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        Sse::of(response)
    }
}

/// An open event stream.
pub struct Sse(Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Sse {
    /// The events of a response.
    pub fn of(response: Response) -> Self {
        Self(Box::pin(response.bytes_stream().eventsource().map(|event| event.expect("a well-formed event"))))
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.0.next()).await.expect("an event or the end of the stream")
    }

    /// The data of the next message.
    pub async fn data(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("an event");
            if event.event != "tick" {
                assert_eq!(event.event, "message");
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    }

    /// Reads until the count is `expected` and not stale. Returns all counts before it.
    pub async fn until_fresh(&mut self, expected: u64) -> Vec<Option<u64>> {
        let mut before = Vec::new();
        // A timeout per event would not end this: ticks arrive.
        let reached = timeout(PATIENCE, async {
            loop {
                let data = self.data().await;
                if data["count"] == expected && data["stale"] == false {
                    return;
                }
                before.push(data["count"].as_u64());
            }
        });
        let reached = reached.await;
        assert!(reached.is_ok(), "expected a fresh count of {expected}; received {before:?}");
        before
    }

    /// Reads until the count is `expected`. Returns all counts before it.
    pub async fn until(&mut self, expected: u64) -> Vec<u64> {
        let mut before = Vec::new();
        loop {
            match self.data().await["count"].as_u64().expect("a known count") {
                count if count == expected => return before,
                count => before.push(count),
            }
        }
    }
}

/// An HTTP client that supports TLS.
pub fn client() -> Client {
    builder().build().unwrap()
}

/// A builder of clients. Installs the TLS provider of the process, which reqwest needs.
pub fn builder() -> ClientBuilder {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

/// Reads a stream until it contains `expected`.
pub async fn read_until(stream: &mut Response, expected: &str) {
    let mut text = String::new();
    while !text.contains(expected) {
        let chunk = timeout(PATIENCE, stream.chunk()).await.expect("more data").unwrap();
        text += std::str::from_utf8(&chunk.expect("an open stream")).unwrap();
    }
}

/// A new viewer id.
pub fn viewer() -> Uuid {
    Uuid::new_v4()
}

/// All files of a folder: the path, the content, and when it was changed.
fn files_in(root: &Path) -> Vec<(String, Cow<'static, [u8]>, u64)> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let seconds = changed.duration_since(UNIX_EPOCH).unwrap().as_secs();
            files.push((name, Cow::Owned(fs::read(&path).unwrap()), seconds));
        }
    }
    files
}

/// Creates a site folder like `make site` does, with stub files, for a build with this name.
pub fn stub_site(build: &str) -> TempDir {
    let site = TempDir::new().unwrap();
    fs::write(site.path().join("build.txt"), format!("{build}\n")).unwrap();
    for (file, content) in [("widget.js", "customElements"), ("robots.txt", "User-agent: *\n")] {
        fs::write(site.path().join(file), content).unwrap();
    }
    stub_build(&site.path().join("pkg").join(build), build);
    site
}

/// Creates a folder with stub files of a build.
pub fn stub_build(folder: &Path, content: &str) {
    fs::create_dir_all(folder).unwrap();
    for (file, content) in [
        ("aforo.js", format!("export default async () => {{}} // {content}")),
        ("aforo.js.br", "(compressed)".to_owned()),
        ("aforo.css", "body {}".to_owned()),
    ] {
        fs::write(folder.join(file), content).unwrap();
    }
}
