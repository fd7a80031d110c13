//! The address of a receiver.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;
use ring::digest::{SHA256, digest};

use super::address::Reach;

/// The longest address, in bytes.
const MAX_LEN: usize = 2_048;

/// The address of a receiver. It may hold a token of the receiver, so only its host is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    id: String,
}

/// Why an address is no receiver. The message follows the name of the setting and names the host at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// No address of the web.
    #[error("has an entry that is not an address such as https://hooks.example/aforo")]
    Format,
    /// Too long.
    #[error("has an entry of more than {MAX_LEN} bytes")]
    Length,
    /// An address that is always refused.
    #[error("has the address {0}, to which nothing is ever sent")]
    Forbidden(String),
    /// A private address, without the setting that allows it.
    #[error("{0} is a private address; set WEBHOOK_ALLOW_PRIVATE=true if that is right")]
    Private(String),
    /// Plain HTTP, without the setting that allows it.
    #[error("http://{0} is not encrypted; use https, or set WEBHOOK_ALLOW_PRIVATE=true in a private network")]
    Plain(String),
}

impl Target {
    /// The address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// A hash of the address, which identifies the receiver in the database.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Checks that deliveries may be sent there, as far as the address itself tells. Names are resolved later, and each
    /// of their addresses is checked then.
    ///
    /// # Errors
    /// When the address is private or plain HTTP, and that is not allowed.
    pub fn check(&self, allows_private: bool) -> Result<(), InvalidTarget> {
        if allows_private {
            return Ok(());
        }
        let is_local_name = |host: &str| host == "localhost" || host.ends_with(".localhost");
        if literal(&self.url).is_some_and(|address| Reach::of(address) != Reach::Public)
            || is_local_name(self.host().trim_end_matches('.'))
        {
            return Err(InvalidTarget::Private(self.host().to_owned()));
        }
        if self.url.scheme() == "http" {
            return Err(InvalidTarget::Plain(self.host().to_owned()));
        }
        Ok(())
    }
}

/// The address of a host that is not a name. Such a host is never resolved.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        if text.len() > MAX_LEN {
            return Err(InvalidTarget::Length);
        }
        let mut url = Url::parse(text).map_err(|_| InvalidTarget::Format)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidTarget::Format);
        }
        url.set_fragment(None);
        if literal(&url).is_some_and(|address| Reach::of(address) == Reach::Forbidden) {
            return Err(InvalidTarget::Forbidden(url.host_str().unwrap_or_default().to_owned()));
        }
        let hash = digest(&SHA256, url.as_str().as_bytes());
        let id = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { url, id })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(receiver at {})", self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, InvalidTarget> {
        text.parse()
    }

    #[test]
    fn addresses_of_the_web_are_receivers() {
        let one = target("https://hooks.example/aforo?token=secret#top").unwrap();
        assert_eq!(one.url().as_str(), "https://hooks.example/aforo?token=secret");
        assert_eq!((one.host(), one.check(false)), ("hooks.example", Ok(())));
        assert_eq!(one.id().len(), 16);
        assert_ne!(one.id(), target("https://hooks.example/aforo?token=other").unwrap().id());
        assert_eq!(format!("{one:?}"), "(receiver at hooks.example)");
        for text in
            ["", "hooks.example", "ftp://hooks.example", "https://", "javascript:alert(1)", "https://x y/"]
        {
            assert_eq!(target(text), Err(InvalidTarget::Format), "{text:?}");
        }
        assert_eq!(target(&format!("https://a.example/{}", "x".repeat(3_000))), Err(InvalidTarget::Length));
    }

    #[test]
    fn private_addresses_and_plain_http_need_the_setting() {
        for text in [
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://10.0.0.1/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:10.0.0.1]/",
        ] {
            let target = target(text).unwrap();
            assert!(matches!(target.check(false), Err(InvalidTarget::Private(_))), "{text}");
            assert_eq!(target.check(true), Ok(()), "{text}");
        }
        let plain = target("http://hooks.example/").unwrap();
        assert!(matches!(plain.check(false), Err(InvalidTarget::Plain(_))));
        assert_eq!(plain.check(true), Ok(()));
    }

    #[test]
    fn metadata_addresses_are_never_receivers() {
        for text in [
            "http://169.254.169.254/latest/meta-data/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "http://0xa9.254.43518/",
            "http://2852039166/",
            "https://[fd00:ec2::254]/",
            "http://0.0.0.0/",
        ] {
            assert!(matches!(target(text), Err(InvalidTarget::Forbidden(_))), "{text}");
        }
    }
}
