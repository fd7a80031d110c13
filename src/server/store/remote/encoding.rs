//! The binary encoding of operations, as `call.lua` describes it.

use std::time::Duration;

use super::parts::Keep;
use crate::domain::{Act, Op, SessionId, ViewerId, session::Phase};

/// Flags that are added to the time of a session that has left, as in `call.lua`.
const LEFT: u64 = 1 << 47;
const LEFT_UNKNOWN: u64 = 1 << 46;

/// Encodes operations: 27 bytes each, and 8 more for a replayed session; before them a byte that says
/// how long the part is kept, unless its sessions alone decide.
#[must_use]
pub(super) fn encode(ops: &[Op], keep: Keep) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ops.len() * 27 + 1);
    match keep {
        Keep::AsNeeded => {}
        Keep::Existing => bytes.push(b'E'),
        Keep::Created => bytes.push(b'C'),
    }
    for op in ops {
        let (act, lease) = match op.act {
            Act::Join { lease } => (b'J', millis(lease)),
            Act::Heartbeat { lease } => (b'H', millis(lease)),
            Act::Renew { lease } => (b'N', millis(lease)),
            Act::Leave => (b'L', 0),
            Act::LeaveKnown => (b'K', 0),
            Act::Restore(session) => (b'R', session.parts().lease),
            Act::Late(session) => (b'M', session.parts().lease),
            Act::Logged(session) => (b'T', session.parts().lease),
            Act::Withdraw(session) => (b'W', session.parts().lease),
        };
        bytes.push(act);
        bytes.extend_from_slice(&short_viewer(op.viewer));
        bytes.extend_from_slice(&short_session(op.session));
        bytes.extend_from_slice(&lease.to_be_bytes());
        if let Act::Restore(session) | Act::Late(session) | Act::Logged(session) | Act::Withdraw(session) =
            op.act
        {
            let parts = session.parts();
            let flag = match parts.phase {
                Phase::Beating => 0,
                Phase::Left => LEFT,
                Phase::LeftUnknown => LEFT_UNKNOWN,
            };
            bytes.extend_from_slice(&(parts.at.as_millis() + flag).to_be_bytes()[2..]);
            bytes.extend_from_slice(&parts.delta.to_be_bytes());
        }
    }
    bytes
}

/// A number as a script argument.
pub(super) fn digits(number: u128) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Shortens a viewer id to 14 bytes, which take a fifth less memory in Redis than 16. The two bytes that hold a UUID's
/// version and variant are folded into their neighbors by XOR. Random ids stay practically unique (111 bits), and ids
/// that differ in one byte stay distinct.
///
/// One bit says whether the id is that of an account. Otherwise every account would share its short id with ids that need no
/// ticket, and a stranger could end the account's sessions with one of these.
pub(super) fn short_viewer(viewer: ViewerId) -> [u8; 14] {
    const ACCOUNT: u8 = 1 << 7;
    let id = viewer.uuid().into_bytes();
    let mut short = [0; 14];
    short[..6].copy_from_slice(&id[..6]);
    short[6] = id[6] ^ id[7];
    short[7] = id[8] ^ id[9];
    short[8..].copy_from_slice(&id[10..]);
    // The bit that makes room is folded too.
    short[0] ^= short[6] >> 7;
    short[6] = short[6] & !ACCOUNT | if viewer.is_of_account() { ACCOUNT } else { 0 };
    short
}

/// Shortens a session id to 8 bytes. It has to be unique only among the few sessions of its viewer.
pub(super) fn short_session(session: SessionId) -> [u8; 8] {
    /// The multiplier of Fibonacci hashing (2^64 divided by the golden ratio). It is odd, so ids that differ in one
    /// half only stay distinct.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (high, low) = session.uuid().as_u64_pair();
    (high.wrapping_mul(FACTOR) ^ low).to_be_bytes()
}

/// Whole milliseconds. The configuration limits durations to a day, so the value fits.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::{Builder, Uuid};

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
}
