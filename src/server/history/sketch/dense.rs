//! The form of many viewers: `HyperLogLog` with 65,536 registers, and Ertl's estimator.
//!
//! The estimator ("New cardinality estimation algorithms for `HyperLogLog` sketches", 2017, section 2.4) needs
//! neither tables of corrections nor thresholds, and has no bias at any size.

use super::HASH_BITS;

/// The bits of a hash that choose the register.
const PRECISION: u32 = 16;

/// The number of registers.
pub(super) const REGISTERS: usize = 1 << PRECISION;

/// The bits of a hash in which zeros are counted.
const RANK_BITS: u32 = HASH_BITS - PRECISION;

/// The highest value of a register: all these bits are zero.
pub(super) const MAX_RANK: u8 = 33;

const _: () = assert!(MAX_RANK as u32 == RANK_BITS + 1, "the highest rank follows from the bits");

/// The registers. Each holds one more than the longest run of zeros that the hashes of its group begin with; 0 if the
/// group is empty.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Dense(Box<[u8]>);

impl Dense {
    pub(super) fn of(hashes: &[u64]) -> Self {
        let mut dense = Self(vec![0; REGISTERS].into());
        for hash in hashes {
            dense.insert(*hash);
        }
        dense
    }

    /// `None` if a register is out of range, or their number is wrong.
    pub(super) fn from_registers(registers: Vec<u8>) -> Option<Self> {
        (registers.len() == REGISTERS && registers.iter().all(|rank| *rank <= MAX_RANK))
            .then(|| Self(registers.into()))
    }

    pub(super) fn registers(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether a register has changed.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let zeros = (hash << (64 - RANK_BITS)).leading_zeros().min(RANK_BITS);
        let register = &mut self.0[(hash >> RANK_BITS) as usize & (REGISTERS - 1)];
        let rank = zeros as u8 + 1;
        let is_higher = rank > *register;
        if is_higher {
            *register = rank;
        }
        is_higher
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (register, other) in self.0.iter_mut().zip(&other.0) {
            *register = (*register).max(*other);
        }
    }

    /// The estimated number of distinct hashes.
    pub(super) fn estimate(&self) -> f64 {
        let mut with_rank = [0_u32; MAX_RANK as usize + 1];
        for rank in &self.0 {
            with_rank[usize::from(*rank)] += 1;
        }
        let registers = f64::from(1_u32 << PRECISION);
        let [empty, ranks @ .., full] = with_rank;
        let mut sum = registers * tau(1.0 - f64::from(full) / registers);
        for number in ranks.into_iter().rev() {
            sum = 0.5 * (sum + f64::from(number));
        }
        sum += registers * sigma(f64::from(empty) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

impl std::fmt::Debug for Dense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dense({})", self.estimate())
    }
}

/// The contribution of the share of empty registers.
fn sigma(mut empty: f64) -> f64 {
    if empty >= 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, empty);
    loop {
        empty *= empty;
        let next = sum + empty * factor;
        if next <= sum {
            return sum;
        }
        sum = next;
        factor *= 2.0;
    }
}

/// The contribution of the registers with the highest rank, by the share of the others.
fn tau(mut others: f64) -> f64 {
    if others <= 0.0 || others >= 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - others);
    loop {
        others = others.sqrt();
        factor *= 0.5;
        let next = sum - (1.0 - others).powi(2) * factor;
        if next >= sum {
            return sum / 3.0;
        }
        sum = next;
    }
}
