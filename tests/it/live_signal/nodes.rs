//! Signals over time: several nodes, restarts, silence, and outages of the database and of the store.

use super::*;

#[tokio::test]
async fn nodes_share_signals_and_keep_them_across_restarts() {
    let folder = TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let (one, two) = (app_with(&[&database]).await, app_with(&[&database]).await);
    let mut stream = two.sse("sse/ana").await;
    assert_eq!(stream.data().await["live"], false);
    for live in [true, false, true] {
        set_live(&one, "ana", live).await;
        assert_eq!(count(&one, "ana").await["live"], live, "at once on its own node");
        until_live(&mut stream, &json!(live)).await;
        assert_eq!(count(&two, "ana").await["live"], live);
        assert_eq!(listed(&two).await.len(), usize::from(live));
    }
    let since = signal(&two, "ana", &json!({"live": true})).await["startedAt"].clone();
    one.stop().await;
    drop(stream);
    two.stop().await;
    let app = app_with(&[&database]).await;
    assert_eq!(count(&app, "ana").await["live"], true);
    assert_eq!(signal(&app, "ana", &json!({"live": true})).await["startedAt"], since);
}

#[tokio::test]
async fn a_silent_signal_ends_and_a_repeated_one_lasts() {
    let app = app_with(&["--live-signal-timeout=6"]).await;
    let mut stream = app.sse("sse/silent").await;
    for name in ["silent", "repeated"] {
        set_live(&app, name, true).await;
    }
    until_live(&mut stream, &json!(true)).await;
    let repeat = async {
        loop {
            set_live(&app, "repeated", true).await;
            sleep(Duration::from_millis(200)).await;
        }
    };
    let ends = async {
        until_live(&mut stream, &json!(false)).await;
        assert_eq!(count(&app, "repeated").await["live"], true);
        assert_eq!(count(&app, "silent").await["live"], false);
    };
    tokio::select! {
        () = repeat => unreachable!("it repeats forever"),
        () = ends => {}
    }
}

#[tokio::test]
async fn while_the_database_is_away_the_last_state_holds_and_signals_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&[&format!("--database-url=sqlite:{}", file.display())]).await;
    set_live(&app, "ana", true).await;
    // Another process holds the lock of writers, as during a long backup.
    install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let held = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let refused = put(&app, "ana", Some(&bearer), &json!({"live": false})).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "unavailable");
    let srs = json!({"action": "on_publish", "stream": "bob"}).to_string();
    assert_eq!(hook(&app, "srs", srs.clone()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    app.join("ana", viewer()).await;
    let answer = count(&app, "ana").await;
    assert_eq!((&answer["count"], &answer["live"]), (&json!(1), &json!(true)));
    assert_eq!(listed(&app).await, [("ana".to_owned(), json!(1))]);
    held.rollback().await.unwrap();
    let accepted = async {
        while hook(&app, "srs", srs.clone()).await.0 != StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("signals are accepted again");
    set_live(&app, "ana", false).await;
}

#[tokio::test]
async fn before_the_first_contact_with_the_database_nothing_is_known() {
    let url = format!("--database-url=postgres://nobody@127.0.0.1:{}/none", free_port());
    let app = app_with(&[&url, "--stream-url-template=/hls/{channel}/index.m3u8"]).await;
    assert_eq!(app.join("ana", viewer()).await["count"], 1);
    let answer = count(&app, "ana").await;
    assert_eq!((&answer["count"], &answer["live"]), (&json!(1), &Value::Null));
    assert_eq!(app.sse("sse/ana").await.data().await["live"], Value::Null);
    assert_eq!(app.get("/api/viewer/live").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let bearer = format!("Bearer {TOKEN}");
    let refused = put(&app, "ana", Some(&bearer), &json!({"live": true})).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let home = app.get("/").await.text().await.unwrap();
    assert!(home.contains("La lista de canales en vivo no está disponible"), "{home}");
    let page = app.get("/ana").await.text().await.unwrap();
    assert!(page.contains("<stream-player") && !page.contains("live=\""), "it tries to play: {page}");
    eventually("failed polls are counted", async || {
        let metrics = app.get("/metrics").await.text().await.unwrap();
        !metrics.contains("aforo_live_signal_poll_errors_total 0\n")
    })
    .await;
}

#[tokio::test]
async fn while_the_store_is_away_channels_on_air_are_listed_with_unknown_counts() {
    let folder = TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let store = FailingStore::new();
    let flags = flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).chain([&*database]).collect();
    let app = TestApp::with_store_and_flags(store.clone(), &flags).await;
    set_live(&app, "ana", true).await;
    assert_eq!(listed(&app).await, [("ana".to_owned(), json!(0))]);
    store.set_broken(true);
    eventually("the count is unknown", async || listed(&app).await == [("ana".to_owned(), Value::Null)])
        .await;
    let mut stream = app.sse("sse/ana").await;
    assert_eq!(stream.data().await["live"], true, "the signal does not need the store");
    set_live(&app, "ana", false).await;
    until_live(&mut stream, &json!(false)).await;
    assert_eq!(listed(&app).await, []);
}

#[tokio::test]
async fn secrets_and_addresses_are_in_no_log_answer_or_file() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}/aforo.db", folder.path().display());
    let settings = [
        ("LIVE", "signal"),
        ("API_TOKEN", TOKEN),
        ("LIVE_HOOK_SECRET", SECRET),
        ("DATABASE_URL", &url),
        ("RUST_LOG", "debug"),
    ];
    let server = Program::start(&settings).await;
    let address = "203.0.113.77";
    let form = format!("call=publish&name=ana&addr={address}&clientid=5");
    assert_eq!(hook(&server, "nginx-rtmp", form).await.0, StatusCode::OK);
    set_live(&server, "ana", true).await;
    assert_eq!(hook(&server, "srs", "{".to_owned()).await.0, StatusCode::BAD_REQUEST);
    let wrong = server.client.post(format!("{}/api/hooks/srs?secret=wrong-{SECRET}", server.base)).send();
    let wrong = wrong.await.unwrap().text().await.unwrap();
    server.wait_for_log("[CHANNEL] live signal").await;
    let stored = fs::read(folder.path().join("aforo.db")).unwrap();
    let written = fs::read(folder.path().join("aforo.db-wal")).unwrap_or_default();
    let stored = String::from_utf8_lossy(&[stored, written].concat()).into_owned();
    assert!(stored.contains("ana"), "the signal is in the file");
    for hidden in [TOKEN, SECRET, address] {
        for text in [&server.log(), &wrong, &stored] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}
