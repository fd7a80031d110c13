use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Extension, body::Body, http::StatusCode, routing::get};
use bytes::Bytes;
use http_body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::{advance, pause, resume},
};

use super::*;
use crate::server::limits::Proxies;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener of so many places, until its token is cancelled.
fn serve(capacity: usize, app: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let tcp = socket::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (addr, end) = (tcp.local_addr().unwrap(), CancellationToken::new());
    let busy = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
    let apps = Apps {
        app,
        crowded: busy.clone(),
        busy,
        panicked: Arc::new(|| Response::new(Body::empty())),
        connections: Connections::new(0, Proxies::default()),
    };
    let serving = tokio::spawn(Listener { tcp, tls: None, capacity }.serve(apps, end.clone()));
    (addr, end, serving)
}

/// Sends a request, and reads until the answer holds this.
async fn ask(connection: &mut TcpStream, path: &str, expected: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    reads(connection, expected).await;
}

async fn reads(connection: &mut TcpStream, expected: &str) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(expected) {
        assert!(timeout(PATIENCE, connection.read_buf(&mut text)).await.unwrap().unwrap() > 0, "no end");
    }
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_told_so_and_gets_one_when_it_is_free() {
    let (addr, end, serving) = serve(2, Router::new().route("/", get(async || "here")));
    let connect = async || TcpStream::connect(addr).await.unwrap();
    let (mut one, mut two) = (connect().await, connect().await);
    ask(&mut one, "/", "here").await;
    ask(&mut two, "/", "here").await;
    ask(&mut connect().await, "/", "503").await;
    // Those who are in are served on.
    ask(&mut one, "/", "here").await;
    drop(two);
    let free = async {
        loop {
            let mut connection = connect().await;
            connection.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            let mut start = [0; 12];
            connection.read_exact(&mut start).await.unwrap();
            if start == *b"HTTP/1.1 200" {
                return;
            }
        }
    };
    timeout(PATIENCE, free).await.expect("there is a place");
    end.cancel();
    drop(one);
    timeout(PATIENCE, serving).await.expect("it ends").unwrap();
}

/// A body of what the test says.
struct Said(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|said| said.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn a_stream_has_no_age_and_an_idle_connection_has() {
    let (say, said) = mpsc::unbounded_channel();
    let said = Arc::new(parking_lot::Mutex::new(Some(said)));
    let stream = async move |Extension(link): Extension<ConnectionInfo>| {
        let said = said.lock().take().unwrap();
        link.long_body(Box::pin(Said(said)))
    };
    let app = Router::new().route("/stream", get(stream)).route("/", get(async || "here"));
    let (addr, end, serving) = serve(10, app);
    let mut stream = TcpStream::connect(addr).await.unwrap();
    say.send(Bytes::from_static(b"first")).unwrap();
    ask(&mut stream, "/stream", "first").await;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    ask(&mut idle, "/", "here").await;

    pause();
    for _ in 0..48 {
        advance(Duration::from_secs(1800)).await;
        tokio::task::yield_now().await;
    }
    resume();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, idle.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("the idle one is closed").unwrap(), 0);
    say.send(Bytes::from_static(b"a day later")).unwrap();
    reads(&mut stream, "a day later").await;
    drop(say);
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.expect("it ends with its body").unwrap(), 0);
    end.cancel();
    timeout(PATIENCE, serving).await.expect("it ends").unwrap();
}

/// An HTTP/2 client that answers pings, and counts how long it is kept.
async fn kept(addr: SocketAddr, request: &[u8], patience: Duration) -> Option<Duration> {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], request].concat();
    connection.write_all(&start).await.unwrap();
    let began = tokio::time::Instant::now();
    let stays = async {
        let mut head = [0; 9];
        while connection.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            connection.read_exact(&mut payload).await.unwrap();
            let (kind, flags) = (head[3], head[4]);
            if kind == 6 && flags == 0 {
                head[4] = 1;
                let _closed = connection.write_all(&[&head[..], &payload].concat()).await;
            }
        }
    };
    timeout(patience, stays).await.ok().map(|()| began.elapsed())
}

#[tokio::test]
async fn an_http2_connection_is_closed_when_it_is_idle_and_not_while_a_request_is_under_way() {
    let forever = async || -> StatusCode { std::future::pending().await };
    let app = Router::new().route("/", get(forever));
    let (addr, end, serving) = serve(10, app);
    pause();
    let long = connection::IDLE_LIMIT * 4;
    let idle = kept(addr, &[], long).await.expect("it is closed");
    assert!(idle >= connection::IDLE_LIMIT, "{idle:?}");
    // HEADERS of stream 1: GET, http, /, and a.test.
    let block = [&[0x82, 0x86, 0x84, 0x41, 6], &b"a.test"[..]].concat();
    let get = [&[0, 0, 11, 1, 5, 0, 0, 0, 1], &block[..]].concat();
    assert_eq!(kept(addr, &get, long).await, None, "a request is under way");
    resume();
    end.cancel();
    timeout(PATIENCE, serving).await.expect("it ends").unwrap();
}
