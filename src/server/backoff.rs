//! Pauses between attempts.

use std::time::Duration;

use uuid::Uuid;

/// A random duration between half of `pause` and `pause`, so that nodes do not try again in step.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(Uuid::new_v4().as_bytes()[0]) / 255
}
