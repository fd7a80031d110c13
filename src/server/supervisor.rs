//! What runs beside the requests, and goes on whatever happens to it.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::{task::JoinSet, time::sleep};

use crate::server::metrics::Metrics;

/// The pause before a loop that has panicked is started anew.
const PAUSE: Duration = Duration::from_secs(1);

/// The loops of a server. They end when it is dropped.
pub struct Supervisor {
    loops: JoinSet<()>,
    metrics: Metrics,
}

impl Supervisor {
    /// None yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { loops: JoinSet::new(), metrics }
    }

    /// Runs a loop to its end, again and again if it ends in a panic.
    pub fn spawn<L: Future<Output = ()> + Send>(
        &mut self,
        name: &'static str,
        start: impl Fn() -> L + Send + 'static,
    ) {
        let metrics = self.metrics.clone();
        metrics.runs(name);
        self.loops.spawn(async move {
            while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
                tracing::error!(name, "a background loop has panicked and is started anew");
                metrics.restart(name);
                sleep(PAUSE).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_started_anew() {
        let metrics = Metrics::new();
        let mut background = Supervisor::new(metrics.clone());
        let turns = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&turns);
        background.spawn("test", move || {
            let counted = Arc::clone(&counted);
            async move {
                assert!(counted.fetch_add(1, SeqCst) >= 2, "twice it panics");
                std::future::pending::<()>().await;
            }
        });
        while turns.load(SeqCst) < 3 {
            sleep(PAUSE).await;
        }
        assert!(metrics.text(0, 0, 0, true).contains("aforo_loop_restarts_total{loop=\"test\"} 2"));
    }
}
