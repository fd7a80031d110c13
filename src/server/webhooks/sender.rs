//! Sends one delivery to one receiver.
//!
//! Promises:
//! - A delivery takes [`LIMIT`] at most, whatever the receiver does: names, connections, TLS and headers included.
//! - At most some 16 KB of the answer are read, as they come: nothing is decompressed. hyper bounds its headers.
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

/// The most characters of a reason. A receiver can make it long: a wrong certificate is described with all of its names.
const MAX_REASON_CHARS: usize = 300;

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
            // The answer is not used. What another crate turns on must not unpack it.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
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
    if std::ptr::addr_eq(cause, error) {
        "the request failed".to_owned()
    } else {
        shortened(cause.to_string())
    }
}

/// The beginning of a text that is too long for a log.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use async_trait::async_trait;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::{Instant, sleep},
    };

    use super::{super::resolver::SystemLookup, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn sender(url: &str, lookup: Arc<dyn Lookup>) -> (Sender, Target) {
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (settings, problems) = WebhookSettings::new(vec![url.parse().unwrap()], vec![key], vec![], true);
        assert!(problems.is_empty(), "{problems:?}");
        (Sender::new(&settings, lookup).unwrap(), settings.targets[0].clone())
    }

    /// Sends an event, and measures. The time stands still while something happens, and jumps to the next timer when
    /// nothing does: tests must have paused it.
    async fn send(url: &str, lookup: Arc<dyn Lookup>) -> (Outcome, Duration) {
        let (sender, target) = sender(url, lookup);
        let began = Instant::now();
        let outcome = timeout(10 * LIMIT, sender.send(&target, "evt_1", "{}", 1_790_000_000)).await;
        (outcome.expect("the delivery has a limit"), began.elapsed())
    }

    fn is_given_up((outcome, took): &(Outcome, Duration)) -> bool {
        *outcome == failed("no answer in time".to_owned(), None) && (LIMIT..LIMIT + SECOND).contains(took)
    }

    /// A receiver that reads a request, answers this at once, and then a byte each second, forever.
    async fn trickle(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut connection = read_request(&listener).await;
            let _sent = connection.write_all(answer.as_bytes()).await;
            while connection.write_all(b"x").await.is_ok() {
                sleep(SECOND).await;
            }
        });
        url
    }

    async fn read_request(listener: &TcpListener) -> TcpStream {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _read = connection.read(&mut [0; 4_096]).await.unwrap();
        connection
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_never_answers_is_given_up_after_the_limit() {
        // The system accepts connections for it.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for scheme in ["http", "https"] {
            let sent = send(&format!("{scheme}://{address}/"), Arc::new(SystemLookup)).await;
            assert!(is_given_up(&sent), "{scheme}: {sent:?}");
        }
    }

    struct Never;

    #[async_trait]
    impl Lookup for Never {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_never_resolved_is_given_up_after_the_limit() {
        let sent = send("https://hooks.example/", Arc::new(Never)).await;
        assert!(is_given_up(&sent), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn headers_of_a_byte_each_second_are_given_up_after_the_limit() {
        let url = trickle("HTTP/1.1 200 OK\r\nX-Slow: ").await;
        let sent = send(&url, Arc::new(SystemLookup)).await;
        assert!(is_given_up(&sent), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_counts_and_a_body_of_a_byte_each_second_is_not_waited_for() {
        let url = trickle("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        let (outcome, took) = send(&url, Arc::new(SystemLookup)).await;
        assert_eq!(outcome, Outcome::Delivered(StatusCode::OK));
        assert!(took < LIMIT / 2, "{took:?}");
    }

    #[tokio::test]
    async fn headers_without_an_end_are_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let receiver = tokio::spawn(async move {
            let mut connection = read_request(&listener).await;
            let mut sent = 0;
            let line = format!("X-Much: {}\r\n", "x".repeat(8 << 10));
            let _sent = connection.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while sent < 64 << 20 && connection.write_all(line.as_bytes()).await.is_ok() {
                sent += line.len();
            }
            sent
        });
        let (sender, target) = sender(&url, Arc::new(SystemLookup));
        let outcome = sender.send(&target, "evt_1", "{}", 1_790_000_000).await;
        let reason = "message head is too large".to_owned();
        assert_eq!(outcome, failed(reason, None));
        // Most of what was sent is in buffers of the system.
        assert!(receiver.await.unwrap() < 64 << 20);
    }

    #[tokio::test]
    async fn nothing_compressed_is_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let receiver = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let length = connection.read(&mut request).await.unwrap();
            // A client that unpacks fails on this.
            let answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb";
            connection.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..length]).to_ascii_lowercase()
        });
        let (sender, target) = sender(&url, Arc::new(SystemLookup));
        let outcome = sender.send(&target, "evt_1", "{}", 1_790_000_000).await;
        assert_eq!(outcome, Outcome::Delivered(StatusCode::OK));
        let request = receiver.await.unwrap();
        assert!(request.contains("webhook-id: evt_1") && !request.contains("accept-encoding"), "{request}");
    }

    #[test]
    fn a_long_reason_is_shortened() {
        assert_eq!(shortened("ñ".repeat(MAX_REASON_CHARS)), "ñ".repeat(MAX_REASON_CHARS));
        let long = shortened("ñ".repeat(MAX_REASON_CHARS + 1));
        assert_eq!(long, format!("{}…", "ñ".repeat(MAX_REASON_CHARS)));
    }
}
