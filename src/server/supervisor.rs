//! Runs background loops, and restarts them after a panic.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::{task::JoinSet, time::sleep};

use crate::server::metrics::Metrics;

/// The pause before a loop that has panicked is restarted.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The background loops of a server. Dropping it ends them.
pub struct Supervisor {
    loops: JoinSet<()>,
    metrics: Metrics,
}

impl Supervisor {
    /// A supervisor without loops.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { loops: JoinSet::new(), metrics }
    }

    /// Spawns a loop. It is restarted after a panic, and not after it returns.
    pub fn spawn<L: Future<Output = ()> + Send>(
        &mut self,
        name: &'static str,
        start: impl Fn() -> L + Send + 'static,
    ) {
        let metrics = self.metrics.clone();
        metrics.runs(name);
        self.loops.spawn(async move { run(name, start, || metrics.restart(name)).await });
    }
}

/// Runs a loop until it returns, and restarts it after each panic.
pub async fn run<L: Future<Output = ()>>(name: &str, start: impl Fn() -> L, on_panic: impl Fn()) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        tracing::error!(name, "background loop panicked; restarting");
        on_panic();
        sleep(RESTART_PAUSE).await;
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
    async fn a_loop_that_panics_is_restarted() {
        let metrics = Metrics::new();
        let mut background = Supervisor::new(metrics.clone());
        let runs = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&runs);
        background.spawn("test", move || {
            let counter = Arc::clone(&counter);
            async move {
                assert!(counter.fetch_add(1, SeqCst) >= 2, "the first two runs panic");
                std::future::pending::<()>().await;
            }
        });
        while runs.load(SeqCst) < 3 {
            sleep(RESTART_PAUSE).await;
        }
        assert!(metrics.text(0, 0, 0, true).contains("aforo_loop_restarts_total{loop=\"test\"} 2"));
    }
}
