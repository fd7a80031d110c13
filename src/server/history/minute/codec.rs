//! The stored form of a minute.
//!
//! ```text
//! version, flags
//! peak       if flagged: count, instant in milliseconds
//! seconds    pieces until 60 seconds are described; each has a head byte: kind in 2 bits, number of seconds - 1 in 6
//!            EMPTY    nothing known
//!            STEADY   one count throughout all of them: its change
//!            NOTED    counts without observed time, the same in all of them: change of the lowest, highest - lowest
//!            DETAIL   for each second: change of the lowest count, 2 × (highest - lowest) + partial, unobserved
//!                     milliseconds if partial, integral - lowest × observed
//! arrivals   if flagged
//! ```
//!
//! Numbers are variable-length integers. A change is relative to the lowest count of the last second that has one, or
//! else to the peak.

use super::{Minute, Peak, Second};
use crate::{
    domain::Timestamp,
    server::history::{
        DecodeError, NodeArrivals,
        bytes::{Reader, put, put_change},
    },
};

/// The version of the stored form.
pub const VERSION: u8 = 1;

const HAS_PEAK: u8 = 1;
const HAS_ARRIVALS: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Empty,
    Steady,
    Noted,
    Detail,
}

impl Kind {
    fn of(second: &Second) -> Self {
        match (second.observed_ms(), second.counts) {
            (_, None) => Self::Empty,
            (0, _) => Self::Noted,
            (1000, Some((lowest, highest))) if lowest == highest => Self::Steady,
            _ => Self::Detail,
        }
    }

    const fn from_head(head: u8) -> Self {
        match head >> 6 {
            0 => Self::Empty,
            1 => Self::Steady,
            2 => Self::Noted,
            _ => Self::Detail,
        }
    }
}

pub(super) fn encode(minute: &Minute) -> Vec<u8> {
    let arrivals_flag = if minute.arrivals.is_empty() { 0 } else { HAS_ARRIVALS };
    let mut bytes = vec![VERSION, arrivals_flag | u8::from(minute.peak.is_some())];
    let mut last = 0;
    if let Some(peak) = minute.peak {
        put(&mut bytes, u64::from(peak.count));
        put(&mut bytes, peak.at.as_millis());
        last = peak.count;
    }
    let pieces = minute.seconds.chunk_by(|a, b| a == b || [a, b].map(Kind::of) == [Kind::Detail; 2]);
    for piece in pieces {
        let kind = Kind::of(&piece[0]);
        let length = u8::try_from(piece.len() - 1).unwrap_or(0);
        bytes.push((kind as u8) << 6 | length);
        for second in if kind == Kind::Detail { piece } else { &piece[..1] } {
            let Some((lowest, highest)) = second.counts else { continue };
            put_change(&mut bytes, last, lowest);
            last = lowest;
            let spread = u64::from(highest - lowest);
            match kind {
                Kind::Empty | Kind::Steady => {}
                Kind::Noted => put(&mut bytes, spread),
                Kind::Detail => {
                    let missing = 1000 - second.observed_ms();
                    put(&mut bytes, spread << 1 | u64::from(missing > 0));
                    if missing > 0 {
                        put(&mut bytes, u64::from(missing));
                    }
                    put(
                        &mut bytes,
                        second.watched_ms() - u64::from(lowest) * u64::from(second.observed_ms()),
                    );
                }
            }
        }
    }
    if !minute.arrivals.is_empty() {
        minute.arrivals.encode(&mut bytes);
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Minute, DecodeError> {
    let mut reader = Reader::new(bytes, VERSION)?;
    let flags = reader.byte()?;
    if flags & !(HAS_PEAK | HAS_ARRIVALS) != 0 {
        return Err(DecodeError::Invalid);
    }
    let mut minute = Minute::default();
    let mut last = 0;
    if flags & HAS_PEAK != 0 {
        last = reader.small()?;
        minute.peak = Some(Peak { count: last, at: Timestamp::from_millis(reader.int()?) });
    }
    let mut rest = &mut minute.seconds[..];
    while !rest.is_empty() {
        let head = reader.byte()?;
        let (piece, after) =
            rest.split_at_mut_checked(usize::from(head & 63) + 1).ok_or(DecodeError::Invalid)?;
        rest = after;
        match Kind::from_head(head) {
            Kind::Empty => {}
            Kind::Steady => {
                last = reader.changed(last)?;
                piece.fill(valid(1000, u64::from(last) * 1000, last, 0)?);
            }
            Kind::Noted => {
                last = reader.changed(last)?;
                piece.fill(valid(0, 0, last, reader.int()?)?);
            }
            Kind::Detail => {
                for second in piece {
                    (*second, last) = detail(&mut reader, last)?;
                }
            }
        }
    }
    if flags & HAS_ARRIVALS != 0 {
        minute.arrivals = NodeArrivals::decode(&mut reader)?;
    }
    reader.end()?;
    Ok(minute)
}

/// A second with details, and its lowest count.
fn detail(reader: &mut Reader<'_>, last: u32) -> Result<(Second, u32), DecodeError> {
    let lowest = reader.changed(last)?;
    let spread = reader.int()?;
    let missing = if spread & 1 == 1 { reader.small::<u16>()? } else { 0 };
    let observed = 1000_u16.checked_sub(missing).ok_or(DecodeError::Invalid)?;
    let least = u64::from(lowest) * u64::from(observed);
    let watched = least.checked_add(reader.int()?).ok_or(DecodeError::Invalid)?;
    Ok((valid(observed, watched, lowest, spread >> 1)?, lowest))
}

fn valid(observed: u16, watched: u64, lowest: u32, spread: u64) -> Result<Second, DecodeError> {
    let highest = u64::from(lowest).checked_add(spread).and_then(|highest| u32::try_from(highest).ok());
    let counts = Some((lowest, highest.ok_or(DecodeError::Invalid)?));
    Second::new(observed, watched, counts).ok_or(DecodeError::Invalid)
}
