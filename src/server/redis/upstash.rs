//! Upstash: Redis by HTTPS (<https://upstash.com/docs/redis/features/restapi>). A command is a JSON array in a POST; the
//! answer is `{"result": …}` or `{"error": …}`. Every command is paid for, so one call takes many channels.

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

/// How often a command is sent, at most, when the service is busy or failing, and the pause before the second time; later
/// pauses are longer.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(150);

/// JSON has no bytes, so those that are no text are sent as digits, which the script turns back.
const TO_BYTES: &str = "for i, text in ipairs(ARGV) do
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

/// The address of an Upstash database is none, or would send the token in the clear.
#[derive(Debug, thiserror::Error)]
#[error("UPSTASH_REDIS_REST_URL is not understood; it is https://… (http:// is for this machine alone)")]
pub struct InvalidUrl;

#[derive(Deserialize)]
struct Answer {
    result: Option<Json>,
    error: Option<String>,
}

/// Why a command was not done.
enum Fault {
    /// The script is not there: it has to be sent whole.
    NoScript,
    /// It may work in a moment.
    Passing(String),
    /// It won't work.
    Lasting(String),
}

impl UpstashRunner {
    /// A database by its REST address and token. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none, or is `http:` and not of this machine.
    pub fn open(url: &str, token: &str) -> Result<Self, InvalidUrl> {
        let url = address(url)?;
        prepare_tls();
        let client = Client::builder().timeout(REQUEST_LIMIT).build().map_err(|_| InvalidUrl)?;
        Ok(Self { client, url, token: token.to_owned() })
    }

    /// Whether [`UpstashRunner::open`] takes the address.
    ///
    /// # Errors
    /// When the address is none, or is `http:` and not of this machine.
    pub fn check(url: &str) -> Result<(), InvalidUrl> {
        address(url).map(drop)
    }

    /// Sends a command, again if the service is busy or failing. Commands of the store are idempotent.
    async fn send(&self, command: &Json) -> Result<Value, Fault> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.send_once(command).await {
                Err(Fault::Passing(_)) if tried < TRIES => {
                    let jitter = 0.5 + f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
                    sleep(PAUSE.mul_f64(f64::from(tried) * jitter)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn send_once(&self, command: &Json) -> Result<Value, Fault> {
        let request = self.client.post(self.url.clone()).bearer_auth(&self.token).json(command);
        // Without the address: it is a part of what has to be kept secret.
        let passing = |error: reqwest::Error| Fault::Passing(error.without_url().to_string());
        let response = request.send().await.map_err(passing)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(Fault::Passing(format!("status {status}")));
        }
        let answer: Answer = response.json().await.map_err(passing)?;
        match answer {
            Answer { error: Some(error), .. } if error.contains("NOSCRIPT") => Err(Fault::NoScript),
            Answer { error: Some(error), .. } => Err(Fault::Lasting(error)),
            Answer { result, .. } => Ok(to_value(result.unwrap_or(Json::Null))),
        }
    }
}

#[async_trait]
impl Runner for UpstashRunner {
    fn script(&self, source: &'static str) -> Script {
        Script::new(format!("{TO_BYTES}{source}"))
    }

    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        let command = |name: &str, script: &str| {
            let mut words = vec![json!(name), json!(script), json!(keys.len())];
            words.extend(keys.iter().chain(args).map(|bytes| Json::String(to_text(bytes))));
            Json::Array(words)
        };
        let by_hash = command("EVALSHA", script.hash());
        let answer = match self.send(&by_hash).await {
            Err(Fault::NoScript) => self.send(&command("EVAL", script.source())).await,
            answer => answer,
        };
        Ok(answer?)
    }

    fn takes_many_channels(&self) -> bool {
        true
    }

    fn is_paid_by_command(&self) -> bool {
        true
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        // It can't be told, and asking would cost a command.
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.send_once(&json!(["PING"])).await.map(drop).map_err(StoreError::from)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoScript => Self::unexpected(),
            Fault::Passing(message) => Self::Unreachable(message),
            Fault::Lasting(message) => Self::Refused(message),
        }
    }
}

fn address(url: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(url).map_err(|_| InvalidUrl)?;
    let is_here = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
    let is_secret_on_its_way = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    if is_secret_on_its_way { Ok(url) } else { Err(InvalidUrl) }
}

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
