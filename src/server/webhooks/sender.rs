//! Sends one delivery to one receiver.
//!
//! Promises:
//! - A delivery takes [`LIMIT`] at most, whatever the receiver does, and reads 16 KB of the answer at most.
//! - Redirects are not followed, and no proxy is used.
//! - Only addresses that may be reached are connected to ([`super::settings::address`]).

use std::{sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, header, redirect::Policy, retry};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tokio::time::timeout;

use super::{
    resolver::{FilteredResolver, Lookup, Refused},
    schedule::parse_retry_after,
    settings::{SigningKey, Target, WebhookSettings},
};

/// How long a delivery may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long the rest of an answer is waited for. The status decides, so this is only for using the connection again.
const BODY_LIMIT: Duration = Duration::from_secs(1);

/// The most bytes of an answer that are read.
const MAX_BODY_BYTES: usize = 16 << 10;

/// How long a connection without deliveries stays open.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has the event.
    Delivered(StatusCode),
    /// The receiver wants no more deliveries.
    Gone,
    /// The attempt failed.
    Failed {
        /// The reason in a few words, without the address.
        reason: String,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// The system does not allow HTTPS, for example because it has no certificate authorities.
#[derive(Debug, thiserror::Error)]
#[error("webhooks cannot be sent from this system: {0}")]
pub struct SetUpError(#[from] reqwest::Error);

/// A sender of deliveries. Cloning is cheap.
#[derive(Clone)]
pub struct Sender {
    client: Client,
    keys: Arc<[SigningKey]>,
    allows_private: bool,
}

impl Sender {
    /// A sender that resolves names by `lookup`.
    ///
    /// # Errors
    /// When the system does not allow HTTPS.
    pub fn new(settings: &WebhookSettings, lookup: Arc<dyn Lookup>) -> Result<Self, SetUpError> {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let resolver = FilteredResolver::new(lookup, settings.allows_private);
        let client = Client::builder()
            .user_agent(concat!("aforo/", env!("CARGO_PKG_VERSION")))
            .timeout(LIMIT)
            .redirect(Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(resolver))
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(2)
            .build()?;
        Ok(Self { client, keys: settings.keys.clone().into(), allows_private: settings.allows_private })
    }

    /// Sends an event. `now` is the time of day in seconds since the epoch.
    pub async fn send(&self, target: &Target, id: &str, body: &str, now: u64) -> Outcome {
        if let Err(error) = target.check(self.allows_private) {
            return failed(format!("the address {error}"), None);
        }
        let signatures: Vec<String> = self.keys.iter().map(|key| key.sign(id, now, body)).collect();
        let request = self
            .client
            .post(target.url().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, now)
            .header(HEADER_WEBHOOK_SIGNATURE, signatures.join(" "))
            .body(body.to_owned());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(reason(&error), None),
        };
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| parse_retry_after(value, now));
        let _cut_off = timeout(BODY_LIMIT, drain(response)).await;
        match status {
            _ if status.is_success() => Outcome::Delivered(status),
            StatusCode::GONE => Outcome::Gone,
            _ if status.is_redirection() => {
                failed(format!("{status}: redirects are not followed"), retry_after)
            }
            _ => failed(status.to_string(), retry_after),
        }
    }
}

/// Reads the rest of an answer within a bound.
async fn drain(mut response: reqwest::Response) {
    let mut bytes = 0;
    while let Ok(Some(chunk)) = response.chunk().await
        && bytes <= MAX_BODY_BYTES
    {
        bytes += chunk.len();
    }
}

fn failed(reason: String, retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed { reason, retry_after }
}

/// Why there was no answer. The address is left out, because it may hold a token.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        if source.is::<Refused>() {
            return Refused.to_string();
        }
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) { "the request failed".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::Instant};

    use super::{super::resolver::SystemLookup, *};

    /// The time stands still while something happens, and jumps to the next timer when nothing does.
    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_never_answers_is_given_up_after_the_limit() {
        // The system accepts connections for it.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (settings, problems) = WebhookSettings::new(vec![url.parse().unwrap()], vec![key], vec![], true);
        assert!(problems.is_empty(), "{problems:?}");
        let sender = Sender::new(&settings, Arc::new(SystemLookup)).unwrap();
        let began = Instant::now();
        let outcome = sender.send(&settings.targets[0], "evt_1", "{}", 1_790_000_000).await;
        assert_eq!(outcome, failed("no answer in time".to_owned(), None));
        let took = began.elapsed();
        assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(1), "{took:?}");
    }
}
