//! The test oracle shared by the simulation (`tests/sim`) and the stress test (`tests/stress`): plans, histories and
//! invariants. A world is one simulated or real run of a plan.
//!
//! - `plan` is the list of actions that a seed generates. `browsers`, `attackers` and `faults` generate its parts with
//!   the numbers of `random`. `rules` holds the intervals and limits of a world.
//! - `history` records what happened. `lags` records the delays that the machine caused.
//! - `model` computes the expected counts. `judge`, `invariants`, `bounds` and `archive` compare the history with the
//!   model.
//!   `verdict` reports a violated invariant.

pub mod archive;
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
