//! A fake Upstash server: its REST protocol over plain HTTP, with a real Redis server behind it. A test with Upstash's
//! own client (`tests/upstash-client`) checks that it behaves like Upstash.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use redis::{Client, Value, aio::MultiplexedConnection};
use serde_json::{Value as Json_, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{RedisServer, redis::share_database};

pub const TOKEN: &str = "a-token-of-the-test";

/// The fake server. Dropping it ends the server.
pub struct Upstash {
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    _redis: RedisServer,
}

struct Shared {
    connection: MultiplexedConnection,
    commands: AtomicU64,
    /// The number of next requests that fail, and their status.
    failures: AtomicU32,
    status: AtomicU32,
}

impl Upstash {
    pub async fn start() -> Self {
        let redis = RedisServer::start().await;
        let connection = Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let shared = Arc::new(Shared {
            connection,
            commands: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            status: AtomicU32::new(0),
        });
        let router = Router::new()
            .route("/", post(one))
            .route("/pipeline", post(pipeline))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        share_database(format!(":{}", address.port()), redis.database());
        let url = format!("http://{address}");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server, _redis: redis }
    }

    /// The number of commands received. Upstash charges by commands.
    pub fn commands(&self) -> u64 {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// Makes the next requests fail with a status.
    pub fn fail(&self, requests: u32, status: u16) {
        self.shared.status.store(status.into(), Ordering::SeqCst);
        self.shared.failures.store(requests, Ordering::SeqCst);
    }
}

impl Drop for Upstash {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn one(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (headers, body) = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    match run(&shared, &body).await {
        Ok(value) => Json(json!({"result": to_json(value, wants_base64(&headers))})).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

async fn pipeline(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (headers, body) = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    let mut answers = Vec::new();
    for command in body.as_array().into_iter().flatten() {
        answers.push(match run(&shared, command).await {
            Ok(value) => json!({"result": to_json(value, wants_base64(&headers))}),
            Err(error) => json!({"error": error}),
        });
    }
    Json(answers).into_response()
}

async fn admit(shared: &Shared, request: Request) -> Result<(HeaderMap, Json_), Response> {
    let (parts, body) = request.into_parts();
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        let error = json!({"error": "WRONGPASS invalid or missing auth token"});
        return Err((StatusCode::UNAUTHORIZED, Json(error)).into_response());
    }
    let failing =
        shared.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if failing.is_ok() {
        let status = u16::try_from(shared.status.load(Ordering::SeqCst)).unwrap();
        return Err((StatusCode::from_u16(status).unwrap(), "busy").into_response());
    }
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).map_err(|_| {
        (StatusCode::BAD_REQUEST, Json(json!({"error": "ERR failed to parse command"}))).into_response()
    })?;
    Ok((parts.headers, body))
}

async fn run(shared: &Shared, command: &Json_) -> Result<Value, String> {
    let words: Vec<_> =
        command.as_array().ok_or("ERR failed to parse command")?.iter().map(to_word).collect();
    let (name, arguments) = words.split_first().ok_or("ERR empty command")?;
    shared.commands.fetch_add(1, Ordering::SeqCst);
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command.query_async(&mut shared.connection.clone()).await.map_err(|error: redis::RedisError| {
        let code = error.code().unwrap_or("ERR");
        format!("{code} {}", error.detail().unwrap_or_default())
    })
}

fn to_word(json: &Json_) -> String {
    json.as_str().map_or_else(|| json.to_string(), ToOwned::to_owned)
}

fn wants_base64(headers: &HeaderMap) -> bool {
    headers.get("upstash-encoding").is_some_and(|encoding| encoding == "base64")
}

fn to_json(value: Value, base64: bool) -> Json_ {
    match value {
        Value::Nil => Json_::Null,
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Okay => json!("OK"),
        Value::BulkString(bytes) if base64 => json!(STANDARD.encode(bytes)),
        Value::BulkString(bytes) => json!(String::from_utf8_lossy(&bytes)),
        Value::SimpleString(text) if base64 && text != "OK" => json!(STANDARD.encode(text)),
        Value::SimpleString(text) => json!(text),
        Value::Array(items) | Value::Set(items) => {
            items.into_iter().map(|item| to_json(item, base64)).collect()
        }
        other => panic!("unsupported value: {other:?}"),
    }
}
