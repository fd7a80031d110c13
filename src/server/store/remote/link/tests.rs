//! Long outages, in time that a test turns.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::*;

/// What has been logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_for_hours_is_looked_for_all_the_time_and_mentioned_now_and_then() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (started, away) = (Instant::now(), Duration::from_secs(3 * 60 * 60));
    let attempts = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&attempts);
    let attempt = move || -> Connecting<()> {
        *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Box::pin(async move {
            if started.elapsed() < away { Err(io::Error::other("away").into()) } else { Ok(()) }
        })
    };
    persist("redis at a host", attempt).await;

    assert!(started.elapsed() <= away + PAUSES.1, "found as soon as it is back");
    let attempts = *attempts.lock().unwrap_or_else(PoisonError::into_inner);
    assert!((10_800..=21_700).contains(&attempts), "{attempts} attempts: one or two a second");
    let lines = log.text().lines().count();
    assert!((2..=361).contains(&lines), "{lines} lines: one per half a minute");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up() {
    let started = Instant::now();
    let attempt = || -> Connecting<()> {
        Box::pin(async move {
            if started.elapsed() < Duration::from_secs(60) {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    };
    persist("redis at a host", attempt).await;
    assert!(started.elapsed() <= Duration::from_secs(60) + CONNECT_LIMIT + PAUSES.1);
}
