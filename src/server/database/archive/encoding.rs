//! The stored form of the minutes of a window: for each of its five minutes the length in four bytes, then the minute. A
//! minute without a row has the length 0.

use std::collections::BTreeMap;

use super::WINDOW_MS;
use crate::{
    domain::Timestamp,
    server::history::{DecodeError, Minute, minute::MINUTE_MS},
};

/// Minutes by their start.
pub(super) type Minutes = BTreeMap<Timestamp, Minute>;

/// The starts of the minutes of a window.
pub(super) fn starts(window: Timestamp) -> impl Iterator<Item = Timestamp> {
    (0..WINDOW_MS / MINUTE_MS).map(move |nth| Timestamp::from_millis(window.as_millis() + nth * MINUTE_MS))
}

/// Encodes the minutes of a window. Other minutes are ignored.
pub(super) fn encode(window: Timestamp, minutes: &Minutes) -> Vec<u8> {
    let mut bytes = Vec::new();
    for start in starts(window) {
        let minute = minutes.get(&start).map(Minute::encode).unwrap_or_default();
        bytes.extend(u32::try_from(minute.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(minute);
    }
    bytes
}

/// Adds the minutes of a window to `minutes`.
///
/// # Errors
/// When the bytes are damaged.
pub(super) fn decode_into(
    minutes: &mut Minutes,
    window: Timestamp,
    mut bytes: &[u8],
) -> Result<(), DecodeError> {
    for start in starts(window) {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| DecodeError::Invalid)?;
        let (minute, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        if !minute.is_empty() {
            minutes.entry(start).or_default().merge(&Minute::decode(minute)?);
        }
        bytes = rest;
    }
    Ok(())
}
