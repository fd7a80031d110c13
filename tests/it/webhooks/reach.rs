//! The addresses that deliveries may reach, and `aforo webhook test`.

use std::{
    fs, io,
    net::IpAddr,
    process::{Command, Output},
    sync::Arc,
};

use aforo::server::webhooks::{
    resolver::Lookup,
    sender::{Outcome, Sender},
    settings::{Target, WebhookSettings},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::SECRET;
use crate::support::{Program, Receiver, receiver::verify};

/// Answers each look-up with the next addresses; the last ones stay.
struct Sequence(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Lookup for Sequence {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(name, "hooks.example");
        let mut answers = self.0.lock();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(answer.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// Sends two events to `hooks.example`, on a connection each, with these answers to the look-ups.
async fn send_twice(
    scheme: &str,
    answers: &[&[&'static str]],
    allows_private: bool,
) -> ([Outcome; 2], Receiver) {
    let receiver = Receiver::start().await;
    receiver.answer_with(200, &[("connection", "close")]);
    let port = receiver.url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let target: Target = format!("{scheme}://hooks.example:{port}/hook").parse().unwrap();
    let settings =
        WebhookSettings { keys: vec![SECRET.parse().unwrap()], allows_private, ..Default::default() };
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let sender = Sender::new(&settings, Arc::new(Sequence(Mutex::new(answers)))).unwrap();
    let first = sender.send(&target, "evt_1", "{}", 1_790_000_000).await;
    let second = sender.send(&target, "evt_2", "{}", 1_790_000_000).await;
    ([first, second], receiver)
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { reason, .. } if reason.contains("no address to which"))
}

#[tokio::test]
async fn every_look_up_is_filtered() {
    let (outcomes, receiver) = send_twice("http", &[&["127.0.0.1"], &["169.254.169.254"]], true).await;
    assert!(matches!(outcomes[0], Outcome::Delivered(_)) && is_refused(&outcomes[1]), "{outcomes:?}");
    assert_eq!(receiver.received().len(), 1);
    // The metadata address beside a good one is left out.
    let (outcomes, receiver) = send_twice("http", &[&["169.254.169.254", "127.0.0.1"]], true).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered(_))), "{outcomes:?}");
    assert_eq!(receiver.received().len(), 2);
    for answers in [
        &["169.254.169.254"][..],
        &["::ffff:169.254.169.254"],
        &["fe80::1"],
        &["fd00:ec2::254"],
        &["0.0.0.0"],
        &[],
    ] {
        let (outcomes, _) = send_twice("http", &[answers], true).await;
        assert!(outcomes.iter().all(is_refused), "{answers:?}: {outcomes:?}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_by_default() {
    for answers in [&["127.0.0.1"][..], &["10.0.0.1", "::1"], &["::ffff:127.0.0.1"], &["fd12::1"]] {
        let (outcomes, receiver) = send_twice("https", &[answers], false).await;
        assert!(outcomes.iter().all(is_refused), "{answers:?}: {outcomes:?}");
        assert_eq!(receiver.received().len(), 0);
    }
    // Without a look-up, the address itself is checked.
    let (outcomes, receiver) = send_twice("http", &[&["127.0.0.1"]], false).await;
    let is_plain =
        |one: &Outcome| matches!(one, Outcome::Failed { reason, .. } if reason.contains("not encrypted"));
    assert!(outcomes.iter().all(is_plain), "{outcomes:?}");
    assert_eq!(receiver.received().len(), 0);
}

/// Runs `aforo webhook test` with these variables.
async fn test_command(url: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    for name in ["WEBHOOK_URLS", "WEBHOOK_SECRET", "WEBHOOK_ALLOW_PRIVATE", "REDIS_URL", "DATABASE_URL"] {
        command.env_remove(name);
    }
    command.args(flags).args(["webhook", "test", url]).envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_command_sends_one_signed_event_and_tells_the_outcome() {
    let receiver = Receiver::start().await;
    let set = [("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ALLOW_PRIVATE", "true")];
    // The environment's proxy is not used.
    let proxy = [("http_proxy", "http://127.0.0.1:1"), ("HTTP_PROXY", "http://127.0.0.1:1")];
    let output = test_command(&receiver.url, &[&set[..], &proxy].concat(), &[]).await;
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        output.status.success() && stdout.contains("delivered: 127.0.0.1 answered 204"),
        "{stdout}{stderr}"
    );
    let received = receiver.received();
    assert_eq!((received.len(), received[0].kind()), (1, "webhook.test".to_owned()));
    verify(&received, &[SECRET]).await;

    // Flags before it work too.
    let flags = [&*format!("--webhook-secret={SECRET}"), "--webhook-allow-private=true"];
    let output = test_command(&receiver.url, &[], &flags).await;
    assert_eq!((output.status.code(), receiver.received().len()), (Some(0), 2));

    for (status, expected) in [(302, "redirects are not followed"), (410, "410 Gone"), (500, "500 Internal")]
    {
        receiver.answer_with(status, &[("location", "http://127.0.0.1:1/")]);
        let output = test_command(&receiver.url, &set, &[]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(expected), "{status}: {stderr}");
    }
    drop(receiver);
    let output = test_command("http://127.0.0.1:1/secret-path", &set, &[]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("refused"), "{stderr}");
    assert!(!stderr.contains("secret-path"), "{stderr}");
}

#[tokio::test]
async fn the_command_refuses_what_cannot_be_sent() {
    let secret = ("WEBHOOK_SECRET", SECRET);
    for (url, variables, expected) in [
        ("https://hooks.example/", &[][..], "WEBHOOK_SECRET is not set"),
        ("http://hooks.example/", &[secret], "not encrypted"),
        ("https://127.0.0.1/", &[secret], "private address"),
        ("https://169.254.169.254/", &[secret, ("WEBHOOK_ALLOW_PRIVATE", "true")], "nothing is ever sent"),
        ("hooks.example", &[secret], "not an address such as"),
        ("https://hooks.example/", &[("WEBHOOK_SECRET", "whsec_short")], "WEBHOOK_SECRET has"),
    ] {
        let output = test_command(url, variables, &[]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(expected), "{url}: {stderr}");
    }
}

#[tokio::test]
async fn receivers_prove_who_they_are_by_a_trusted_certificate() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(file("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(file("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let receiver = Program::start(&[("TLS_CERT", &file("cert.pem")), ("TLS_KEY", &file("key.pem"))]).await;
    let url = receiver.base.replace("127.0.0.1", "localhost");
    let trusted = file("cert.pem");
    let set = [("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ALLOW_PRIVATE", "true")];
    // It takes no POST, and says so.
    let output = test_command(&url, &[&set[..], &[("SSL_CERT_FILE", &*trusted)]].concat(), &[]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("405 Method Not Allowed"), "{stderr}");
    // Another name, and an unknown issuer.
    let by_address = url.replace("localhost", "127.0.0.1");
    let other_name = [&set[..], &[("SSL_CERT_FILE", &*trusted)]].concat();
    for (url, variables) in [(&by_address, &other_name[..]), (&url, &set)] {
        let output = test_command(url, variables, &[]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains("certificate"), "{url}: {stderr}");
    }
}

#[tokio::test]
async fn a_certificate_with_many_names_does_not_fill_the_log() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let names: Vec<_> = (0..1_000).map(|nth| format!("n{nth}.example")).collect();
    let pair = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(file("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(file("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let receiver = Program::start(&[("TLS_CERT", &file("cert.pem")), ("TLS_KEY", &file("key.pem"))]).await;
    let trusted = file("cert.pem");
    let set = [("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ALLOW_PRIVATE", "true"), ("SSL_CERT_FILE", &*trusted)];
    let output = test_command(&receiver.base, &set, &[]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("certificate"), "{stderr}");
    assert!(stderr.len() < 1_000, "{} bytes", stderr.len());
}
