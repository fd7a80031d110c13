//! Distinct viewers of a span: a sketch that can be merged with others, so that ranges are never sums of their parts.
//!
//! Promises:
//! - Up to [`EXACT`] viewers the number is exact. Above, the standard error is 0.41 %, so that 2 % are exceeded in
//!   about one of a million cases.
//! - Merging is commutative, associative and idempotent. All nodes with the same [`HashKey`] hash alike.
//! - No viewer's id can be read back: a sketch holds 48 bits of a keyed 64-bit hash of each id, and above [`EXACT`]
//!   viewers only the longest run of zeros in each of 65,536 groups of hashes.
//! - The stored form is short where there are few viewers: some 6 bytes for each of up to [`EXACT`], 2 bytes for each
//!   of some thousands, and 33 KB at most.
//!
//! Measured beside three crates at the same precision of 16 bits, each with the same well-mixed hashes (error: root
//! mean square of 200 to 10 runs; stored: `postcard` for the crates; one core of a virtual machine):
//!
//! | | this | `hyperloglockless` 0.5 | `cardinality-estimator` 1.0 | `hyperloglogplus` 0.4 |
//! |---|---|---|---|---|
//! | exact at 256, at 1,000 | yes, yes | yes, yes | no, no | yes, in 97 % |
//! | error at 5,000, 100,000, 5 million | 0.29, 0.36, 0.31 % | 0.00, 0.35, 0.57 % | 0.30, 0.29, 0.38 % | 0.01, 0.37, 0.31 % |
//! | stored at 1,000, 20,000, 5 million | 5.9, 33, 33 KB | 3.7, 59, 66 KB | 14, 36, 61 KB | no stable form |
//! | insert, merge of large ones | 3 ns, 2 µs | 4 ns, 77 µs | 7 ns, 102 µs | 9 ns, 130 µs |
//! | damaged bytes | an error | mostly a panic | often accepted | not tried |
//!
//! The crates store their private fields, which other versions need not read.

mod codec;
mod dense;

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use self::dense::Dense;
use super::DecodeError;
use crate::domain::ViewerId;

pub use codec::VERSION;

/// The number of viewers up to which a sketch is exact.
pub const EXACT: usize = 1024;

/// The bits of a hash that a sketch uses. Two of 1,024 viewers have the same ones in one of 500 million cases.
const HASH_BITS: u32 = 48;

/// The secret key of the hashes. It must be the same on all nodes for as long as sketches are kept. Whoever knows it
/// could make up ids that count as many viewers each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// The key of these bytes, such as the random id of the database.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn hash(&self, viewer: ViewerId) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(viewer.uuid().as_bytes());
        hasher.finish()
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}

/// A set of viewers of which only the number can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Distinct hashes in ascending order, at most [`EXACT`].
    Exact(Vec<u64>),
    Dense(Dense),
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Form::Exact(Vec::new()))
    }
}

impl Sketch {
    /// Adds a viewer. Returns whether the sketch has changed.
    pub fn insert(&mut self, viewer: ViewerId, key: &HashKey) -> bool {
        self.insert_hash(key.hash(viewer) >> (64 - HASH_BITS))
    }

    fn insert_hash(&mut self, hash: u64) -> bool {
        match &mut self.0 {
            Form::Dense(dense) => dense.insert(hash),
            Form::Exact(hashes) => {
                let Err(index) = hashes.binary_search(&hash) else { return false };
                hashes.insert(index, hash);
                if hashes.len() > EXACT {
                    self.0 = Form::Dense(Dense::of(hashes));
                }
                true
            }
        }
    }

    /// Adds the viewers of another sketch.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, Form::Exact(others)) => {
                for hash in others {
                    self.insert_hash(*hash);
                }
            }
            (Form::Dense(dense), Form::Dense(other)) => dense.merge(other),
            (Form::Exact(hashes), Form::Dense(other)) => {
                let mut dense = other.clone();
                for hash in hashes {
                    dense.insert(*hash);
                }
                self.0 = Form::Dense(dense);
            }
        }
    }

    /// The number of distinct viewers.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded number, not negative"
    )]
    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Exact(hashes) => hashes.len() as u64,
            Form::Dense(dense) => dense.estimate().round() as u64,
        }
    }

    /// Whether the number is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.0, Form::Exact(_))
    }

    /// Whether there are no viewers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Exact(hashes) if hashes.is_empty())
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When the bytes are truncated, damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests;
