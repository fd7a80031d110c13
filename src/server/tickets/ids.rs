//! The ids of viewers with tickets.
//!
//! An id is an HMAC of the account (`sub`), so that no account is in any store, log or answer, and so that every device
//! of an account has the same id. The key of the HMAC is independent of the keys that check tickets. Otherwise a
//! rotation of those would give a viewer a second id, and the viewer would count twice.
//!
//! The ids are UUIDs of version 8. Browsers make their ids at random, as version 4. So the version tells which ids only
//! a ticket can give.

use std::fmt;

use ring::hmac;
use uuid::Builder;

use crate::domain::ViewerId;

/// The key of the HMAC if the operator has set none. It is the same everywhere, so it only keeps accounts out of sight:
/// whoever can read the store can check whether a given account is in it.
const DEFAULT_SECRET: &[u8] = b"aforo: the ids of viewers with tickets, without a secret of the operator";

/// Makes the ids of viewers.
pub(super) struct Ids {
    key: hmac::Key,
    has_secret: bool,
}

impl Ids {
    /// `secret` is the operator's.
    pub(super) fn new(secret: Option<&[u8]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.unwrap_or(DEFAULT_SECRET));
        Self { key, has_secret: secret.is_some() }
    }

    /// Whether the ids depend on a secret of the operator.
    pub(super) const fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// The id of an account.
    pub(super) fn viewer(&self, account: &str) -> ViewerId {
        let tag = hmac::sign(&self.key, account.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        let id = Builder::from_custom_bytes(bytes).into_uuid();
        ViewerId::new(id).expect("a UUID of version 8 is not nil")
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("has_secret", &self.has_secret).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_account_has_one_id_and_accounts_have_different_ids() {
        let ids = Ids::new(None);
        assert_eq!(ids.viewer("ana"), ids.viewer("ana"));
        assert_eq!(ids.viewer("ana"), Ids::new(None).viewer("ana"), "on every node");
        assert_ne!(ids.viewer("ana"), ids.viewer("Ana"));
        assert_ne!(ids.viewer("ana"), Ids::new(Some(b"a secret")).viewer("ana"));
    }

    #[test]
    fn ids_of_tickets_are_told_from_those_of_browsers() {
        let ids = Ids::new(None);
        for account in 0..1_000 {
            assert!(ids.viewer(&account.to_string()).is_of_account());
            assert!(!ViewerId::new(Uuid::new_v4()).unwrap().is_of_account());
        }
    }

    #[test]
    fn the_default_id_does_not_change_between_versions() {
        let id = Ids::new(None).viewer("ana");
        assert_eq!(id.to_string(), "243a92e5-dd7c-8def-a163-fc19c219d74e");
    }
}
