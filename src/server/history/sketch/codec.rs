//! The stored form of a sketch.
//!
//! ```text
//! version, form
//! EXACT     number of hashes; each as the difference to the one before
//! SPARSE    number of registers that are not 0; of each: number of zeros before it, value
//! NIBBLES   base; 4 bits for each register, its value less the base; 15: listed in what follows; then the number of
//!           listed registers and their values in order
//! ```
//!
//! Numbers are variable-length integers. A dense sketch is written in the shorter one of the last two forms.

use super::{
    EXACT, Form, HASH_BITS, Sketch,
    dense::{Dense, MAX_RANK, REGISTERS},
};
use crate::server::history::{
    DecodeError,
    bytes::{Reader, put},
};

/// The version of the stored form, and of the hashes and registers in it.
pub const VERSION: u8 = 1;

const FORM_EXACT: u8 = 0;
const FORM_SPARSE: u8 = 1;
const FORM_NIBBLES: u8 = 2;

/// The nibble of a register that is listed.
const LISTED: u8 = 15;

pub(super) fn encode(sketch: &Sketch) -> Vec<u8> {
    match &sketch.0 {
        Form::Exact(hashes) => exact(hashes),
        Form::Dense(dense) => {
            let registers = dense.registers();
            // Sparse takes 2 bytes a register or more.
            let used = registers.iter().filter(|rank| **rank > 0).count();
            if used * 2 < REGISTERS / 2 { sparse(registers, used) } else { nibbles(registers) }
        }
    }
}

fn exact(hashes: &[u64]) -> Vec<u8> {
    let mut bytes = vec![VERSION, FORM_EXACT];
    put(&mut bytes, hashes.len() as u64);
    let mut last = 0;
    for hash in hashes {
        put(&mut bytes, hash - last);
        last = *hash;
    }
    bytes
}

fn sparse(registers: &[u8], used: usize) -> Vec<u8> {
    let mut bytes = vec![VERSION, FORM_SPARSE];
    put(&mut bytes, used as u64);
    let mut gap = 0;
    for rank in registers {
        if *rank == 0 {
            gap += 1;
        } else {
            put(&mut bytes, gap);
            bytes.push(*rank);
            gap = 0;
        }
    }
    bytes
}

fn nibbles(registers: &[u8]) -> Vec<u8> {
    let base = registers.iter().copied().min().unwrap_or(0);
    let mut bytes = vec![VERSION, FORM_NIBBLES, base];
    let nibble = |rank: u8| (rank - base).min(LISTED);
    bytes.extend(registers.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
    let listed: Vec<u8> = registers.iter().copied().filter(|rank| nibble(*rank) == LISTED).collect();
    put(&mut bytes, listed.len() as u64);
    bytes.extend_from_slice(&listed);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Sketch, DecodeError> {
    let mut reader = Reader::new(bytes, VERSION)?;
    let form = match reader.byte()? {
        FORM_EXACT => Form::Exact(read_exact(&mut reader)?),
        FORM_SPARSE => dense(read_sparse(&mut reader)?)?,
        FORM_NIBBLES => dense(read_nibbles(&mut reader)?)?,
        _ => return Err(DecodeError::Invalid),
    };
    reader.end()?;
    Ok(Sketch(form))
}

fn dense(registers: Vec<u8>) -> Result<Form, DecodeError> {
    Dense::from_registers(registers).map(Form::Dense).ok_or(DecodeError::Invalid)
}

fn read_exact(reader: &mut Reader<'_>) -> Result<Vec<u64>, DecodeError> {
    let length: usize = reader.small()?;
    if length > EXACT {
        return Err(DecodeError::Invalid);
    }
    let mut hashes = Vec::with_capacity(length);
    let mut last = 0_u64;
    for index in 0..length {
        let step = reader.int()?;
        last = last.checked_add(step).filter(|hash| hash >> HASH_BITS == 0).ok_or(DecodeError::Invalid)?;
        if step == 0 && index > 0 {
            return Err(DecodeError::Invalid);
        }
        hashes.push(last);
    }
    Ok(hashes)
}

fn read_sparse(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut registers = vec![0; REGISTERS];
    let mut rest = registers.iter_mut();
    for _ in 0..reader.int()? {
        let register = rest.nth(reader.small()?).ok_or(DecodeError::Invalid)?;
        *register = reader.byte()?;
        if *register == 0 {
            return Err(DecodeError::Invalid);
        }
    }
    Ok(registers)
}

fn read_nibbles(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let base = reader.byte()?;
    if base > MAX_RANK {
        return Err(DecodeError::Invalid);
    }
    let pairs = reader.take(REGISTERS / 2)?;
    let listed = reader.small()?;
    let mut listed = reader.take(listed)?.iter();
    let mut registers = Vec::with_capacity(REGISTERS);
    for nibble in pairs.iter().flat_map(|pair| [pair >> 4, pair & 15]) {
        registers.push(match nibble {
            LISTED => *listed.next().ok_or(DecodeError::Invalid)?,
            _ => base + nibble,
        });
    }
    if listed.next().is_some() { Err(DecodeError::Invalid) } else { Ok(registers) }
}
