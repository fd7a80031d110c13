//! Access with a secret of the operator: `API_TOKEN` for the operator's own programs, `LIVE_HOOK_SECRET` for the hooks of
//! video servers.
//!
//! Promises:
//! - A wrong secret is refused with `unauthorized`, at a bounded rate for each address. A right one is never refused.
//! - How long a comparison takes says nothing about the secret.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use ring::hmac;
use uuid::Uuid;

use crate::{
    api::{Code, Problem},
    server::{
        config::Secret,
        limits::{Address, Rate},
        metrics::Metrics,
    },
};

/// The wrong secrets that an address may present at once, and per second after that. Beyond it the calls get
/// `limit-reached`.
const WRONG_BURST: u32 = 100;
const WRONG_PER_SECOND: u32 = 1;

/// The secrets that callers present, and the rate of wrong ones. Cloning is cheap.
#[derive(Clone)]
pub struct Access {
    /// `API_TOKEN`.
    pub api_token: Credential,
    /// `LIVE_HOOK_SECRET`.
    pub hook_secret: Credential,
    wrong: Rate,
    metrics: Metrics,
}

impl Access {
    /// Access with these secrets. Without a secret nobody has access.
    #[must_use]
    pub fn new(api_token: Option<&Secret>, hook_secret: Option<&Secret>, metrics: Metrics) -> Self {
        Self {
            api_token: Credential::new(api_token),
            hook_secret: Credential::new(hook_secret),
            wrong: Rate::per_second(WRONG_BURST, WRONG_PER_SECOND),
            metrics,
        }
    }

    /// Admits a request with `Authorization: Bearer` and the `API_TOKEN`.
    ///
    /// # Errors
    /// `unauthorized`, `limit-reached`.
    pub fn check_token(&self, headers: &HeaderMap, address: Address) -> Result<(), Problem> {
        if self.api_token.matches(bearer(headers)) { Ok(()) } else { Err(self.refused(address)) }
    }

    /// The refusal of a request without a right secret.
    #[must_use]
    pub fn refused(&self, address: Address) -> Problem {
        match self.wrong.take(address) {
            Ok(()) => Problem::new(Code::Unauthorized),
            Err(wait) => {
                self.metrics.refused("unauthorized");
                let detail = "too many calls without a right secret from this address";
                Problem::new(Code::LimitReached).detail(detail).retry_once_over(wait)
            }
        }
    }

    /// Frees the memory of addresses that may present wrong secrets again.
    pub fn sweep(&self) {
        self.wrong.sweep();
    }
}

/// A secret that callers present. Without one, no caller's secret is right.
#[derive(Clone)]
pub struct Credential(Option<Arc<Known>>);

struct Known {
    /// A random key of this process: a tag by it says nothing about the secret.
    key: hmac::Key,
    tag: hmac::Tag,
    /// The key of signatures by HMAC-SHA1 with the secret.
    signatures: hmac::Key,
}

impl Credential {
    fn new(secret: Option<&Secret>) -> Self {
        Self(secret.map(|secret| {
            let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &random);
            let tag = hmac::sign(&key, secret.as_bytes());
            let signatures = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
            Arc::new(Known { key, tag, signatures })
        }))
    }

    /// Whether a caller's secret is right.
    #[must_use]
    pub fn matches(&self, given: Option<&[u8]>) -> bool {
        let both = self.0.as_ref().zip(given);
        both.is_some_and(|(known, given)| hmac::verify(&known.key, given, known.tag.as_ref()).is_ok())
    }

    /// Whether the HMAC-SHA1 of a message with the secret is `signature`.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let known = self.0.as_ref();
        known.is_some_and(|known| hmac::verify(&known.signatures, message, signature).is_ok())
    }

    /// Whether there is a secret.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access(token: Option<&str>) -> Access {
        let token = token.map(|token| Secret::from(token.to_owned()));
        Access::new(token.as_ref(), None, Metrics::new())
    }

    fn headers(authorization: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    fn address(last: u8) -> Address {
        std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    #[test]
    fn only_the_right_token_is_admitted() {
        let access = access(Some(TOKEN));
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef", "BEARER 0123456789abcdef "] {
            assert!(access.check_token(&headers(right), address(1)).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            TOKEN,
        ] {
            let refused = access.check_token(&headers(wrong), address(1)).unwrap_err();
            assert_eq!(refused.code, Code::Unauthorized, "{wrong}");
        }
        assert!(access.check_token(&HeaderMap::new(), address(1)).is_err());
    }

    #[test]
    fn without_a_configured_secret_nobody_has_access() {
        let access = access(None);
        for given in ["Bearer ", "Bearer 0123456789abcdef"] {
            assert!(access.check_token(&headers(given), address(1)).is_err());
        }
        assert!(!access.hook_secret.matches(Some(b"")) && !access.hook_secret.matches(None));
        assert!(!access.hook_secret.has_signed(b"", b""));
    }

    #[test]
    fn wrong_secrets_have_a_rate_and_the_right_one_has_none() {
        let access = access(Some(TOKEN));
        let wrong = |last| access.check_token(&headers("Bearer wrong"), address(last)).unwrap_err();
        let codes: Vec<_> = (0..WRONG_BURST + 50).map(|_| wrong(1)).collect();
        assert!(codes.iter().take(100).all(|problem| problem.code == Code::Unauthorized));
        let limited = codes.last().unwrap();
        assert_eq!(limited.code, Code::LimitReached);
        assert!(limited.retry_after.is_some_and(|seconds| seconds > 0));
        assert_eq!(wrong(2).code, Code::Unauthorized, "other addresses are not affected");
        assert!(access.check_token(&headers("Bearer 0123456789abcdef"), address(1)).is_ok());
    }

    #[test]
    fn a_signature_is_of_the_whole_message() {
        let secret = Secret::from("what do ya want for nothing?".to_owned());
        let access = Access::new(None, Some(&secret), Metrics::new());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let signature = hmac::sign(&key, b"body");
        assert!(access.hook_secret.has_signed(b"body", signature.as_ref()));
        assert!(!access.hook_secret.has_signed(b"body ", signature.as_ref()));
        assert!(!access.hook_secret.has_signed(b"body", &signature.as_ref()[..19]));
    }
}
