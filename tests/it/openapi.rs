//! The `OpenAPI` document matches the routes, the error codes and real responses.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use aforo::{
    api::{Code, Problem, follows, viewers},
    domain::{ChannelId, Timestamp},
    server::{
        history::{Figures, Joins, Peak, Sketch, Span, Tally},
        webhooks::{
            event::{Subject, event},
            rules::Happening,
        },
    },
};
use leptos::server_fn::ServerFn;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::support::{FailingStore, TestApp, viewer};

const DOCUMENT: &str = include_str!("../../src/server/http/openapi.json");

/// Documented paths outside `/api/`.
const OTHERS: [&str; 5] = ["/badge/{file}", "/oembed", "/healthz", "/readyz", "/metrics"];

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Resolves a `$ref`, or returns the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).expect(reference),
        None => value,
    }
}

/// Validates a value with a schema of the document. Unknown fields are errors here, although clients ignore them.
fn validate(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                if fields.contains_key("properties") {
                    fields.insert("additionalProperties".to_owned(), false.into());
                }
                fields.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut root = json!({"allOf": [schema], "components": {"schemas": document["components"]["schemas"]}});
    close(&mut root);
    let validator = jsonschema::options().should_validate_formats(true).build(&root).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Asserts that a response matches the document. Returns its body.
async fn check(method: &Method, template: &str, answer: Response) -> Value {
    let document = document();
    let what = format!("{method} {template} -> {}", answer.status());
    let call = &document["paths"][template][method.as_str().to_ascii_lowercase()];
    let response = resolve(&document, &call["responses"][answer.status().as_str()]);
    assert!(response.is_object(), "{what} is not documented");
    for header in response["headers"].as_object().unwrap_or(&Map::new()).keys() {
        assert!(answer.headers().contains_key(header), "{what} has no {header}");
    }
    if answer.status() == StatusCode::NO_CONTENT {
        assert!(response["content"].is_null(), "{what} has no body");
        return Value::Null;
    }
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let essence = content_type.split(';').next().unwrap();
    let content = &response["content"][essence];
    assert!(content.is_object(), "{what}: {essence} is not documented");
    let body = answer.text().await.unwrap();
    let body = if essence.ends_with("json") { serde_json::from_str(&body).unwrap() } else { json!(body) };
    let errors = validate(&document, &content["schema"], &body);
    assert!(errors.is_empty(), "{what}: {errors:?} in {body}");
    body
}

/// The paths of all routes in the source code, from calls of the router and from server functions.
fn routes() -> BTreeSet<String> {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut sources = Vec::new();
    files(Path::new("src/server"), &mut sources);
    files(Path::new("src/api"), &mut sources);
    let mut routes = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        let quoted = |rest: &str| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned);
        let literals = text.split(".route(").skip(1).filter_map(quoted);
        let functions = text.split("#[server(").skip(1).filter_map(|attribute| {
            let arguments = attribute.split(")]").next()?;
            let argument = |name: &str| quoted(arguments.split_once(name)?.1);
            Some(format!("{}/{}", argument("prefix =")?, argument("endpoint =")?))
        });
        // Routes that pages use too are constants whose names end with `_PATH`.
        let constants = text.split("_PATH: &str =").skip(1).filter_map(quoted);
        routes.extend(literals.chain(functions).chain(constants));
    }
    routes
}

#[test]
fn exactly_the_existing_routes_are_documented() {
    let is_documented = |route: &String| route.starts_with("/api/") || OTHERS.contains(&route.as_str());
    let routes: BTreeSet<_> = routes().into_iter().filter(is_documented).collect();
    for known in
        [viewers::Join::PATH, viewers::Count::PATH, follows::FOLLOW_PATH, "/api/viewer/live", "/healthz"]
    {
        assert!(routes.contains(known), "the search finds {known}");
    }
    let documented: BTreeSet<_> = document()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes, documented);
}

#[test]
fn the_endpoints_of_the_hooks_are_documented() {
    let text = fs::read_to_string("src/hooks/endpoints.rs").unwrap();
    let called: Vec<_> =
        text.split(": &str = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(called.len(), 7, "endpoints of the hooks: {called:?}");
    for endpoint in called {
        let path = endpoint.split('?').next().unwrap();
        let path = path.strip_suffix('/').map_or(path.to_owned(), |path| format!("{path}/{{channelId}}"));
        assert!(document()["paths"][&path].is_object(), "{endpoint} is not documented");
    }
}

#[test]
fn exactly_the_existing_error_codes_are_documented() {
    let codes = Code::ALL.map(|code| serde_json::to_value(code).unwrap());
    assert_eq!(document()["components"]["schemas"]["Code"]["enum"], json!(codes));
}

#[test]
fn the_document_has_the_version_of_the_crate() {
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_examples_match_the_schemas() {
    /// Collects all examples with their schemas.
    fn examples<'a>(value: &'a Value, found: &mut Vec<(&'a Value, &'a Value)>) {
        if let Value::Object(fields) = value {
            if let Some(schema) = fields.get("schema") {
                found.extend(fields.get("example").map(|example| (schema, example)));
                let more = fields.get("examples").and_then(Value::as_object).into_iter().flatten();
                found.extend(more.map(|(_, example)| (schema, &example["value"])));
            }
            fields.values().for_each(|value| examples(value, found));
        }
    }
    let document = document();
    let mut found = Vec::new();
    examples(&document, &mut found);
    assert!(found.len() > 20, "{} examples", found.len());
    let mut codes = BTreeSet::new();
    for (schema, example) in found {
        let errors = validate(&document, schema, example);
        assert!(errors.is_empty(), "{errors:?} in {example}");
        if let Some(code) = example["code"].as_str() {
            let problem = Problem::new(serde_json::from_value(example["code"].clone()).unwrap());
            let problem = serde_json::to_value(problem).unwrap();
            assert_eq!((&example["title"], &example["status"]), (&problem["title"], &problem["status"]));
            codes.insert(code.to_owned());
        }
    }
    assert_eq!(codes.len(), Code::ALL.len(), "each code has an example: {codes:?}");
}

#[test]
fn the_validation_finds_invalid_values() {
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/CountUpdate"});
    let right = json!({"channelId": "ana", "count": 5, "stale": false, "asOf": 1, "live": null});
    assert_eq!(validate(&document, &schema, &right), Vec::<String>::new());
    for (field, value) in [
        ("count", json!("5")),
        ("count", json!(-1)),
        ("channelId", json!("a b")),
        ("live", json!(1)),
        ("more", json!(1)),
    ] {
        let mut wrong = right.clone();
        wrong[field] = value;
        assert!(!validate(&document, &schema, &wrong).is_empty(), "{wrong}");
    }
    let problem = json!({"type": "about:blank", "title": "", "status": 400, "code": "invented"});
    assert!(!validate(&document, &json!({"$ref": "#/components/schemas/Problem"}), &problem).is_empty());
    let joined = json!({"viewerId": "me", "sessionId": viewer(), "count": 1, "stale": false, "heartbeatIntervalMs": 1});
    assert!(!validate(&document, &json!({"$ref": "#/components/schemas/Joined"}), &joined).is_empty());
}

#[test]
fn the_events_match_the_document() {
    let (channel, at) = (ChannelId::parse("ana.tv").unwrap(), Timestamp::from_millis(1_790_000_000_000));
    let subject = Subject { channel: &channel, first_start: at, started_at: at };
    let (peak, ended_at) = (Peak { count: 7, at }, at);
    let figures = Figures::new(Span::new(at, at), Some(at), &Tally::default(), &Sketch::default());
    let figures = Figures { joins: Some(Joins { with_ticket: 1, without_ticket: 2 }), ..figures };
    let document = document();
    let mut kinds = BTreeSet::new();
    for happening in [
        Happening::Live,
        Happening::Peak(peak),
        Happening::Milestone(5, peak),
        Happening::Offline { ended_at },
        Happening::Ended { ended_at },
    ] {
        let event = event(&subject, &happening, Some(&figures));
        let body: Value = serde_json::from_str(&event.body).unwrap();
        let kind = body["type"].as_str().unwrap().to_owned();
        let post = &document["webhooks"][&kind]["post"];
        let errors =
            validate(&document, &post["requestBody"]["content"]["application/json"]["schema"], &body);
        assert!(errors.is_empty(), "{errors:?} in {body}");
        let id = resolve(&document, &post["parameters"][0]);
        assert_eq!(validate(&document, &id["schema"], &json!(event.id)), Vec::<String>::new());
        kinds.insert(kind);
    }
    let documented: BTreeSet<_> = document["webhooks"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(kinds, documented);
}

#[tokio::test]
async fn the_document_is_public_and_cacheable() {
    let app = TestApp::start().await;
    let answer = app.get("/api/openapi.json").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=3600");
    assert_eq!(check(&Method::GET, "/api/openapi.json", answer).await, document());
}

/// Calls all POST endpoints with valid, invalid and too large bodies.
async fn posts(app: &TestApp) {
    let one = viewer();
    let session = json!({"channelId": "ana", "viewerId": one});
    let bodies = [
        session.to_string(),
        json!({"channelId": "ana", "viewerId": one, "sessionId": viewer(), "hidden": true}).to_string(),
        json!({"channelId": "a b", "viewerId": one}).to_string(),
        json!({"channelId": "ana", "viewerId": "me"}).to_string(),
        "{".to_owned(),
        " ".repeat(5_000),
    ];
    for path in [viewers::Join::PATH, viewers::Heartbeat::PATH, viewers::Leave::PATH, follows::FOLLOW_PATH] {
        let post = || app.client.post(format!("{}{path}", app.base));
        for body in &bodies {
            let answer = post().header("content-type", "application/json").body(body.clone()).send();
            check(&Method::POST, path, answer.await.unwrap()).await;
        }
        let foreign = post().header("origin", "https://evil.example").json(&session).send().await.unwrap();
        assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
        check(&Method::POST, path, foreign).await;
        let other_type = post().header("content-type", "text/html").send().await.unwrap();
        assert_eq!(other_type.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        check(&Method::POST, path, other_type).await;
        let other_method = app.get(path).await;
        assert_eq!(other_method.status(), StatusCode::METHOD_NOT_ALLOWED);
        check(&Method::POST, path, other_method).await;
    }
    let counts = "/api/viewer/counts";
    for body in [json!({"channels": ["ana", "bob"]}), json!({}), json!({"channels": ["a b"]})] {
        check(&Method::POST, counts, app.post(counts, &body).await).await;
    }
    let new = app.post(viewers::Join::PATH, &json!({"channelId": "bob"})).await;
    let new = check(&Method::POST, viewers::Join::PATH, new).await;
    assert_eq!(new["count"], 1);
}

/// The GET requests: each path with its template in the document.
const READS: [(&str, &str); 27] = [
    ("/api/viewer/count/ana", "/api/viewer/count/{channelId}"),
    ("/api/viewer/count/nobody", "/api/viewer/count/{channelId}"),
    ("/api/viewer/count/a%20b", "/api/viewer/count/{channelId}"),
    ("/api/viewer/count?channelId=ana", "/api/viewer/count"),
    ("/api/viewer/count", "/api/viewer/count"),
    ("/api/viewer/counts?channels=ana,BOB,nobody", "/api/viewer/counts"),
    ("/api/viewer/counts?channels=", "/api/viewer/counts"),
    ("/api/viewer/live", "/api/viewer/live"),
    ("/api/viewer/live?limit=1", "/api/viewer/live"),
    ("/api/viewer/live?limit=0", "/api/viewer/live"),
    ("/api/channel/follow/ana", "/api/channel/follow/{channelId}"),
    ("/api/channel/follow/a%20b", "/api/channel/follow/{channelId}"),
    ("/api/channel/follow/ana/heart.svg", "/api/channel/follow/{channelId}/heart.svg"),
    ("/api/channel/follow/a%20b/heart.svg", "/api/channel/follow/{channelId}/heart.svg"),
    ("/api/channel/followers?channelId=ana", "/api/channel/followers"),
    ("/api/channel/followers", "/api/channel/followers"),
    ("/badge/ana.svg", "/badge/{file}"),
    ("/badge/ana.json?locale=en", "/badge/{file}"),
    ("/badge/ana.txt", "/badge/{file}"),
    ("/badge/ana.png", "/badge/{file}"),
    ("/oembed", "/oembed"),
    ("/oembed?url=https://other.example/ana", "/oembed"),
    ("/oembed?url=https://other.example/ana&format=xml", "/oembed"),
    ("/api/viewer/ping", "/api/viewer/ping"),
    ("/healthz", "/healthz"),
    ("/readyz", "/readyz"),
    ("/metrics", "/metrics"),
];

#[tokio::test]
async fn real_responses_match_the_document() {
    let app = TestApp::start().await;
    posts(&app).await;
    for (path, template) in READS {
        check(&Method::GET, template, app.get(path).await).await;
        let other_method = app.client.delete(format!("{}{path}", app.base)).send().await.unwrap();
        assert_eq!(other_method.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        check(&Method::GET, template, other_method).await;
    }
    let embed = app.get(&format!("/oembed?url={}/ana", app.base)).await;
    assert_eq!(embed.status(), StatusCode::OK);
    check(&Method::GET, "/oembed", embed).await;
}

#[tokio::test]
async fn calls_with_a_secret_match_the_document() {
    let (token, secret) = ("operator-token-0123456789", "hook-secret-0123456789");
    let flags =
        ["--live=signal".to_owned(), format!("--api-token={token}"), format!("--live-hook-secret={secret}")];
    let app = TestApp::with(&flags.each_ref().map(String::as_str)).await;
    let live = "/api/channel/{channelId}/live";
    for (channel, body) in [
        ("ana", json!({"live": true, "startedAt": 1_700_000_000_000_u64}).to_string()),
        ("ana", json!({"live": false}).to_string()),
        ("a%20b", json!({"live": true}).to_string()),
        ("ana", "{".to_owned()),
        ("ana", " ".repeat(5_000)),
    ] {
        let url = format!("{}/api/channel/{channel}/live", app.base);
        let put = || app.client.put(&url).header("content-type", "application/json").body(body.clone());
        check(&Method::PUT, live, put().bearer_auth(token).send().await.unwrap()).await;
        let refused = put().send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        check(&Method::PUT, live, refused).await;
    }
    let url = format!("{}/api/channel/ana/live", app.base);
    check(&Method::PUT, live, app.client.put(&url).bearer_auth(token).body("live").send().await.unwrap())
        .await;
    check(&Method::PUT, live, app.client.get(&url).send().await.unwrap()).await;

    let anomalies = "/api/channel/{channelId}/anomalies";
    for channel in ["ana", "a%20b"] {
        let url = format!("{}/api/channel/{channel}/anomalies", app.base);
        check(&Method::GET, anomalies, app.client.get(&url).bearer_auth(token).send().await.unwrap()).await;
        check(&Method::GET, anomalies, app.client.get(&url).send().await.unwrap()).await;
        check(&Method::GET, anomalies, app.client.delete(&url).send().await.unwrap()).await;
    }

    let document = document();
    for server in ["nginx-rtmp", "srs", "mediamtx", "ome"] {
        let path = format!("/api/hooks/{server}");
        let content = document["paths"][&path]["post"]["requestBody"]["content"].as_object().unwrap();
        let (media_type, content) = content.iter().next().unwrap();
        let example = &content["example"];
        assert!(validate(&document, &content["schema"], example).is_empty(), "{server}");
        let body = match &**media_type {
            "application/json" => example.to_string(),
            _ => serde_urlencoded::to_string(example.as_object().unwrap()).unwrap(),
        };
        for (query, body) in
            [(secret, &*body), (secret, ""), (secret, &*" ".repeat(17_000)), ("wrong", &*body)]
        {
            let url = format!("{}{path}?secret={query}", app.base);
            let post = app.client.post(url).header("content-type", media_type).body(body.to_owned());
            check(&Method::POST, &path, post.send().await.unwrap()).await;
        }
        check(&Method::POST, &path, app.get(&path).await).await;
    }
    let counted =
        check(&Method::GET, "/api/viewer/count/{channelId}", app.get("/api/viewer/count/iblups").await).await;
    assert_eq!(counted["live"], true, "by the examples of the document");
}

#[tokio::test]
async fn streams_match_the_document() {
    let app = TestApp::with(&["--limit-streams-per-address=2", "--limit-streams=3"]).await;
    let document = document();
    let mut open = Vec::new();
    for path in ["sse/ana", "sse?channels=ana,bob"] {
        let mut stream = app.sse(path).await;
        let data = stream.data().await;
        let errors = validate(&document, &json!({"$ref": "#/components/schemas/CountUpdate"}), &data);
        assert!(errors.is_empty(), "{errors:?} in {data}");
        open.push(stream);
    }
    let (one, many) = ("/api/viewer/sse/{channelId}", "/api/viewer/sse");
    let full = app.get("/api/viewer/sse/ana").await;
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
    check(&Method::GET, one, full).await;
    check(&Method::GET, many, app.get("/api/viewer/sse").await).await;
    check(&Method::GET, one, app.get("/api/viewer/sse/a%20b").await).await;

    let app = TestApp::with(&["--limit-streams=1"]).await;
    let _open = app.sse("sse/ana").await;
    let full = app.get("/api/viewer/sse?channels=ana").await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(check(&Method::GET, many, full).await["code"], "overloaded");
}

#[tokio::test]
async fn refusals_and_server_errors_match_the_document() {
    let app = TestApp::with(&["--limit-joins-burst=1", "--limit-joins-per-second=1"]).await;
    let mut refused = None;
    for _ in 0..100 {
        let answer = app.post(viewers::Join::PATH, &json!({"channelId": "ana"})).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    check(&Method::POST, viewers::Join::PATH, refused.expect("a limit")).await;

    let key = "--ticket-keys=hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let app = TestApp::with(&["--tickets=require", key]).await;
    for path in [viewers::Join::PATH, viewers::Heartbeat::PATH] {
        for ticket in [json!(null), json!("wrong")] {
            let ids = json!({"channelId": "ana", "viewerId": viewer(), "ticket": ticket});
            let refused = app.post(path, &ids).await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
            check(&Method::POST, path, refused).await;
        }
    }

    let store = FailingStore::new();
    let app = TestApp::with_store(store.clone()).await;
    store.set_broken(true);
    for (path, template) in READS {
        check(&Method::GET, template, app.get(path).await).await;
    }
    let answer = app.post(viewers::Join::PATH, &json!({"channelId": "ana"})).await;
    check(&Method::POST, viewers::Join::PATH, answer).await;
    store.set_broken(false);
    store.set_panicking(true);
    let answer = app.get("/api/viewer/count/ana").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    check(&Method::GET, "/api/viewer/count/{channelId}", answer).await;
}
