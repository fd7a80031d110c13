//! Operation behind a real nginx: with default settings, and with the configuration in `docs/deploy/nginx.conf`.

use std::{
    collections::HashSet,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use reqwest::{Certificate, Client, StatusCode, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    PATIENCE, RedisServer, TestApp, builder, free_port, read_until, receiver::LONG_PATIENCE, viewer,
};

const SHIPPED: &str = include_str!("../../docs/deploy/nginx.conf");

/// A running nginx. Dropping it ends the process.
struct Nginx {
    process: Child,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx with the given content of its `http` block, and waits until it listens on `port`.
    async fn start(http: &str, port: u16, folder: TempDir) -> Self {
        let path = folder.path().display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let conf = format!(
            "daemon off;\npid {path}/nginx.pid;\nerror_log {path}/error.log;\nevents {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\n{paths}{http}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), conf).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed (by `make test`)");
        let nginx = Self { process, folder };
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let log = || fs::read_to_string(nginx.folder.path().join("error.log"));
        timeout(PATIENCE, up).await.unwrap_or_else(|_| panic!("nginx does not listen: {:?}", log()));
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM also ends the workers; SIGKILL would not.
        let sent = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(sent.is_ok());
        let _status = self.process.wait();
    }
}

fn address(app: &TestApp) -> &str {
    app.base.split_once("//").unwrap().1
}

#[tokio::test]
async fn streams_work_through_nginx_with_default_settings() {
    let app = TestApp::start().await;
    let port = free_port();
    // Shorter than the default of one minute, to keep the test short, but longer than the interval of ticks.
    let http = format!(
        "proxy_read_timeout 30s; server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {}; }} }}",
        app.base
    );
    let _nginx = Nginx::start(&http, port, TempDir::new().unwrap()).await;
    let front = TestApp::at(format!("http://127.0.0.1:{port}"));
    let (mut quiet, mut stream) = (front.sse("sse/quiet").await, front.sse("sse/ana").await);
    quiet.until(0).await;
    stream.until(0).await;
    for number in 1..=5 {
        let began = Instant::now();
        front.join("ana", viewer()).await;
        stream.until(number).await;
        // An update takes two seconds. A buffered event would arrive at the end of the stream, after half a minute, or
        // never.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    assert_eq!(quiet.next().await.expect("an open stream").event, "tick");
    sleep(Duration::from_secs(8)).await;
    front.join("quiet", viewer()).await;
    quiet.until(1).await;
}

/// nginx with the configuration in `docs/deploy/nginx.conf`.
struct Shipped {
    nginx: Nginx,
    base: String,
    /// The address of the same server without TLS, for many connections in little time.
    plain: String,
    /// A client that trusts the certificate.
    client: Client,
}

/// Starts nginx with the configuration in `docs/deploy/nginx.conf` in front of two nodes.
async fn start_shipped(nodes: [&TestApp; 2]) -> Shipped {
    let folder = TempDir::new().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("fullchain.pem"), folder.path().join("privkey.pem"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let cache = folder.path().join("cache");
    let (port, plain) = (free_port(), free_port());
    let mut http = SHIPPED.to_owned();
    for (shipped, here) in [
        ("127.0.0.1:3000", address(nodes[0])),
        ("127.0.0.1:3001", address(nodes[1])),
        ("listen 443", &format!("listen 127.0.0.1:{plain}; listen 127.0.0.1:{port}")),
        ("/etc/ssl/your.site/fullchain.pem", certificate.to_str().unwrap()),
        ("/etc/ssl/your.site/privkey.pem", key.to_str().unwrap()),
        ("/var/cache/aforo", cache.to_str().unwrap()),
        // As the comment says.
        ("# proxy_cache_lock on;", "proxy_cache_lock on;"),
    ] {
        assert!(http.contains(shipped), "{shipped}");
        http = http.replace(shipped, here);
    }
    let nginx = Nginx::start(&http, port, folder).await;
    let client = builder()
        .add_root_certificate(Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap())
        .build()
        .unwrap();
    Shipped { nginx, base: format!("https://localhost:{port}"), plain: format!("127.0.0.1:{plain}"), client }
}

/// The count of `ana`, as a reader with a connection of its own gets it through a cache.
async fn read_count(front: &str) -> Value {
    let mut connection = TcpStream::connect(front).await.unwrap();
    connection.write_all(b"GET /api/viewer/count/ana HTTP/1.0\r\nHost: your.site\r\n\r\n").await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let expected = "\r\ncache-control: public, max-age=1, s-maxage=1, stale-while-revalidate=1";
    assert!(head.to_ascii_lowercase().contains(expected), "{head}");
    serde_json::from_str(body).unwrap()
}

/// Lets readers read a count through a cache at the address `front`, at least `READERS` and until `DISTINCT` answers of
/// the nodes have been seen, and compares their number with the number of requests that reached `nodes`. `COUNT_MAX_AGE`
/// must be 1.
async fn read_through_cache(front: &str, nodes: &[&TestApp]) {
    const READERS: u64 = 10_000;
    /// Readers at once. nginx lets fewer than 512 connections wait to be accepted.
    const WAVE: u64 = 500;
    const DISTINCT: usize = 4;
    let first = read_count(front).await;
    assert_eq!((&first["count"], &first["stale"]), (&json!(1), &json!(false)));
    let before = responses(nodes).await;
    let began = Instant::now();
    let (mut readers, mut answers) = (0, HashSet::new());
    let read = async {
        while readers < READERS || answers.len() < DISTINCT {
            let wave = join_all((0..WAVE).map(|_| read_count(front))).await;
            answers.extend(wave.iter().map(|answer| answer["asOf"].as_u64().unwrap()));
            readers += WAVE;
        }
    };
    timeout(LONG_PATIENCE, read).await.expect("new answers");
    // A slow machine makes this longer, and so allows more requests.
    let intervals = began.elapsed().as_secs() + 1;
    // Without the metrics call that measured the number before.
    let reached = responses(nodes).await - before - nodes.len() as u64;
    let answers = answers.len() as u64;
    assert!(reached >= DISTINCT as u64 - 1, "{reached} requests reached the nodes");
    assert!(
        reached <= intervals + 2,
        "{reached} requests of {readers} readers reached the nodes in {intervals} intervals"
    );
    assert!(answers <= reached + 1, "{answers} answers to {reached} requests");

    // What changes is seen behind the cache.
    nodes[0].join("ana", viewer()).await;
    let changed = async {
        while read_count(front).await["count"] != 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, changed).await.expect("the new count");
}

/// The number of successful responses of some nodes, calls of this function included.
async fn responses(nodes: &[&TestApp]) -> u64 {
    let name = r#"aforo_http_responses_total{status="2xx"} "#;
    let mut sum = 0;
    for node in nodes {
        let metrics = node.get("/metrics").await.text().await.unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        sum += value.parse::<u64>().unwrap();
    }
    sum
}

#[tokio::test]
async fn a_cache_answers_ten_thousand_readers_with_one_request_per_interval() {
    let app = TestApp::with(&["--count-max-age=1"]).await;
    app.join("ana", viewer()).await;
    let (port, folder) = (free_port(), TempDir::new().unwrap());
    let http = format!(
        "proxy_cache_path {}/cache keys_zone=counts:1m; server {{ listen 127.0.0.1:{port}; location / {{ \
         proxy_pass {}; proxy_cache counts; proxy_cache_lock on; proxy_cache_use_stale updating; \
         proxy_cache_background_update on; }} }}",
        folder.path().display(),
        app.base
    );
    let _nginx = Nginx::start(&http, port, folder).await;
    read_through_cache(&format!("127.0.0.1:{port}"), &[&app]).await;
}

#[tokio::test]
async fn the_shipped_cache_keeps_counts_and_badges_and_nothing_else() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url(), "--trusted-proxies=127.0.0.1", "--count-max-age=1"];
    let [one, two] = [TestApp::with(&flags).await, TestApp::with(&flags).await];
    one.join("ana", viewer()).await;
    let Shipped { nginx: _nginx, base, plain, client } = start_shipped([&one, &two]).await;
    read_through_cache(&plain, &[&one, &two]).await;
    for (path, is_kept) in [
        ("/badge/ana.svg", true),
        ("/badge/ana.txt", true),
        ("/api/viewer/counts?channels=ana", true),
        ("/api/viewer/live", true),
        ("/api/viewer/ping", false),
        ("/api/channel/followers?channelId=ana", false),
        ("/ana", false),
        ("/overlay/ana", false),
    ] {
        let get = async |language: &str| {
            let request = client.get(format!("{base}{path}")).header("accept-language", language);
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "{path}");
            response.headers()["x-request-id"].clone()
        };
        // An answer of a node has an id of its own, and a copy in the cache that of the first request.
        let ids = [get("es").await, get("es").await, get("es").await];
        let is_repeated = ids[0] == ids[1] || ids[1] == ids[2];
        assert_eq!(is_repeated, is_kept, "{path}: {ids:?}");
        if path == "/badge/ana.svg" {
            assert!(!ids.contains(&get("en").await), "another language is another answer");
        }
    }
}

/// Anybody can ask for the count of a channel that was never counted.
#[tokio::test]
async fn responses_503_take_no_node_out_in_an_outage() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url(), "--trusted-proxies=127.0.0.1"];
    let [one, two] = [TestApp::with(&flags).await, TestApp::with(&flags).await];
    let Shipped { nginx: _nginx, base, client, .. } = start_shipped([&one, &two]).await;
    let beat = async || {
        let body = json!({"channelId": "ana", "viewerId": viewer()});
        client.post(format!("{base}/api/viewer/heartbeat")).json(&body).send().await.unwrap().status()
    };
    assert_eq!(beat().await, StatusCode::OK);
    redis.pause();
    for _ in 0..10 {
        let unknown = client.get(format!("{base}/api/viewer/count/never")).send().await.unwrap();
        assert_eq!(unknown.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(beat().await, StatusCode::OK);
    }
    redis.resume();
}

#[tokio::test]
async fn beats_and_streams_continue_through_nginx_when_a_node_stops() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url(), "--trusted-proxies=127.0.0.1"];
    let [one, two] = [TestApp::with(&flags).await, TestApp::with(&flags).await];
    let Shipped { nginx: _nginx, base, client, .. } = start_shipped([&one, &two]).await;

    let ping = client.get(format!("{base}/api/viewer/ping")).send().await.unwrap();
    assert_eq!(ping.status(), StatusCode::NO_CONTENT);
    assert_eq!(client.get(format!("{base}/metrics")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let page = client.get(format!("{base}/ana")).send().await.unwrap().text().await.unwrap();
    // The URL has the requested host name; nginx omits the port.
    assert!(page.contains("content=\"https://localhost/ana\""), "the page contains its public URL: {page}");

    // HTTP/2 multiplexes all streams and beats on one connection.
    let open =
        async |channel: &str| client.get(format!("{base}/api/viewer/sse/{channel}")).send().await.unwrap();
    let mut streams: Vec<_> = Vec::new();
    for number in 0..5 {
        let stream = open(&format!("c{number}")).await;
        assert_eq!((stream.version(), stream.status()), (Version::HTTP_2, StatusCode::OK));
        streams.push(stream);
    }
    let beat = async |id| {
        let body = json!({"channelId": "c0", "viewerId": id});
        let response = client.post(format!("{base}/api/viewer/heartbeat")).json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    };
    let viewers: Vec<_> = (0..20).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|id| beat(*id))).await;
    read_until(&mut streams[0], "\"count\":20").await;
    assert_eq!(one.streams.open() + two.streams.open(), 5);

    one.stop().await;
    // The other node accepts beats and reopened streams without an error.
    for _ in 0..3 {
        join_all(viewers.iter().map(|id| beat(*id))).await;
    }
    read_until(&mut open("c0").await, "\"count\":20").await;
}
