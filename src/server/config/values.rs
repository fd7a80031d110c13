//! Parsers of single settings. Their errors name the expected value, which Rust's own parse errors do not.

use std::{fmt, net::SocketAddr, ops::Deref};

use clap::{ValueEnum, builder::PossibleValue};
use reqwest::Url;
use tracing_subscriber::EnvFilter;

use crate::domain::LiveMode;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Which viewers come with tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TicketMode {
    /// Tickets are ignored.
    Off,
    /// Viewers with and without a ticket count.
    Accept,
    /// Only viewers with a ticket count.
    Require,
}

/// Who may see the statistics of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StatisticsMode {
    /// The operator, and the owners of signed links.
    Private,
    /// Everyone.
    Public,
}

impl ValueEnum for LiveMode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Viewers, Self::Signal]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Viewers => "viewers",
            Self::Signal => "signal",
        }))
    }
}

/// A setting that may contain a password. It is never printed. White space around it is dropped: secrets are often read
/// from files, which end with a line break.
#[derive(Clone)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

pub(super) fn listen_addr(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "not an address with a port, such as 0.0.0.0:3000 or [::]:3000")
}

pub(super) fn whole_number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "not a whole number from 0 to 4294967295")
}

/// The longest time for which a server keeps serving after SIGTERM, in milliseconds. A larger value is most likely in the
/// wrong unit.
const MAX_SHUTDOWN_DELAY: u32 = 600_000;

pub(super) fn shutdown_delay(text: &str) -> Result<u32, &'static str> {
    let millis = text.parse().ok().filter(|millis| *millis <= MAX_SHUTDOWN_DELAY);
    millis.ok_or("not a whole number from 0 to 600000")
}

/// A count that a broadcast can reach.
pub(super) fn milestone(text: &str) -> Result<u32, &'static str> {
    let number = text.trim().parse().ok();
    number.filter(|number| *number > 0).ok_or("not a whole number from 1 to 4294967295")
}

/// The fewest characters that a secret should have which callers present. Nobody can guess one of that length over HTTP.
pub(super) const LONG_SECRET: usize = 16;

/// A token travels in a header.
pub(super) fn api_token(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned().into())
    } else {
        Err("not ASCII characters without spaces, such as from openssl rand -hex 16")
    }
}

/// A hook's secret travels in a query, in configuration files of other programs. So it has only characters that need no
/// escaping.
pub(super) fn hook_secret(text: &str) -> Result<Secret, &'static str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let text = text.trim();
    if !text.is_empty() && text.chars().all(is_allowed) {
        Ok(text.to_owned().into())
    } else {
        Err("not letters, digits, -, ., _ and ~, such as from openssl rand -hex 16")
    }
}

/// A backend signs with every byte of this secret, so none is dropped.
pub(super) fn api_secret(text: &str) -> Result<Secret, &'static str> {
    if text.trim() == text {
        Ok(text.to_owned().into())
    } else {
        Err("begins or ends with white space, such as the line break at the end of a file")
    }
}

/// A token travels in a header.
pub(super) fn upstash_token(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned().into())
    } else {
        Err("not ASCII characters without spaces")
    }
}

/// The least limit of bodies, in bytes. The pages of Aforo send less than 300 without a ticket.
const MIN_BODY_LIMIT: u32 = 512;

pub(super) fn body_limit(text: &str) -> Result<u32, &'static str> {
    let bytes = text.parse().ok().filter(|bytes| *bytes == 0 || *bytes >= MIN_BODY_LIMIT);
    bytes.ok_or("not 0 or a whole number from 512 to 4294967295")
}

/// The largest value of `COUNT_MAX_AGE`, in seconds. An older count is unknown everywhere else.
const MAX_COUNT_AGE: u32 = 60;

pub(super) fn count_max_age(text: &str) -> Result<u32, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MAX_COUNT_AGE);
    seconds.ok_or("not a whole number of seconds from 0 to 60")
}

/// Braces are rejected because Redis Cluster uses them for hash tags. The other excluded characters are special in the
/// key patterns of ACL rules.
pub(super) fn key_prefix(text: &str) -> Result<String, &'static str> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !"{}*?[]\\\"'".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("not 1 to 64 ASCII characters without spaces, quotes, braces, brackets, *, ? and \\")
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, &'static str> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("not a filter such as info or aforo=debug,warn"),
    }
}

/// The address of a collector. It may hold a password.
pub(super) fn collector_url(text: &str) -> Result<Secret, &'static str> {
    node_url(text).map_err(|_| "not an address such as http://127.0.0.1:4318")?;
    Ok(text.to_owned().into())
}

/// The address of a node.
pub(super) fn node_url(text: &str) -> Result<Url, &'static str> {
    let is_node = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
    };
    Url::parse(text).ok().filter(is_node).ok_or("not an address such as http://127.0.0.1:3000")
}

/// The sources of the `frame-ancestors` directive (CSP 3, section 6.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameAncestors(String);

impl FrameAncestors {
    /// Reads sources that are separated by spaces, as in the directive, or by commas, as in other settings.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_graphic() && !";@\"".contains(c);
        let sources = text.split(|c: char| c.is_whitespace() || c == ',');
        let sources: Vec<_> = sources.filter(|source| !source.is_empty()).collect();
        if sources.is_empty() || !sources.iter().all(|source| source.chars().all(is_allowed)) {
            return Err("not a list of sources such as 'self',https://partner.example".into());
        }
        // A shell that reads a file of settings takes quotes away.
        if sources.iter().any(|source| ["self", "none"].iter().any(|word| source.eq_ignore_ascii_case(word)))
        {
            return Err("self and none need single quotes, as in \"'self',https://partner.example\"".into());
        }
        if sources.len() > 1 && sources.iter().any(|source| source.eq_ignore_ascii_case("'none'")) {
            return Err("'none' must stand alone".into());
        }
        Ok(Self(sources.join(" ")))
    }

    /// The sources as text for the policy.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_need_no_escaping() {
        for text in ["0123456789abcdef", "0123456789abcde", "0"] {
            assert!(api_token(text).is_ok() && hook_secret(text).is_ok(), "{text:?}");
        }
        assert!(api_token("+/==0123456789ab").is_ok() && hook_secret("-._~0123456789ab").is_ok());
        for text in ["", " ", "\n", "0123456789 abcdef", "0123456789abcdeñ", "0123456789abcde\nf"] {
            assert!(api_token(text).is_err() && hook_secret(text).is_err(), "{text:?}");
        }
        for text in ["0123456789abcde&", "0123456789abcde+", "0123456789abcde%", "0123456789abcde="] {
            assert!(hook_secret(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn white_space_around_secrets_is_dropped_unless_a_backend_signs_with_it() {
        let hex = "0123456789abcdef0123456789abcdef";
        for text in [hex.to_owned(), format!("{hex}\n"), format!(" {hex}\r\n")] {
            for secret in
                [api_token(&text), hook_secret(&text), upstash_token(&text), Ok(text.clone().into())]
            {
                assert_eq!(&*secret.unwrap(), hex, "{text:?}");
            }
            assert_eq!(api_secret(&text).is_ok(), text == hex, "{text:?}");
        }
        for text in ["", "\n", "a b", "a\nb", "añ"] {
            assert!(upstash_token(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_shutdown_delay_is_ten_minutes_at_most() {
        assert_eq!((shutdown_delay("0"), shutdown_delay("600000")), (Ok(0), Ok(600_000)));
        for text in ["", "600001", "-1", "5s"] {
            assert!(shutdown_delay(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_limit_of_bodies_has_room_for_those_of_the_pages() {
        for (text, bytes) in [("0", 0), ("512", 512), ("4096", 4_096), ("4294967295", u32::MAX)] {
            assert_eq!(body_limit(text), Ok(bytes));
        }
        for text in ["", "1", "511", "-1", "4k", "4294967296"] {
            assert!(body_limit(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ancestors_are_separated_by_spaces_or_commas_or_both() {
        for text in [
            "'self' https://partner.example",
            "'self',https://partner.example",
            " 'self' , https://partner.example\n",
        ] {
            let ancestors = FrameAncestors::parse(text).unwrap();
            assert_eq!(ancestors.as_str(), "'self' https://partner.example", "{text:?}");
        }
        let user = "https://name@partner.example";
        for text in ["", ",", " , ", "'self'; script-src *", "self,https://partner.example", "None", user] {
            assert!(FrameAncestors::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(FrameAncestors::parse("'none',*").unwrap_err(), "'none' must stand alone");
    }

    #[test]
    fn no_ancestor_stands_alone() {
        for text in ["'none'", "'self' https://partner.example", "*"] {
            assert!(FrameAncestors::parse(text).is_ok(), "{text}");
        }
        for text in ["'none' https://partner.example", "'self' 'NONE'"] {
            assert_eq!(FrameAncestors::parse(text).unwrap_err(), "'none' must stand alone");
        }
    }

    #[test]
    fn counts_are_cached_for_a_minute_at_most() {
        for (text, seconds) in [("0", 0), ("1", 1), ("60", 60)] {
            assert_eq!(count_max_age(text), Ok(seconds));
        }
        for text in ["", "61", "-1", "1.5", "5s", "99999999999"] {
            assert!(count_max_age(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_key_prefix_is_not_a_pattern_or_hash_tag() {
        for text in ["a", "site-a", "site:b", &"x".repeat(64)] {
            assert_eq!(key_prefix(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a{b}", "a*", "a?", "[a]", "a\\b", "añ", "a\n", &"x".repeat(65)] {
            assert!(key_prefix(text).is_err(), "{text:?}");
        }
    }
}
