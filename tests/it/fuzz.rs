//! Property tests of all parsers of untrusted input: no input causes a panic, and only valid input is accepted. Failing
//! cases are stored in `tests/it/fuzz.regressions` and tried first in later runs.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use aforo::{
    domain::{ChannelId, SessionId, SessionKey, ViewerId},
    i18n::Locale,
    server::{
        config::Origin,
        limits::{Address, Proxies, address::Network},
    },
};
use axum::http::{HeaderMap, HeaderValue};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{FileFailurePersistence, TestCaseResult, TestRunner},
};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};
use uuid::Uuid;

use crate::support::{PATIENCE, TestApp};

/// The number of cases for a parser and for a call to a running server.
const CASES: (u32, u32) = (1_000, 150);

/// Checks a property with random values.
fn check<S: Strategy>(cases: u32, values: S, property: impl Fn(S::Value) -> TestCaseResult) {
    let kept = FileFailurePersistence::Direct("tests/it/fuzz.regressions");
    let config =
        ProptestConfig { cases, failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() };
    TestRunner::new(config).run(&values, property).unwrap();
}

/// Checks a property with random calls to one server, which must not have panicked afterwards.
fn check_calls<S: Strategy>(values: S, property: impl AsyncFn(&TestApp, S::Value) -> TestCaseResult) {
    check_calls_with(&[], values, property);
}

/// The same with additional flags of the server.
fn check_calls_with<S: Strategy>(
    flags: &[&str],
    values: S,
    property: impl AsyncFn(&TestApp, S::Value) -> TestCaseResult,
) {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::with(flags));
    check(CASES.1, values, |value| runtime.block_on(property(&app, value)));
    runtime.block_on(async {
        let metrics = app.get("/metrics").await.text().await.unwrap();
        assert!(metrics.contains("\naforo_panics_total 0\n"), "{metrics}");
    });
}

/// Random texts, and texts that are almost valid.
fn text() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "Z",
        "7",
        ".",
        "_",
        "-",
        ",",
        ";",
        "=",
        ":",
        "/",
        " ",
        "%",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\0",
        "\r\n",
        "ñ",
        "ａ",
        "q=",
        "es",
        "en",
        "pt",
        "null",
        "10.0.0.1",
        "::1",
        "http://",
        "urn:uuid:",
        "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10",
    ]);
    prop_oneof![any::<String>(), vec(piece, 0..80).prop_map(|pieces| pieces.concat())]
}

/// Valid channel names, and some invalid ones.
fn name() -> impl Strategy<Value = String> {
    let letter = select(b"abcxyzABZ0189._-".to_vec());
    let valid = vec(letter, 1..65).prop_map(|letters| String::from_utf8(letters).unwrap());
    prop_oneof![3 => valid, 1 => text()]
}

/// Ids in all spellings, and some invalid ones.
fn id() -> impl Strategy<Value = String> {
    let uuid = any::<u128>().prop_map(Uuid::from_u128);
    let valid = uuid.prop_flat_map(|uuid| {
        select(vec![
            uuid.to_string(),
            uuid.to_string().to_uppercase(),
            uuid.simple().to_string(),
            uuid.braced().to_string(),
            uuid.urn().to_string(),
        ])
    });
    prop_oneof![4 => valid, 1 => text(), 1 => Just(Uuid::nil().to_string())]
}

/// Whether a text is a valid channel name. Implemented differently than the parser.
fn is_channel(text: &str) -> bool {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    (1..=64).contains(&text.chars().count()) && text.chars().all(|c| LETTERS.contains(c))
}

/// Percent-encodes bytes.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn header(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(bytes).ok()
}

#[test]
fn channel_names_are_converted_to_lower_case() {
    check(CASES.0, name(), |name| {
        let channel = ChannelId::parse(&name);
        prop_assert_eq!(channel.is_ok(), is_channel(&name));
        if let Ok(channel) = channel {
            prop_assert_eq!(channel.as_str(), name.to_lowercase());
            prop_assert_eq!(ChannelId::parse(channel.as_str()), Ok(channel));
        }
        Ok(())
    });
}

#[test]
fn ids_are_uuids_and_are_normalized() {
    check(CASES.0, id(), |id| {
        let viewer = ViewerId::parse(&id);
        prop_assert_eq!(viewer.is_ok(), SessionId::parse(&id).is_ok());
        if let Ok(viewer) = viewer {
            prop_assert!(!viewer.uuid().is_nil());
            prop_assert_eq!(viewer.to_string().len(), 36);
            prop_assert_eq!(ViewerId::parse(&viewer.to_string()), Ok(viewer));
            // The id has exactly the digits that were sent.
            let digits = id.to_lowercase().replace("urn:uuid:", "").replace(['-', '{', '}'], "");
            prop_assert_eq!(viewer.uuid().simple().to_string(), digits);
        }
        Ok(())
    });
}

#[test]
fn a_locale_is_the_default_or_named_in_the_header() {
    check(CASES.0, text(), |header| {
        let locale = Locale::from_accept_language(&header);
        let named = header.to_lowercase().contains(locale.as_str());
        prop_assert!(locale == Locale::default() || named, "{locale:?}");
        Ok(())
    });
}

#[test]
fn network_and_origin_settings_reject_garbage() {
    check(CASES.0, text(), |text| {
        if text.parse::<Network>().is_ok() {
            prop_assert!(text.contains(['.', ':']), "a network");
        }
        if text.parse::<Origin>().is_ok() {
            prop_assert!(
                ["*", "null"].contains(&text.trim().to_lowercase().trim_end_matches('/'))
                    || text.contains("://")
            );
        }
        Ok(())
    });
}

#[test]
fn a_client_cannot_forge_its_address() {
    let ours: Proxies = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).into_iter().collect();
    let proxy: SocketAddr = "10.1.2.3:4711".parse().unwrap();
    let client = any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()));
    let client = client.prop_filter("not a trusted proxy", |ip| !ip.to_string().starts_with("10."));
    let sent = vec(vec(any::<u8>(), 0..40), 0..4);
    let nearly = text().prop_map(|text| vec![text.into_bytes()]);
    check(CASES.0, (prop_oneof![sent, nearly], client), |(sent, client)| {
        let mut headers = HeaderMap::new();
        for value in sent.iter().filter_map(|bytes| header(bytes)) {
            headers.append("x-forwarded-for", value);
        }
        let direct = ours.client(SocketAddr::new(client, 1), &headers);
        prop_assert!(direct == Address::from(client), "the header of an untrusted client is ignored");
        // A proxy adds a header, or appends to the last one.
        let mut added = headers.clone();
        added.append("x-forwarded-for", HeaderValue::try_from(client.to_string()).unwrap());
        prop_assert!(ours.client(proxy, &added) == Address::from(client));
        let last =
            headers.get_all("x-forwarded-for").iter().next_back().map_or(&b""[..], HeaderValue::as_bytes);
        if let Some(joined) = header(&[last, b", ", client.to_string().as_bytes()].concat())
            .filter(|value| value.to_str().is_ok())
        {
            headers.insert("x-forwarded-for", joined);
            prop_assert!(ours.client(proxy, &headers) == Address::from(client));
        }
        Ok(())
    });
}

#[test]
fn paths_and_queries_accept_only_valid_channels() {
    let bytes = prop_oneof![vec(any::<u8>(), 1..80), name().prop_map(String::into_bytes)];
    check_calls(bytes, async |app, bytes| {
        // URL parsers remove these path segments, even percent-encoded.
        prop_assume!(bytes != b"." && bytes != b"..");
        let is_valid = str::from_utf8(&bytes).is_ok_and(is_channel);
        for path in ["count/", "count?channelId=", "counts?channels=", "sse/", "sse?channels="] {
            let answer = app.get(&format!("/api/viewer/{path}{}", encoded(&bytes))).await;
            let status = answer.status().as_u16();
            let is_list = path.contains("channels");
            if is_valid {
                prop_assert_eq!(status, 200, "{}", path);
            } else if is_list && bytes.contains(&b',') {
                prop_assert!([200, 400].contains(&status), "{path}: {status}");
            } else {
                // An empty channel is a different path.
                prop_assert!([400, 404].contains(&status), "{path}: {status}");
            }
        }
        Ok(())
    });
}

#[test]
fn lists_accept_only_valid_channels_and_drop_duplicates() {
    check_calls(vec(name(), 0..5), async |app, names| {
        let list = names.join(",");
        let names: Vec<_> = list.split(',').collect();
        let request = app.client.get(format!("{}/api/viewer/counts", app.base));
        let answer = request.query(&[("channels", &list)]).send().await.unwrap();
        let expected = if names.iter().all(|name| is_channel(name)) { 200 } else { 400 };
        prop_assert_eq!(answer.status().as_u16(), expected);
        if expected == 200 {
            let body: Value = answer.json().await.unwrap();
            let listed: Vec<_> = body["counts"].as_array().unwrap().iter().collect();
            let mut seen = HashSet::new();
            let once = names.iter().map(|name| name.to_lowercase()).filter(|name| seen.insert(name.clone()));
            let once: Vec<_> = once.map(Value::from).collect();
            prop_assert_eq!(listed.iter().map(|count| count["channelId"].clone()).collect::<Vec<_>>(), once);
        }
        Ok(())
    });
}

#[test]
fn oembed_answers_only_for_channels_of_this_site() {
    let size = prop_oneof![any::<u32>().prop_map(|size| size.to_string()), text()];
    let url = prop_oneof![text(), name().prop_map(|name| format!("//{name}")), name()];
    check_calls((url, size.clone(), size), async |app, (rest, max_width, max_height)| {
        let own = format!("{}/{rest}", app.base);
        for url in [&rest, &own] {
            let query = [("url", url), ("maxwidth", &max_width), ("maxheight", &max_height)];
            let answer = app.client.get(format!("{}/oembed", app.base)).query(&query).send().await.unwrap();
            let status = answer.status().as_u16();
            prop_assert!([200, 400, 404].contains(&status), "{url:?}: {status}");
            if status == 200 {
                let body: Value = answer.json().await.unwrap();
                let title = body["title"].as_str().unwrap();
                prop_assert!(url == &own && is_channel(title), "{url:?}: {body}");
                let within = |name: &str, most: &str| {
                    most.is_empty() || body[name].as_u64().unwrap() <= most.parse().unwrap()
                };
                prop_assert!(within("width", &max_width) && within("height", &max_height), "{body}");
            }
        }
        Ok(())
    });
}

#[test]
fn overlays_ignore_invalid_milestones() {
    check_calls(text(), async |app, milestones| {
        let request = app.client.get(format!("{}/overlay/ana", app.base));
        let answer = request.query(&[("milestones", &milestones)]).send().await.unwrap();
        prop_assert_eq!(answer.status().as_u16(), 200, "{}", milestones);
        let html = answer.text().await.unwrap();
        let shown = html.split(r#"data-milestones=""#).nth(1).and_then(|rest| rest.split('"').next());
        let is_number = |c: char| c.is_ascii_digit() || c == ' ';
        prop_assert!(shown.is_some_and(|shown| shown.chars().all(is_number)), "{milestones:?}: {html}");
        Ok(())
    });
}

/// Posts a body to all three endpoints. Returns the statuses.
async fn post(app: &TestApp, body: &[u8]) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for call in ["join", "heartbeat", "leave"] {
        let request = app.client.post(format!("{}/api/viewer/{call}", app.base));
        let request = request.header("content-type", "application/json").body(body.to_vec());
        statuses.push(request.send().await.unwrap().status());
    }
    statuses
}

#[test]
fn bodies_of_random_bytes_are_rejected() {
    check_calls(vec(any::<u8>(), 0..5_000), async |app, body| {
        prop_assume!(serde_json::from_slice::<Map<String, Value>>(&body).is_err());
        let expected =
            if body.len() > 4_096 { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        prop_assert_eq!(post(app, &body).await, vec![expected; 3]);
        Ok(())
    });
}

#[test]
fn bodies_are_accepted_if_every_field_is_valid() {
    let odd = select(vec![json!(null), json!(true), json!(5), json!(-1.5e300), json!([]), json!({"a": [1]})]);
    let part = |valid: BoxedStrategy<String>| prop_oneof![8 => valid.prop_map(Value::from), 1 => odd.clone()];
    let (channel, viewer, session) = (part(name().boxed()), part(id().boxed()), part(id().boxed()));
    check_calls((channel, viewer, session), async |app, (channel, viewer, session)| {
        let body = json!({"channelId": channel, "viewerId": viewer, "sessionId": session, "more": 1});
        let key = channel.as_str().zip(viewer.as_str()).and_then(|(channel, viewer)| {
            let session = if session.is_null() { Some(None) } else { session.as_str().map(Some) };
            SessionKey::parse(channel, viewer, session?).ok()
        });
        let expected = if key.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        let statuses = post(app, body.to_string().as_bytes()).await;
        prop_assert_eq!(&statuses[1..], &[expected; 2], "{}", body);
        // A join may omit the viewer.
        if !viewer.is_null() {
            prop_assert_eq!(statuses[0], expected, "{}", body);
        }
        Ok(())
    });
}

#[test]
fn random_headers_cause_no_server_error() {
    const NAMES: [&str; 9] = [
        "accept-language",
        "content-type",
        "cookie",
        "if-modified-since",
        "origin",
        "range",
        "sec-fetch-site",
        "user-agent",
        "x-request-id",
    ];
    let value = prop_oneof![vec(any::<u8>(), 0..100), text().prop_map(String::into_bytes)];
    check_calls((select(NAMES.to_vec()), value), async |app, (name, value)| {
        let Some(value) = header(&value) else { return Ok(()) };
        for path in ["/", "/ana", "/api/viewer/count/ana", "/robots.txt"] {
            let request = app.client.get(format!("{}{path}", app.base)).header(name, value.clone());
            let answer = request.send().await.unwrap();
            prop_assert!(answer.status().as_u16() < 500, "{}: {}", path, answer.status());
            let id = answer.headers()["x-request-id"].to_str().unwrap();
            prop_assert!(is_channel(id), "a request id has the characters of a channel name: {id}");
        }
        let request =
            app.client.post(format!("{}/api/viewer/join", app.base)).json(&json!({"channelId": "ana"}));
        let status = request.header(name, value).send().await.unwrap().status();
        prop_assert!([200, 400, 403, 415].contains(&status.as_u16()), "{status}");
        Ok(())
    });
}

#[test]
fn bytes_that_are_not_http_close_only_their_connection() {
    let start = select(vec![
        "",
        "GET / HTTP/1.1\r\n",
        "POST /api/viewer/join HTTP/1.1\r\nHost: a\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]);
    check_calls((start, vec(any::<u8>(), 0..2_000)), async |app, (start, bytes)| {
        let mut connection = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
        // The server may close the connection during the write.
        if connection.write_all(&[start.as_bytes(), &bytes].concat()).await.is_ok() {
            let _ended = connection.shutdown().await;
        }
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
        prop_assert!(read.is_ok(), "the connection is closed");
        prop_assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
        prop_assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
        Ok(())
    });
}

#[test]
fn what_an_encoder_adds_to_a_hook_puts_no_other_channel_on_air() {
    let flags = ["--live=signal", "--live-hook-secret=hook-secret-0123456789"];
    let field = select(vec![
        "&name=eva",
        "&call=publish_done",
        "&na%6de=eva",
        "&n=1",
        "&&",
        "=",
        "%",
        "+",
        ";name=eva",
    ]);
    let arguments = prop_oneof![text(), vec(field, 0..5).prop_map(|fields| fields.concat())];
    let server = select(vec!["nginx-rtmp", "srs", "mediamtx", "ome"]);
    check_calls_with(&flags, (server, name(), arguments), async |app, (server, name, arguments)| {
        let body = match server {
            "nginx-rtmp" => format!("addr=192.0.2.7&clientid=1&call=publish&name=ana&type=live&{arguments}"),
            "mediamtx" => format!("event=ready&path=ana&{arguments}"),
            "srs" => json!({"action": "on_publish", "stream": "ana", "param": arguments}).to_string(),
            _ => {
                let url = format!("rtmp://host/app/ana?{arguments}");
                json!({"request": {"direction": "incoming", "status": "opening", "url": url}}).to_string()
            }
        };
        let url = format!("{}/api/hooks/{server}?secret=hook-secret-0123456789", app.base);
        let status = app.client.post(&url).body(body).send().await.unwrap().status();
        prop_assert!([200, 400].contains(&status.as_u16()), "{}", status);
        let live: Value = app.get("/api/viewer/live").await.json().await.unwrap();
        let others: Vec<_> =
            live["channels"].as_array().unwrap().iter().filter(|one| one["channelId"] != "ana").collect();
        prop_assert!(others.is_empty(), "{:?}", others);
        // A hook takes the names that are channels, and no others.
        let body = json!({"action": "on_unpublish", "stream": name}).to_string();
        let status = app.client.post(url.replace(server, "srs")).body(body).send().await.unwrap().status();
        prop_assert_eq!(status.is_success(), is_channel(&name), "{}", status);
        Ok(())
    });
}
