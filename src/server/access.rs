//! Who may see the statistics of a channel.
//!
//! Promises:
//! - A refusal does not depend on whether the channel exists.
//! - Comparing secrets takes the same time whatever was sent.
//! - A link is for one channel, and it ends, also for streams that it has opened.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::IgnoredAny};

use super::tickets::install_crypto;
use crate::domain::ChannelId;

/// The shortest `API_SECRET`, in bytes: the length of a signature.
pub const MIN_SECRET_BYTES: usize = 32;

/// The longest link token, in bytes.
const MAX_LINK_BYTES: usize = 2_048;

/// How far the clocks of this server and of the signer may differ, in seconds.
const LEEWAY_SECONDS: u64 = 5;

/// The longest access that a link gives to a stream, in seconds: a year.
const MAX_SECONDS: f64 = 31_536_000.0;

/// A granted access to a channel's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// How long it may, from now on. `None`: without an end.
    pub lasts: Option<Duration>,
}

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

/// The claims of a link. The library checks `exp` and `nbf`, and that there is no `aud`: a token with it is for another
/// service.
#[derive(Deserialize)]
struct Claims {
    channel: String,
    exp: f64,
    /// The library checks an audience that is text, or a list of it.
    aud: Option<IgnoredAny>,
}

impl StatisticsAccess {
    /// Access by the operator's token, and by links that are signed with `secret`.
    #[must_use]
    pub fn new(has_public_statistics: bool, token: Option<&str>, secret: Option<&str>) -> Self {
        let links = secret.map(|secret| {
            install_crypto();
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
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

    /// Admits a request to the statistics of a channel by a bearer token, or by the token of a link.
    #[must_use]
    pub fn admit(&self, channel: &ChannelId, bearer: Option<&str>, link: Option<&str>) -> Option<Admission> {
        if self.has_public_statistics || self.is_operator(bearer) {
            return Some(Admission { lasts: None });
        }
        [link, bearer].into_iter().flatten().find_map(|token| self.admit_link(channel, token))
    }

    fn admit_link(&self, channel: &ChannelId, token: &str) -> Option<Admission> {
        let links = self.links.as_ref().filter(|_| token.len() <= MAX_LINK_BYTES)?;
        // The header may demand what is not checked here (RFC 7515, section 4.1.11).
        decode_header(token).ok().filter(|header| header.crit.is_none())?;
        let claims = decode::<Claims>(token, &links.key, &links.validation).ok()?.claims;
        (claims.aud.is_none() && ChannelId::parse(&claims.channel).as_ref() == Ok(channel)).then(|| {
            // The clock has whole seconds. When these are over, the link opens nothing any more.
            let left = claims.exp - seconds(get_current_timestamp()) + seconds(LEEWAY_SECONDS + 1);
            Admission { lasts: Some(Duration::from_secs_f64(left.clamp(0.0, MAX_SECONDS))) }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time of day has less than 53 bits")]
const fn seconds(seconds: u64) -> f64 {
    seconds as f64
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
        assert!(StatisticsAccess::new(true, None, None).admit(&ana(), None, None).is_some());
        let closed = StatisticsAccess::new(false, None, None);
        for token in [None, Some(""), Some("x"), Some(TOKEN)] {
            assert!(closed.admit(&ana(), token, token).is_none(), "{token:?}");
            assert!(!closed.is_operator(token));
        }
    }

    #[test]
    fn the_operator_sees_all_channels() {
        let access = StatisticsAccess::new(false, Some(TOKEN), Some(SECRET));
        assert!(access.is_operator(Some(TOKEN)) && access.admit(&ana(), Some(TOKEN), None).is_some());
        for other in [None, Some(""), Some("an operator's toke"), Some("an operator's token ")] {
            assert!(!access.is_operator(other) && access.admit(&ana(), other, None).is_none(), "{other:?}");
        }
        assert!(
            access.admit(&ana(), None, Some(TOKEN)).is_none(),
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
        let sees = |token: &str| access.admit(&ana(), None, Some(token)).is_some();
        let valid = json!({"channel": "Ana", "exp": IN_3000});
        assert!(sees(&link(&valid, SECRET, Algorithm::HS256)));
        assert!(
            access.admit(&ana(), Some(&link(&valid, SECRET, Algorithm::HS256)), None).is_some(),
            "also as a bearer"
        );
        for claims in [
            json!({"channel": "eva", "exp": IN_3000}),
            json!({"channel": "*", "exp": IN_3000}),
            json!({"channel": "ana", "exp": 1_700_000_000}),
            json!({"channel": "ana"}),
            json!({"exp": IN_3000}),
            json!({"channel": "ana", "exp": IN_3000, "nbf": IN_3000 - 60}),
            json!({"channel": "ana", "exp": IN_3000, "aud": "https://other.example"}),
            json!({"channel": "ana", "exp": IN_3000, "aud": 7}),
        ] {
            assert!(!sees(&link(&claims, SECRET, Algorithm::HS256)), "{claims}");
        }
        let begun = json!({"channel": "ana", "exp": IN_3000, "nbf": get_current_timestamp()});
        assert!(sees(&link(&begun, SECRET, Algorithm::HS256)));
        let critical = Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(Algorithm::HS256) };
        assert!(!sees(&encode(&critical, &valid, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()));
        assert!(!sees(&link(&valid, "another secret of 32 bytes or more", Algorithm::HS256)));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJjaGFubmVsIjoiYW5hIiwiZXhwIjozMjUwMzY4MDAwMH0.";
        for token in ["", "a.b.c", unsigned, &"x".repeat(100_000)] {
            assert!(!sees(token), "{token:.40}");
        }
    }

    #[test]
    fn access_by_a_link_lasts_until_the_link_ends() {
        let access = StatisticsAccess::new(false, Some(TOKEN), Some(SECRET));
        let lasts = |exp: &Value| {
            let token = link(&json!({"channel": "ana", "exp": exp}), SECRET, Algorithm::HS256);
            access.admit(&ana(), None, Some(&token)).unwrap().lasts.unwrap()
        };
        let before = get_current_timestamp();
        let exp = before + 100;
        let lasting = [lasts(&json!(exp)), lasts(&json!(seconds(exp)))];
        let passed = get_current_timestamp() - before;
        for lasts in lasting {
            assert!((106 - passed..=106).contains(&lasts.as_secs()), "{lasts:?}");
        }
        assert_eq!(lasts(&json!(IN_3000)), Duration::from_secs(31_536_000));
        assert_eq!(lasts(&json!(u64::MAX)), Duration::from_secs(31_536_000));
        assert_eq!(access.admit(&ana(), Some(TOKEN), None), Some(Admission { lasts: None }));
    }
}
