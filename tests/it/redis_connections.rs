//! Connections to Redis: TLS, users, unix sockets, databases, prefixes, and invalid URLs or passwords.

use serde_json::{Value, json};

use crate::support::{Program, RedisCluster, RedisServer, TestApp, viewer};

/// A password that must not appear in any log.
const SECRET: &str = "hunter2";

/// Joins, and waits until the store counts the viewer.
async fn assert_counts(app: &TestApp) {
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until_fresh(1).await;
}

/// Asserts that the node cannot reach the store, logs the reason, and answers requests without delay.
async fn assert_outage(program: &Program, reason: &str) {
    program.wait_for_log("can't connect").await;
    program.wait_for_log(reason).await;
    let joined = program.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(null), &json!(true)));
    assert_eq!(program.get("/ana").await.status(), 200);
    assert_eq!(program.get("/healthz").await.status(), 200);
    let log = program.log();
    assert!(!log.contains(SECRET) && !log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 12, "an outage writes few log lines: {log}");
}

#[tokio::test]
async fn tls_works_with_a_private_ca() {
    let mut redis = RedisServer::reserve();
    let (port, ca) = redis.add_tls();
    redis.run().await;
    let url = format!("rediss://localhost:{port}");
    let settings = [("REDIS_URL", &*url), ("SSL_CERT_FILE", ca.to_str().unwrap())];
    let program = Program::start(&settings).await;
    assert_counts(&program).await;
    assert!(!redis.keys(0).is_empty());
}

#[tokio::test]
async fn an_untrusted_certificate_is_an_outage_with_a_logged_reason() {
    let mut redis = RedisServer::reserve();
    let (port, ca) = redis.add_tls();
    redis.run().await;
    let ca = ca.to_str().unwrap();
    let unknown = Program::start(&[("REDIS_URL", &format!("rediss://localhost:{port}"))]).await;
    assert_outage(&unknown, "UnknownIssuer").await;
    let other_name = format!("rediss://127.0.0.1:{port}");
    let other_name = Program::start(&[("REDIS_URL", &other_name), ("SSL_CERT_FILE", ca)]).await;
    assert_outage(&other_name, "certificate not valid for name").await;
    let no_file = format!("rediss://localhost:{port}");
    let no_file = Program::start(&[("REDIS_URL", &no_file), ("SSL_CERT_FILE", "/nowhere.pem")]).await;
    assert_outage(&no_file, "/nowhere.pem").await;
    assert!(redis.keys(0).is_empty());
}

#[tokio::test]
async fn a_tls_mismatch_is_an_outage() {
    let mut redis = RedisServer::reserve();
    let (tls_port, _) = redis.add_tls();
    redis.run().await;
    for url in [format!("rediss://localhost:{}", redis.port), format!("redis://localhost:{tls_port}")] {
        let program = Program::start(&[("REDIS_URL", &url)]).await;
        assert_outage(&program, "can't connect").await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_until_the_server_accepts_it() {
    let redis = RedisServer::start().await;
    redis.add_user("another", &[]);
    let url = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let program = Program::start(&[("REDIS_URL", &url)]).await;
    assert_outage(&program, "WRONGPASS").await;
    redis.command::<()>(&format!("ACL SETUSER aforo >{SECRET}"));
    program.sse("sse/ana").await.until_fresh(1).await;
    assert!(!program.log().contains(SECRET), "{}", program.log());
}

#[tokio::test]
async fn a_user_without_permissions_is_an_outage_until_they_are_granted() {
    let redis = RedisServer::start().await;
    redis.command::<()>(&format!("ACL SETUSER aforo on >{SECRET}"));
    let url = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let app = TestApp::with(&["--redis-url", &url]).await;
    let joined = app.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(null), &json!(true)));
    redis.add_user(SECRET, &[]);
    app.sse("sse/ana").await.until_fresh(1).await;
}

#[tokio::test]
async fn a_password_without_a_user_works() {
    let redis = RedisServer::start().await;
    redis.command::<()>("ACL SETUSER default >pa%ss:w@rd");
    let url = format!("redis://:pa%25ss%3Aw%40rd@127.0.0.1:{}", redis.port);
    assert_counts(&TestApp::with(&["--redis-url", &url]).await).await;
}

#[tokio::test]
async fn unix_sockets_work_in_every_url_format() {
    let mut redis = RedisServer::reserve();
    let path = redis.add_socket();
    redis.run().await;
    redis.add_user("pa&ss", &["+select"]);
    for (database, url) in [
        (0, format!("unix://{path}")),
        (0, format!("unix:{path}")),
        (0, format!("redis+unix://{path}")),
        (2, format!("unix://{path}?db=2")),
        (4, format!("unix://{path}?db=4&user=aforo&pass=pa%26ss")),
    ] {
        let app = TestApp::with(&["--redis-url", &url]).await;
        assert_counts(&app).await;
        assert!(!redis.keys(database).is_empty(), "{url}");
        // A node that still runs would write its viewers again.
        app.stop().await;
        redis.command::<()>("FLUSHALL");
    }
}

#[tokio::test]
async fn only_the_chosen_database_is_used() {
    let redis = RedisServer::start().await;
    assert_counts(&TestApp::with(&["--redis-url", &format!("{}/3", redis.url())]).await).await;
    let keyspace: String = redis.command("INFO keyspace");
    let databases: Vec<_> = keyspace.lines().filter_map(|line| line.split_once(':')).collect();
    assert_eq!(databases.len(), 1, "{keyspace}");
    assert_eq!(databases[0].0, "db3");
}

#[tokio::test]
async fn all_keys_have_the_prefix_and_prefixes_separate_sites() {
    let redis = RedisServer::start().await;
    for (nth, prefix) in ["site-a", "site:b"].into_iter().enumerate() {
        let before = redis.keys(0);
        let app = TestApp::with(&["--redis-url", &redis.url(), "--redis-key-prefix", prefix]).await;
        assert_counts(&app).await;
        app.leave("bob", viewer()).await;
        let live: Value = app.get("/api/viewer/live").await.json().await.unwrap();
        assert_eq!(live["channels"].as_array().unwrap().len(), 1);
        let own: Vec<_> = redis.keys(0).into_iter().filter(|key| !before.contains(key)).collect();
        assert!(
            own.len() >= 5 && own.iter().all(|key| key.starts_with(&format!("{prefix}:{{"))),
            "{nth} {own:?}"
        );
    }
}

#[tokio::test]
async fn the_redis_user_in_the_readme_works_on_a_cluster() {
    let cluster = RedisCluster::start(0).await;
    for server in &cluster.servers {
        server.add_user(SECRET, &["+asking", "+cluster|slots", "+ping"]);
        server.command::<()>("ACL LOG RESET");
    }
    let urls = cluster.urls().replace("redis://", &format!("redis://aforo:{SECRET}@"));
    let app = TestApp::with(&["--redis-url", &urls]).await;
    for channel in ["ana", "bob", "eva", "leo", "mia", "zoe"] {
        app.join(channel, viewer()).await;
        app.sse(&format!("sse/{channel}")).await.until_fresh(1).await;
    }
    for server in &cluster.servers {
        let denied = server.command::<Vec<redis::Value>>("ACL LOG").into_iter();
        // On a cluster, the client library sends its name; it works without the permission for that.
        let denied: Vec<_> =
            denied.map(|entry| format!("{entry:?}")).filter(|entry| !entry.contains("cmd=client")).collect();
        assert!(denied.is_empty(), "{denied:?}");
    }
}

#[tokio::test]
async fn an_invalid_url_is_a_startup_error_without_the_secret() {
    for url in [
        "hunter2",
        "http://user:hunter2@127.0.0.1:6379",
        "redis://user:hunter2@127.0.0.1:6379/seven",
        "redis://user:hunter2@127.0.0.1:port",
        "redis://user:hunter2@",
        "redis://user:hunter2@0.0.0.0:6379",
        "rediss://user:hunter2@127.0.0.1:6379/#insecure",
        "redis://user:hunter2@127.0.0.1:6379?protocol=hunter2",
        "unix://host/path?pass=hunter2",
        "unix:///path?pass=hunter2&db=hunter2",
        ",",
        "redis://user:hunter2@127.0.0.1:6379,unix:///path",
        "redis://user:hunter2@127.0.0.1:6379,redis://user:other@127.0.0.1:6380",
    ] {
        let (status, log) = Program::fail(&[("REDIS_URL", url)]).await;
        assert_eq!(status.code(), Some(2), "{url}: {log}");
        let is_one_error = log.trim().lines().count() == 2;
        assert!(is_one_error && log.contains("  - REDIS_URL is invalid"), "{url}: {log}");
        assert!(!log.contains(SECRET), "{log}");
    }
}
