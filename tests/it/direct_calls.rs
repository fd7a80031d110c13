//! Calls that connections answer themselves, without hyper: the answers are those of hyper and the router, in every order
//! and in any pieces.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{FileFailurePersistence, TestRunner},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, TestApp, viewer};

/// A header because of which hyper reads a request.
const FOR_HYPER: &str = "Connection: keep-alive, te\r\n";

/// A response.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Reads a response with a `Content-Length`. `unread` keeps what follows it.
async fn read_answer(connection: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Answer {
    let mut read_more = async |unread: &mut Vec<u8>| {
        let read = timeout(PATIENCE, connection.read_buf(unread)).await.expect("the answer comes");
        assert!(read.unwrap() > 0, "the connection stays open: {:?}", String::from_utf8_lossy(unread));
    };
    let head_length = loop {
        match unread.windows(4).position(|end| end == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => read_more(unread).await,
        }
    };
    let head = String::from_utf8(unread.drain(..head_length).collect()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let headers: BTreeMap<_, _> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let length = headers["content-length"].parse().unwrap();
    while unread.len() < length {
        read_more(unread).await;
    }
    Answer { status, headers, body: String::from_utf8(unread.drain(..length).collect()).unwrap() }
}

/// Sends a request on a new connection.
async fn ask(app: &TestApp, request: &str) -> Answer {
    let mut connection = connect(app).await;
    connection.write_all(request.as_bytes()).await.unwrap();
    read_answer(&mut connection, &mut Vec::new()).await
}

/// A request with a body of JSON.
fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n\
         {body}",
        body.len()
    )
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")
}

/// Without what differs between two answers to the same request.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.remove("date");
    let as_of = |body: &str| serde_json::from_str::<Value>(body).ok()?.get("asOf").map(Value::to_string);
    if let Some(as_of) = as_of(&answer.body) {
        answer.body = answer.body.replace(&as_of, "0");
    }
    answer
}

#[tokio::test]
async fn the_answers_are_those_of_the_router() {
    let flags = ["--viewer-allowed-origins", "https://embed.test", "--trusted-proxies", "127.0.0.1"];
    let app = TestApp::with(&flags).await;
    let (one, two) = (viewer(), viewer());
    app.join("ana", one).await;
    let beat = |viewer: &str| format!(r#"{{"channelId":"ana","viewerId":"{viewer}"}}"#);
    let known = beat(&one.to_string());
    let large = format!(r#"{{"channelId":"ana","viewerId":"{two}","x":"{}"}}"#, "a".repeat(6_000));
    let bodies =
        [&*known, &beat("1"), "{}", "[]", "", "{", "null", r#"{"channelId":"a/b","viewerId":"1"}"#, &large];
    let headers = [
        "",
        "Origin: https://embed.test\r\n",
        "Origin: https://evil.test\r\n",
        "Origin: http://a.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://evil.test\r\nSec-Fetch-Site: same-origin\r\n",
        "User-Agent: ExampleBot/1.0\r\n",
        "X-Forwarded-For: 192.0.2.7\r\n",
        "Cookie: a=b\r\nAccept-Encoding: gzip, br\r\nAccept: */*\r\nReferer: http://a.test/ana\r\n",
        "Host: b.test\r\n",
    ];
    let mut cases = Vec::new();
    for header in headers {
        for call in ["heartbeat", "leave", "join"] {
            let path = format!("/api/viewer/{call}");
            cases.push((path.clone(), header, post(&path, header, bodies[2])));
            if call == "heartbeat" {
                cases.push((path.clone(), header, post(&path, header, &known)));
            }
        }
        for name in ["ana", "ANA", "nobody", "_", "..", "a.b-c", &"a".repeat(64), &"a".repeat(65)] {
            let path = format!("/api/viewer/count/{name}");
            cases.push((path.clone(), header, get(&path, header)));
        }
    }
    for body in bodies {
        let path = "/api/viewer/heartbeat";
        cases.push((path.to_owned(), body, post(path, "", body)));
        let other_type = post(path, "", body).replace("application/json", "text/plain");
        cases.push((path.to_owned(), "text/plain", other_type));
    }
    for (path, case, request) in cases {
        let with_id = request.replacen("\r\n", "\r\nX-Request-Id: same\r\n", 1);
        let for_hyper = with_id.replacen("\r\n", &format!("\r\n{FOR_HYPER}"), 1);
        let direct = comparable(ask(&app, &with_id).await);
        assert_eq!(direct.headers["x-request-id"], "same");
        assert_eq!(direct, comparable(ask(&app, &for_hyper).await), "{path} {case:?}");
    }
    assert_eq!(app.count("ana").await, 1);
}

/// A request, and the status and the start of the body of its answer.
fn requests() -> Vec<(String, u16, &'static str)> {
    let beat = json!({"channelId": "ana", "viewerId": viewer()}).to_string();
    let elsewhere = json!({"channelId": "eva", "viewerId": viewer()}).to_string();
    let counts = r#"{"channels":["ana","luis"]}"#;
    // A body that looks like a request must never be taken for one.
    let hidden = get("/api/viewer/count/luis", "");
    vec![
        (post("/api/viewer/heartbeat", "", &beat), 200, r#"{"count":1,"#),
        (post("/api/viewer/heartbeat", FOR_HYPER, &beat), 200, r#"{"count":1,"#),
        (post("/api/viewer/heartbeat", "", &hidden), 400, r#"{"type":"about:blank""#),
        (post("/api/viewer/heartbeat", FOR_HYPER, &hidden), 400, r#"{"type":"about:blank""#),
        (post("/api/viewer/heartbeat", "Expect: 100-nothing\r\n", &beat), 200, r#"{"count":1,"#),
        (get("/api/viewer/count/luis", ""), 200, r#"{"channelId":"luis","count":0,"#),
        (get("/api/viewer/count/luis", "Connection: Keep-Alive\r\n"), 200, r#"{"channelId":"luis","#),
        (get("/api/viewer/count/luis", FOR_HYPER), 200, r#"{"channelId":"luis","count":0,"#),
        (get("/api/viewer/count?channelId=luis", ""), 200, r#"{"channelId":"luis","count":0,"#),
        (get("/api/viewer/count/l%75is", ""), 200, r#"{"channelId":"luis","count":0,"#),
        (get("/healthz", ""), 200, "ok"),
        (get("/api/nothing", ""), 404, r#"{"type":"about:blank""#),
        (post("/api/viewer/counts", "", counts), 200, r#"{"counts":[{"channelId":"ana""#),
        (post("/api/viewer/leave", "", &elsewhere), 200, r#"{"ok":true}"#),
    ]
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let app = TestApp::start().await;
    let request = post("/api/nothing", "", &get("/api/viewer/count/luis", ""));
    let (head, body) = request.split_at(request.len() - 10);
    for pause in [0, 1, 20] {
        let mut connection = connect(&app).await;
        connection.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(pause)).await;
        // The server may have closed the connection.
        let _sent = connection.write_all(body.as_bytes()).await;
        let _sent = connection.write_all(get("/api/viewer/count/ana", "").as_bytes()).await;
        let _ended = connection.shutdown().await;
        let mut answers = Vec::new();
        let _reset = timeout(PATIENCE, connection.read_to_end(&mut answers)).await.expect("it is closed");
        let answers = String::from_utf8(answers).unwrap();
        assert!(answers.starts_with("HTTP/1.1 404") && !answers.contains("luis"), "{answers}");
    }
}

#[test]
fn requests_in_any_order_and_pieces_get_their_answers() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::start());
    let requests = requests();
    runtime.block_on(async {
        // The only viewer of the channel, so that every count is known.
        ask(&app, &requests[0].0).await;
    });
    let kept = FileFailurePersistence::Direct("tests/it/fuzz.regressions");
    let config =
        ProptestConfig { cases: 150, failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() };
    let indices: Vec<_> = (0..requests.len()).collect();
    let values = (vec(select(indices), 1..12), vec((1..700_usize, 0..4_u64), 1..8));
    let property = |(sent, pieces): (Vec<usize>, Vec<(usize, u64)>)| {
        runtime.block_on(async {
            let (mut receiving, mut sending) = connect(&app).await.into_split();
            let bytes: Vec<u8> = sent.iter().flat_map(|index| requests[*index].0.bytes()).collect();
            let send = async {
                let (mut rest, mut pieces) = (&bytes[..], pieces.iter().cycle());
                while !rest.is_empty() {
                    let (length, pause) = pieces.next().unwrap();
                    let (piece, later) = rest.split_at((*length).min(rest.len()));
                    sending.write_all(piece).await.unwrap();
                    sleep(Duration::from_millis(*pause)).await;
                    rest = later;
                }
            };
            let read = async {
                let mut unread = Vec::new();
                for index in &sent {
                    let (request, status, start) = &requests[*index];
                    let answer = read_answer(&mut receiving, &mut unread).await;
                    assert_eq!(answer.status, *status, "{request}: {answer:?}");
                    assert!(answer.body.starts_with(start), "{request}: {answer:?}");
                }
                assert!(unread.is_empty(), "{:?}", String::from_utf8_lossy(&unread));
            };
            tokio::join!(send, read);
        });
        Ok(())
    };
    TestRunner::new(config).run(&values, property).unwrap();
}
