//! What browsers and attackers say to a node over HTTP.
//!
//! Browsers come through a proxy of ours on 127.0.0.1, which names their addresses. Attackers come from addresses of their
//! own and name another, which must not be believed.

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

/// How long a call may take: longer than any fault lasts.
const LIMIT: Duration = Duration::from_secs(40);

/// Where the addresses of browsers begin.
const NETWORK: u32 = 0x0a00_0000;

/// Why there is no answer that can be judged.
pub enum Trouble {
    /// Nobody listens; nothing was sent.
    NotThere,
    /// The connection ended before the answer.
    Broken(String),
    /// An answer that must not be.
    Odd(String),
}

/// The ways into nodes, of everyone.
pub struct Pages {
    browsers: Mutex<Client>,
    attackers: Mutex<HashMap<u32, Client>>,
}

impl Pages {
    pub fn new() -> Self {
        Self { browsers: Mutex::new(builder().build().unwrap()), attackers: Mutex::default() }
    }

    /// Makes a page's call.
    pub async fn call(&self, base: &str, call: Call) -> Result<Answer, Trouble> {
        let (path, hidden) = match call.act {
            Act::Join { hidden } => ("join", Some(hidden)),
            Act::Beat { hidden } => ("heartbeat", Some(hidden)),
            Act::Leave => ("leave", None),
        };
        let mut body = json!({"channelId": channel(call.channel), "viewerId": id(call.viewer)});
        // A client of the older kind knows no sessions.
        if call.session != call.viewer {
            body["sessionId"] = id(call.session).into();
        }
        if let Some(hidden) = hidden {
            body["hidden"] = hidden.into();
        }
        // Another each time, as somebody would who hopes to be believed.
        let is_browser = call.address < ADDRESS;
        let named = if is_browser { call.address } else { u32::try_from(call.viewer % 1_000_000).unwrap() };
        let request = self.client(call.address).post(format!("{base}/api/viewer/{path}")).json(&body);
        let answer = from(request, named).timeout(LIMIT).send().await.map_err(trouble)?;
        let status = answer.status();
        let body = answer.text().await.map_err(trouble)?;
        match status {
            StatusCode::OK => {
                read(call.act, &body).ok_or(Trouble::Odd(format!("{path} is answered: {body}")))
            }
            StatusCode::TOO_MANY_REQUESTS => Ok(Answer::Refused),
            _ => Err(Trouble::Odd(format!("{path} is answered with {status}: {body}"))),
        }
    }

    /// The counts (`Some`) and ticks (`None`) of a channel, until the node ends the stream.
    pub async fn stream(
        &self,
        base: &str,
        number: u64,
        address: u32,
    ) -> Result<impl Stream<Item = Result<Option<Shown>, Trouble>>, Trouble> {
        let request = self.client(address).get(format!("{base}/api/viewer/sse/{}", channel(number)));
        let answer = from(request, address).send().await.map_err(trouble)?;
        if answer.status() != StatusCode::OK {
            return Err(Trouble::Odd(format!("a stream is answered with {}", answer.status())));
        }
        let events = answer.bytes_stream().eventsource();
        Ok(events.map(|event| {
            let event = event.map_err(|error| Trouble::Broken(error.to_string()))?;
            if event.event == "tick" {
                return Ok(None);
            }
            let data = serde_json::from_str::<Value>(&event.data).ok();
            data.and_then(|data| shown(&data))
                .map(Some)
                .ok_or_else(|| Trouble::Odd(format!("a stream says {event:?}")))
        }))
    }

    /// Closes connections that are kept for the next call.
    pub fn hang_up(&self) {
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

fn trouble(error: reqwest::Error) -> Trouble {
    if error.is_connect() { Trouble::NotThere } else { Trouble::Broken(format!("{error:?}")) }
}

fn read(act: Act, body: &str) -> Option<Answer> {
    let body: Value = serde_json::from_str(body).ok()?;
    let active = match act {
        Act::Leave => return Some(Answer::Left),
        Act::Join { .. } => true,
        Act::Beat { .. } => body["active"].as_bool()?,
    };
    Some(Answer::Beaten { active, shown: shown(&body)? })
}

fn shown(body: &Value) -> Option<Shown> {
    let value = match &body["count"] {
        Value::Null => None,
        count => Some(u32::try_from(count.as_u64()?).ok()?),
    };
    Some(Shown { value, stale: body["stale"].as_bool()? })
}
