//! Ways to Redis: TLS, users, sockets, databases, prefixes; and what happens when an address or a password is wrong.

use serde_json::{Value, json};

use crate::support::{Program, RedisCluster, RedisServer, TestApp, viewer};

/// No log may hold it.
const SECRET: &str = "hunter2";

/// Joins until it is counted by the store, which may have to be connected to first.
async fn is_counted_soon(app: &TestApp) {
    app.join("ana", viewer()).await;
    app.sse("sse/ana").await.until_fresh(1).await;
}

/// The store is away for this node: that is told, and nobody is kept waiting.
async fn is_cut_off(program: &Program, reason: &str) {
    program.wait_for_log("can't connect").await;
    program.wait_for_log(reason).await;
    let joined = program.join("ana", viewer()).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&json!(null), &json!(true)));
    assert_eq!(program.get("/ana").await.status(), 200);
    assert_eq!(program.get("/healthz").await.status(), 200);
    let log = program.log();
    assert!(!log.contains(SECRET) && !log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 12, "an outage is a few lines: {log}");
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_private_ca_is_named() {
    let mut redis = RedisServer::reserve();
    let (port, ca) = redis.add_tls();
    redis.run().await;
    let url = format!("rediss://localhost:{port}");
    let settings = [("REDIS_URL", &*url), ("SSL_CERT_FILE", ca.to_str().unwrap())];
    let program = Program::start(&settings).await;
    is_counted_soon(&program).await;
    assert!(!redis.keys(0).is_empty());
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_an_outage_that_says_why() {
    let mut redis = RedisServer::reserve();
    let (port, ca) = redis.add_tls();
    redis.run().await;
    let ca = ca.to_str().unwrap();
    let unknown = Program::start(&[("REDIS_URL", &format!("rediss://localhost:{port}"))]).await;
    is_cut_off(&unknown, "UnknownIssuer").await;
    let other_name = format!("rediss://127.0.0.1:{port}");
    let other_name = Program::start(&[("REDIS_URL", &other_name), ("SSL_CERT_FILE", ca)]).await;
    is_cut_off(&other_name, "certificate not valid for name").await;
    let no_file = format!("rediss://localhost:{port}");
    let no_file = Program::start(&[("REDIS_URL", &no_file), ("SSL_CERT_FILE", "/nowhere.pem")]).await;
    is_cut_off(&no_file, "/nowhere.pem").await;
    assert!(redis.keys(0).is_empty());
}

#[tokio::test]
async fn tls_where_there_is_none_and_none_where_there_is_are_outages() {
    let mut redis = RedisServer::reserve();
    let (tls_port, _) = redis.add_tls();
    redis.run().await;
    for url in [format!("rediss://localhost:{}", redis.port), format!("redis://localhost:{tls_port}")] {
        let program = Program::start(&[("REDIS_URL", &url)]).await;
        is_cut_off(&program, "can't connect").await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_until_it_is_right() {
    let redis = RedisServer::start().await;
    redis.add_user("another", &[]);
    let url = format!("redis://aforo:{SECRET}@127.0.0.1:{}", redis.port);
    let program = Program::start(&[("REDIS_URL", &url)]).await;
    is_cut_off(&program, "WRONGPASS").await;
    redis.command::<()>(&format!("ACL SETUSER aforo >{SECRET}"));
    program.sse("sse/ana").await.until_fresh(1).await;
    assert!(!program.log().contains(SECRET), "{}", program.log());
}

#[tokio::test]
async fn a_user_without_rights_is_an_outage_until_it_has_them() {
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
async fn a_password_without_a_user_is_enough() {
    let redis = RedisServer::start().await;
    redis.command::<()>("ACL SETUSER default >pa%ss:w@rd");
    let url = format!("redis://:pa%25ss%3Aw%40rd@127.0.0.1:{}", redis.port);
    is_counted_soon(&TestApp::with(&["--redis-url", &url]).await).await;
}

#[tokio::test]
async fn a_unix_socket_is_spoken_with_in_every_spelling() {
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
        is_counted_soon(&app).await;
        assert!(!redis.keys(database).is_empty(), "{url}");
        redis.command::<()>("FLUSHALL");
    }
}

#[tokio::test]
async fn a_database_is_chosen_by_its_number_and_no_other_is_touched() {
    let redis = RedisServer::start().await;
    is_counted_soon(&TestApp::with(&["--redis-url", &format!("{}/3", redis.url())]).await).await;
    let keyspace: String = redis.command("INFO keyspace");
    let databases: Vec<_> = keyspace.lines().filter_map(|line| line.split_once(':')).collect();
    assert_eq!(databases.len(), 1, "{keyspace}");
    assert_eq!(databases[0].0, "db3");
}

#[tokio::test]
async fn all_keys_have_the_prefix_and_sites_with_different_ones_do_not_meet() {
    let redis = RedisServer::start().await;
    for (nth, prefix) in ["site-a", "site:b"].into_iter().enumerate() {
        let before = redis.keys(0);
        let app = TestApp::with(&["--redis-url", &redis.url(), "--redis-key-prefix", prefix]).await;
        is_counted_soon(&app).await;
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
async fn the_readmes_user_may_do_all_that_a_cluster_needs() {
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
        // The client tells the library's name on a cluster, and is fine when it may not.
        let denied: Vec<_> =
            denied.map(|entry| format!("{entry:?}")).filter(|entry| !entry.contains("cmd=client")).collect();
        assert!(denied.is_empty(), "{denied:?}");
    }
}

#[tokio::test]
async fn what_is_no_address_is_refused_at_the_start_without_the_secret_in_it() {
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
        let is_one_sentence = log.trim().lines().count() == 2;
        assert!(is_one_sentence && log.contains("  - REDIS_URL is not understood"), "{url}: {log}");
        assert!(!log.contains(SECRET), "{log}");
    }
}
