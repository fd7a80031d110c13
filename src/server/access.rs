//! Who may see the statistics of a channel.
//!
//! Promises:
//! - A refusal does not depend on whether the channel exists.
//! - Comparing secrets takes the same time whatever was sent.
//! - A link is for one channel, and it ends.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::tickets::install_crypto;
use crate::domain::ChannelId;

/// The shortest `API_SECRET`, in bytes: the length of a signature.
pub const MIN_SECRET_BYTES: usize = 32;

/// The longest link token, in bytes.
const MAX_LINK_BYTES: usize = 2_048;

/// How far the clocks of this server and of the signer may differ, in seconds.
const LEEWAY_SECONDS: u64 = 5;

/// The access to statistics.
#[derive(Debug, Default)]
pub struct StatisticsAccess {
    /// Whether everyone may see statistics.
    has_public_statistics: bool,
    /// The hash of the operator's token.
    token: Option<Vec<u8>>,
    links: Option<Links>,
}

/// The check of signed links.
#[derive(Debug)]
struct Links {
    key: DecodingKey,
    validation: Validation,
}

/// The claims of a link. The library checks `exp`.
#[derive(Deserialize)]
struct Claims {
    channel: String,
}

impl StatisticsAccess {
    /// Access by the operator's token, and by links that are signed with `secret`.
    #[must_use]
    pub fn new(has_public_statistics: bool, token: Option<&str>, secret: Option<&str>) -> Self {
        let links = secret.map(|secret| {
            install_crypto();
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_aud = false;
            validation.set_required_spec_claims(&["exp"]);
            Links { key: DecodingKey::from_secret(secret.as_bytes()), validation }
        });
        Self { has_public_statistics, token: token.map(hash), links }
    }

    /// Whether everyone may see statistics.
    #[must_use]
    pub const fn has_public_statistics(&self) -> bool {
        self.has_public_statistics
    }

    /// Whether a bearer token is the operator's.
    fn is_operator(&self, bearer: Option<&str>) -> bool {
        // Hashes are compared, so the time tells nothing about the token.
        self.token.is_some() && self.token == bearer.map(hash)
    }

    /// Whether the statistics of a channel may be seen with a bearer token, or with the token of a link.
    #[must_use]
    pub fn may_see(&self, channel: &ChannelId, bearer: Option<&str>, link: Option<&str>) -> bool {
        self.has_public_statistics
            || self.is_operator(bearer)
            || [link, bearer].into_iter().flatten().any(|token| self.is_link_to(channel, token))
    }

    fn is_link_to(&self, channel: &ChannelId, token: &str) -> bool {
        let Some(links) = self.links.as_ref().filter(|_| token.len() <= MAX_LINK_BYTES) else { return false };
        let claims = decode::<Claims>(token, &links.key, &links.validation);
        claims.is_ok_and(|data| ChannelId::parse(&data.claims.channel).as_ref() == Ok(channel))
    }
}

fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const TOKEN: &str = "an operator's token";
    const SECRET: &str = "a secret of 32 bytes or even more";
    const IN_3000: u64 = 32_503_680_000;

    fn link(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
        install_crypto();
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn ana() -> ChannelId {
        ChannelId::parse("ana").unwrap()
    }

    #[test]
    fn public_statistics_are_for_everyone_and_private_ones_for_nobody_without_a_token() {
        assert!(StatisticsAccess::new(true, None, None).may_see(&ana(), None, None));
        let closed = StatisticsAccess::new(false, None, None);
        for token in [None, Some(""), Some("x"), Some(TOKEN)] {
            assert!(!closed.may_see(&ana(), token, token), "{token:?}");
            assert!(!closed.is_operator(token));
        }
    }

    #[test]
    fn the_operator_sees_all_channels() {
        let access = StatisticsAccess::new(false, Some(TOKEN), Some(SECRET));
        assert!(access.is_operator(Some(TOKEN)) && access.may_see(&ana(), Some(TOKEN), None));
        for other in [None, Some(""), Some("an operator's toke"), Some("an operator's token ")] {
            assert!(!access.is_operator(other) && !access.may_see(&ana(), other, None), "{other:?}");
        }
        assert!(
            !access.may_see(&ana(), None, Some(TOKEN)),
            "addresses end up in logs, so the token is not for them"
        );
        assert!(
            !StatisticsAccess::new(true, None, None).is_operator(None),
            "public statistics make nobody an operator"
        );
    }

    #[test]
    fn a_link_opens_its_channel_until_it_ends() {
        let access = StatisticsAccess::new(false, None, Some(SECRET));
        let sees = |token: &str| access.may_see(&ana(), None, Some(token));
        let valid = json!({"channel": "Ana", "exp": IN_3000});
        assert!(sees(&link(&valid, SECRET, Algorithm::HS256)));
        assert!(
            access.may_see(&ana(), Some(&link(&valid, SECRET, Algorithm::HS256)), None),
            "also as a bearer"
        );
        for claims in [
            json!({"channel": "eva", "exp": IN_3000}),
            json!({"channel": "*", "exp": IN_3000}),
            json!({"channel": "ana", "exp": 1_700_000_000}),
            json!({"channel": "ana"}),
            json!({"exp": IN_3000}),
        ] {
            assert!(!sees(&link(&claims, SECRET, Algorithm::HS256)), "{claims}");
        }
        assert!(!sees(&link(&valid, "another secret of 32 bytes or more", Algorithm::HS256)));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJjaGFubmVsIjoiYW5hIiwiZXhwIjozMjUwMzY4MDAwMH0.";
        for token in ["", "a.b.c", unsigned, &"x".repeat(100_000)] {
            assert!(!sees(token), "{token:.40}");
        }
    }
}
