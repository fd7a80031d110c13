//! The binary encoding of operations, as `call.lua` describes it.

use std::time::Duration;

use super::parts::Keep;
use crate::{
    domain::{Act, Op, session::Phase},
    server::store::ShortIds,
};

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
        bytes.extend_from_slice(ShortIds::of(op.viewer, op.session).as_bytes());
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

/// Whole milliseconds. The configuration limits durations to a day, so the value fits.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
