//! The live signal: the contract of its store, the calls that report it, and what follows from it.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aforo::{
    domain::{
        ChannelId, Timestamp,
        signal::{Publisher, Report},
    },
    server::{
        config::{self, Config, DatabaseConfig},
        database::{Database, DatabaseSignals},
        signals::{Change, SignalStore},
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE};
use reqwest::{Response, StatusCode, header};
use ring::hmac;
use serde_json::{Value, json};
use sqlx::{AnyPool, any::install_default_drivers};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{FailingStore, PATIENCE, Postgres, Program, Sse, TestApp, free_port, viewer};

const TOKEN: &str = "operator-token-0123456789";
const SECRET: &str = "hook-secret-0123456789";

/// The page with the configuration of each video server.
const GUIDE: &str = include_str!("../../docs/live-signal.md");

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

fn on(publisher: &str) -> Report {
    Report::OnAir { started_at: None, publisher: Publisher::new(publisher) }
}

fn off(publisher: &str) -> Report {
    Report::OffAir { publisher: Publisher::new(publisher) }
}

/// Checks the contract of a store of live signals, which two nodes use. `name` makes the channels unique, so that a
/// database can be used again.
async fn check_contract(nodes: [&dyn SignalStore; 2], name: &str) {
    let [here, there] = nodes;
    let [ana, bob, eva] = ["ana", "bob", "eva"].map(|part| channel(&format!("{name}-{part}")));
    let is_ours = |change: &Change| change.channel.as_str().starts_with(name);
    let on_air = async |node: &dyn SignalStore| {
        let whole = node.changes(None).await.unwrap();
        assert!(whole.is_whole);
        let mut names: Vec<_> = whole.changes.into_iter().filter(is_ours).collect();
        names.sort_by(|one, other| one.channel.cmp(&other.channel));
        (names, whole.newest)
    };

    let (none, start) = on_air(here).await;
    assert_eq!(none, []);
    let ended = here.report(&ana, off("")).await.unwrap();
    assert_eq!(ended.since, None, "a channel that was never on air can end");

    let first = here.report(&ana, on("a")).await.unwrap();
    let since = first.since.expect("on air");
    assert!(since > Timestamp::from_millis(1_700_000_000_000), "by the clock of the database: {since:?}");
    assert!(first.number > start);
    let repeated = there.report(&ana, on("a")).await.unwrap();
    assert_eq!(repeated, first, "a repetition is no change");
    let seen = there.changes(Some(start)).await.unwrap();
    assert!(!seen.is_whole && seen.newest >= first.number);
    assert_eq!(seen.changes, std::slice::from_ref(&first));
    assert_eq!(there.changes(Some(seen.newest)).await.unwrap().changes, []);

    let early = Timestamp::from_millis(since.as_millis() - 3_600_000);
    let given = Report::OnAir { started_at: Some(early), publisher: None };
    assert_eq!(here.report(&ana, given.clone()).await.unwrap().since, Some(since), "the first start holds");
    assert_eq!(here.report(&bob, given).await.unwrap().since, Some(early));
    assert_eq!(on_air(there).await.0.iter().map(|change| &change.channel).collect::<Vec<_>>(), [&ana, &bob]);

    // The rules of publishers hold across nodes.
    assert!(there.report(&ana, on("b")).await.unwrap().since.is_some());
    assert_eq!(here.report(&ana, off("b")).await.unwrap().since, Some(since), "the second one was refused");
    let ended = there.report(&ana, off("a")).await.unwrap();
    assert_eq!(ended.since, None);
    let still = Report::StillOnAir { publisher: Publisher::new("a") };
    assert_eq!(here.report(&ana, still).await.unwrap(), ended, "a late report of a publisher that has ended");
    let seen = here.changes(Some(seen.newest)).await.unwrap().changes;
    assert_eq!(seen.iter().filter(|change| change.channel == ana).collect::<Vec<_>>(), [&ended]);
    assert!(seen.windows(2).all(|pair| pair[0].number < pair[1].number), "in order: {seen:?}");
    assert_eq!(on_air(here).await.0.len(), 1, "channels off air are not listed");

    // A number that this store has not given yet.
    let foreign = here.changes(Some(u64::MAX / 2)).await.unwrap();
    assert!(foreign.is_whole && foreign.changes.iter().any(|change| change.channel == bob));

    // Reports from all sides: every node reads all changes, each once, in the same order.
    let before = on_air(here).await.1;
    let crowd = (0..60).map(|nth| {
        let (node, one) = (if nth % 2 == 0 { here } else { there }, channel(&format!("{name}-{}", nth % 20)));
        async move { node.report(&one, if nth < 40 { on("") } else { off("") }).await.unwrap() }
    });
    futures::future::join_all(crowd).await;
    let changes = here.changes(Some(before)).await.unwrap();
    let mut numbers: Vec<_> = changes.changes.iter().map(|change| change.number).collect();
    assert_eq!(changes.changes.len(), 20);
    assert!(numbers.is_sorted() && changes.newest >= *numbers.last().unwrap());
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
    assert_eq!(there.changes(Some(before)).await.unwrap().changes, changes.changes);

    // Silence, by the clock of the database.
    here.report(&eva, on("e")).await.unwrap();
    here.end_silent(Duration::from_secs(3_600)).await.unwrap();
    assert!(on_air(here).await.0.iter().any(|change| change.channel == eva), "it was just reported");
    sleep(Duration::from_millis(300)).await;
    here.report(&eva, on("e")).await.unwrap();
    there.end_silent(Duration::from_millis(200)).await.unwrap();
    let (left, newest) = on_air(here).await;
    assert!(left.iter().all(|change| change.channel == eva), "the others were silent: {left:?}");
    here.forget_ended(Duration::from_secs(3_600)).await.unwrap();
    let remembered = here.changes(Some(before)).await.unwrap().changes;
    assert!(remembered.iter().any(|change| change.channel == bob && change.since.is_none()));
    sleep(Duration::from_millis(50)).await;
    here.forget_ended(Duration::ZERO).await.unwrap();
    let remembered = there.changes(Some(before)).await.unwrap();
    assert!(remembered.changes.iter().all(|change| change.since.is_some()), "{remembered:?}");
    assert!(remembered.newest >= newest, "numbers are never given again");
    here.report(&eva, off("")).await.unwrap();
}

fn database_config(url: &str) -> DatabaseConfig {
    let Config { database, .. } = config::read(["aforo", &format!("--database-url={url}")]).unwrap();
    database
}

/// The live signals of one node in a database.
async fn node(config: &DatabaseConfig) -> Arc<DatabaseSignals> {
    let signals = Arc::new(DatabaseSignals::new(Database::open(config).await.unwrap()));
    let running = Arc::clone(&signals);
    tokio::spawn(async move { running.run().await });
    signals
}

/// Two nodes follow the contract, keep their data, and follow the contract again over data that exist.
async fn check_database(config: &DatabaseConfig) {
    let open = async || node(config).await;
    check_contract([&*open().await, &*open().await], "one").await;
    open().await.report(&channel("kept"), on("")).await.unwrap();
    let kept = open().await.changes(None).await.unwrap().changes;
    assert!(kept.iter().any(|change| change.channel == channel("kept")), "{kept:?}");
    check_contract([&*open().await, &*open().await], "two").await;
}

#[tokio::test]
async fn sqlite_follows_the_contract_and_keeps_its_data() {
    let folder = TempDir::new().unwrap();
    check_database(&DatabaseConfig::Sqlite(folder.path().join("aforo.db"))).await;
}

#[tokio::test]
async fn postgres_follows_the_contract_and_keeps_its_data() {
    check_database(&database_config(&Postgres::shared().await.database().await)).await;
}

#[tokio::test]
async fn reports_from_two_nodes_at_once_have_one_order_in_postgres() {
    let config = database_config(&Postgres::shared().await.database().await);
    let [here, there] = [node(&config).await, node(&config).await];
    let names: Vec<_> = (0..40).map(|nth| channel(&format!("c{nth}"))).collect();
    // Reads while reports are written never miss a change with a smaller number.
    let written = async {
        for round in 0..10 {
            let report = if round % 2 == 0 { on("") } else { off("") };
            let reports = names.iter().enumerate().map(|(nth, name)| {
                if nth % 2 == 0 {
                    here.report(name, report.clone())
                } else {
                    there.report(name, report.clone())
                }
            });
            futures::future::try_join_all(reports).await.unwrap();
        }
    };
    let read = async {
        let (mut seen, mut after) = (BTreeMap::new(), here.changes(None).await.unwrap().newest);
        loop {
            let news = here.changes(Some(after)).await.unwrap();
            for change in news.changes {
                assert!(change.number > after, "{change:?} after {after}");
                seen.insert(change.channel, (change.number, change.since));
            }
            after = news.newest;
            // The last round ends all broadcasts.
            let ended = seen.values().filter(|(_, since)| since.is_none()).count();
            if ended == names.len() && after >= 400 {
                return seen;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let ((), seen) =
        tokio::join!(written, async { timeout(PATIENCE, read).await.expect("all changes are read") });
    let whole = there.changes(Some(0)).await.unwrap().changes;
    let whole: BTreeMap<_, _> = whole.into_iter().map(|one| (one.channel, (one.number, one.since))).collect();
    assert_eq!(seen, whole, "what was read in pieces is what is stored");
}

#[tokio::test]
async fn a_read_of_many_changes_is_complete() {
    let folder = TempDir::new().unwrap();
    let store = node(&DatabaseConfig::Sqlite(folder.path().join("aforo.db"))).await;
    let names: Vec<_> = (0..2_500).map(|nth| channel(&format!("c{nth}"))).collect();
    for part in names.chunks(500) {
        futures::future::join_all(part.iter().map(|name| store.report(name, on("")))).await;
    }
    for after in [None, Some(0)] {
        assert_eq!(store.changes(after).await.unwrap().changes.len(), 2_500);
    }
    // Silent signals end in steps.
    sleep(Duration::from_millis(20)).await;
    for left in [1_500, 500, 0, 0] {
        store.end_silent(Duration::from_millis(1)).await.unwrap();
        assert_eq!(store.changes(None).await.unwrap().changes.len(), left);
    }
    assert_eq!(store.changes(Some(0)).await.unwrap().changes.len(), 2_500, "all ends are changes");
}

/// Flags of a server with the live signal.
fn flags() -> Vec<String> {
    vec!["--live=signal".to_owned(), format!("--api-token={TOKEN}"), format!("--live-hook-secret={SECRET}")]
}

async fn app_with(more: &[&str]) -> TestApp {
    let flags = flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestApp::with(&flags).await
}

/// A `PUT` with this body and this `Authorization`.
async fn put(app: &TestApp, name: &str, authorization: Option<&str>, body: &Value) -> Response {
    let request = app.client.put(format!("{}/api/channel/{name}/live", app.base)).json(body);
    let request = match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    request.send().await.unwrap()
}

async fn signal(app: &TestApp, name: &str, body: &Value) -> Value {
    let response = put(app, name, Some(&format!("Bearer {TOKEN}")), body).await;
    assert_eq!(response.status(), StatusCode::OK, "{body}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.unwrap()
}

async fn set_live(app: &TestApp, name: &str, live: bool) {
    assert_eq!(signal(app, name, &json!({"live": live})).await["live"], live);
}

async fn count(app: &TestApp, name: &str) -> Value {
    app.get(&format!("/api/viewer/count/{name}")).await.json().await.unwrap()
}

/// The live list as pairs of name and count.
async fn listed(app: &TestApp) -> Vec<(String, Value)> {
    let answer: Value = app.get("/api/viewer/live").await.json().await.unwrap();
    let channels = answer["channels"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert!(channels.iter().all(|channel| channel["live"] == true), "{answer}");
    let pair =
        |channel: &Value| (channel["channelId"].as_str().unwrap().to_owned(), channel["count"].clone());
    channels.iter().map(pair).collect()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Reads the stream until it says whether the channel is on air.
async fn until_live(stream: &mut Sse, live: &Value) -> Value {
    let found = async {
        loop {
            let data = stream.data().await;
            if data["live"] == *live {
                return data;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no event with live {live}"))
}

#[tokio::test]
async fn the_operator_puts_a_channel_on_air_and_off_air() {
    let app = app_with(&[]).await;
    let first = signal(&app, "Ana", &json!({"live": true})).await;
    let since = first["startedAt"].as_u64().expect("a start");
    assert_eq!(first, json!({"channelId": "ana", "live": true, "startedAt": since}));
    let again = signal(&app, "ana", &json!({"live": true, "startedAt": since + 5})).await;
    assert_eq!(again, first, "a repetition changes nothing");
    let ended = json!({"channelId": "ana", "live": false, "startedAt": null});
    for _ in 0..2 {
        assert_eq!(signal(&app, "ana", &json!({"live": false})).await, ended);
    }
    let hour_ago = since - 3_600_000;
    let text = jiff::Timestamp::from_millisecond(i64::try_from(hour_ago).unwrap()).unwrap().to_string();
    for (name, start) in [("bob", json!(hour_ago)), ("eva", json!(text))] {
        let answer = signal(&app, name, &json!({"live": true, "startedAt": start, "other": 1})).await;
        assert_eq!(answer["startedAt"], hour_ago);
    }
    // A start before the last end, or days ago, is not the start of this broadcast.
    for start in [hour_ago, 946_684_800_000] {
        let answer = signal(&app, "ana", &json!({"live": true, "startedAt": start})).await;
        assert!(answer["startedAt"].as_u64() >= Some(since), "{answer}");
        set_live(&app, "ana", false).await;
    }
}

#[tokio::test]
async fn calls_without_the_right_secret_are_refused_and_change_nothing() {
    let app = app_with(&[]).await;
    let refused = async |response: Response, what: &str| {
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer", "{what}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "unauthorized", "{what}");
    };
    let body = json!({"live": true});
    let (basic, hook) = (format!("Basic {TOKEN}"), format!("Bearer {SECRET}"));
    for wrong in [None, Some(TOKEN), Some("Bearer"), Some("Bearer wrong"), Some(&*basic), Some(&*hook)] {
        refused(put(&app, "ana", wrong, &body).await, &format!("{wrong:?}")).await;
    }
    // Before anything else is looked at.
    refused(put(&app, "a%20b", None, &json!("nonsense")).await, "an invalid call").await;
    for server in ["nginx-rtmp", "srs", "mediamtx", "ome"] {
        let path = format!("{}/api/hooks/{server}", app.base);
        for query in
            ["", "?secret=", "?secret=wrong", &format!("?secret={SECRET}x"), &format!("?secret={TOKEN}")]
        {
            let response = app.client.post(format!("{path}{query}")).body("call=publish&name=ana").send();
            refused(response.await.unwrap(), &format!("{server}{query}")).await;
        }
        let twice = format!("{path}?secret={SECRET}&secret={SECRET}");
        refused(app.client.post(twice).send().await.unwrap(), "two secrets").await;
    }
    assert_eq!(count(&app, "ana").await["live"], false);

    // A server without secrets takes no signals.
    let app = TestApp::with(&["--live=signal"]).await;
    refused(put(&app, "ana", Some("Bearer "), &body).await, "no token is set").await;
    refused(
        app.client.post(format!("{}/api/hooks/ome?secret=", app.base)).send().await.unwrap(),
        "no secret",
    )
    .await;
}

#[tokio::test]
async fn invalid_signals_are_problems_and_change_nothing() {
    let app = app_with(&[]).await;
    let bearer = format!("Bearer {TOKEN}");
    let code = async |response: Response| {
        let status = response.status();
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    let bad = |name: &str| (StatusCode::BAD_REQUEST, name.to_owned());
    let live = json!({"live": true});
    assert_eq!(code(put(&app, "a%20b", Some(&bearer), &live).await).await, bad("invalid-channel"));
    assert_eq!(code(put(&app, &"x".repeat(65), Some(&bearer), &live).await).await, bad("invalid-channel"));
    for body in [
        json!({}),
        json!([true]),
        json!({"live": "yes"}),
        json!({"live": null}),
        json!({"live": true, "startedAt": 1_700_000_000}),
        json!({"live": true, "startedAt": "yesterday"}),
        json!({"live": true, "startedAt": -1}),
    ] {
        assert_eq!(code(put(&app, "ana", Some(&bearer), &body).await).await, bad("malformed"), "{body}");
    }
    let long = json!({"live": true, "x": "x".repeat(5_000)});
    let answer = code(put(&app, "ana", Some(&bearer), &long).await).await;
    assert_eq!(answer, (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large".to_owned()));
    let form =
        app.client.put(format!("{}/api/channel/ana/live", app.base)).bearer_auth(TOKEN).body("live=true");
    let answer = code(form.send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type".to_owned()));
    let posted = app.post("/api/channel/ana/live", &live).await;
    assert_eq!(
        (posted.status(), &posted.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"PUT".parse().unwrap())
    );
    assert_eq!(app.get("/api/hooks/srs").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(app.post("/api/hooks/wowza", &live).await.status(), StatusCode::NOT_FOUND);
    for name in ["ana", &"x".repeat(64)] {
        assert_eq!(count(&app, name).await["live"], false);
    }
}

async fn hook(app: &TestApp, server: &str, body: String) -> (StatusCode, String) {
    let request = app.client.post(format!("{}/api/hooks/{server}?secret={SECRET}", app.base)).body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_hooks_of_each_video_server_put_channels_on_air() {
    let app = app_with(&[]).await;
    let ok = |body: &str| (StatusCode::OK, body.to_owned());
    let is_live = async |name: &str| count(&app, name).await["live"] == true;

    let nginx = |call: &str| {
        format!(
            "app=live&flashver=FMLE/3.0&swfurl=&tcurl=rtmp://127.0.0.1/live&pageurl=&addr=192.0.2.7&clientid=3&call={call}"
        )
    };
    assert_eq!(hook(&app, "nginx-rtmp", nginx("publish&name=Nina&type=live")).await, ok("{}"));
    assert!(is_live("nina").await);
    // A second encoder, which nginx-rtmp refuses after it has asked.
    let second = nginx("publish&name=nina&type=live").replace("clientid=3", "clientid=4");
    assert_eq!(hook(&app, "nginx-rtmp", second.clone()).await, ok("{}"));
    assert_eq!(hook(&app, "nginx-rtmp", second.replace("call=publish", "call=publish_done")).await, ok("{}"));
    assert!(is_live("nina").await, "the first encoder goes on");
    assert_eq!(hook(&app, "nginx-rtmp", nginx("publish_done&name=nina")).await, ok("{}"));
    // An update that the end has overtaken.
    assert_eq!(hook(&app, "nginx-rtmp", nginx("update_publish&name=nina")).await, ok("{}"));
    assert!(!is_live("nina").await);

    let srs = |action: &str| {
        json!({
            "server_id": "vid-0xk989d", "service_id": "382k319p", "action": action, "client_id": "341w361a",
            "ip": "127.0.0.1", "vhost": "__defaultVhost__", "app": "live",
            "tcUrl": "rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__", "stream": "livestream", "param": "",
            "stream_url": "video.test.com/live/livestream", "stream_id": "vid-124q9y3"
        })
    };
    assert_eq!(hook(&app, "srs", srs("on_publish").to_string()).await, ok("0"));
    assert!(is_live("livestream").await);
    assert_eq!(hook(&app, "srs", srs("on_play").to_string()).await, ok("0"));
    // A connection may publish again.
    for _ in 0..2 {
        assert_eq!(hook(&app, "srs", srs("on_unpublish").to_string()).await, ok("0"));
        assert!(!is_live("livestream").await);
        assert_eq!(hook(&app, "srs", srs("on_publish").to_string()).await, ok("0"));
        assert!(is_live("livestream").await);
    }
    assert_eq!(hook(&app, "srs", srs("on_unpublish").to_string()).await, ok("0"));

    let mediamtx =
        |event: &str| format!("event={event}&path=mia&source_id=4f4d5a5e-6c1f-4d6a-a0a5-6b8f0f2f8c11");
    assert_eq!(hook(&app, "mediamtx", mediamtx("ready")).await, ok("{}"));
    assert!(is_live("mia").await);
    assert_eq!(hook(&app, "mediamtx", mediamtx("not-ready")).await, ok("{}"));
    assert!(!is_live("mia").await);

    let ome = |direction: &str, status: &str| {
        json!({
            "client": {"address": "211.233.58.86", "port": 29291, "user_agent": "Mozilla/5.0"},
            "request": {
                "direction": direction, "protocol": "rtmp", "status": status,
                "url": "rtmp://host:1935/app/olga?query=value&query2=value2", "time": "2021-05-12T13:45:00.000Z"
            }
        })
    };
    assert_eq!(hook(&app, "ome", ome("outgoing", "opening").to_string()).await, ok(r#"{"allowed":true}"#));
    assert!(!is_live("olga").await, "who plays puts nothing on air");
    assert_eq!(hook(&app, "ome", ome("incoming", "opening").to_string()).await, ok(r#"{"allowed":true}"#));
    assert!(is_live("olga").await);
    assert_eq!(hook(&app, "ome", ome("incoming", "closing").to_string()).await, ok("{}"));
    assert!(!is_live("olga").await);

    // Bodies that are not a call, and names that are no channel.
    for server in ["nginx-rtmp", "srs", "mediamtx", "ome"] {
        let (status, body) = hook(&app, server, "nonsense".to_owned()).await;
        assert!(status == StatusCode::BAD_REQUEST && body.contains("\"malformed\""), "{server}: {body}");
        assert_eq!(hook(&app, server, " ".repeat(17_000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (status, body) = hook(&app, "nginx-rtmp", nginx("publish&name=live/ana&type=live")).await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("\"invalid-channel\""), "{body}");
}

#[tokio::test]
async fn a_hook_may_have_its_secret_as_a_bearer_token_or_a_signature() {
    let app = app_with(&[]).await;
    let url = |server: &str| format!("{}/api/hooks/{server}", app.base);
    let form = "event=ready&path=mia";
    let sent = app.client.post(url("mediamtx")).bearer_auth(SECRET).body(form).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    assert_eq!(count(&app, "mia").await["live"], true);

    // OvenMediaEngine signs the body. Its user agents and addresses can be long.
    let body = json!({
        "client": {"address": "192.0.2.7", "port": 1, "user_agent": "x".repeat(6_000)},
        "request": {"direction": "incoming", "status": "opening", "url": "srt://host:9999/app/olga"}
    })
    .to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE.encode(hmac::sign(&key, body.as_bytes()));
    let send = async |signature: &str, body: &str| {
        let request = app.client.post(url("ome")).header("X-OME-Signature", signature).body(body.to_owned());
        request.send().await.unwrap().status()
    };
    for wrong in ["", "AAAA", "!", &signature.to_lowercase(), &signature[1..]] {
        assert_eq!(send(wrong, &body).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(send(&signature, &format!("{body} ")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(count(&app, "olga").await["live"], false);
    assert_eq!(send(&signature, &body).await, StatusCode::OK);
    assert_eq!(send(signature.trim_end_matches('='), &body).await, StatusCode::OK);
    assert_eq!(count(&app, "olga").await["live"], true);
    // Without a signature it is no other server's call.
    let unsigned =
        app.client.post(url("srs")).header("X-OME-Signature", &signature).body(body.clone()).send();
    assert_eq!(unsigned.await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn wrong_secrets_are_bounded_and_never_lock_out_the_right_one() {
    let app = app_with(&[]).await;
    let body = json!({"live": true});
    let mut limited = None;
    for _ in 0..150 {
        let response = put(&app, "ana", Some("Bearer wrong"), &body).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert!(limited.headers().contains_key("retry-after"));
    assert_eq!(hook(&app, "srs", json!({"action": "on_play"}).to_string()).await.0, StatusCode::OK);
    set_live(&app, "ana", true).await;
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains(r#"aforo_limit_rejections_total{limit="unauthorized"} 1"#), "{metrics}");
    assert!(metrics.contains("aforo_channels_on_air 1\n"), "{metrics}");
}

#[tokio::test]
async fn counts_and_lists_follow_the_signal() {
    let app = app_with(&[]).await;
    for (name, viewers) in [("ana", 1), ("eva", 2), ("invented", 3)] {
        for _ in 0..viewers {
            app.join(name, viewer()).await;
        }
    }
    assert_eq!(listed(&app).await, [], "viewers alone put no channel on the list");
    let invented = count(&app, "invented").await;
    assert_eq!((&invented["count"], &invented["live"]), (&json!(3), &json!(false)), "its count is given");
    for name in ["ana", "zoe", "eva"] {
        set_live(&app, name, true).await;
    }
    let expected = [("eva", 2), ("ana", 1), ("zoe", 0)].map(|(name, count)| (name.to_owned(), json!(count)));
    assert_eq!(listed(&app).await, expected);
    let answer: Value = app.get("/api/viewer/live?limit=1").await.json().await.unwrap();
    assert_eq!(answer["channels"].as_array().unwrap().len(), 1);
    let answer: Value =
        app.get("/api/viewer/counts?channels=ana,invented,nobody").await.json().await.unwrap();
    let lives: Vec<_> =
        answer["counts"].as_array().unwrap().iter().map(|count| count["live"].clone()).collect();
    assert_eq!(lives, [json!(true), json!(false), json!(false)]);
    app.join("zoe", viewer()).await;
    set_live(&app, "eva", false).await;
    let expected = [("ana", 1), ("zoe", 1)].map(|(name, count)| (name.to_owned(), json!(count)));
    assert_eq!(listed(&app).await, expected);
}

#[tokio::test]
async fn streams_say_when_a_channel_comes_on_air() {
    let app = app_with(&[]).await;
    let mut streams = [app.sse("sse/ana").await, app.sse("sse?channels=ana,bob").await];
    for stream in &mut streams {
        assert_eq!(stream.data().await["live"], false);
    }
    assert_eq!(streams[1].data().await["live"], false);
    for live in [true, false, true] {
        set_live(&app, "ana", live).await;
        for stream in &mut streams {
            let data = until_live(stream, &json!(live)).await;
            assert_eq!((&data["channelId"], &data["count"]), (&json!("ana"), &json!(0)));
        }
    }
    app.join("ana", viewer()).await;
    for stream in &mut streams {
        let data = stream.data().await;
        assert_eq!((&data["count"], &data["live"]), (&json!(1), &json!(true)));
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_known_and_signals_are_kept_for_later() {
    let folder = TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let token = format!("--api-token={TOKEN}");
    let app = TestApp::with(&[&token, &database]).await;
    set_live(&app, "ana", true).await;
    assert_eq!(count(&app, "ana").await["live"], Value::Null);
    assert_eq!(app.sse("sse/ana").await.data().await["live"], Value::Null);
    app.join("bob", viewer()).await;
    let answer: Value = app.get("/api/viewer/live").await.json().await.unwrap();
    let listed = answer["channels"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["channelId"], &listed[0]["live"]), (1, &json!("bob"), &Value::Null));
    assert!(!app.get("/ana").await.text().await.unwrap().contains("stream-player"));
    app.stop().await;
    let app = app_with(&[&database]).await;
    assert_eq!(count(&app, "ana").await["live"], true, "from the first answer on");
    assert_eq!(count(&app, "bob").await["live"], false);
}

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
async fn pages_say_whether_a_channel_is_on_air() {
    let template = "--stream-url-template=https://cdn.example/{channel}/index.m3u8";
    let app = app_with(&[template]).await;
    let html = async |path: &str| app.get(path).await.text().await.unwrap();
    let home = html("/").await;
    assert!(home.contains("No hay canales en vivo en este momento."), "{home}");
    assert!(!home.contains("Todavía no hay nadie mirando"));
    for path in ["/ana", "/embed/ana?counter=1"] {
        let page = html(path).await;
        let (_, player) = page.split_once("<stream-player").unwrap();
        let (start, rest) = player.split_once('>').unwrap();
        for attribute in
            [r#"channel="ana""#, r#"live="false""#, r#"data-state="off-air""#, "src=\"https://cdn"]
        {
            assert!(start.contains(attribute), "{attribute} in {start}");
        }
        assert!(rest.contains("El canal no está en vivo"));
        let (player, _) = rest.split_once("</stream-player>").unwrap();
        assert!(!player.contains("<noscript>"), "there is nothing to play: {player}");
    }
    set_live(&app, "ana", true).await;
    for path in ["/ana", "/embed/ana?counter=1"] {
        let page = html(path).await;
        let (_, player) = page.split_once("<stream-player").unwrap();
        let (start, _) = player.split_once('>').unwrap();
        assert!(start.contains(r#"live="true""#) && !start.contains("data-state"), "{start}");
        let (player, _) = player.split_once("</stream-player>").unwrap();
        assert!(player.contains("<noscript>"), "{player}");
    }
    app.join("invented", viewer()).await;
    let home = html("/").await;
    assert!(home.contains(r#"href="/ana""#) && !home.contains("invented"), "{home}");
    assert!(home.contains(r#"aria-label="0 espectadores""#), "{home}");
    assert!(html("/eva").await.contains("También en vivo"));

    // A site without streams says it too.
    let app = app_with(&[]).await;
    let page = app.get("/ana").await.text().await.unwrap();
    assert!(page.contains("El canal no está en vivo") && page.contains("/player.js"), "{page}");
    assert!(!page.contains("<video"), "{page}");
}

#[tokio::test]
async fn a_badge_of_a_channel_off_air_is_not_red() {
    let app = app_with(&[]).await;
    for (live, color) in [(false, "#57534e"), (true, "#dc2626")] {
        set_live(&app, "ana", live).await;
        let image = app.get("/badge/ana.svg").await.text().await.unwrap();
        assert!(image.contains(&format!(r#"data-live="{live}""#)) && image.contains(color), "{image}");
        let shield: Value = app.get("/badge/ana.json").await.json().await.unwrap();
        assert_eq!((&shield["color"], &shield["message"]), (&json!(color), &json!("0")));
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
async fn the_end_of_a_signal_ends_a_broadcast_that_nobody_watches() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&[&format!("--database-url=sqlite:{}", file.display())]).await;
    install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    // Whether a node will write the end of the broadcast later.
    let goes_on = async || {
        let seen_by = sqlx::query_scalar("SELECT seen_by FROM broadcasts WHERE channel = 'ana'");
        let seen_by: Option<i64> = seen_by.fetch_optional(&pool).await.unwrap();
        seen_by.map(|node| node != 0)
    };
    set_live(&app, "ana", true).await;
    eventually("the broadcast goes on", async || goes_on().await == Some(true)).await;
    set_live(&app, "ana", false).await;
    eventually("the broadcast has ended", async || goes_on().await == Some(false)).await;
}

#[tokio::test]
async fn a_broadcast_lasts_as_long_as_its_signal_and_has_those_who_waited_for_it() {
    const VIEWERS: usize = 20;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&["--stats=public", &format!("--database-url=sqlite:{}", file.display())]).await;
    install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let ids: Vec<_> = (0..VIEWERS).map(|_| viewer()).collect();
    for id in &ids {
        app.join("ana", *id).await;
    }
    // One more, who goes before the signal.
    let gone = viewer();
    app.join("ana", gone).await;
    app.leave("ana", gone).await;
    // The highest count is known by the second.
    sleep(Duration::from_millis(1_100)).await;
    let present = async || {
        let body: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
        body["broadcasts"][0].clone()
    };
    set_live(&app, "ana", true).await;
    // Nobody beats any more.
    eventually("the broadcast is there", async || present().await["watchSeconds"].as_f64() > Some(0.0)).await;
    let figures = present().await;
    assert_eq!((&figures["uniques"], &figures["peak"]), (&json!(VIEWERS), &json!(VIEWERS)), "{figures}");
    set_live(&app, "ana", false).await;
    let end = async || {
        let ended = "SELECT last_on_air FROM broadcasts WHERE channel = 'ana' AND seen_by = 0";
        sqlx::query_scalar::<_, i64>(ended).fetch_optional(&pool).await.unwrap()
    };
    eventually("the broadcast has ended", async || end().await.is_some()).await;
    let off_since = "SELECT since FROM signals WHERE channel = 'ana' AND on_air = 0";
    let signal: i64 = sqlx::query_scalar(off_since).fetch_one(&pool).await.unwrap();
    assert_eq!(end().await, Some(signal), "the end of the signal, to the millisecond");
    eventually("the row of the last second is written", async || {
        let figures = present().await;
        let from = figures["startedAt"].as_i64().unwrap();
        let expected = (VIEWERS as i64 * (signal - from)) as f64 / 1_000.0;
        let average = figures["average"].as_f64().unwrap();
        assert!(average <= VIEWERS as f64, "{figures}");
        (figures["watchSeconds"].as_f64().unwrap() - expected).abs() < 1e-6
    })
    .await;
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

/// The block of code in the guide that contains this text.
fn snippet(text: &str) -> &'static str {
    let mut blocks = GUIDE.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(text)).unwrap_or_else(|| panic!("{text} in the guide"));
    block.split_once('\n').unwrap().1
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM also ends the workers of nginx.
        let _ended = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _status = self.0.wait();
    }
}

/// nginx with the RTMP module and the configuration of the guide, which reports to `app`.
async fn nginx_rtmp(app: &TestApp, folder: &TempDir) -> (Process, String) {
    let port = free_port();
    let path = folder.path().display();
    let guide = snippet("on_publish_done")
        .replace("http://127.0.0.1:3000", &app.base)
        .replace("YOUR-SECRET", SECRET)
        .replace("listen 1935", &format!("listen 127.0.0.1:{port}"))
        .replace("/var/www/hls", &format!("{path}/hls"))
        .replace("notify_update_timeout 30s", "notify_update_timeout 500ms");
    assert!(guide.contains(SECRET) && guide.contains(&app.base), "{guide}");
    let conf = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\ndaemon off;\nworker_processes 1;\n\
         pid {path}/pid;\nerror_log {path}/error.log info;\nevents {{}}\nrtmp_auto_push off;\n{guide}"
    );
    fs::write(folder.path().join("nginx.conf"), conf).unwrap();
    let nginx = Command::new("nginx")
        .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed (by `make test`)");
    eventually("nginx listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await;
    (Process(nginx), format!("rtmp://127.0.0.1:{port}/live"))
}

/// Publishes a picture with ffmpeg, in real time.
fn publish(url: &str) -> Process {
    let arguments = "-loglevel error -re -f lavfi -i testsrc=size=160x90:rate=5 -c:v flv -f flv";
    let ffmpeg = Command::new("ffmpeg")
        .args(arguments.split(' '))
        .arg(url)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Process(ffmpeg.expect("ffmpeg is installed (by `make test`)"))
}

#[tokio::test]
async fn a_real_nginx_rtmp_reports_its_publishers() {
    let app = app_with(&[]).await;
    let folder = TempDir::new().unwrap();
    let (_nginx, rtmp) = nginx_rtmp(&app, &folder).await;
    let log = || fs::read_to_string(folder.path().join("error.log")).unwrap();
    let mut stream = app.sse("sse/ana").await;
    assert_eq!(stream.data().await["live"], false);
    for _ in 0..2 {
        let encoder = publish(&format!("{rtmp}/ana"));
        until_live(&mut stream, &json!(true)).await;
        drop(encoder);
        until_live(&mut stream, &json!(false)).await;
    }
    let _encoder = publish(&format!("{rtmp}/ana"));
    until_live(&mut stream, &json!(true)).await;
    // A second encoder under the same name is refused by nginx, and does not end the first one's broadcast. Neither does
    // one that names the stream in its arguments.
    for name in ["ana", "bob?name=ana&call=publish_done"] {
        let mut refused = publish(&format!("{rtmp}/{name}"));
        eventually("the encoder is refused", async || refused.0.try_wait().unwrap().is_some()).await;
    }
    // An invalid name is refused by Aforo.
    let mut refused = publish(&format!("{rtmp}/b+b"));
    eventually("the encoder is refused", async || refused.0.try_wait().unwrap().is_some()).await;
    // Updates repeat the signal, and are accepted: nginx would disconnect the publisher.
    eventually("updates", async || log().matches("notify: update '").count() >= 3).await;
    assert!(!log().contains("update failed"), "{}", log());
    assert_eq!(count(&app, "ana").await["live"], true, "{}", log());
    assert_eq!(listed(&app).await, [("ana".to_owned(), json!(0))]);
}

#[tokio::test]
async fn the_commands_for_mediamtx_report_a_stream() {
    let app = app_with(&[]).await;
    let lines = snippet("runOnNotReady");
    let run = |hook: &str, path: &str| {
        let line = lines.lines().find_map(|line| line.trim().strip_prefix(&format!("{hook}: "))).unwrap();
        let line = line.replace("http://127.0.0.1:3000", &app.base).replace("YOUR-SECRET", SECRET);
        assert!(line.contains(SECRET) && line.contains(&app.base), "{line}");
        // MediaMTX replaces the variables, and splits the line like a shell.
        let line =
            line.replace("$MTX_PATH", path).replace("$MTX_SOURCE_ID", "4f4d5a5e-6c1f-4d6a-a0a5-6b8f0f2f8c11");
        let words = line.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect::<Vec<_>>();
        tokio::task::spawn_blocking(move || Command::new(&words[0]).args(&words[1..]).status().unwrap())
    };
    assert!(run("runOnReady", "ana").await.unwrap().success());
    assert_eq!(count(&app, "ana").await["live"], true);
    assert!(run("runOnNotReady", "ana").await.unwrap().success());
    assert_eq!(count(&app, "ana").await["live"], false);
    assert!(!run("runOnReady", "live/ana").await.unwrap().success(), "the log of MediaMTX shows the failure");
}
