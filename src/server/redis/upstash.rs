//! Upstash: Redis over HTTPS (<https://upstash.com/docs/redis/features/restapi>). A command is a JSON array in a POST
//! request; the response is `{"result": …}` or `{"error": …}`. Upstash charges for each command, so one call takes many
//! channels.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Number, Value as Json, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Runner, prepare_tls, script::Script};
use crate::server::store_error::StoreError;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// The most attempts to send a command while the service is busy or failing.
const MAX_ATTEMPTS: u32 = 3;

/// The pause before the second attempt, without jitter. Later pauses are longer.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Decodes arguments that are not UTF-8. JSON can't contain them, so they are sent as hexadecimal digits.
const DECODE_HEX: &str = "for i, text in ipairs(ARGV) do
  if string.sub(text, 1, 4) == 'hex:' then
    ARGV[i] = string.gsub(string.sub(text, 5), '..', function(digits) return string.char(tonumber(digits, 16)) end)
  end
end
";

/// A database at Upstash.
pub struct UpstashRunner {
    client: Client,
    url: Url,
    token: String,
}

/// The address of an Upstash database is invalid, or would send the token unencrypted.
#[derive(Debug, thiserror::Error)]
#[error("UPSTASH_REDIS_REST_URL is invalid; use https://… (http:// only for this machine)")]
pub struct InvalidUrl;

#[derive(Deserialize)]
struct Body {
    result: Option<Json>,
    error: Option<String>,
}

/// Why a command failed.
enum CommandError {
    /// The server has not loaded the script, so its source has to be sent.
    NoScript,
    /// A retry may succeed.
    Transient(String),
    /// A retry would fail too.
    Permanent(String),
}

impl UpstashRunner {
    /// Opens a database by its REST address and token, without sending a request.
    ///
    /// # Errors
    /// When the address is invalid, or is `http:` and not of this machine.
    pub fn open(url: &str, token: &str) -> Result<Self, InvalidUrl> {
        let url = address(url)?;
        prepare_tls();
        let client = Client::builder().timeout(REQUEST_LIMIT).build().map_err(|_| InvalidUrl)?;
        Ok(Self { client, url, token: token.to_owned() })
    }

    /// Checks an address for [`UpstashRunner::open`].
    ///
    /// # Errors
    /// When the address is invalid, or is `http:` and not of this machine.
    pub fn check(url: &str) -> Result<(), InvalidUrl> {
        address(url).map(drop)
    }

    /// Sends a command, with retries while the service is busy or failing. All commands are idempotent.
    async fn send(&self, command: &Json) -> Result<Value, CommandError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.send_once(command).await {
                Err(CommandError::Transient(_)) if attempts < MAX_ATTEMPTS => {
                    let jitter = 0.5 + f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
                    sleep(RETRY_PAUSE.mul_f64(f64::from(attempts) * jitter)).await;
                }
                result => return result,
            }
        }
    }

    async fn send_once(&self, command: &Json) -> Result<Value, CommandError> {
        let request = self.client.post(self.url.clone()).bearer_auth(&self.token).json(command);
        // The message must not contain the address, which is secret.
        let transient = |error: reqwest::Error| CommandError::Transient(error.without_url().to_string());
        let response = request.send().await.map_err(transient)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(CommandError::Transient(format!("status {status}")));
        }
        let body: Body = response.json().await.map_err(transient)?;
        match body {
            Body { error: Some(error), .. } if error.contains("NOSCRIPT") => Err(CommandError::NoScript),
            Body { error: Some(error), .. } => Err(CommandError::Permanent(error)),
            Body { result, .. } => Ok(to_value(result.unwrap_or(Json::Null))),
        }
    }
}

#[async_trait]
impl Runner for UpstashRunner {
    fn script(&self, source: &'static str) -> Script {
        Script::new(format!("{DECODE_HEX}{source}"))
    }

    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        let command = |name: &str, script: &str| {
            let mut words = vec![json!(name), json!(script), json!(keys.len())];
            words.extend(keys.iter().chain(args).map(|bytes| Json::String(to_text(bytes))));
            Json::Array(words)
        };
        let by_hash = command("EVALSHA", script.hash());
        let result = match self.send(&by_hash).await {
            Err(CommandError::NoScript) => self.send(&command("EVAL", script.source())).await,
            result => result,
        };
        Ok(result?)
    }

    fn takes_many_channels(&self) -> bool {
        true
    }

    fn is_paid_by_command(&self) -> bool {
        true
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        // The service provides no such identifier, and a request would cost a command.
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.send_once(&json!(["PING"])).await.map(drop).map_err(StoreError::from)
    }
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NoScript => Self::unexpected(),
            CommandError::Transient(message) => Self::Unreachable(message),
            CommandError::Permanent(message) => Self::Refused(message),
        }
    }
}

fn address(url: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(url).map_err(|_| InvalidUrl)?;
    let is_local = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    if is_safe { Ok(url) } else { Err(InvalidUrl) }
}

/// The text of an argument: UTF-8 as it is, other bytes as `hex:` and their digits.
fn to_text(bytes: &[u8]) -> String {
    use std::fmt::Write;
    if let Ok(text) = str::from_utf8(bytes) {
        return text.to_owned();
    }
    bytes.iter().fold("hex:".to_owned(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn to_value(json: Json) -> Value {
    match json {
        Json::Null | Json::Object(_) => Value::Nil,
        Json::Bool(flag) => Value::Int(flag.into()),
        Json::Number(number) => number.as_i64().map_or_else(|| double(&number), Value::Int),
        Json::String(text) => Value::BulkString(text.into_bytes()),
        Json::Array(items) => Value::Array(items.into_iter().map(to_value).collect()),
    }
}

fn double(number: &Number) -> Value {
    Value::Double(number.as_f64().unwrap_or_default())
}
