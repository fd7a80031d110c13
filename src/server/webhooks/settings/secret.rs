//! The secrets that sign deliveries, as Standard Webhooks writes them: `whsec_` and Base64.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use standardwebhooks::Webhook;

/// The lengths that the standard allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that signs deliveries. It is never printed.
#[derive(Clone)]
pub struct SigningKey(Arc<Webhook>);

/// Why a text is not a secret. The message follows the name of the setting and does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Another format.
    #[error("has an entry that is not whsec_ and Base64")]
    Format,
    /// Too short or too long.
    #[error("has a secret of {0} bytes; 24 to 64 are needed, such as whsec_$(openssl rand -base64 32)")]
    Length(usize),
}

impl SigningKey {
    /// The signature of a delivery: `v1,` and Base64.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let timestamp = i64::try_from(timestamp).unwrap_or(i64::MAX);
        // Only a body that is not UTF-8 can't be signed.
        self.0.sign(id, timestamp, body.as_bytes()).unwrap_or_default()
    }
}

impl FromStr for SigningKey {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(InvalidSecret::Format)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| InvalidSecret::Format)?;
        if !LENGTHS.contains(&bytes.len()) {
            return Err(InvalidSecret::Length(bytes.len()));
        }
        Webhook::from_bytes(bytes).map(|key| Self(Arc::new(key))).map_err(|_| InvalidSecret::Format)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(signing key)")
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn signatures_follow_the_standard() {
        let key: SigningKey = SECRET.parse().unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn other_texts_are_refused_without_being_repeated() {
        let with = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes]));
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_MfKQ", "whsec_MfKQ9r8G*", "whsec_MfKQ_-"]
        {
            let error = text.parse::<SigningKey>().unwrap_err();
            assert!(matches!(error, InvalidSecret::Format | InvalidSecret::Length(0)), "{text:?}: {error:?}");
            assert!(!error.to_string().contains("MfKQ"));
        }
        for (bytes, is_valid) in [(23, false), (24, true), (32, true), (64, true), (65, false)] {
            assert_eq!(with(bytes).parse::<SigningKey>().is_ok(), is_valid, "{bytes}");
        }
        assert!(with(32).trim_end_matches('=').parse::<SigningKey>().is_ok(), "padding may be missing");
    }

    #[test]
    fn secrets_are_never_printed() {
        assert_eq!(format!("{:?}", SECRET.parse::<SigningKey>().unwrap()), "(signing key)");
    }
}
