//! The oracle of both worlds, the simulated one (`tests/sim`) and the real one (`tests/stress`): what is going to happen,
//! what has happened, and what must hold.
//!
//! - `plan`: what is going to happen, decided by a seed; `browsers`, `attackers`, `faults` make its parts; `random` decides;
//!   `rules` are the intervals and limits of a world.
//! - `history` is what came of it; `lags` is how far the machine held it up.
//! - `model` says what the counts were; `judge`, `invariants` and `bounds` compare; `verdict` tells what does not hold.

pub mod attackers;
pub mod bounds;
pub mod browsers;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod judge;
pub mod lags;
pub mod model;
pub mod plan;
pub mod random;
pub mod rules;
pub mod verdict;
