//! Tickets: who a viewer is, if the site says so.
//!
//! The backend of the site signs a ticket for a signed-in person: a JWT with `sub` (the account), `channel` (a channel,
//! or `*` for every channel), `exp`, and optionally `origin` (the origin whose pages may use it). A viewer with a ticket
//! is the account, however many devices and browsers it uses.
//!
//! Promises:
//! - No account leaves this module: the id of a viewer is a keyed hash of `sub`. No ticket and no key is in
//!   any log or `Debug` output.
//! - A signature is checked only by keys of its own algorithm, so a public key is never used as a secret. Tickets without
//!   a signature, with another algorithm or with critical headers are invalid.
//! - A ticket is at most [`MAX_BYTES`] long; longer ones are refused unread.
//! - The ids of viewers with tickets form a space of their own. Without a ticket nobody can start a session of
//!   such a viewer.
//!
//! This module only judges. It counts nothing and does no I/O.

mod crypto;
mod ids;
mod key;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::IgnoredAny};
use uuid::Builder;

pub use self::{
    crypto::install as install_crypto,
    key::{InvalidKey, Key, MIN_SECRET_BYTES, decode_base64},
};
use self::{ids::Ids, key::Kind};
use crate::domain::{ChannelId, SessionId, ViewerId};

/// The longest ticket, in bytes.
pub const MAX_BYTES: usize = 2_048;

/// The most keys. Each key of an algorithm may have to be tried for each ticket.
pub const MAX_KEYS: usize = 16;

/// How far the clocks of this server and of the signer may differ, in seconds: a ticket is valid this long after `exp`
/// and this long before `nbf`.
pub const LEEWAY_SECONDS: u64 = 5;

/// The claim `channel` of a ticket for every channel.
const EVERY_CHANNEL: &str = "*";

/// Which viewers need a ticket, and how tickets are checked. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Tickets(Option<Arc<Checks>>);

#[derive(Debug)]
struct Checks {
    /// Whether viewers without a ticket are refused.
    is_required: bool,
    hs256: Verifier,
    ed25519: Verifier,
    ids: Ids,
}

/// The keys of one algorithm.
#[derive(Debug)]
struct Verifier {
    keys: Vec<DecodingKey>,
    /// The key that matched last. It is tried first, because a signer uses one key for a long time.
    recent: AtomicUsize,
    validation: Validation,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The call needs a ticket and has none.
    Required,
    /// The ticket is not valid for this call. The text says why, for developers.
    Invalid(&'static str),
    /// The ticket was valid once.
    Expired,
}

impl Refusal {
    /// The names of all refusals: values of the label `reason` in metrics.
    pub const NAMES: [&str; 3] = ["required", "invalid", "expired"];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => Self::NAMES[0],
            Self::Invalid(_) => Self::NAMES[1],
            Self::Expired => Self::NAMES[2],
        }
    }
}

/// Keys that cannot be used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is no key.
    #[error("has no key")]
    None,
    /// There are more than [`MAX_KEYS`].
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// A public key is listed as a secret too: whoever knows the public key could sign tickets.
    #[error("has the same key as hs256 and as ed25519")]
    PublicSecret,
}

/// The claims of a ticket. `exp` and `nbf` are checked by the library.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    channel: String,
    origin: Option<String>,
    /// The library checks an audience that is text, or a list of it.
    aud: Option<IgnoredAny>,
}

const OTHER_AUDIENCE: Refusal = Refusal::Invalid("the ticket is for another audience");

impl Tickets {
    /// No tickets: every viewer is who it says, and a ticket in a call is ignored.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Accepts tickets that any of `keys` has signed, and with `is_required` nobody else. `id_secret` is the secret of
    /// the ids of viewers; it must be the same on all nodes. Without it the ids depend on the accounts alone.
    ///
    /// # Errors
    /// When the keys cannot be used together.
    pub fn new(is_required: bool, keys: &[Key], id_secret: Option<&[u8]>) -> Result<Self, InvalidKeys> {
        let (mut secrets, mut public) = (Vec::new(), Vec::new());
        for Key { kind, bytes } in keys {
            let known = if *kind == Kind::Hs256 { &mut secrets } else { &mut public };
            if !known.contains(&bytes.as_slice()) {
                known.push(bytes.as_slice());
            }
        }
        match secrets.len() + public.len() {
            0 => return Err(InvalidKeys::None),
            count if count > MAX_KEYS => return Err(InvalidKeys::TooMany),
            _ => {}
        }
        if secrets.iter().any(|secret| public.contains(secret)) {
            return Err(InvalidKeys::PublicSecret);
        }
        crypto::install();
        let checks = Checks {
            is_required,
            hs256: Verifier::new(Algorithm::HS256, secrets.into_iter().map(DecodingKey::from_secret)),
            ed25519: Verifier::new(Algorithm::EdDSA, public.into_iter().map(DecodingKey::from_ed_der)),
            ids: Ids::new(id_secret),
        };
        Ok(Self(Some(Arc::new(checks))))
    }

    /// Whether viewers may have a ticket.
    #[must_use]
    pub const fn are_accepted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether only viewers with a ticket count.
    #[must_use]
    pub fn are_required(&self) -> bool {
        self.0.as_ref().is_some_and(|checks| checks.is_required)
    }

    /// Whether tickets are accepted and the ids of their viewers depend on no secret.
    #[must_use]
    pub fn lacks_id_secret(&self) -> bool {
        self.0.as_ref().is_some_and(|checks| !checks.ids.has_secret())
    }

    /// The ticket of a call that is to be checked: none if tickets are off, and none for an empty text.
    #[must_use]
    pub fn given<'a>(&self, ticket: Option<&'a str>) -> Option<&'a str> {
        ticket.filter(|ticket| self.0.is_some() && !ticket.is_empty())
    }

    /// The viewer of a ticket. `origin` is that of the page which makes the call, if it comes from a browser.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], [`Refusal::Expired`].
    pub fn viewer(
        &self,
        ticket: &str,
        channel: &ChannelId,
        origin: Option<&str>,
    ) -> Result<ViewerId, Refusal> {
        let Some(checks) = &self.0 else { return Err(Refusal::Required) };
        let claims = checks.claims(ticket)?;
        if claims.aud.is_some() {
            return Err(OTHER_AUDIENCE);
        }
        if claims.sub.is_empty() {
            return Err(Refusal::Invalid("the claim sub is empty"));
        }
        if claims.channel != EVERY_CHANNEL && ChannelId::parse(&claims.channel).as_ref() != Ok(channel) {
            return Err(Refusal::Invalid("the ticket is for another channel"));
        }
        let is_of = |page: &str, claimed: &str| claimed.trim_end_matches('/').eq_ignore_ascii_case(page);
        if claims.origin.is_some_and(|claimed| !origin.is_some_and(|page| is_of(page, &claimed))) {
            return Err(Refusal::Invalid("the ticket is for another origin"));
        }
        Ok(checks.ids.viewer(&claims.sub))
    }

    /// Whether a call without a ticket may start a session of `viewer`.
    ///
    /// # Errors
    /// [`Refusal::Required`] if every viewer needs a ticket, or if `viewer` is the id of a viewer with a ticket.
    pub fn check_without(&self, viewer: ViewerId) -> Result<(), Refusal> {
        match &self.0 {
            Some(checks) if checks.is_required || viewer.is_of_account() => Err(Refusal::Required),
            _ => Ok(()),
        }
    }

    /// Whether `viewer` may be one that came with a ticket.
    #[must_use]
    pub fn may_have_issued(&self, viewer: ViewerId) -> bool {
        self.0.is_some() && viewer.is_of_account()
    }
}

impl Checks {
    /// The claims of a ticket whose signature and times are valid.
    fn claims(&self, ticket: &str) -> Result<Claims, Refusal> {
        if ticket.len() > MAX_BYTES {
            return Err(Refusal::Invalid("the ticket is longer than 2048 bytes"));
        }
        let header = decode_header(ticket).map_err(|_| Refusal::Invalid("the ticket is not a signed JWT"))?;
        if header.crit.is_some() {
            return Err(Refusal::Invalid("the ticket has critical headers"));
        }
        match header.alg {
            Algorithm::HS256 => self.hs256.claims(ticket),
            Algorithm::EdDSA => self.ed25519.claims(ticket),
            _ => Err(Refusal::Invalid("the algorithm is neither HS256 nor EdDSA")),
        }
    }
}

impl Verifier {
    fn new(algorithm: Algorithm, keys: impl Iterator<Item = DecodingKey>) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        Self { keys: keys.collect(), recent: AtomicUsize::new(0), validation }
    }

    /// The claims of a ticket that one of the keys has signed.
    fn claims(&self, ticket: &str) -> Result<Claims, Refusal> {
        let recent = self.recent.load(Relaxed);
        let keys = self.keys.iter().enumerate();
        for (index, key) in keys.clone().skip(recent).chain(keys.take(recent)) {
            match decode::<Claims>(ticket, key, &self.validation) {
                Ok(token) => {
                    if index != recent {
                        self.recent.store(index, Relaxed);
                    }
                    return Ok(token.claims);
                }
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(error) => return Err(refusal(error.kind())),
            }
        }
        Err(Refusal::Invalid("no key matches the signature"))
    }
}

/// The session of heartbeats with this ticket and without a session id. It is the same at every heartbeat and every node, and
/// only who has the ticket can know it.
#[must_use]
pub fn session_of(ticket: &str) -> Option<SessionId> {
    let digest = digest(&SHA256, ticket.as_bytes());
    let bytes = digest.as_ref().first_chunk::<16>()?;
    SessionId::new(Builder::from_custom_bytes(*bytes).into_uuid())
}

fn refusal(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::Invalid("the ticket is not valid yet"),
        ErrorKind::InvalidAudience => OTHER_AUDIENCE,
        _ => Refusal::Invalid("the ticket lacks sub, channel or exp, or one of them has another type"),
    }
}

#[cfg(test)]
mod tests;
