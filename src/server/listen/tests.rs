use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll},
};

use axum::{Extension, body::Body, http::StatusCode, routing::get};
use bytes::Bytes;
use http_body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::mpsc,
    task::JoinHandle,
    time::{advance, pause, resume},
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::*;
use crate::server::limits::{Proxies, connections::ConnectionPermit};

/// The longest wait for anything: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves with a limit of connections until the token is canceled.
fn serve(capacity: usize, app: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let tcp = socket::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (addr, shutdown) = (tcp.local_addr().unwrap(), CancellationToken::new());
    let overloaded = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
    let apps = Apps {
        app,
        direct: DirectCalls::default(),
        limit_reached: overloaded.clone(),
        overloaded,
        on_panic: Arc::new(|| Response::new(Body::empty())),
        on_unread: Arc::new(|| ()),
        connections: Connections::new(0, Proxies::default()),
        proxies: Proxies::default(),
    };
    let serving = tokio::spawn(Listener { tcp, tls: None, capacity }.serve(apps, shutdown.clone()));
    (addr, shutdown, serving)
}

/// Sends a request, and reads until the response contains `expected`.
async fn request(connection: &mut TcpStream, path: &str, expected: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    read_until(connection, expected).await;
}

async fn read_until(connection: &mut TcpStream, expected: &str) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(expected) {
        assert!(
            timeout(PATIENCE, connection.read_buf(&mut text)).await.unwrap().unwrap() > 0,
            "the connection stays open"
        );
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_503_and_succeeds_after_another_ends() {
    let (addr, shutdown, serving) = serve(2, Router::new().route("/", get(async || "here")));
    let connect = async || TcpStream::connect(addr).await.unwrap();
    let (mut one, mut two) = (connect().await, connect().await);
    request(&mut one, "/", "here").await;
    request(&mut two, "/", "here").await;
    request(&mut connect().await, "/", "503").await;
    // Open connections are still served.
    request(&mut one, "/", "here").await;
    drop(two);
    let succeeds = async {
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
    timeout(PATIENCE, succeeds).await.expect("a new connection is served");
    shutdown.cancel();
    drop(one);
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

/// A body whose frames the test sends.
struct TestBody(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn a_stream_has_no_timeout_and_an_idle_connection_has() {
    let (frames, body) = mpsc::unbounded_channel();
    let body = Arc::new(parking_lot::Mutex::new(Some(body)));
    let stream = async move |Extension(connection): Extension<ConnectionInfo>| {
        let body = body.lock().take().unwrap();
        connection.long_body(Box::pin(TestBody(body)))
    };
    let app = Router::new().route("/stream", get(stream)).route("/", get(async || "here"));
    let (addr, shutdown, serving) = serve(10, app);
    let mut stream = TcpStream::connect(addr).await.unwrap();
    frames.send(Bytes::from_static(b"first")).unwrap();
    request(&mut stream, "/stream", "first").await;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    request(&mut idle, "/", "here").await;

    pause();
    for _ in 0..48 {
        advance(Duration::from_secs(1800)).await;
        tokio::task::yield_now().await;
    }
    resume();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, idle.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("the idle connection is closed").unwrap(), 0);
    frames.send(Bytes::from_static(b"a day later")).unwrap();
    read_until(&mut stream, "a day later").await;
    drop(frames);
    assert_eq!(
        timeout(PATIENCE, stream.read(&mut [0])).await.expect("the stream ends with its body").unwrap(),
        0
    );
    shutdown.cancel();
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

#[tokio::test]
async fn a_client_that_sends_many_requests_at_once_lets_other_tasks_run() {
    const REQUESTS: usize = 400;
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let app = Router::new().route("/", get(async move || count.fetch_add(1, Relaxed).to_string()));
    let (addr, shutdown, serving) = serve(10, app);
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
    connection.write_all(requests.as_bytes()).await.unwrap();
    // All tasks share this thread. This one runs after every other task.
    let (mut last, mut most) = (0, 0);
    let watch = tokio::spawn(std::future::poll_fn(move |cx| {
        let now = answered.load(Relaxed);
        (most, last) = (most.max(now - last), now);
        cx.waker().wake_by_ref();
        if last < REQUESTS { Poll::Pending } else { Poll::Ready(most) }
    }));
    let most = timeout(PATIENCE, watch).await.expect("all requests are answered").unwrap();
    assert!(most <= 40, "{most} requests of one client were answered without a pause");
    shutdown.cancel();
    drop(connection);
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

/// An HTTP/2 frame with an initial window size (RFC 9113, section 6.5).
fn window(bytes: u8) -> [u8; 15] {
    [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, bytes]
}

/// An HTTP/2 frame with the head of a request of stream 1: GET, http, /, and a.test.
const GET: &[u8] = b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x86\x84\x41\x06a.test";

/// Opens an HTTP/2 connection, responds to pings, and returns how long the connection stays open.
async fn time_open(addr: SocketAddr, request: &[u8], patience: Duration) -> Option<Duration> {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], request].concat();
    connection.write_all(&start).await.unwrap();
    let began = tokio::time::Instant::now();
    let until_closed = async {
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
    timeout(patience, until_closed).await.ok().map(|()| began.elapsed())
}

#[tokio::test]
async fn an_http2_connection_is_closed_when_idle_and_not_while_a_request_is_in_flight() {
    let forever = async || -> StatusCode { std::future::pending().await };
    let app = Router::new().route("/", get(forever));
    let (addr, shutdown, serving) = serve(10, app);
    pause();
    let long = connection::IDLE_TIMEOUT * 4;
    let idle = time_open(addr, &[], long).await.expect("the connection is closed");
    assert!(idle >= connection::IDLE_TIMEOUT, "{idle:?}");
    assert_eq!(time_open(addr, GET, long).await, None, "a request is in flight");
    resume();
    shutdown.cancel();
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

#[tokio::test]
async fn an_http2_client_that_does_not_take_its_answer_is_dropped() {
    let short = Router::new().route("/", get(async || "here"));
    let long = Router::new().route("/", get(async || "here".repeat(100_000)));
    for (app, room) in [(short.clone(), 0), (short, 1), (long.clone(), 0), (long, 255)] {
        let (addr, shutdown, serving) = serve(10, app);
        pause();
        let request = [&window(room), GET].concat();
        let open = time_open(addr, &request, connection::IDLE_TIMEOUT).await;
        let open = open.expect("the connection is closed before it is idle");
        assert!(open >= unread::STALL_LIMIT, "{room} bytes of room: {open:?}");
        resume();
        shutdown.cancel();
        timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
    }
}

#[tokio::test]
async fn an_event_stream_without_room_does_not_close_its_http2_connection() {
    let (frames, body) = mpsc::unbounded_channel();
    frames.send(Bytes::from_static(b"first")).unwrap();
    let body = Arc::new(parking_lot::Mutex::new(Some(body)));
    let stream = async move |Extension(connection): Extension<ConnectionInfo>| {
        let body = body.lock().take().unwrap();
        ([("content-type", "text/event-stream")], connection.long_body(Box::pin(TestBody(body))))
    };
    let (addr, shutdown, serving) = serve(10, Router::new().route("/", get(stream)));
    pause();
    let request = [&window(0), GET].concat();
    assert_eq!(time_open(addr, &request, connection::IDLE_TIMEOUT * 4).await, None);
    resume();
    drop(frames);
    shutdown.cancel();
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

/// An HTTP/2 connection whose answers get this much room.
async fn connect_http2(addr: SocketAddr, from: [u8; 4], room: u32) -> h2::client::SendRequest<Bytes> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let socket = socket.connect(addr).await.unwrap();
    let mut client = h2::client::Builder::new();
    let (requests, connection) = client.initial_window_size(room).handshake(socket).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// Sends a request, and returns the response without its body being taken, or why the stream was reset.
async fn ask_http2(
    requests: &mut h2::client::SendRequest<Bytes>,
    path: &str,
) -> Result<axum::http::Response<h2::RecvStream>, h2::Error> {
    let request = axum::http::Request::get(format!("http://a.test{path}")).body(()).unwrap();
    let (response, _) = requests.send_request(request, true)?;
    timeout(PATIENCE, response).await.expect("a response or a reset")
}

#[tokio::test]
async fn what_the_answers_of_an_address_hold_is_limited() {
    const LONG: usize = 8 * 1024 * 1024;
    let fitting = unread::ADDRESS_BYTES as usize / LONG;
    let long = Router::new().route("/long", get(async || Bytes::from_static(&[0; LONG])));
    let (addr, shutdown, serving) = serve(10, long.route("/", get(async || "here")));
    let here = [127, 0, 0, 1];
    let mut one = connect_http2(addr, here, 0).await;
    let mut responses = Vec::new();
    let refusal = loop {
        match ask_http2(&mut one, "/long").await {
            Ok(response) => responses.push(response),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    assert!((fitting..=fitting + 1).contains(&responses.len()), "{} answers", responses.len());
    let mut two = connect_http2(addr, here, 65_535).await;
    assert!(ask_http2(&mut two, "/long").await.is_err(), "another connection of the address");
    assert!(ask_http2(&mut two, "/").await.is_ok(), "a short answer");
    let mut other = connect_http2(addr, [127, 0, 0, 9], 0).await;
    assert!(ask_http2(&mut other, "/long").await.is_ok(), "another address");
    drop((one, responses));
    let freed = async {
        while ask_http2(&mut two, "/long").await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("the address holds nothing any more");
    shutdown.cancel();
    drop((two, other));
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

/// HPACK makes a byte of each, once the connection has seen them.
#[tokio::test]
async fn an_http2_request_with_too_many_header_lines_is_marked_and_loses_them() {
    let seen = async |request: axum::extract::Request| {
        format!("{} {:?}", request.headers().len(), request.extensions().get::<UnreadableRequest>())
    };
    let (addr, shutdown, serving) = serve(1, Router::new().route("/", get(seen)));
    let mut requests = connect_http2(addr, [127, 0, 0, 1], 65_535).await;
    for (lines, expected) in [(100, "100 None"), (101, "0 Some(TooLarge)")] {
        let mut request = axum::http::Request::get("http://a.test/").body(()).unwrap();
        for _ in 0..lines {
            request.headers_mut().append("a", "".parse().unwrap());
        }
        let (response, _) = requests.send_request(request, true).unwrap();
        let mut body = timeout(PATIENCE, response).await.expect("a response").unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), expected);
    }
    shutdown.cancel();
    drop(requests);
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

#[tokio::test]
async fn one_address_cannot_take_all_refusals() {
    let (addr, shutdown, serving) = serve(1, Router::new().route("/", get(async || "here")));
    let mut open = TcpStream::connect(addr).await.unwrap();
    request(&mut open, "/", "here").await;
    let mut refused = Vec::new();
    for _ in 0..MAX_REFUSALS {
        // Those that are closed at once fail in the handshake or later.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
        let socket = socket.connect(addr).await.unwrap();
        refused.push(socket);
    }
    // They send nothing, and the responses of others do not wait for their end.
    request(&mut TcpStream::connect(addr).await.unwrap(), "/", "503").await;
    for mut socket in refused {
        let mut rest = Vec::new();
        let _reset = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is closed");
    }
    shutdown.cancel();
    drop(open);
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

#[tokio::test]
async fn a_refused_http2_connection_ends_after_its_first_response() {
    let (addr, shutdown, serving) = serve(1, Router::new().route("/", get(async || "here")));
    let mut open = TcpStream::connect(addr).await.unwrap();
    request(&mut open, "/", "here").await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = ask_http2(&mut requests, "/").await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    timeout(PATIENCE, connection).await.expect("the connection ends").unwrap().unwrap();
    shutdown.cancel();
    drop(open);
    timeout(PATIENCE, serving).await.expect("the listener stops").unwrap();
}

/// An open stream is a task of the smallest size (128 bytes, of which tokio takes 96), its socket, its state and its body.
#[test]
fn an_open_stream_is_small() {
    type Guard = (TaskTrackerToken, ConnectionPermit);
    assert!(size_of::<connection::Connection>() <= 32);
    assert!(size_of::<detach::DetachedStream<TcpStream, Guard>>() <= 128);
    assert!(size_of::<detach::DetachedStream<tls_stream::TlsSender, Guard>>() <= 208);
}
