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

/// A server that is late for a while, or silent from then on; and how often it was connected to.
#[derive(Clone)]
struct Slow {
    answers_at: Option<Instant>,
}

impl ConnectionLike for Slow {
    fn req_packed_command<'a>(&'a mut self, _command: &'a Cmd) -> redis::RedisFuture<'a, Value> {
        let answers_at = self.answers_at;
        Box::pin(async move {
            match answers_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
            Ok(Value::Okay)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _commands: &'a redis::Pipeline,
        _offset: usize,
        _count: usize,
    ) -> redis::RedisFuture<'a, Vec<Value>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// A link to a server whose first connection is slow (those after it are not), and the number of connections made.
async fn slow_link(answers_at: Option<Instant>) -> (Arc<ReconnectingClient<Slow>>, Arc<Mutex<u32>>) {
    let made = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&made);
    let link = ReconnectingClient::keep(
        "redis".to_owned(),
        |_| Damage::Broken,
        move |_| {
            let mut made = counted.lock().unwrap_or_else(PoisonError::into_inner);
            *made += 1;
            let answers_at = if *made == 1 { answers_at } else { Some(Instant::now()) };
            Box::pin(async move { Ok(Slow { answers_at }) })
        },
    );
    sleep(Duration::from_millis(1)).await;
    (Arc::new(link), made)
}

fn number(made: &Mutex<u32>) -> u32 {
    *made.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test(start_paused = true)]
async fn a_late_call_fails_alone_and_the_connection_is_kept() {
    let (link, made) = slow_link(Some(Instant::now() + Duration::from_millis(2_500))).await;
    let late = link.send(&cmd("GET")).await;
    assert!(matches!(late, Err(CallError::Failed(StoreError::Unreachable(_)))));
    sleep(Duration::from_millis(600)).await;
    assert!(link.send(&cmd("GET")).await.is_ok(), "what waits less than the limit is answered");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(number(&made), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_never_answers_is_left() {
    let (link, made) = slow_link(None).await;
    assert!(link.send(&cmd("GET")).await.is_err());
    assert_eq!(number(&made), 1);
    sleep(PROBE_LIMIT + PAUSES.1).await;
    assert_eq!(number(&made), 2);
    assert!(link.send(&cmd("GET")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_wait_and_more_are_refused_at_once() {
    let (link, _made) = slow_link(Some(Instant::now() + Duration::from_millis(500))).await;
    let calls = (0..MOST_CALLS).map(|_| {
        let link = Arc::clone(&link);
        tokio::spawn(async move { link.send(&cmd("GET")).await.is_ok() })
    });
    let calls: Vec<_> = calls.collect();
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert!(link.send(&cmd("GET")).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert!(link.send(&cmd("GET")).await.is_ok(), "the places are given back");
}
