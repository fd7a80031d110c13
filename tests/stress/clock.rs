//! The monotonic clock of a round, in milliseconds since its beginning.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::oracle::plan::Millis;

#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Millis {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    pub async fn wait_until(self, at: Millis) {
        sleep(Duration::from_millis(at.saturating_sub(self.now()))).await;
    }
}
