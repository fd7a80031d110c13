//! Tickets: who a viewer is, if the site says so. Tickets are made by the library and, where no library would make them,
//! by hand.

mod sessions;

use std::time::{Duration, Instant};

use aforo::server::tickets::{Key, MAX_BYTES, Tickets};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Response, StatusCode};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{PATIENCE, Program, RedisServer, TestApp, viewer};

const SECRET: &[u8] = b"a secret that the site's backend shares with Aforo";

/// The secret as it is written in the settings.
fn key() -> String {
    format!("hs256:{}", STANDARD.encode(SECRET))
}

/// A node that accepts or requires tickets signed with [`SECRET`].
async fn node(mode: &str, more: &[&str]) -> TestApp {
    let flags = [format!("--tickets={mode}"), format!("--ticket-keys={}", key())];
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestApp::with(&flags).await
}

/// The claims of a ticket of this account for the channel `ana`.
fn claims(account: &str) -> Value {
    json!({"sub": account, "channel": "ana", "exp": get_current_timestamp() + 600})
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

fn sign(claims: &Value) -> String {
    sign_with(claims, Algorithm::HS256, &EncodingKey::from_secret(SECRET))
}

fn sign_with(claims: &Value, algorithm: Algorithm, key: &EncodingKey) -> String {
    // Installs the cryptography that the library uses.
    Tickets::new(false, &[self::key().parse::<Key>().unwrap()], None).unwrap();
    encode(&Header::new(algorithm), claims, key).unwrap()
}

/// A ticket with any header, signed with [`SECRET`].
fn forge(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn ticket_of(account: &str) -> String {
    sign(&claims(account))
}

async fn join(app: &TestApp, ticket: &str) -> Response {
    let ids = json!({"channelId": "ana", "viewerId": viewer(), "sessionId": viewer(), "ticket": ticket});
    app.post("/api/viewer/join", &ids).await
}

/// Joins with a ticket. Returns the ids with which the page goes on.
async fn joined(app: &TestApp, ticket: &str) -> Value {
    let response = join(app, ticket).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    json!({"channelId": "ana", "viewerId": answer["viewerId"], "sessionId": answer["sessionId"]})
}

/// The status and the code of a refused call.
async fn refusal(response: Response) -> (u16, String) {
    let (status, problem) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

async fn refusal_of(app: &TestApp, call: &str, body: &Value) -> (u16, String) {
    refusal(app.post(&format!("/api/viewer/{call}"), body).await).await
}

fn forbidden(code: &str) -> (u16, String) {
    (403, code.to_owned())
}

async fn heartbeat(app: &TestApp, page: &Value) -> Value {
    let response = app.post("/api/viewer/heartbeat", page).await;
    assert_eq!(response.status(), StatusCode::OK, "{page}");
    response.json().await.unwrap()
}

async fn metric(app: &TestApp, name: &str) -> u64 {
    let text = app.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_account_is_one_viewer_on_all_its_devices() {
    let app = node("require", &[]).await;
    let ticket = ticket_of("user-7");
    let (phone, laptop) = (joined(&app, &ticket).await, joined(&app, &ticket_of("user-7")).await);
    assert_eq!(phone["viewerId"], laptop["viewerId"]);
    assert_ne!(phone["sessionId"], laptop["sessionId"]);
    assert_eq!(app.count("ana").await, 1);
    joined(&app, &ticket_of("user-8")).await;
    assert_eq!(app.count("ana").await, 2);
    // A page goes on without the ticket.
    for page in [&phone, &laptop, &phone] {
        assert_eq!(heartbeat(&app, page).await, json!({"count": 2, "stale": false, "active": true}));
    }
    app.post("/api/viewer/leave", &phone).await;
    assert_eq!(app.count("ana").await, 2, "the laptop still watches");
    app.post("/api/viewer/leave", &laptop).await;
    assert_eq!(app.count("ana").await, 1);
    assert_eq!(metric(&app, "aforo_ticket_joins_total").await, 3);
}

#[tokio::test]
async fn nobody_else_counts_where_a_ticket_is_required() {
    let app = node("require", &[]).await;
    let (browser, account) = (viewer(), Uuid::parse_str("6fa1c0de-94a1-8b1e-8a53-0c6f2f6f7a10").unwrap());
    for id in [json!(browser), json!(account), json!(browser.simple())] {
        for ids in [
            json!({"channelId": "ana", "viewerId": id}),
            json!({"channelId": "ana", "viewerId": id, "sessionId": viewer(), "hidden": true}),
            json!({"channelId": "ana", "viewerId": id, "ticket": null}),
            json!({"channelId": "ana", "viewerId": id, "ticket": ""}),
        ] {
            for call in ["join", "heartbeat"] {
                assert_eq!(refusal_of(&app, call, &ids).await, forbidden("ticket-required"), "{call} {ids}");
            }
        }
    }
    assert_eq!(refusal_of(&app, "join", &json!({"channelId": "ana"})).await, forbidden("ticket-required"));
    assert_eq!(app.count("ana").await, 0);
    assert_eq!(metric(&app, r#"aforo_ticket_rejections_total{reason="required"}"#).await, 25);
    // Malformed calls are still malformed, and leaving what is unknown succeeds.
    assert_eq!(refusal_of(&app, "join", &json!({"channelId": "a b"})).await.1, "invalid-channel");
    let nil = json!({"channelId": "ana", "viewerId": Uuid::nil()});
    assert_eq!(refusal_of(&app, "heartbeat", &nil).await.1, "invalid-viewer");
    let number = json!({"channelId": "ana", "ticket": 7});
    assert_eq!(refusal_of(&app, "join", &number).await, (400, "malformed".to_owned()));
    app.leave("ana", browser).await;
    app.leave("ana", account).await;
}

#[tokio::test]
async fn viewers_with_and_without_a_ticket_count_where_tickets_are_accepted() {
    let app = node("accept", &[]).await;
    let browser = viewer();
    app.join("ana", browser).await;
    app.heartbeat("ana", viewer()).await;
    let account = joined(&app, &ticket_of("user-7")).await;
    assert_eq!(app.count("ana").await, 3);
    app.heartbeat("ana", browser).await;
    heartbeat(&app, &account).await;
    app.leave("ana", browser).await;
    assert_eq!(app.count("ana").await, 2);
    // A wrong ticket is refused, not ignored.
    assert_eq!(refusal(join(&app, "wrong").await).await, forbidden("ticket-invalid"));
    assert_eq!(app.count("ana").await, 2);
}

/// The answer to a call of the statistics.
async fn statistics(app: &TestApp, call: &str) -> Value {
    let response = app.get(&format!("/api/channel/ana/{call}")).await;
    assert_eq!(response.status(), StatusCode::OK, "{call}");
    response.json().await.unwrap()
}

/// The joins of the last day with and without a ticket, added up over the points of the history.
async fn joins_in_history(app: &TestApp) -> [u64; 2] {
    let history = statistics(app, "history?step=60").await;
    let points = history["points"].as_array().unwrap();
    ["withTicket", "withoutTicket"].map(|name| {
        points.iter().filter_map(|point| point["joins"].get(name)).filter_map(Value::as_u64).sum()
    })
}

#[tokio::test]
async fn history_tells_joins_with_and_without_a_ticket() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let flags = ["--stats=public", "--redis-url", &*url];
    let (one, other) = (node("accept", &flags).await, node("accept", &flags).await);
    // An account on two devices joins twice.
    let phone = joined(&one, &ticket_of("user-7")).await;
    joined(&other, &ticket_of("user-7")).await;
    joined(&other, &ticket_of("user-8")).await;
    let browser = viewer();
    one.join("ana", browser).await;
    other.join("ana", viewer()).await;
    // Nothing else is a join: beats, leaves, and what is refused.
    heartbeat(&other, &phone).await;
    one.heartbeat("ana", browser).await;
    one.heartbeat("ana", viewer()).await;
    one.leave("ana", browser).await;
    for app in [&one, &other] {
        for wrong in [
            "wrong",
            &sign(&with(claims("user-9"), "exp", 1)),
            &sign(&with(claims("user-9"), "channel", "bob")),
        ] {
            assert_eq!(join(app, wrong).await.status(), StatusCode::FORBIDDEN);
        }
    }
    for app in [&one, &other] {
        let began = Instant::now();
        while joins_in_history(app).await != [3, 2] {
            assert!(began.elapsed() < PATIENCE, "{:?}", joins_in_history(app).await);
            sleep(Duration::from_millis(200)).await;
        }
        let expected = json!({"withTicket": 3, "withoutTicket": 2});
        let history = statistics(app, "history?step=60").await;
        assert_eq!(history["points"][0].get("joins"), None, "before the first join");
        for range in ["24h", "7d", "30d", "broadcast"] {
            assert_eq!(
                statistics(app, &format!("summary?range={range}")).await["joins"],
                expected,
                "{range}"
            );
        }
        assert_eq!(statistics(app, "broadcasts").await["broadcasts"][0]["joins"], expected);
        let csv = app.get("/api/channel/ana/history.csv?step=60").await.text().await.unwrap();
        assert_eq!(csv.lines().next(), Some("at,min,average,max,observed,newViewers"));
        for (language, label) in [
            ("es", "Llegadas con / sin ticket"),
            ("en", "Arrivals with / without ticket"),
            ("pt", "Chegadas com / sem ticket"),
        ] {
            let page = app.client.get(format!("{}/ana/stats", app.base)).header("accept-language", language);
            let page = page.send().await.unwrap().text().await.unwrap();
            assert!(page.contains(label) && page.contains("3 / 2"), "{page}");
        }
    }
}

#[tokio::test]
async fn history_says_nothing_of_tickets_where_they_are_off() {
    let app = TestApp::with(&["--stats=public", "--ticket-keys", &key()]).await;
    let body = json!({"channelId": "ana", "viewerId": viewer(), "ticket": ticket_of("user-7")});
    assert_eq!(app.post("/api/viewer/join", &body).await.status(), StatusCode::OK);
    let began = Instant::now();
    while statistics(&app, "broadcasts").await["broadcasts"][0]["uniques"] != 1 {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(200)).await;
    }
    for call in ["broadcasts", "history?step=60", "summary"] {
        let answer = statistics(&app, call).await.to_string();
        assert!(answer.contains("observed") && !answer.contains("joins"), "{answer}");
    }
    let page = app.get("/ana/stats").await.text().await.unwrap();
    assert!(page.contains("data-figure=\"peak\"") && !page.contains("ticket"), "{page}");
}

#[tokio::test]
async fn tickets_are_ignored_where_they_are_off() {
    let app = TestApp::with(&["--ticket-keys", &key()]).await;
    let (id, reserved) = (viewer(), Uuid::parse_str("6fa1c0de-94a1-8b1e-8a53-0c6f2f6f7a10").unwrap());
    for ticket in [&ticket_of("user-7"), "wrong"] {
        let body = json!({"channelId": "ana", "viewerId": id, "ticket": ticket});
        let answer: Value = app.post("/api/viewer/join", &body).await.json().await.unwrap();
        assert_eq!((&answer["viewerId"], &answer["count"]), (&json!(id), &json!(1)));
    }
    app.join("ana", reserved).await;
    app.heartbeat("ana", reserved).await;
    assert_eq!(app.count("ana").await, 2);
}

#[tokio::test]
async fn wrong_tickets_are_refused_and_count_nothing() {
    let redis = RedisServer::start().await;
    let app = node("require", &["--redis-url", &redis.url()]).await;
    app.count("ana").await;
    // The list of changes exists while nodes read it.
    let keys_of_channels = || {
        let keys = redis.keys(0).into_iter();
        keys.filter(|key| key != "aforo:{changes}").collect::<Vec<_>>()
    };
    let keys = keys_of_channels();
    let now = get_current_timestamp();
    let valid = claims("user-7").to_string();
    let good = ticket_of("user-7");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let payload = message.split('.').nth(1).unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let stranger = EncodingKey::from_secret(b"a secret that only a stranger knows, of 46 bytes");
    let invalid = [
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "ñ.ñ.ñ".to_owned(),
        // No signature, or that of another message.
        message.to_owned(),
        format!("{message}."),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        forge(r#"{"alg":"none"}"#, &valid),
        format!("{message}.{}", signature.chars().rev().collect::<String>()),
        sign_with(&claims("user-7"), Algorithm::HS256, &stranger),
        // Another algorithm.
        forge(r#"{"alg":"HS512"}"#, &valid),
        forge(r#"{"alg":"EdDSA"}"#, &valid),
        forge(r#"{"alg":["HS256"]}"#, &valid),
        forge(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &valid),
        // Claims.
        forge(r#"{"alg":"HS256"}"#, "[]"),
        forge(r#"{"alg":"HS256"}"#, &valid[1..]),
        sign(&json!({"sub": "user-7", "channel": "ana"})),
        sign(&json!({"sub": "user-7", "exp": now + 60})),
        sign(&json!({"channel": "ana", "exp": now + 60})),
        sign(&with(claims("user-7"), "sub", "")),
        sign(&with(claims("user-7"), "sub", 7)),
        sign(&with(claims("user-7"), "exp", "soon")),
        sign(&with(claims("user-7"), "nbf", now + 600)),
        sign(&with(claims("user-7"), "aud", "elsewhere")),
        // Another channel or origin.
        sign(&with(claims("user-7"), "channel", "bob")),
        sign(&with(claims("user-7"), "channel", "ana*")),
        sign(&with(claims("user-7"), "origin", "https://partner.example")),
        // Too long.
        sign(&with(claims("user-7"), "more", "x".repeat(MAX_BYTES))),
        "x".repeat(3_500),
    ];
    for ticket in &invalid {
        let response = join(&app, ticket).await;
        assert!(!response.headers().contains_key("retry-after"));
        assert_eq!(refusal(response).await, forbidden("ticket-invalid"), "{ticket}");
        let body = json!({"channelId": "ana", "viewerId": viewer(), "ticket": ticket});
        assert_eq!(refusal_of(&app, "heartbeat", &body).await, forbidden("ticket-invalid"), "{ticket}");
    }
    let expired = [now - 60, now - 86_400, 0];
    for exp in expired {
        let ticket = sign(&with(claims("user-7"), "exp", exp));
        assert_eq!(refusal(join(&app, &ticket).await).await, forbidden("ticket-expired"));
    }
    let large = refusal(join(&app, &"x".repeat(5_000)).await).await;
    assert_eq!(large, (413, "body-too-large".to_owned()));
    assert_eq!(app.count("ana").await, 0);
    assert_eq!(app.get("/api/viewer/live").await.json::<Value>().await.unwrap()["channels"], json!([]));
    assert_eq!(keys_of_channels(), keys, "nothing is left in the store");
    for (reason, expected) in [("required", 0), ("invalid", 2 * invalid.len()), ("expired", expired.len())] {
        let name = format!("aforo_ticket_rejections_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&app, &name).await, expected as u64, "{reason}");
    }
    assert_eq!(metric(&app, r#"aforo_beats_total{act="join"}"#).await, 0);
    // The same address still joins with a right one.
    joined(&app, &good).await;
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn an_ed25519_key_is_not_taken_for_a_secret() {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
    let public = pair.public_key().as_ref();
    let keys = format!("--ticket-keys=ed25519:{},{}", STANDARD.encode(public), key());
    let app = TestApp::with(&["--tickets=require", &keys]).await;
    let by_key = sign_with(&claims("user-7"), Algorithm::EdDSA, &EncodingKey::from_ed_der(private.as_ref()));
    assert_eq!(join(&app, &by_key).await.status(), StatusCode::OK);
    let by_secret = joined(&app, &ticket_of("user-7")).await;
    assert_eq!(app.count("ana").await, 1, "the account is the same, whoever signs");
    let forged = sign_with(&claims("user-8"), Algorithm::HS256, &EncodingKey::from_secret(public));
    assert_eq!(refusal(join(&app, &forged).await).await, forbidden("ticket-invalid"));
    heartbeat(&app, &by_secret).await;
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn nodes_agree_on_a_viewer_while_keys_are_rotated() {
    let redis = RedisServer::start().await;
    let new = b"the secret that takes the place of the first one";
    let both = format!("{},hs256:{}", key(), STANDARD.encode(new));
    let last = format!("hs256:{}", STANDARD.encode(new));
    let mut nodes = Vec::new();
    for keys in [&key(), &both, &last] {
        let flags = ["--tickets=require", "--ticket-keys", keys, "--redis-url", &redis.url()];
        nodes.push(TestApp::with(&flags).await);
    }
    let (old_ticket, new_ticket) =
        (ticket_of("user-7"), sign_with(&claims("user-7"), Algorithm::HS256, &EncodingKey::from_secret(new)));
    let mut pages = Vec::new();
    for (node, ticket) in [(0, &old_ticket), (1, &old_ticket), (1, &new_ticket), (2, &new_ticket)] {
        pages.push(joined(&nodes[node], ticket).await);
    }
    assert_eq!(refusal(join(&nodes[2], &old_ticket).await).await, forbidden("ticket-invalid"));
    for node in &nodes {
        for page in &pages {
            assert_eq!(heartbeat(node, page).await["count"], 1, "any node goes on with any page");
        }
    }
}

#[tokio::test]
async fn a_ticket_can_be_bound_to_the_origin_of_pages() {
    let app = node("require", &["--allowed-origins=https://partner.example,https://other.example"]).await;
    let ticket = sign(&with(claims("user-7"), "origin", "https://partner.example"));
    let join = async |origin: Option<&str>| {
        let request = app.client.post(format!("{}/api/viewer/join", app.base));
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        request.json(&json!({"channelId": "ana", "ticket": ticket})).send().await.unwrap()
    };
    let other = join(Some("https://other.example")).await;
    assert_eq!(other.headers()["access-control-allow-origin"], "https://other.example");
    assert_eq!(refusal(other).await, forbidden("ticket-invalid"));
    assert_eq!(refusal(join(None).await).await, forbidden("ticket-invalid"));
    assert_eq!(refusal(join(Some("https://evil.example")).await).await, forbidden("origin-not-allowed"));
    assert_eq!(app.count("ana").await, 0);
    assert_eq!(join(Some("https://partner.example")).await.status(), StatusCode::OK);
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn an_account_can_use_many_devices_and_is_one_viewer() {
    let app = node("require", &[]).await;
    let ticket = sign(&with(claims("user-7"), "channel", "*"));
    for _ in 0..40 {
        joined(&app, &ticket).await;
    }
    assert_eq!(app.count("ana").await, 1);
    let other = json!({"channelId": "bob", "ticket": ticket});
    assert_eq!(app.post("/api/viewer/join", &other).await.status(), StatusCode::OK);
    assert_eq!(app.count("bob").await, 1);
}

#[tokio::test]
async fn wrong_tickets_of_an_address_are_checked_at_a_limited_rate() {
    let app = node("require", &["--trusted-proxies=127.0.0.1"]).await;
    let call = async |from: &str, ticket: &str| {
        let request = app.client.post(format!("{}/api/viewer/join", app.base));
        let request = request.header("X-Forwarded-For", from);
        request.json(&json!({"channelId": "ana", "ticket": ticket})).send().await.unwrap()
    };
    let began = Instant::now();
    let stranger = EncodingKey::from_secret(b"a secret that only a stranger knows, of 46 bytes");
    let wrong = sign_with(&claims("user-7"), Algorithm::HS256, &stranger);
    let mut answers = stream::iter(0..4_000).map(|_| call("192.0.2.1", &wrong)).buffer_unordered(32);
    let (mut refused, mut limited) = (0, 0);
    while let Some(response) = answers.next().await {
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(response.headers().contains_key("retry-after"));
            limited += 1;
        } else {
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            refused += 1;
        }
    }
    drop(answers);
    // The first ones, before the address is suspect; the burst; and what the rate admits during the test.
    let most = 32 + 1_000 + 100 * (began.elapsed().as_secs() + 1);
    assert!(refused <= most, "{refused} of {most} at most, {limited} limited");
    assert_eq!(metric(&app, r#"aforo_limit_rejections_total{limit="tickets"}"#).await, limited);
    assert_eq!(call("192.0.2.2", &ticket_of("user-8")).await.status(), StatusCode::OK, "other addresses");
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn accounts_tickets_and_keys_are_in_no_log_page_or_answer() {
    let account = "ana.maria@example.org";
    let id_secret = STANDARD.encode(b"a secret of the operator for the ids of viewers");
    let keys = key();
    let server = Program::start(&[
        ("VIEWER_TICKETS", "require"),
        ("VIEWER_TICKET_KEYS", &keys),
        ("VIEWER_TICKET_ID_SECRET", &id_secret),
        ("RUST_LOG", "trace"),
    ])
    .await;
    let ticket = ticket_of(account);
    let wrong = sign_with(&claims(account), Algorithm::HS256, &EncodingKey::from_secret(&[7; 32]));
    let mut seen = String::new();
    for response in [
        join(&server, &ticket).await,
        join(&server, &wrong).await,
        join(&server, &sign(&with(claims(account), "exp", 1))).await,
        server.get(&format!("/ana?ticket={ticket}")).await,
        server.get(&format!("/embed/ana?counter=1&ticket={ticket}")).await,
        server.get(&format!("/nowhere/at/all?ticket={ticket}")).await,
        server.get("/metrics").await,
        server.get("/api/openapi.json").await,
    ] {
        seen += &format!("{:?}", response.headers());
        seen += &response.text().await.unwrap();
    }
    server.wait_for_log("[VIEWER] join").await;
    seen += &server.log();
    assert!(seen.contains("ticket-expired") && seen.contains("viewer-counter"), "everything was read");
    let payload = ticket.split('.').nth(1).unwrap();
    let secret = STANDARD.encode(SECRET);
    for hidden in [account, &ticket, &wrong, payload, &secret, &id_secret, "shares with Aforo"] {
        assert!(!seen.contains(hidden), "{hidden}");
    }
}
