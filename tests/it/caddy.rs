//! Operation behind a real Caddy with the configuration in `docs/deploy/Caddyfile`.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use reqwest::{Certificate, Client, StatusCode, Version};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, RedisServer, TestApp, builder, free_port, read_until, viewer};

const SHIPPED: &str = include_str!("../../docs/deploy/Caddyfile");

/// A running Caddy. Dropping it kills the process.
struct Caddy {
    process: Child,
    folder: TempDir,
}

impl Caddy {
    /// Starts Caddy with the shipped configuration in front of two nodes. Returns it with a client that trusts its
    /// certificate, and its base URL.
    async fn start(nodes: [&TestApp; 2]) -> (Self, Client, String) {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(at("cert.pem"), pair.cert.pem()).unwrap();
        fs::write(at("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let global = format!(
            "{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tstorage file_system {}\n}}\n\n",
            at("storage")
        );
        let mut config = global + SHIPPED;
        for (shipped, here) in [
            (
                "your.site {",
                format!("https://localhost:{port} {{\n\ttls {} {}", at("cert.pem"), at("key.pem")),
            ),
            ("127.0.0.1:3000", address(nodes[0]).to_owned()),
            ("127.0.0.1:3001", address(nodes[1]).to_owned()),
        ] {
            assert!(config.contains(shipped), "{shipped}");
            config = config.replace(shipped, &here);
        }
        fs::write(at("Caddyfile"), config).unwrap();
        let process = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config", &at("Caddyfile")])
            .env("HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .expect("Caddy is installed (by `make test`)");
        let caddy = Self { process, folder };
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let log = || fs::read_to_string(caddy.folder.path().join("log"));
        timeout(PATIENCE, up).await.unwrap_or_else(|_| panic!("Caddy does not listen: {:?}", log()));
        let certificate = Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
        let client = builder().add_root_certificate(certificate).build().unwrap();
        (caddy, client, format!("https://localhost:{port}"))
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _exited = self.process.kill();
        let _status = self.process.wait();
    }
}

fn address(app: &TestApp) -> &str {
    app.base.split_once("//").unwrap().1
}

#[tokio::test]
async fn beats_and_streams_continue_through_caddy_when_a_node_stops() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url(), "--trusted-proxies=127.0.0.1"];
    let [one, two] = [TestApp::with(&flags).await, TestApp::with(&flags).await];
    let (_caddy, client, base) = Caddy::start([&one, &two]).await;

    // The endpoints for pages and external monitoring are public; the metrics are not.
    for (path, status) in [
        ("/api/viewer/ping", StatusCode::NO_CONTENT),
        ("/healthz", StatusCode::OK),
        ("/readyz", StatusCode::OK),
        ("/metrics", StatusCode::NOT_FOUND),
    ] {
        let response = client.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!((response.status(), response.version()), (status, Version::HTTP_2), "{path}");
    }
    let page = client.get(format!("{base}/ana")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("content=\"{base}/ana\"")), "the page contains its public URL: {page}");

    let open =
        async |channel: &str| client.get(format!("{base}/api/viewer/sse/{channel}")).send().await.unwrap();
    let mut streams: Vec<_> = Vec::new();
    for number in 0..5 {
        let stream = open(&format!("c{number}")).await;
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    // Retries, as a page does. Caddy 2.6 cannot retry a request with a body on the second node.
    let beat = async |id| {
        let body = json!({"channelId": "c0", "viewerId": id});
        loop {
            let request = client.post(format!("{base}/api/viewer/heartbeat")).json(&body);
            match request.send().await.unwrap().status() {
                StatusCode::OK => return,
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {}
                other => panic!("{other}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let viewers: Vec<_> = (0..20).map(|_| viewer()).collect();
    timeout(PATIENCE, join_all(viewers.iter().map(|id| beat(*id)))).await.expect("beats are accepted");
    read_until(&mut streams[0], "\"count\":20").await;
    assert_eq!(one.streams.open() + two.streams.open(), 5);

    one.stop().await;
    // The other node accepts beats and reopened streams.
    for _ in 0..3 {
        timeout(PATIENCE, join_all(viewers.iter().map(|id| beat(*id)))).await.expect("beats are accepted");
    }
    read_until(&mut open("c0").await, "\"count\":20").await;
}
