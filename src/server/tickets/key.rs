//! The keys that check tickets, as they are written in the settings: `hs256:BASE64` or `ed25519:BASE64`.

use std::{fmt, str::FromStr};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// The length of a public key of Ed25519, in bytes.
const PUBLIC_KEY_BYTES: usize = 32;

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Decodes Base64 of either alphabet, with or without padding.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// A key that checks tickets. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

impl Key {
    /// Whether the key has the same bytes as a secret for something else.
    #[must_use]
    pub fn is(&self, secret: &[u8]) -> bool {
        self.bytes == secret
    }

    /// Whether all bytes of the key are the same, as in a placeholder.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.bytes.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// The algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// HMAC with SHA-256: the key is a secret that the signer knows too.
    Hs256,
    /// Ed25519: the key is public.
    Ed25519,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?} key)", self.kind)
    }
}

/// Why a text is not a key. The message follows the name of the setting and does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Another format.
    #[error("has an entry that is not hs256:BASE64 or ed25519:BASE64")]
    Format,
    /// A short secret.
    #[error("has an hs256 key of {0} bytes; at least {MIN_SECRET_BYTES} are needed")]
    ShortSecret(usize),
    /// A public key of another length, such as one in PEM or DER.
    #[error("has an ed25519 key of {0} bytes; the raw public key has {PUBLIC_KEY_BYTES}")]
    PublicKeyLength(usize),
    /// A public key for which anybody can sign, such as zeros.
    #[error("has an ed25519 key whose bytes are all the same")]
    Placeholder,
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let (kind, encoded) = text.trim().split_once(':').ok_or(InvalidKey::Format)?;
        let kind = match kind {
            "hs256" => Kind::Hs256,
            "ed25519" => Kind::Ed25519,
            _ => return Err(InvalidKey::Format),
        };
        let bytes = decode_base64(encoded).filter(|bytes| !bytes.is_empty()).ok_or(InvalidKey::Format)?;
        match kind {
            Kind::Hs256 if bytes.len() < MIN_SECRET_BYTES => Err(InvalidKey::ShortSecret(bytes.len())),
            Kind::Ed25519 if bytes.len() != PUBLIC_KEY_BYTES => Err(InvalidKey::PublicKeyLength(bytes.len())),
            _ => {
                let key = Self { kind, bytes };
                // Such a secret is weak, but only its owner knows it.
                if kind == Kind::Ed25519 && key.is_placeholder() {
                    return Err(InvalidKey::Placeholder);
                }
                Ok(key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 33 bytes whose Base64 has both characters in which the alphabets differ.
    const SECRET: &str = "hs256:++//AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e";

    #[test]
    fn keys_are_accepted_in_both_alphabets_with_or_without_padding() {
        let key = |text: &str| text.parse::<Key>().unwrap();
        assert_eq!(key(SECRET).bytes.len(), 33);
        assert_eq!(key(SECRET), key(&SECRET.replace('+', "-").replace('/', "_")));
        let public = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(key(public), key(&format!(" {public}= ")));
        assert_eq!(key(public).kind, Kind::Ed25519);
    }

    #[test]
    fn other_texts_are_rejected_without_being_repeated() {
        let short = "hs256:c2hvcnQgc2VjcmV0";
        for (text, expected) in [
            ("", InvalidKey::Format),
            ("hs256", InvalidKey::Format),
            ("hs256:", InvalidKey::Format),
            ("hs512:++//AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e", InvalidKey::Format),
            ("HS256:not base64", InvalidKey::Format),
            (short, InvalidKey::ShortSecret(12)),
            ("ed25519:++//AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e", InvalidKey::PublicKeyLength(33)),
            ("ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", InvalidKey::Placeholder),
        ] {
            assert_eq!(text.parse::<Key>(), Err(expected), "{text:?}");
        }
        assert!(!InvalidKey::ShortSecret(12).to_string().contains("c2hvcnQ"));
    }

    #[test]
    fn a_key_of_one_byte_over_and_over_is_a_placeholder() {
        let is_placeholder = |text: &str| text.parse::<Key>().unwrap().is_placeholder();
        assert!(is_placeholder(&format!("hs256:{}", "A".repeat(43))) && !is_placeholder(SECRET));
    }

    #[test]
    fn keys_are_never_printed() {
        let key: Key = SECRET.parse().unwrap();
        assert_eq!(format!("{key:?}"), "(Hs256 key)");
    }
}
