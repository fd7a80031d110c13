//! The short ids of a session, as stores keep them.

use std::ops::RangeInclusive;

use uuid::Uuid;

use crate::domain::{SessionId, ViewerId};

/// The bytes of a viewer's short id, and of both.
const VIEWER: usize = 14;
const BOTH: usize = 22;

/// The number of bytes at the start of a viewer's id that its short id keeps, but for the lowest bit of the first one.
const KEPT: usize = 6;

/// The short ids of a viewer and of one of its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortIds([u8; BOTH]);

impl ShortIds {
    /// The short ids of a session.
    #[must_use]
    pub fn of(viewer: ViewerId, session: SessionId) -> Self {
        let mut both = [0; BOTH];
        both[..VIEWER].copy_from_slice(&short_viewer(viewer));
        both[VIEWER..].copy_from_slice(&short_session(session));
        Self(both)
    }

    /// Short ids from their bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BOTH]) -> Self {
        Self(bytes)
    }

    /// The bytes: 14 of the viewer and 8 of the session.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BOTH] {
        &self.0
    }

    /// Whether they are those of this session.
    #[must_use]
    pub fn are_of(&self, viewer: ViewerId, session: SessionId) -> bool {
        *self == Self::of(viewer, session)
    }

    /// Two ranges of ids, one of which has the viewer's. Of random ids, fewer than one in 10^14 is in them.
    #[must_use]
    pub fn viewers(&self) -> [RangeInclusive<ViewerId>; 2] {
        [0, 1].map(|bit| {
            let [mut first, mut last] = [0, u8::MAX].map(|byte| [byte; 16]);
            for end in [&mut first, &mut last] {
                end[..KEPT].copy_from_slice(&self.0[..KEPT]);
                end[0] = end[0] & !1 | bit;
            }
            let id = |bytes| ViewerId::new(Uuid::from_bytes(bytes));
            // The nil UUID is no id.
            id(first).unwrap_or(ViewerId::FIRST)..=id(last).unwrap_or(ViewerId::FIRST)
        })
    }
}

/// Shortens a viewer id to 14 bytes, which take a fifth less memory in Redis than 16. The two bytes that hold a UUID's
/// version and variant are folded into their neighbors by XOR. Random ids stay practically unique (111 bits), and ids
/// that differ in one byte stay distinct.
///
/// One bit says whether the id is that of an account. Otherwise every account would share its short id with ids that need no
/// ticket, and a stranger could end the account's sessions with one of these.
fn short_viewer(viewer: ViewerId) -> [u8; VIEWER] {
    const ACCOUNT: u8 = 1 << 7;
    let id = viewer.uuid().into_bytes();
    let mut short = [0; VIEWER];
    short[..KEPT].copy_from_slice(&id[..KEPT]);
    short[6] = id[6] ^ id[7];
    short[7] = id[8] ^ id[9];
    short[8..].copy_from_slice(&id[10..]);
    // The bit that makes room is folded too.
    short[0] ^= short[6] >> 7;
    short[6] = short[6] & !ACCOUNT | if viewer.is_of_account() { ACCOUNT } else { 0 };
    short
}

/// Shortens a session id to 8 bytes. It has to be unique only among the few sessions of its viewer.
fn short_session(session: SessionId) -> [u8; BOTH - VIEWER] {
    /// The multiplier of Fibonacci hashing (2^64 divided by the golden ratio). It is odd, so ids that differ in one
    /// half only stay distinct.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (high, low) = session.uuid().as_u64_pair();
    (high.wrapping_mul(FACTOR) ^ low).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Builder;

    use super::*;

    fn viewer(id: u128) -> [u8; 14] {
        short_viewer(ViewerId::new(Uuid::from_u128(id)).unwrap())
    }

    fn session(id: u128) -> [u8; 8] {
        short_session(SessionId::new(Uuid::from_u128(id)).unwrap())
    }

    #[test]
    fn ids_that_differ_in_one_byte_stay_distinct() {
        let id = 0x6fa1_c0de_94a1_4b1e_8a53_0c6f_2f6f_7a10;
        for at in 0..16 {
            let others = || (1..=255_u128).map(|change| id ^ (change << (8 * at)));
            assert_eq!(others().map(viewer).collect::<HashSet<_>>().len(), 255, "byte {at}");
            assert_eq!(others().map(session).collect::<HashSet<_>>().len(), 255, "byte {at}");
            assert!(others().all(|other| viewer(other) != viewer(id) && session(other) != session(id)));
        }
    }

    #[test]
    fn an_account_shares_its_short_id_with_no_other_id() {
        for random in (0..100).map(|_| Uuid::new_v4().into_bytes()) {
            let account = Builder::from_custom_bytes(random).into_uuid();
            let short = viewer(account.as_u128());
            let mut aliases = 0;
            // All ids whose folded bytes are the same, and those that differ in the bit that was folded again.
            for (version, variant, bit) in (0..=255).flat_map(|version| {
                (0..=255).flat_map(move |variant| [0, 1].map(|bit| (version, variant, bit)))
            }) {
                let mut id = account.into_bytes();
                id[7] ^= id[6] ^ version ^ (bit << 7);
                id[9] ^= id[8] ^ variant;
                (id[6], id[8], id[0]) = (version, variant, id[0] ^ bit);
                let other = ViewerId::new(Uuid::from_bytes(id)).unwrap();
                if short_viewer(other) == short {
                    assert!(other.is_of_account(), "{other} is taken for {account}");
                    aliases += 1;
                }
            }
            assert!(aliases > 1, "the ids of other accounts may be taken for it: they need a ticket too");
        }
    }

    #[test]
    fn consecutive_and_random_ids_stay_distinct() {
        let random = (0..10_000).map(|_| Uuid::new_v4().as_u128());
        let ids: Vec<_> = (1..=10_000).chain(random).collect();
        assert_eq!(ids.iter().map(|id| viewer(*id)).collect::<HashSet<_>>().len(), ids.len());
        assert_eq!(ids.iter().map(|id| session(*id)).collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn a_session_is_found_by_its_short_ids() {
        let session = |id| SessionId::new(Uuid::from_u128(id)).unwrap();
        let random = (0..1_000).map(|_| Uuid::new_v4());
        for id in random.chain([1, u128::MAX].map(Uuid::from_u128)) {
            let viewer = ViewerId::new(id).unwrap();
            let ids = ShortIds::of(viewer, session(7));
            assert!(ids.are_of(viewer, session(7)) && !ids.are_of(viewer, session(8)));
            assert_eq!(ids.viewers().iter().filter(|viewers| viewers.contains(&viewer)).count(), 1, "{id}");
            assert_eq!(ShortIds::from_bytes(*ids.as_bytes()), ids);
        }
    }
}
