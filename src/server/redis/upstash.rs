//! Upstash: Redis over HTTPS (<https://upstash.com/docs/redis/features/restapi>). A command is a JSON array in a POST
//! request; the response is `{"result": …}` or `{"error": …}`. Upstash charges for each command, so one call takes many
//! channels.
//!
//! Promises:
//! - A call takes [`CALL_LIMIT`] at most, all its attempts included, and reads [`MAX_BODY_BYTES`] of a response at most.
//! - While the service wants to be left alone (429, or `Retry-After`), nothing is sent. A call that can't wait that long
//!   fails at once. Afterwards one call finds out whether the service is back, and the others wait for its result.
//! - Redirects are not followed, so nobody else gets the token.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::Value;
use reqwest::{Client, Response, StatusCode, Url, header, redirect::Policy};
use serde::Deserialize;
use serde_json::{Number, Value as Json, json};
use tokio::{
    sync::{Mutex as Gate, MutexGuard as GateGuard},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use uuid::Uuid;

use super::{Runner, prepare_tls, script::Script};
use crate::server::store_error::StoreError;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// The most attempts to send a command while the service is failing.
const MAX_ATTEMPTS: u32 = 3;

/// The pause before the second attempt, without jitter. Later pauses are longer.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// How long a service that is too busy is left alone if it does not say how long. As long as it stays busy, each pause is
/// twice as long as the one before.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// The longest time for which a service with errors is left alone. Proxies in front of it often name much longer ones.
const MAX_ERROR_PAUSE: Duration = Duration::from_secs(5);

/// The longest time for which a service that is too busy is left alone. Then calls find out whether it is back.
const MAX_BUSY_PAUSE: Duration = Duration::from_secs(60);

/// The most bytes of a response. A list of 10,000 channels has less than 1 MB.
const MAX_BODY_BYTES: usize = 8 << 20;

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
    pause: Mutex<Option<Pause>>,
    /// Held by the call that finds out whether the service is back after a pause.
    probe: Gate<()>,
}

/// The time in which the service wants to be left alone. It is known until a request has another outcome.
#[derive(Clone, Copy)]
struct Pause {
    from: Instant,
    length: Duration,
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
    /// The service wants to be left alone, and perhaps says for how long.
    Busy(String, Option<Duration>),
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
        let client = Client::builder().redirect(Policy::none()).build().map_err(|_| InvalidUrl)?;
        Ok(Self { client, url, token: token.to_owned(), pause: Mutex::default(), probe: Gate::default() })
    }

    /// Checks an address for [`UpstashRunner::open`].
    ///
    /// # Errors
    /// When the address is invalid, or is `http:` and not of this machine.
    pub fn check(url: &str) -> Result<(), InvalidUrl> {
        address(url).map(drop)
    }

    /// Sends a command, with retries until `deadline` while the service is busy or failing. All commands are idempotent.
    async fn send(&self, command: &Json, deadline: Instant) -> Result<Value, CommandError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.attempt(command, deadline).await;
            let pause = match &result {
                Err(CommandError::Busy(..)) => Duration::ZERO,
                Err(CommandError::Transient(_)) => {
                    let jitter = 0.5 + f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
                    RETRY_PAUSE.mul_f64(f64::from(attempts) * jitter)
                }
                _ => return result,
            };
            if attempts == MAX_ATTEMPTS || Instant::now() + pause >= deadline {
                return result;
            }
            sleep(pause).await;
        }
    }

    /// Sends a command once, as soon as the service may be asked. If that is after `deadline`, nothing is sent.
    async fn attempt(&self, command: &Json, deadline: Instant) -> Result<Value, CommandError> {
        let _probe = self.may_send(deadline).await?;
        let sent = Instant::now();
        let result =
            timeout_at(deadline, self.send_once(command)).await.unwrap_or_else(|_| Err(out_of_time()));
        let mut pause = self.pause.lock();
        // Only a request that was sent after the last pause tells something new.
        if pause.is_none_or(|pause| sent >= pause.from) {
            // If the service can't be reached, a call that tries must not hold up the others.
            *pause = if let Err(CommandError::Busy(_, asked)) = &result {
                let longer = pause.map_or(BUSY_PAUSE, |pause| pause.length * 2);
                let length = asked.unwrap_or(longer).clamp(BUSY_PAUSE, MAX_BUSY_PAUSE);
                Some(Pause { from: Instant::now(), length })
            } else {
                None
            };
        }
        result
    }

    /// Waits until the service may be asked. After a pause, that is one call at a time until one has not been
    /// told to wait: the caller holds what this returns until it knows the result.
    async fn may_send(&self, deadline: Instant) -> Result<Option<GateGuard<'_, ()>>, CommandError> {
        let busy = || CommandError::Busy("too many requests".to_owned(), None);
        let mut probe = None;
        loop {
            let Some(Pause { from, length }) = *self.pause.lock() else { return Ok(None) };
            if from + length >= deadline {
                return Err(busy());
            } else if from + length > Instant::now() {
                probe = None;
                sleep_until(from + length).await;
            } else if probe.is_some() {
                return Ok(probe);
            } else {
                // Another call may find out meanwhile.
                probe = Some(timeout_at(deadline, self.probe.lock()).await.map_err(|_| busy())?);
            }
        }
    }

    async fn send_once(&self, command: &Json) -> Result<Value, CommandError> {
        let request = self.client.post(self.url.clone()).bearer_auth(&self.token).json(command);
        let response = request.send().await.map_err(transient)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let message = format!("status {status}");
            let is_too_many = status == StatusCode::TOO_MANY_REQUESTS;
            let asked = retry_after(&response)
                .map(|asked| if is_too_many { asked } else { asked.min(MAX_ERROR_PAUSE) });
            let is_busy = asked.is_some() || is_too_many;
            let busy = |message| CommandError::Busy(message, asked);
            return Err(if is_busy { busy(message) } else { CommandError::Transient(message) });
        }
        if status.is_redirection() {
            return Err(CommandError::Permanent(format!("status {status}; redirects are not followed")));
        }
        let body = read(response).await?;
        match serde_json::from_slice(&body) {
            Ok(Body { error: Some(error), .. }) if error.contains("NOSCRIPT") => Err(CommandError::NoScript),
            Ok(Body { error: Some(error), .. }) => Err(CommandError::Permanent(error)),
            Ok(Body { result, .. }) => Ok(to_value(result.unwrap_or(Json::Null))),
            Err(_) => Err(CommandError::Permanent(format!("status {status}, not an answer of Upstash"))),
        }
    }
}

/// The error of a call that took too long.
fn out_of_time() -> CommandError {
    CommandError::Transient("no answer in time".to_owned())
}

/// The error of a request. Its message must not contain the address, which is secret.
fn transient(error: reqwest::Error) -> CommandError {
    CommandError::Transient(error.without_url().to_string())
}

/// How long the service wants to be left alone: a number of seconds, or until a date by its own clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = |name| Some(response.headers().get(name)?.to_str().ok()?.trim());
    let date = |name| httpdate::parse_http_date(text(name)?).ok();
    let until_date = || date(header::RETRY_AFTER)?.duration_since(date(header::DATE)?).ok();
    text(header::RETRY_AFTER)?.parse().ok().map(Duration::from_secs).or_else(until_date)
}

/// Reads a body within its bound.
async fn read(mut response: Response) -> Result<Vec<u8>, CommandError> {
    let too_large = || CommandError::Permanent(format!("an answer of more than {MAX_BODY_BYTES} bytes"));
    if response.content_length().is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transient)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
        let deadline = Instant::now() + CALL_LIMIT;
        let by_hash = command("EVALSHA", script.hash());
        let result = match self.send(&by_hash, deadline).await {
            Err(CommandError::NoScript) => self.send(&command("EVAL", script.source()), deadline).await,
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
        self.attempt(&json!(["PING"]), Instant::now() + CALL_LIMIT).await.map(drop).map_err(StoreError::from)
    }
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NoScript => Self::unexpected(),
            CommandError::Transient(message) | CommandError::Busy(message, _) => Self::Unreachable(message),
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
