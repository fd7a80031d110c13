//! Asks a node for its readiness, its metrics and its live channels.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use super::{
    scrape::Scrape,
    state::{Fault, MAX_CHANNELS, Readiness, Sample},
};
use crate::{
    api::LiveChannels,
    server::{config::Config, health},
};

/// How long the node may take for an answer. Its own check of the store takes up to a second.
const RESPONSE_LIMIT: Duration = Duration::from_secs(3);

/// The longest answer that is read. A thousand channels take 150 KB.
const MAX_BYTES: usize = 1024 * 1024;

/// A node that is asked.
pub(super) struct Node {
    client: Client,
    base: Url,
}

/// The answer of `/readyz`.
#[derive(Deserialize)]
struct Ready {
    status: String,
    reason: Option<String>,
}

impl Node {
    /// The node at `url`, or else the server with this configuration on this machine.
    pub(super) fn new(config: &Config, url: Option<&Url>) -> Result<Self, String> {
        let own = health::base_url(config);
        let base = match url {
            Some(url) => url.clone(),
            None => Url::parse(&own).map_err(|error| format!("{own}: {error}"))?,
        };
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        // The name in the certificate is that of the site. The connection to the own server does not leave this machine.
        let builder = Client::builder()
            .timeout(RESPONSE_LIMIT)
            .redirect(redirect::Policy::none())
            .danger_accept_invalid_certs(url.is_none());
        let builder = if url.is_none() { builder.no_proxy() } else { builder };
        Ok(Self { client: builder.build().map_err(|error| error.to_string())?, base })
    }

    /// The address as it is shown: without a password.
    pub(super) fn name(&self) -> String {
        let (host, path) = (self.base.host_str().unwrap_or_default(), self.base.path().trim_end_matches('/'));
        let port = self.base.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}{path}", self.base.scheme())
    }

    /// Asks the node, all at once.
    pub(super) async fn sample(&self) -> Sample {
        let channels = format!("api/viewer/live?limit={MAX_CHANNELS}");
        let (readiness, scrape, channels) =
            tokio::join!(self.body("readyz"), self.body("metrics"), self.body(&channels));
        Sample {
            // 503 is an answer, too: `degraded` or `ending`.
            readiness: readiness.and_then(|(_, body)| {
                let Ready { status, reason } = serde_json::from_str(&body).map_err(|_| Fault::NotAforo)?;
                Ok(Readiness { status: word(&status), reason: reason.as_deref().map(word) })
            }),
            scrape: scrape.and_then(|(status, body)| {
                only_ok(status)?;
                Scrape::parse(&body).ok_or(Fault::NotAforo)
            }),
            channels: channels.and_then(|(status, body)| {
                only_ok(status)?;
                let LiveChannels { channels } = serde_json::from_str(&body).map_err(|_| Fault::NotAforo)?;
                Ok(channels)
            }),
        }
    }

    async fn body(&self, path: &str) -> Result<(StatusCode, String), Fault> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let response = self.client.get(url).send().await.map_err(|error| fault(&error))?;
        let status = response.status();
        Ok((status, read(response).await?))
    }
}

/// Reads a body up to its largest size.
async fn read(mut response: Response) -> Result<String, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(Fault::NotAforo);
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| Fault::NotAforo)
}

/// A word of an answer, without characters that would change the terminal.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect()
}

fn only_ok(status: StatusCode) -> Result<(), Fault> {
    if status.is_success() { Ok(()) } else { Err(Fault::Status(status.as_u16())) }
}

/// What a failed call is called. The messages of the library contain the address, and so a password.
fn fault(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        Fault::Timeout
    } else if error.is_connect() {
        Fault::NoConnection
    } else {
        Fault::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config;

    fn name(args: &[&str], url: Option<&str>) -> String {
        let config = config::read([&["aforo"], args].concat()).unwrap();
        Node::new(&config, url.map(|url| Url::parse(url).unwrap()).as_ref()).unwrap().name()
    }

    #[test]
    fn the_name_has_no_password() {
        assert_eq!(name(&[], Some("https://ops:hunter2@node.example/aforo/")), "https://node.example/aforo");
        assert_eq!(name(&[], Some("http://10.0.0.7:3000")), "http://10.0.0.7:3000");
        assert_eq!(name(&["--site-addr=0.0.0.0:4000"], None), "http://127.0.0.1:4000");
    }

    #[test]
    fn words_of_an_answer_cannot_change_the_terminal() {
        assert_eq!(word("de\u{1b}[31mgraded\n"), "de31mgraded");
        assert_eq!(word(&"x".repeat(100)).len(), 32);
    }
}
