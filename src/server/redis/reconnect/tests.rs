//! Long outages in paused time.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::*;

/// Collects log lines.
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
async fn an_outage_of_hours_is_retried_every_second_and_logged_every_half_minute() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (started, outage) = (Instant::now(), Duration::from_secs(3 * 60 * 60));
    let attempts = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&attempts);
    let attempt = move || -> ConnectFuture<()> {
        *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Box::pin(async move {
            if started.elapsed() < outage { Err(io::Error::other("down").into()) } else { Ok(()) }
        })
    };
    connect_with_retry("redis at a host", attempt).await;

    assert!(started.elapsed() <= outage + PAUSES.1, "found right after the outage");
    let attempts = *attempts.lock().unwrap_or_else(PoisonError::into_inner);
    assert!((10_800..=21_700).contains(&attempts), "{attempts} attempts: one or two per second");
    let lines = log.text().lines().count();
    assert!((2..=361).contains(&lines), "{lines} lines: one per half minute");
}

#[tokio::test(start_paused = true)]
async fn a_panic_does_not_end_reconnecting() {
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let connect = move |_| -> ConnectFuture<SlowConnection> {
        assert!(counted.fetch_add(1, SeqCst) >= 2, "the first two attempts panic");
        Box::pin(async { Ok(SlowConnection { responds_at: Some(Instant::now()) }) })
    };
    let client = ReconnectingClient::start("redis".to_owned(), |_| ConnectionHealth::Good, connect);
    let connected = async {
        while client.send(&cmd("PING")).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), connected).await.unwrap();
    assert_eq!((attempts.load(SeqCst), client.generation()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_times_out() {
    let started = Instant::now();
    let attempt = || -> ConnectFuture<()> {
        Box::pin(async move {
            if started.elapsed() < Duration::from_secs(60) {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    };
    connect_with_retry("redis at a host", attempt).await;
    assert!(started.elapsed() <= Duration::from_secs(60) + CONNECT_LIMIT + PAUSES.1);
}

/// A connection to a server that responds late, or never.
#[derive(Clone)]
struct SlowConnection {
    /// When the server responds. `None`: never.
    responds_at: Option<Instant>,
}

impl ConnectionLike for SlowConnection {
    fn req_packed_command<'a>(&'a mut self, _command: &'a Cmd) -> redis::RedisFuture<'a, Value> {
        let responds_at = self.responds_at;
        Box::pin(async move {
            match responds_at {
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

/// A client whose first connection is slow and whose later connections are not, and the number of connections made.
async fn slow_client(
    responds_at: Option<Instant>,
) -> (Arc<ReconnectingClient<SlowConnection>>, Arc<Mutex<u32>>) {
    let made = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&made);
    let client = ReconnectingClient::start(
        "redis".to_owned(),
        |_| ConnectionHealth::Broken,
        move |_| {
            let mut made = counted.lock().unwrap_or_else(PoisonError::into_inner);
            *made += 1;
            let responds_at = if *made == 1 { responds_at } else { Some(Instant::now()) };
            Box::pin(async move { Ok(SlowConnection { responds_at }) })
        },
    );
    sleep(Duration::from_millis(1)).await;
    (Arc::new(client), made)
}

fn number(made: &Mutex<u32>) -> u32 {
    *made.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_fails_alone_and_the_connection_is_kept() {
    let (client, made) = slow_client(Some(Instant::now() + Duration::from_millis(2_500))).await;
    let late = client.send(&cmd("GET")).await;
    assert!(matches!(late, Err(CallError::Failed(StoreError::Unreachable(_)))));
    sleep(Duration::from_millis(600)).await;
    assert!(client.send(&cmd("GET")).await.is_ok(), "a call within the limit succeeds");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(number(&made), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_responds_is_replaced() {
    let (client, made) = slow_client(None).await;
    assert!(client.send(&cmd("GET")).await.is_err());
    assert_eq!(number(&made), 1);
    sleep(PROBE_LIMIT + PAUSES.1).await;
    assert_eq!(number(&made), 2);
    assert!(client.send(&cmd("GET")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_fail_at_once() {
    let (client, _made) = slow_client(Some(Instant::now() + Duration::from_millis(500))).await;
    let calls = (0..MAX_CALLS).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.send(&cmd("GET")).await.is_ok() })
    });
    let calls: Vec<_> = calls.collect();
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert!(client.send(&cmd("GET")).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert!(client.send(&cmd("GET")).await.is_ok(), "the permits are released");
}
