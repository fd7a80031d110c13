//! TLS of the server itself, and the reload of certificates.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Program, builder, read_until, viewer};

/// Creates a self-signed certificate for `localhost` and writes it to the files of the server.
fn certify(folder: &Path) -> Certificate {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap()
}

async fn serve(folder: &Path) -> Program {
    let file = |name| folder.join(name).display().to_string();
    Program::start(&[("TLS_CERT", &file("cert.pem")), ("TLS_KEY", &file("key.pem"))]).await
}

/// The base URL with the host name of the certificate.
fn base(server: &Program) -> String {
    server.base.replace("127.0.0.1", "localhost")
}

async fn count(client: &Client, base: &str) -> Result<u64, reqwest::Error> {
    let response = client.get(format!("{base}/api/viewer/count/ana")).send().await?;
    Ok(response.json::<Value>().await?["count"].as_u64().unwrap())
}

#[tokio::test]
async fn http1_and_http2_work_over_tls_including_streams() {
    let folder = TempDir::new().unwrap();
    let trusted = certify(folder.path());
    let server = serve(folder.path()).await;
    let base = base(&server);
    let two = builder().add_root_certificate(trusted.clone()).build().unwrap();
    let one = builder().add_root_certificate(trusted).http1_only().build().unwrap();
    for (client, version) in [(two, Version::HTTP_2), (one, Version::HTTP_11)] {
        let mut stream = client.get(format!("{base}/api/viewer/sse/ana")).send().await.unwrap();
        assert_eq!(stream.version(), version);
        let before = count(&client, &base).await.unwrap();
        let body = json!({"channelId": "ana", "viewerId": viewer()});
        client.post(format!("{base}/api/viewer/join")).json(&body).send().await.unwrap();
        read_until(&mut stream, &format!("\"count\":{}", before + 1)).await;
    }
}

#[tokio::test]
async fn sighup_loads_a_renewed_certificate_and_ignores_an_invalid_one() {
    let folder = TempDir::new().unwrap();
    let first = certify(folder.path());
    let server = serve(folder.path()).await;
    let base = base(&server);
    // A client without idle connections, so that every call makes a new handshake.
    let client = |trusted: &Certificate| {
        builder().add_root_certificate(trusted.clone()).pool_max_idle_per_host(0).build().unwrap()
    };
    count(&client(&first), &base).await.unwrap();
    let second = certify(folder.path());
    server.signal("HUP");
    let renewed = async {
        while count(&client(&second), &base).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the new certificate is served");
    count(&client(&first), &base).await.unwrap_err();

    fs::write(folder.path().join("cert.pem"), "not a certificate").unwrap();
    server.signal("HUP");
    server.wait_for_log("certificate not reloaded").await;
    count(&client(&second), &base).await.unwrap();
}

#[tokio::test]
async fn invalid_certificates_are_startup_errors() {
    let folder = TempDir::new().unwrap();
    certify(folder.path());
    let cert = folder.path().join("cert.pem").display().to_string();
    let key = folder.path().join("key.pem").display().to_string();
    for (settings, expected) in [
        (vec![("TLS_CERT", cert.as_str())], "TLS_KEY is not; set both"),
        (vec![("TLS_CERT", "/nowhere.pem"), ("TLS_KEY", &key)], "/nowhere.pem"),
        (vec![("TLS_CERT", &key), ("TLS_KEY", &key)], "contains no certificate"),
        (vec![("TLS_CERT", &cert), ("TLS_KEY", &cert)], "cert.pem"),
    ] {
        let (status, log) = Program::fail(&settings).await;
        assert!(status.code() == Some(2) && log.contains(expected), "{settings:?}: {log}");
        assert!(!log.contains("PRIVATE KEY"), "{log}");
    }
}
