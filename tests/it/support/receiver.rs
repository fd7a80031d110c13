//! Receivers of webhooks: real HTTP servers that keep what they get and answer as a test says.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::PATIENCE;

/// How long a test waits for events. They come by several steps, each of which a busy machine delays.
pub const LONG_PATIENCE: Duration = Duration::from_secs(4 * PATIENCE.as_secs());

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Received {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub fn channel(&self) -> String {
        self.json()["data"]["channelId"].as_str().unwrap().to_owned()
    }
}

/// What a receiver answers.
pub type Reply = BoxFuture<'static, Response>;

/// Decides about the answer to a request.
type Behaviour = dyn Fn(&Received) -> Reply + Send + Sync;

/// A receiver. Dropping it closes its port.
pub struct Receiver {
    pub url: String,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

struct Inner {
    received: Mutex<Vec<Received>>,
    behaviour: Mutex<Arc<Behaviour>>,
}

impl Receiver {
    /// Starts a receiver that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inner = Inner { received: Mutex::default(), behaviour: Mutex::new(Arc::new(|_| Self::takes())) };
        let inner = Arc::new(inner);
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inner, server }
    }

    /// Answers from now on by `behaviour`.
    pub fn answer(&self, behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.inner.behaviour.lock() = Arc::new(behaviour);
    }

    /// Answers from now on with this status.
    pub fn answer_with(&self, status: u16, headers: &[(&'static str, &str)]) {
        let status = StatusCode::from_u16(status).unwrap();
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap<HeaderValue> =
            pairs.collect::<Vec<(header::HeaderName, _)>>().into_iter().collect();
        self.answer(move |_| Box::pin(std::future::ready((status, headers.clone()).into_response())));
    }

    /// The answer that an event was taken.
    pub fn takes() -> Reply {
        Box::pin(std::future::ready(StatusCode::NO_CONTENT.into_response()))
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().clone()
    }

    /// The types of all requests so far.
    pub fn kinds(&self) -> Vec<String> {
        self.received().iter().map(Received::kind).collect()
    }

    /// Waits until the requests satisfy `is_met`, and returns them.
    pub async fn until(&self, is_met: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let met = async {
            loop {
                let received = self.received();
                if is_met(&received) {
                    return received;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG_PATIENCE, met)
            .await
            .unwrap_or_else(|_| panic!("expected more than {:#?}", self.received()))
    }

    /// Waits for a number of requests.
    pub async fn until_len(&self, len: usize) -> Vec<Received> {
        self.until(|received| received.len() >= len).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: String) -> Response {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let received = Received { headers, body };
    let behaviour = Arc::clone(&inner.behaviour.lock());
    let reply = behaviour(&received);
    inner.received.lock().push(received);
    reply.await
}

/// Checks requests with the library `standardwebhooks` from npm, each with every secret.
pub async fn verify(received: &[Received], secrets: &[&str]) {
    let requests: Vec<Value> =
        received.iter().map(|one| json!({"headers": one.headers, "body": one.body})).collect();
    let input = json!({"secrets": secrets, "requests": requests}).to_string();
    let check = move || {
        let mut node = Command::new("node")
            .arg("tests/standard-webhooks/verify.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Node.js is installed");
        node.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        node.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(check).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
