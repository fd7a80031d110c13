//! HTTP connections: timeouts, limits, streams and shutdown.

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use reqwest::{StatusCode, Version};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::support::{PATIENCE, Program, RedisServer, TestApp, builder, client, read_until, viewer};

/// Opens a TCP connection.
async fn connect(base: &str) -> TcpStream {
    TcpStream::connect(base.split_once("//").unwrap().1).await.unwrap()
}

/// Sends a request on a connection and reads at least the head of the response. The connection stays open.
async fn ask(connection: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(timeout(PATIENCE, connection.read_buf(&mut answer)).await.unwrap().unwrap() > 0);
    }
    String::from_utf8(answer).unwrap()
}

/// Waits until the server has closed a connection.
async fn closed(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    match timeout(PATIENCE, connection.read_to_end(&mut rest)).await.expect("the connection is closed") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_client_that_closes_its_half_after_the_request_gets_the_answer() {
    let app = TestApp::start().await;
    for path in ["/healthz", "/api/viewer/count/ana", "/", "/ana"] {
        for _ in 0..10 {
            let mut connection = connect(&app.base).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let read = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
            read.expect("the connection is closed").unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
        }
    }
}

#[tokio::test]
async fn incomplete_request_heads_time_out_and_idle_connections_do_not() {
    let app = TestApp::start().await;
    let mut silent = connect(&app.base).await;
    let mut slow = connect(&app.base).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: a.t").await.unwrap();
    let mut idle = connect(&app.base).await;
    ask(&mut idle, "/healthz").await;
    let mut slow_later = connect(&app.base).await;
    ask(&mut slow_later, "/healthz").await;
    slow_later.write_all(b"GET /hea").await.unwrap();
    tokio::join!(closed(&mut silent), closed(&mut slow), closed(&mut slow_later));
    assert!(ask(&mut idle, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_incomplete_body_is_a_408() {
    let app = TestApp::start().await;
    let mut slow = connect(&app.base).await;
    let head = "POST /api/viewer/join HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_supported() {
    let app = TestApp::start().await;
    let client = builder().http2_prior_knowledge().build().unwrap();
    let id = viewer();
    let response = client
        .post(format!("{}/api/viewer/join", app.base))
        .json(&json!({"channelId": "ana", "viewerId": id}))
        .send()
        .await
        .unwrap();
    assert_eq!((response.version(), response.status()), (Version::HTTP_2, StatusCode::OK));
    let mut stream = client.get(format!("{}/api/viewer/sse/ana", app.base)).send().await.unwrap();
    read_until(&mut stream, "\"count\":1").await;
    app.join("ana", viewer()).await;
    read_until(&mut stream, "\"count\":2").await;
    app.stop().await;
    while let Ok(Some(_)) = timeout(PATIENCE, stream.chunk()).await.expect("the stream ends") {}
}

#[tokio::test]
async fn a_stream_may_follow_other_requests_and_ends_with_its_connection() {
    let app = TestApp::start().await;
    app.join("ana", viewer()).await;
    let mut connection = connect(&app.base).await;
    assert!(ask(&mut connection, "/api/viewer/count/ana").await.contains("\"count\":1"));
    let head = ask(&mut connection, "/api/viewer/sse/ana").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");
    eventually("the stream is counted", || app.streams.open() == 1).await;
    // The server ignores everything that the client sends after the request.
    connection.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    app.join("ana", viewer()).await;
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("\"count\":2") {
        assert!(timeout(PATIENCE, connection.read_buf(&mut text)).await.unwrap().unwrap() > 0);
    }
    drop(connection);
    eventually("the permit is released", || app.streams.open() == 0).await;
}

#[tokio::test]
async fn a_head_request_opens_no_stream() {
    let app = TestApp::start().await;
    let url = format!("{}/api/viewer/sse/ana", app.base);
    for _ in 0..3 {
        let response = app.client.head(&url).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
    }
    eventually("no stream is open", || app.streams.open() == 0).await;
}

#[tokio::test]
async fn aborted_streams_release_their_permits() {
    let app = TestApp::start().await;
    let open_and_abort = async |number: usize| {
        let millis = |number: usize| Duration::from_millis(u64::try_from(number).unwrap());
        sleep(millis(number % 40)).await;
        let mut connection = connect(&app.base).await;
        let request = b"GET /api/viewer/sse/ana HTTP/1.1\r\nHost: a.test\r\n\r\n";
        connection.write_all(&request[..request.len() - (number % 3) * 20]).await.unwrap();
        sleep(millis(number * 7 % 31)).await;
    };
    for round in 0..10 {
        join_all((0..300).map(|number| open_and_abort(round + number))).await;
    }
    eventually("all permits are released", || app.streams.open() == 0).await;
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until(1).await;
}

#[tokio::test]
async fn the_number_of_streams_per_address_is_limited() {
    let flags = ["--limit-streams-per-address=3", "--trusted-proxies=127.0.0.1"];
    let app = TestApp::with(&flags).await;
    let open = async |from: &str| {
        let url = format!("{}/api/viewer/sse/ana", app.base);
        app.client.get(url).header("X-Forwarded-For", from).send().await.unwrap()
    };
    let mut streams = vec![open("192.0.2.1").await, open("192.0.2.1").await, open("192.0.2.1").await];
    let refused = open("6.6.6.6, 192.0.2.1").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "limit-reached");
    assert_eq!(open("192.0.2.2").await.status(), StatusCode::OK, "other addresses are unaffected");
    streams.pop();
    eventually("the permit is released", || app.streams.open() == 2).await;
    assert_eq!(open("192.0.2.1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn x_forwarded_for_from_an_untrusted_client_is_ignored() {
    let app = TestApp::with(&["--limit-streams-per-address=1"]).await;
    let open = async |from: &str| {
        let url = format!("{}/api/viewer/sse/ana", app.base);
        app.client.get(url).header("X-Forwarded-For", from).send().await.unwrap()
    };
    let _first = open("192.0.2.1").await;
    assert_eq!(open("192.0.2.2").await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn the_number_of_connections_per_address_is_limited_including_streams() {
    let app = TestApp::with(&["--limit-connections-per-address=2"]).await;
    let mut stream = connect(&app.base).await;
    ask(&mut stream, "/api/viewer/sse/ana").await;
    let mut other = connect(&app.base).await;
    ask(&mut other, "/healthz").await;
    let refused = ask(&mut connect(&app.base).await, "/healthz").await;
    assert!(
        refused.starts_with("HTTP/1.1 429")
            && refused.contains("retry-after")
            && refused.contains("x-request-id"),
        "{refused}"
    );
    // Open connections are still served, and a closed one releases its permit.
    assert!(ask(&mut other, "/healthz").await.starts_with("HTTP/1.1 200"));
    drop(stream);
    let served = async {
        while !ask(&mut connect(&app.base).await, "/healthz").await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("a connection is accepted again");
}

#[tokio::test]
async fn a_connection_over_the_limit_of_its_address_ends_after_one_response_over_http2() {
    let app = TestApp::with(&["--limit-connections-per-address=1"]).await;
    let mut first = connect(&app.base).await;
    ask(&mut first, "/healthz").await;
    let (mut requests, connection) = h2::client::handshake(connect(&app.base).await).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = axum::http::Request::get("http://a.test/healthz").body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    let response = timeout(PATIENCE, response).await.expect("a response").unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    timeout(PATIENCE, connection).await.expect("the connection ends").unwrap().unwrap();
    assert!(ask(&mut first, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_far_over_the_limit_are_closed() {
    let app = TestApp::with(&["--limit-connections-per-address=1"]).await;
    let mut first = connect(&app.base).await;
    ask(&mut first, "/healthz").await;
    // They send nothing, so that each stays open until its timeout.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(&app.base).await);
    }
    closed(silent.last_mut().unwrap()).await;
    assert!(ask(&mut first, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn trusted_proxies_may_have_any_number_of_connections() {
    let flags = ["--limit-connections-per-address=1", "--trusted-proxies=127.0.0.1"];
    let app = TestApp::with(&flags).await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut connection = connect(&app.base).await;
        assert!(ask(&mut connection, "/healthz").await.starts_with("HTTP/1.1 200"));
        kept.push(connection);
    }
}

#[tokio::test]
async fn the_number_of_streams_per_node_is_limited() {
    let app = TestApp::with(&["--limit-streams=2"]).await;
    let streams = [app.sse("sse/ana").await, app.sse("sse/bob").await];
    let refused = app.get("/api/viewer/sse/ana").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "overloaded");
    assert_eq!(app.streams.open(), 2);
    drop(streams);
}

#[tokio::test]
async fn without_free_descriptors_requests_get_a_503_and_healthz_still_works() {
    let server = Program::start(&[]).await;
    let mut stream = connect(&server.base).await;
    ask(&mut stream, "/api/viewer/sse/ana").await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut connection = connect(&server.base).await;
        ask(&mut connection, "/healthz").await;
        kept.push(connection);
    }
    server.limit_descriptors(server.next_descriptor());
    for _ in 0..3 {
        let mut late = connect(&server.base).await;
        assert!(ask(&mut late, "/healthz").await.starts_with("HTTP/1.1 200"));
        let mut late = connect(&server.base).await;
        let refused = ask(&mut late, "/api/viewer/count/ana").await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after"), "{refused}");
    }
    // Open connections are still served.
    assert!(ask(&mut kept[0], "/api/viewer/count/ana").await.contains("\"count\":0"));
    server.limit_descriptors(1000);
    let served = async {
        while !ask(&mut connect(&server.base).await, "/api/viewer/count/ana")
            .await
            .starts_with("HTTP/1.1 200")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("requests are served again");
    let mut byte = [0];
    let silent = timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(silent.is_err() || silent.unwrap().unwrap() == 1, "the stream is open");
}

#[tokio::test]
async fn sigterm_ends_ten_thousand_streams_and_the_process_exits_successfully() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut server =
        Program::start(&[("LIMIT_STREAMS_PER_ADDRESS", "0"), ("LIMIT_CONNECTIONS_PER_ADDRESS", "0")]).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let open = async |_| {
            let mut stream = connect(&server.base).await;
            ask(&mut stream, "/api/viewer/sse/ana").await;
            stream
        };
        streams.extend(join_all((0..100).map(open)).await);
    }
    let began = Instant::now();
    server.signal("TERM");
    assert!(server.wait_for_exit().await.success());
    println!("{} streams ended after {:?}", streams.len(), began.elapsed());
    join_all(streams.iter_mut().map(closed)).await;
}

#[tokio::test]
async fn accepted_operations_are_written_before_the_process_exits() {
    let redis = RedisServer::start().await;
    let mut server = Program::start(&[("REDIS_URL", &redis.url()), ("VIEWER_WRITE_INTERVAL", "5000")]).await;
    let client = client();
    let beat = async |_| {
        let body = json!({"channelId": "ana", "viewerId": viewer()});
        let url = format!("{}/api/viewer/heartbeat", server.base);
        client.post(url).json(&body).send().await.unwrap().status()
    };
    // The first beat is written at once. The others wait for the write interval, during which the signal arrives.
    assert_eq!(beat(0).await, StatusCode::OK);
    let beats = join_all((1..50).map(beat));
    let end = async {
        // Time enough to accept them all, also on a busy machine.
        sleep(Duration::from_secs(2)).await;
        server.signal("TERM");
    };
    let (statuses, ()) = tokio::join!(beats, end);
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    assert!(server.wait_for_exit().await.success());
    assert_eq!(TestApp::with_redis(&redis).await.count("ana").await, 50);
}

#[tokio::test]
async fn a_rolling_restart_loses_no_viewer() {
    let redis = RedisServer::start().await;
    let start = async || Program::start(&[("REDIS_URL", &redis.url())]).await;
    let mut nodes = [start().await, start().await];
    let watcher = TestApp::with_redis(&redis).await;
    let viewers: Vec<_> = (0..50).map(|_| viewer()).collect();
    let client = client();
    // A beat goes to any node that accepts it, as behind a load balancer.
    let beat = async |nodes: &[Program; 2], id| {
        for turn in 0.. {
            let url = format!("{}/api/viewer/heartbeat", nodes[turn % 2].base);
            let body = json!({"channelId": "ana", "viewerId": id});
            if client.post(url).json(&body).send().await.is_ok_and(|response| response.status() == 200) {
                return;
            }
        }
    };
    join_all(viewers.iter().map(|id| beat(&nodes, id))).await;
    let mut stream = watcher.sse("sse/ana").await;
    stream.until_fresh(50).await;
    for turn in 0..2 {
        nodes[turn].signal("TERM");
        join_all(viewers.iter().map(|id| beat(&nodes, id))).await;
        assert!(nodes[turn].wait_for_exit().await.success());
        join_all(viewers.iter().map(|id| beat(&nodes, id))).await;
        nodes[turn] = start().await;
        join_all(viewers.iter().map(|id| beat(&nodes, id))).await;
    }
    // The stream has shown nothing in the meantime, since the count has not changed.
    watcher.join("ana", viewer()).await;
    assert_eq!(stream.until_fresh(51).await, []);
}

#[tokio::test]
async fn a_paused_stream_resumes_with_the_newest_count() {
    let app = TestApp::start().await;
    let mut paused = connect(&app.base).await;
    ask(&mut paused, "/api/viewer/sse/ana").await;
    let mut reading = app.sse("sse/ana").await;
    for number in 1..=20 {
        app.join("ana", viewer()).await;
        reading.until(number).await;
    }
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("\"count\":20,") {
        assert!(timeout(PATIENCE, paused.read_buf(&mut text)).await.unwrap().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped_and_delays_no_other_client() {
    let app = TestApp::start().await;
    let channels: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut stopped = socket.connect(app.base.split_once("//").unwrap().1.parse().unwrap()).await.unwrap();
    let request =
        format!("GET /api/viewer/sse?channels={} HTTP/1.1\r\nHost: a.test\r\n\r\n", channels.join(","));
    stopped.write_all(request.as_bytes()).await.unwrap();
    let mut reading = app.sse("sse/c0").await;
    eventually("both streams are open", || app.streams.open() == 2).await;
    let dropped = async {
        for number in 1.. {
            join_all(channels.iter().map(|channel| app.join(channel, viewer()))).await;
            reading.until(number).await;
            if app.streams.open() == 1 {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    // The kernel gives the connection up after 30 s. The timeout is longer, for a busy machine.
    timeout(4 * PATIENCE, dropped).await.expect("the connection is dropped");
}

#[tokio::test]
async fn an_http2_client_that_takes_no_answers_is_dropped_and_delays_no_other_client() {
    let app = TestApp::start().await;
    let mut stream = app.sse("sse/ana").await;
    let names: Vec<String> = (0..1_000).map(|number| format!("c{number}")).collect();
    let url = format!("{}/api/viewer/counts?channels={}", app.base, names.join(","));
    let mut client = h2::client::Builder::new();
    client.initial_window_size(0);
    let (requests, connection) = client.handshake::<_, Bytes>(connect(&app.base).await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..20 {
        let request = axum::http::Request::get(&url).body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        answers.push(timeout(PATIENCE, response).await.expect("the head of the answer").unwrap());
    }
    app.join("ana", viewer()).await;
    stream.until(1).await;
    // The server closes the connection after 30 s. The timeout is longer, for a busy machine.
    let _closed = timeout(4 * PATIENCE, connection).await.expect("the connection is closed");
    app.join("ana", viewer()).await;
    stream.until(2).await;
}
