//! What single settings may be. Each parser says what is expected; Rust's own words for what is wrong would help nobody.

use std::{fmt, net::SocketAddr, ops::Deref};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object per line.
    Json,
}

/// A setting that may hold a password. It is written nowhere.
#[derive(Clone)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
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

pub(super) fn whole(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "not a whole number from 0 to 4294967295")
}

/// Braces would decide which part of a key a cluster goes by; the others stand for many keys in the rules of a user.
pub(super) fn key_prefix(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_graphic() && !"{}*?[]\\\"'".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("not 1 to 64 characters of ASCII without spaces, quotes, braces, brackets, *, ? and \\")
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, &'static str> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("not a filter such as info, or aforo=debug,warn"),
    }
}

/// Sources of the `frame-ancestors` directive (CSP 3, section 6.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameAncestors(String);

impl FrameAncestors {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',');
        let sources: Vec<_> = text.split_whitespace().collect();
        if sources.is_empty() || !sources.iter().all(|source| source.chars().all(fits)) {
            return Err(
                "not a list of sources separated by spaces, such as 'self' https://partner.example".into()
            );
        }
        Ok(Self(sources.join(" ")))
    }

    /// As it stands in the policy.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_keys_is_no_pattern_and_no_hash_tag() {
        for text in ["a", "site-a", "site:b", &"x".repeat(64)] {
            assert_eq!(key_prefix(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a{b}", "a*", "a?", "[a]", "a\\b", "añ", "a\n", &"x".repeat(65)] {
            assert!(key_prefix(text).is_err(), "{text:?}");
        }
    }
}
