//! The calls of video servers, read from their bodies. Pure code.
//!
//! A stream's name must be a channel name. Nothing is cut off it: a name with a slash or a space is invalid.

use std::fmt::Write;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::object::Object;
use crate::{
    api::Problem,
    domain::{
        ChannelId,
        signal::{Publisher, Report},
    },
};

/// A call of a video server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// What it reports. `None`: nothing about who publishes.
    pub report: Option<(ChannelId, Report)>,
    /// The answer that the server expects, in JSON.
    pub answer: &'static str,
}

impl Call {
    /// A call about the stream with this name.
    fn about(
        name: &str,
        is_on_air: bool,
        publisher: Option<Publisher>,
        answer: &'static str,
    ) -> Result<Self, Problem> {
        let report = if is_on_air {
            Report::OnAir { started_at: None, publisher }
        } else {
            Report::OffAir { publisher }
        };
        Self::reporting(name, report, answer)
    }

    /// A call that reports this of the stream with this name.
    fn reporting(name: &str, report: Report, answer: &'static str) -> Result<Self, Problem> {
        Ok(Self { report: Some((ChannelId::parse(name)?, report)), answer })
    }

    const fn ignored(answer: &'static str) -> Self {
        Self { report: None, answer }
    }
}

/// The fields of a form or a query.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Parses a form or a query. Any bytes are one.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(text).unwrap_or_default())
    }

    /// The value of a field.
    ///
    /// # Errors
    /// `malformed` if the field is there more than once. Who publishes chooses a part of the form, and must not be able
    /// to speak of another stream.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(Problem::malformed(format!("the field {name} is there more than once")));
        }
        Ok(first)
    }

    fn required(&self, name: &str) -> Result<&str, Problem> {
        self.one(name)?.ok_or_else(|| Problem::malformed(format!("the field {name} is missing")))
    }
}

/// A call of nginx-rtmp: a form with `call` and `name`. `notify_update_timeout` repeats `update_publish`.
pub(super) fn nginx_rtmp(body: &[u8]) -> Result<Call, Problem> {
    const ANSWER: &str = "{}";
    let form = Fields::parse(body);
    let call = form.required("call")?;
    match call {
        "publish" | "update_publish" | "publish_done" => {}
        "connect" | "disconnect" | "play" | "play_done" | "done" | "record_done" | "update"
        | "update_play" => {
            return Ok(Call::ignored(ANSWER));
        }
        _ => return Err(Problem::malformed("the field call is not a call of nginx-rtmp")),
    }
    let (client, address) = (form.one("clientid")?, form.one("addr")?.unwrap_or_default());
    let publisher = client.and_then(|client| publisher(&["nginx-rtmp", address, client]));
    let report = match call {
        "publish" => Report::OnAir { started_at: None, publisher },
        "update_publish" => Report::StillOnAir { publisher },
        _ => Report::OffAir { publisher },
    };
    Call::reporting(form.required("name")?, report, ANSWER)
}

/// A call of SRS: JSON with `action` and `stream`.
pub(super) fn srs(body: &[u8]) -> Result<Call, Problem> {
    const ANSWER: &str = "0";
    #[derive(Deserialize)]
    struct SrsCall {
        action: String,
        stream: Option<String>,
        #[serde(default)]
        server_id: Value,
        #[serde(default)]
        client_id: Value,
    }
    let call: SrsCall = json(body)?;
    let is_on_air = match &*call.action {
        "on_publish" => true,
        "on_unpublish" => false,
        "on_connect" | "on_close" | "on_play" | "on_stop" | "on_dvr" | "on_hls" | "on_hls_notify" => {
            return Ok(Call::ignored(ANSWER));
        }
        _ => return Err(Problem::malformed("action is not a call of SRS")),
    };
    let stream = call.stream.ok_or_else(|| Problem::malformed("stream is missing"))?;
    let (server, client) = (call.server_id.to_string(), call.client_id.to_string());
    let publisher = if call.client_id.is_null() { None } else { publisher(&["srs", &server, &client]) };
    Call::about(&stream, is_on_air, publisher, ANSWER)
}

/// A call of the commands that MediaMTX runs: `event`, `path` and `source_id`, in the query or in a form.
pub(super) fn mediamtx(query: &Fields, body: &[u8]) -> Result<Call, Problem> {
    let mut fields = Fields::parse(body);
    fields.0.extend(query.0.iter().cloned());
    let is_on_air = match fields.required("event")? {
        "ready" => true,
        "not-ready" => false,
        _ => return Err(Problem::malformed("the field event is not ready or not-ready")),
    };
    let source = fields.one("source_id")?.filter(|source| !source.is_empty());
    let publisher = source.and_then(|source| publisher(&["mediamtx", source]));
    Call::about(fields.required("path")?, is_on_air, publisher, "{}")
}

/// An admission webhook of OvenMediaEngine: JSON with the address that a client asks for, `/app/stream`.
pub(super) fn ome(body: &[u8]) -> Result<Call, Problem> {
    #[derive(Deserialize)]
    struct OmeCall {
        #[serde(default)]
        client: Object<OmeClient>,
        request: Object<OmeRequest>,
    }
    #[derive(Deserialize, Default)]
    struct OmeClient {
        #[serde(default)]
        address: Value,
        #[serde(default)]
        port: Value,
    }
    #[derive(Deserialize)]
    struct OmeRequest {
        direction: String,
        status: String,
        url: String,
    }
    let OmeCall { client: Object(client), request: Object(request) } = json(body)?;
    let (is_on_air, answer) = match &*request.status {
        "opening" => (true, r#"{"allowed":true}"#),
        "closing" => (false, "{}"),
        _ => return Err(Problem::malformed("status is not opening or closing")),
    };
    match &*request.direction {
        "outgoing" => Ok(Call::ignored(answer)),
        "incoming" => {
            let stream = stream_of(&request.url).ok_or_else(|| Problem::malformed("url has no stream"))?;
            let (address, port) = (client.address.to_string(), client.port.to_string());
            let publisher = if client.port.is_null() { None } else { publisher(&["ome", &address, &port]) };
            Call::about(stream, is_on_air, publisher, answer)
        }
        _ => Err(Problem::malformed("direction is not incoming or outgoing")),
    }
}

/// The stream in `scheme://host[:port]/app/stream[/file][?query]`.
fn stream_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.split(['?', '#']).next()?;
    path.split('/').nth(2)
}

/// The id of a publisher: a hash, since its parts may have the address of a person.
fn publisher(parts: &[&str]) -> Option<Publisher> {
    let hash = digest(&SHA256, parts.join("\n").as_bytes());
    let mut id = String::new();
    for byte in &hash.as_ref()[..16] {
        let _infallible = write!(id, "{byte:02x}");
    }
    Publisher::new(id)
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let Object(call) = serde_json::from_slice(body).map_err(|error| Problem::malformed(error.to_string()))?;
    Ok(call)
}

#[cfg(test)]
mod tests;
