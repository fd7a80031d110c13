//! The HTTP clients of the stress test: browsers and attackers.
//!
//! Browsers connect from 127.0.0.1, a trusted proxy, with their address in `X-Forwarded-For`. Attackers connect from
//! their own addresses with a false `X-Forwarded-For`, which the node must ignore.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use eventsource_stream::Eventsource;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    oracle::{
        attackers::ADDRESS,
        history::{Answer, Shown},
        plan::{Act, Call, channel, id},
    },
    support::builder,
};

/// The timeout of a call, longer than any fault.
const LIMIT: Duration = Duration::from_secs(40);

/// The network of the browsers' addresses: 10.0.0.0.
const NETWORK: u32 = 0x0a00_0000;

/// Why a call has no valid response.
pub enum CallError {
    /// The connection was refused; nothing was sent.
    Refused,
    /// The connection was closed before the response.
    Broken(String),
    /// The response is not allowed.
    Unexpected(String),
}

/// The HTTP clients of all browsers and attackers.
pub struct Pages {
    browsers: Mutex<Client>,
    attackers: Mutex<HashMap<u32, Client>>,
}

impl Pages {
    pub fn new() -> Self {
        Self { browsers: Mutex::new(builder().build().unwrap()), attackers: Mutex::default() }
    }

    /// Executes a page's call.
    pub async fn call(&self, base: &str, call: Call) -> Result<Answer, CallError> {
        let (path, hidden) = match call.act {
            Act::Join { hidden } => ("join", Some(hidden)),
            Act::Heartbeat { hidden } => ("heartbeat", Some(hidden)),
            Act::Leave => ("leave", None),
        };
        let mut body = json!({"channelId": channel(call.channel), "viewerId": id(call.viewer)});
        // An older client sends no session id.
        if call.session != call.viewer {
            body["sessionId"] = id(call.session).into();
        }
        if let Some(hidden) = hidden {
            body["hidden"] = hidden.into();
        }
        // An attacker sends a different false address with every viewer.
        let is_browser = call.address < ADDRESS;
        let forwarded =
            if is_browser { call.address } else { u32::try_from(call.viewer % 1_000_000).unwrap() };
        let request = self.client(call.address).post(format!("{base}/api/viewer/{path}")).json(&body);
        let answer = from(request, forwarded).timeout(LIMIT).send().await.map_err(call_error)?;
        let status = answer.status();
        let body = answer.text().await.map_err(call_error)?;
        match status {
            StatusCode::OK => read(call.act, &body)
                .ok_or(CallError::Unexpected(format!("unexpected response to {path}: {body}"))),
            StatusCode::TOO_MANY_REQUESTS => Ok(Answer::Refused),
            // Honest viewers stay within the limits, so no node has to ask the store about them.
            StatusCode::SERVICE_UNAVAILABLE if !is_browser && call.act != Act::Leave => {
                Ok(Answer::Unavailable)
            }
            _ => Err(CallError::Unexpected(format!("unexpected response to {path}: {status}: {body}"))),
        }
    }

    /// Opens a stream of the counts (`Some`) and ticks (`None`) of a channel.
    pub async fn stream(
        &self,
        base: &str,
        number: u64,
        address: u32,
    ) -> Result<impl Stream<Item = Result<Option<Shown>, CallError>>, CallError> {
        let request = self.client(address).get(format!("{base}/api/viewer/sse/{}", channel(number)));
        let answer = from(request, address).send().await.map_err(call_error)?;
        if answer.status() != StatusCode::OK {
            return Err(CallError::Unexpected(format!(
                "unexpected response to a stream: {}",
                answer.status()
            )));
        }
        let events = answer.bytes_stream().eventsource();
        Ok(events.map(|event| {
            let event = event.map_err(|error| CallError::Broken(error.to_string()))?;
            if event.event == "tick" {
                return Ok(None);
            }
            let data = serde_json::from_str::<Value>(&event.data).ok();
            data.and_then(|data| shown(&data))
                .map(Some)
                .ok_or_else(|| CallError::Unexpected(format!("unexpected event on a stream: {event:?}")))
        }))
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        *self.browsers.lock() = builder().build().unwrap();
        self.attackers.lock().clear();
    }

    fn client(&self, address: u32) -> Client {
        if address < ADDRESS {
            return self.browsers.lock().clone();
        }
        let mut attackers = self.attackers.lock();
        let attacker = attackers.entry(address).or_insert_with(|| {
            let last = 2 + u8::try_from((address - ADDRESS) % 250).unwrap();
            builder().local_address(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))).build().unwrap()
        });
        attacker.clone()
    }
}

fn from(request: RequestBuilder, address: u32) -> RequestBuilder {
    request.header("X-Forwarded-For", Ipv4Addr::from_bits(NETWORK + address).to_string())
}

fn call_error(error: reqwest::Error) -> CallError {
    if error.is_connect() { CallError::Refused } else { CallError::Broken(format!("{error:?}")) }
}

fn read(act: Act, body: &str) -> Option<Answer> {
    let body: Value = serde_json::from_str(body).ok()?;
    let active = match act {
        Act::Leave => return Some(Answer::Left),
        Act::Join { .. } => true,
        Act::Heartbeat { .. } => body["active"].as_bool()?,
    };
    Some(Answer::Beat { active, shown: shown(&body)? })
}

fn shown(body: &Value) -> Option<Shown> {
    let value = match &body["count"] {
        Value::Null => None,
        count => Some(u32::try_from(count.as_u64()?).ok()?),
    };
    Some(Shown { value, stale: body["stale"].as_bool()? })
}
