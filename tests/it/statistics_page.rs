//! The statistics page as the server renders it: what it shows, in which states, and to whom.

use std::time::Duration;

use aforo::server::clock::{Clock, SystemClock};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT_LANGUAGE, AUTHORIZATION},
};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::support::{PATIENCE, TestApp, past::Past, viewer};

pub const SECRET: &str = "a secret of 32 bytes or even more";
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const SPACE: char = '\u{a0}';

/// The present minute, in milliseconds since the epoch.
fn this_minute() -> u64 {
    SystemClock::start().now().as_millis() / MINUTE * MINUTE
}

/// The token of a link, made as a backend makes it.
fn link(channel: &str, valid_for: i64) -> String {
    link_until(channel, i64::try_from(this_minute() / 1_000).unwrap() + valid_for)
}

/// The token of a link that ends at an instant, in seconds since the epoch.
pub fn link_until(channel: &str, exp: i64) -> String {
    let claims = json!({"channel": channel, "exp": exp});
    let parts = [r#"{"alg":"HS256","typ":"JWT"}"#.to_owned(), claims.to_string()];
    let message = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
}

async fn get(app: &TestApp, path: &str, language: &str) -> Response {
    let request = app.client.get(format!("{}{path}", app.base)).header(ACCEPT_LANGUAGE, language);
    request.send().await.unwrap()
}

async fn html(app: &TestApp, path: &str) -> String {
    let response = get(app, path, "es").await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.text().await.unwrap()
}

/// The texts of the elements with this attribute or class, without their tags.
fn texts(html: &str, marker: &str) -> Vec<String> {
    let text = |element: &str| {
        let (_, content) = element.split_once('>').unwrap();
        let end = content.find("</").unwrap_or(content.len());
        let mut text = String::new();
        for part in content[..end].split('<') {
            text += part.split_once('>').map_or(part, |(_, text)| text);
        }
        text
    };
    html.split(marker).skip(1).map(text).collect()
}

/// The figures of the newest broadcast, in their order: peak and its instant, average, uniques, watch time, observed.
fn main_figures(html: &str) -> Vec<String> {
    texts(html, "data-figure=")
}

/// The addresses of all links.
fn links(html: &str) -> Vec<String> {
    let links = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    links.map(|link| link.replace("&amp;", "&")).collect()
}

#[tokio::test]
async fn without_access_the_page_says_what_is_needed_and_nothing_about_the_channel() {
    let app = TestApp::with(&[&format!("--api-secret={SECRET}"), "--api-token=the-operators-token"]).await;
    app.join("ana", viewer()).await;
    let mut bodies = Vec::new();
    let (other, old) = (link("bob", 600), link("ana", -600));
    for path in [
        "/ana/stats".to_owned(),
        "/nobody/stats".to_owned(),
        "/ana/stats?range=7d&tz=America/Lima&before=5".to_owned(),
        format!("/ana/stats?token={other}"),
        format!("/ana/stats?token={old}"),
        "/ana/stats?token=the-operators-token".to_owned(),
        format!("/ana/stats?token={}", "x".repeat(3_000)),
    ] {
        let response = get(&app, &path, "es").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        for (name, value) in [
            ("cache-control", "private, no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-robots-tag", "noindex"),
            ("www-authenticate", "Bearer"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(response.headers()[name], value, "{path}");
        }
        bodies.push(response.text().await.unwrap());
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "nothing tells them apart");
    assert!(bodies[0].contains("Estas estadísticas son privadas"));
    for word in ["ana", "<script"] {
        assert!(!bodies[0].contains(&format!(">{word}")) && !bodies[0].contains("<script"), "{word}");
    }
    for (language, title) in
        [("en", "These statistics are private"), ("pt", "Estas estatísticas são privadas")]
    {
        assert!(get(&app, "/ana/stats", language).await.text().await.unwrap().contains(title));
    }
    let operator = app.client.get(format!("{}/ana/stats", app.base)).bearer_auth("the-operators-token");
    assert_eq!(operator.send().await.unwrap().status(), StatusCode::OK);
    let basic = app.client.get(format!("{}/ana/stats", app.base)).header(AUTHORIZATION, "Basic YTpi");
    assert_eq!(basic.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_link_works_in_all_links_of_the_page_and_goes_nowhere_else() {
    let past = Past::new().await;
    let start = this_minute() - 3 * HOUR;
    for nth in 0..12 {
        past.broadcast("ana", start - nth * DAY, start - nth * DAY + HOUR, 1).await;
    }
    let app = TestApp::with(&[&format!("--api-secret={SECRET}"), &past.flag]).await;
    let token = link("ana", 600);
    let response = get(&app, &format!("/ana/stats?token={token}&tz=America/Lima"), "es").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["cache-control"], "private, no-store");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    assert_eq!(response.headers()["x-robots-tag"], "noindex");
    let html = response.text().await.unwrap();
    assert!(html.contains(r#"<meta name="robots" content="noindex">"#));
    assert!(html.contains(&format!(r#"data-token="{token}""#)), "the script opens its stream with it");
    assert!(
        html.contains(&format!(r#"<input type="hidden" name="token" value="{token}">"#)),
        "the form keeps it"
    );
    let (with, without): (Vec<_>, Vec<_>) =
        links(&html).into_iter().partition(|link| link.contains("token="));
    // Four ranges, the CSV, ten broadcasts and the older ones.
    assert_eq!(with.len(), 4 + 1 + 10 + 1, "{with:?}");
    for link in &with {
        let path = link.split('#').next().unwrap();
        assert!(path.contains(&format!("token={token}")) && path.contains("tz=America%2FLima"), "{link}");
        assert_eq!(app.get(path).await.status(), StatusCode::OK, "{link}");
    }
    assert!(without.iter().all(|link| !link.contains("/stats")), "{without:?}");
    let csv = with.iter().find(|link| link.contains("history.csv")).unwrap();
    let csv = app.get(csv).await;
    assert!(csv.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert!(csv.text().await.unwrap().lines().nth(1).unwrap().contains("-05:00,"));
}

#[tokio::test]
async fn a_channel_that_never_was_says_so() {
    let app = TestApp::with(&["--stats=public"]).await;
    let html = html(&app, "/Nobody.1/stats").await;
    assert!(html.contains("Este canal todavía no tiene transmisiones"));
    assert!(html.contains("Las cifras aparecerán aquí cuando alguien lo mire."));
    assert!(html.contains(r#"<span class="viewer-counter__number">0</span>"#), "the count is known: {html}");
    assert_eq!(main_figures(&html), ["—", "", "—", "—", "—", "—"], "the script fills them");
    assert!(!html.contains("chart__line"));
    assert_eq!(app.count("nobody.1").await, 0);
}

#[tokio::test]
async fn one_viewer_has_the_figures_of_the_api() {
    let app = TestApp::with(&["--stats=public"]).await;
    app.join("ana", viewer()).await;
    let began = Instant::now();
    let figures = loop {
        let answer: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
        let newest = answer["broadcasts"][0].clone();
        if newest["average"].is_number() && newest["uniques"] == 1 {
            break newest;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(figures["peak"], 1);
    let html = html(&app, "/ana/stats").await;
    let shown = main_figures(&html);
    assert_eq!((&*shown[0], &*shown[2], &*shown[3]), ("1", "1", "1"), "{shown:?}");
    assert!(html.contains("Esta transmisión") && html.contains("En vivo desde "), "{html}");
    assert!(html.contains(r#"aria-current="page""#) && html.contains(r#"id="tab-broadcast""#));
    assert!(html.contains("chart__line") && html.contains("chart__peak"));
}

/// A channel with a broadcast of 50 minutes that goes on, with a gap of 15 minutes, and one of two days ago.
async fn with_a_gap(past: &Past) -> u64 {
    let start = this_minute() - 50 * MINUTE;
    let count = |nth| (!(20..35).contains(&nth)).then_some(if nth == 40 { 1_234 } else { 1_000 });
    past.minutes("ana", start, 50, count, |nth| (2, (nth % 2 == 0).then_some("news.example"))).await;
    past.broadcast("ana", start, start + 50 * MINUTE, 2_000).await;
    let earlier = start - 2 * DAY;
    past.minutes("ana", earlier, 30, |_| Some(5), |_| (0, None)).await;
    past.broadcast("ana", earlier, earlier + 30 * MINUTE - 1, 7).await;
    start
}

#[tokio::test]
async fn a_gap_is_a_gap_in_the_figures_the_chart_and_the_table() {
    let past = Past::new().await;
    with_a_gap(&past).await;
    let app = TestApp::with(&["--stats=public", &past.flag]).await;
    let html = html(&app, "/ana/stats").await;
    let figures = main_figures(&html);
    assert_eq!(figures[0], "1234");
    assert_eq!(figures[2], "1007", "34 minutes of 1,000 and one of 1,234, and the gap not as 0");
    assert!(figures[3].starts_with(&format!("≈{SPACE}")), "{figures:?}");
    assert_eq!(figures[4], format!("587{SPACE}h"), "35,234 minutes");
    assert_eq!(figures[5], format!("70{SPACE}%"));
    // The time since the last minute may be another gap.
    assert!((1..=2).contains(&html.matches("class=\"chart__gap\"").count()));
    assert_eq!(html.matches(">sin datos</text>").count(), 1, "the long one is labelled");
    assert!(html.contains(r#"aria-label="Espectadores, "#), "the chart in a sentence");
    let rows: Vec<_> = html.split(r#"<th scope="row">"#).filter(|row| row.contains("</th><td>")).collect();
    let unknown = rows.iter().filter(|row| row.contains("<td>—</td><td>—</td><td>—</td>")).count();
    assert!((15..20).contains(&unknown), "{unknown}");
    assert!(!rows.iter().any(|row| row.contains("<td>0</td><td>0</td><td>0</td>")), "never 0: {rows:?}");
    // New viewers by place.
    let places = texts(&html, r#"<th scope="row""#);
    assert!(
        places.contains(&"Este sitio".to_owned()) && places.contains(&"news.example".to_owned()),
        "{places:?}"
    );
}

#[tokio::test]
async fn every_range_is_a_page_of_its_own_and_broadcasts_are_listed() {
    let past = Past::new().await;
    let start = with_a_gap(&past).await;
    let app = TestApp::with(&["--stats=public", &past.flag]).await;
    for (range, title) in [
        ("24h", "Últimas 24 horas"),
        ("7d", "Últimos 7 días"),
        ("30d", "Últimos 30 días"),
        ("broadcast", "Espectadores"),
    ] {
        let html = html(&app, &format!("/ana/stats?range={range}")).await;
        assert_eq!(texts(&html, r#"id="viewers""#), [title]);
        let current = html.split("<a ").find(|link| link.contains("aria-current")).unwrap();
        assert!(current.contains(&format!(r#"id="tab-{range}""#)), "{current}");
        let summary: Value =
            app.get(&format!("/api/channel/ana/summary?range={range}")).await.json().await.unwrap();
        assert_eq!(summary["peak"], 1_234);
        assert!(html.contains(">1234<"), "{range}");
        assert_eq!(html.matches(r#"<li class="broadcast">"#).count(), 2);
    }
    // The earlier broadcast alone, from its link in the list.
    let first = html(&app, "/ana/stats").await;
    let earlier = links(&first).into_iter().rfind(|link| link.contains("broadcast=")).unwrap();
    assert_eq!(earlier, format!("/ana/stats?range=broadcast&broadcast={}", start - 2 * DAY));
    let html = html(&app, &earlier).await;
    assert!(texts(&html, r#"id="viewers""#)[0].starts_with("Transmisión: "));
    assert!(!html.contains("aria-current"), "no tab leads here");
    assert!(!html.contains("data-step="), "it does not change any more");
    assert_eq!(main_figures(&html)[0], "1234", "the newest broadcast stays at the top");
}

#[tokio::test]
async fn broadcasts_come_in_pages() {
    let past = Past::new().await;
    let start = this_minute() - DAY;
    for nth in 0..23 {
        past.broadcast("ana", start - nth * DAY, start - nth * DAY + HOUR, 1).await;
    }
    let app = TestApp::with(&["--stats=public", &past.flag]).await;
    let mut path = "/ana/stats?range=24h".to_owned();
    let mut seen = Vec::new();
    for expected in [10, 10, 3] {
        let html = html(&app, &path).await;
        let of_page: Vec<_> = links(&html)
            .into_iter()
            .filter_map(|link| {
                Some(link.split("broadcast=").nth(1)?.split('&').next()?.parse::<u64>().unwrap())
            })
            .collect();
        assert_eq!(of_page.len(), expected, "{path}");
        assert_eq!(html.contains(">Las más recientes<"), !seen.is_empty());
        assert!(main_figures(&html).len() == 6 && html.contains("Última transmisión"));
        seen.extend(of_page);
        let older = links(&html)
            .into_iter()
            .filter(|link| link.ends_with("#broadcasts"))
            .find(|link| link.contains("before="));
        assert_eq!(older.is_some(), expected == 10);
        path = older.unwrap_or_default().trim_end_matches("#broadcasts").to_owned();
    }
    let all: Vec<_> = (0..23).map(|nth| start - nth * DAY).collect();
    assert_eq!(seen, all, "each once, newest first");
}

#[tokio::test]
async fn times_are_in_the_asked_zone_and_language() {
    let past = Past::new().await;
    // 21 March 2026, 20:00 UTC.
    let start = 1_774_123_200_000;
    past.broadcast("ana", start, start + HOUR, 1).await;
    let app = TestApp::with(&["--stats=public", &past.flag]).await;
    for (zone, language, expected, note) in [
        ("", "es", format!("21{SPACE}mar{SPACE}2026, 20:00 – 21:00"), "Las horas son de UTC."),
        ("America/Lima", "en", format!("Mar{SPACE}21, 2026, 15:00 – 16:00"), "Times are in Lima (UTC−5)."),
        (
            "Asia/Kathmandu",
            "pt",
            format!("22{SPACE}mar{SPACE}2026, 01:45 – 02:45"),
            "Os horários são de Kathmandu (UTC+5:45).",
        ),
        ("Mars/Olympus", "es", format!("21{SPACE}mar{SPACE}2026, 20:00 – 21:00"), "Las horas son de UTC."),
    ] {
        // The year is left out in the same year.
        let this_year = get(&app, "/ana/stats", "es")
            .await
            .text()
            .await
            .unwrap()
            .contains(&format!("21{SPACE}mar, 20:00"));
        let expected = if this_year {
            expected.replace(&format!("{SPACE}2026"), "").replace(", 2026", "")
        } else {
            expected
        };
        let html = get(&app, &format!("/ana/stats?tz={zone}"), language).await.text().await.unwrap();
        assert!(html.contains(&expected), "{expected} in {html}");
        assert!(html.contains(note), "{note}");
        assert!(html.contains(&format!(r#"<html lang="{language}">"#)));
        let chosen = html.split("<option ").filter(|option| option.contains("selected")).count();
        assert_eq!(chosen, 1, "{zone}");
    }
}

#[tokio::test]
async fn what_is_not_valid_in_the_query_has_its_default() {
    let app = TestApp::with(&["--stats=public"]).await;
    for query in [
        "range=1y",
        "range=broadcast",
        "broadcast=99999999999999999999",
        "range=broadcast&broadcast=0",
        "before=yesterday",
        "before=0",
        "tz=%00",
        "range=24h&range=7d",
        "token=",
        "token=%22%3E%3Cscript%3E",
    ] {
        let html = html(&app, &format!("/ana/stats?{query}")).await;
        assert!(!html.contains("<script>") && html.ends_with("</html>"), "{query}");
    }
    assert_eq!(app.get("/a%20b/stats").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(app.get("/%ff/stats").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(app.get("/ana/stats/more").await.status(), StatusCode::NOT_FOUND);
    let embed = app.get("/embed/stats").await.text().await.unwrap();
    assert!(embed.contains(r#"class="embed"#), "the channel `stats` keeps its embed page");
}

#[tokio::test]
async fn while_the_database_is_away_the_count_is_there() {
    let app = TestApp::with(&["--stats=public", "--database-url=postgres://aforo@127.0.0.1:1/aforo"]).await;
    app.join("ana", viewer()).await;
    let response = get(&app, "/ana/stats", "es").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["cache-control"], "private, no-store");
    assert!(response.headers().contains_key("retry-after"));
    let html = response.text().await.unwrap();
    assert!(html.contains(r#"<span class="viewer-counter__number">1</span>"#), "{html}");
    assert!(html.contains(r#"data-state="live""#));
    assert!(html.contains("Las cifras guardadas no están disponibles"));
    assert_eq!(main_figures(&html), ["—", "", "—", "—", "—", "—"], "unknown, and not 0");
    assert!(!html.contains("todavía no tiene transmisiones"), "that is not known");
}

#[tokio::test]
async fn a_million_viewers_for_30_days_fit_into_a_small_page() {
    let past = Past::new().await;
    let start = this_minute() - 4 * HOUR;
    past.minutes(
        "ana",
        start,
        240,
        |nth| Some(1_000_000 - u32::try_from(nth * 997 % 5_000).unwrap()),
        |_| (3, Some("news.example")),
    )
    .await;
    past.broadcast("ana", start, this_minute() - 1, 9_000).await;
    past.compact(start + 2 * HOUR).await;
    let app = TestApp::with(&["--stats=public", &past.flag]).await;
    for range in ["broadcast", "24h", "7d", "30d"] {
        let html = html(&app, &format!("/ana/stats?range={range}")).await;
        assert!(html.contains(">1.000.000<"), "{range}");
        assert!(html.len() < 200_000, "{range}: {} bytes", html.len());
        let request = app.client.get(format!("{}/ana/stats?range={range}", app.base));
        let zipped = request.header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        let zipped = zipped.bytes().await.unwrap().len();
        assert!(zipped < 32_000, "{range}: {zipped} bytes");
    }
}

#[tokio::test]
async fn the_page_loads_its_script_and_no_webassembly() {
    let app = TestApp::with(&["--stats=public"]).await;
    let response = get(&app, "/ana/stats", "es").await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let html = response.text().await.unwrap();
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains(r#"<script type="module" src="/stats.js"></script>"#));
    for foreign in ["wasm", "leptos-island", " style=", "onclick"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(
        policy.contains("script-src 'self';") && !policy.contains("wasm") && !policy.contains("nonce"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"));
}

#[tokio::test]
async fn channel_pages_link_to_public_statistics_only() {
    for (flags, is_linked) in [(&["--stats=public"][..], true), (&[], false)] {
        let app = TestApp::with(flags).await;
        let html = html(&app, "/ana").await;
        assert_eq!(html.contains(r#"<a href="/ana/stats">Estadísticas del canal</a>"#), is_linked);
    }
}

#[tokio::test]
async fn the_page_and_the_api_show_the_figures_of_a_present_broadcast_from_its_first_viewer_on() {
    const VIEWERS: usize = 20;
    let app = TestApp::with(&["--stats=public"]).await;
    // The server has known for a while that there is nobody when all come, late in a second.
    sleep(Duration::from_millis(2_500)).await;
    let into_second = SystemClock::start().now().as_millis() % 1_000;
    sleep(Duration::from_millis((1_850 - into_second) % 1_000)).await;
    let began = Instant::now();
    futures::future::join_all((0..VIEWERS).map(|_| app.join("ana", viewer()))).await;
    let spread = began.elapsed().as_secs_f64();
    let present = async || {
        let body: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
        body["broadcasts"][0].clone()
    };
    let number = |figures: &Value, name: &str| figures[name].as_f64().unwrap_or_default();
    let before = loop {
        let figures = present().await;
        if number(&figures, "watchSeconds") > 0.0 {
            break figures;
        }
        assert!(began.elapsed() < PATIENCE, "{figures}");
        sleep(Duration::from_millis(100)).await;
    };
    let shown = main_figures(&get(&app, "/ana/stats", "en").await.text().await.unwrap());
    let after = present().await;
    for figures in [&before, &after] {
        let (average, watched) = (number(figures, "average"), number(figures, "watchSeconds"));
        let length = watched / average / number(figures, "observed");
        // Not all came at the same instant, and times are in milliseconds.
        let least = VIEWERS as f64 * (1.0 - (spread + 0.002) / length);
        assert!((least..=VIEWERS as f64).contains(&average), "{figures}: {length} s, all within {spread} s");
        assert_eq!((&figures["peak"], &figures["uniques"]), (&json!(VIEWERS), &json!(VIEWERS)));
    }
    let average: f64 = shown[2].parse().unwrap();
    // With one decimal place.
    let (least, most) = (number(&before, "average") - 0.051, number(&after, "average") + 0.051);
    assert!((least..=most).contains(&average), "{shown:?} between {before} and {after}");
    assert_eq!((&*shown[0], &*shown[3]), ("20", "20"), "{shown:?}");
}

/// Others behind the same address have links.
#[tokio::test]
async fn who_has_no_access_takes_no_turn_of_its_address() {
    let app = TestApp::with(&[&format!("--api-secret={SECRET}"), "--limit-reads-per-address=1"]).await;
    let socket = TcpStream::connect(app.base.split_once("//").unwrap().1).await.unwrap();
    // Responses stay unread.
    let mut client = h2::client::Builder::new();
    let (mut requests, connection) =
        client.initial_window_size(0).handshake::<_, Bytes>(socket).await.unwrap();
    tokio::spawn(connection);
    let link = link("ana", 600);
    let mut unread = Vec::new();
    for number in 0..20 {
        // Some without access, and some that ask for what there is not.
        let query = if number % 2 == 0 { "limit=1".to_owned() } else { format!("limit=0&token={link}") };
        let url = format!("{}/api/channel/ana/broadcasts?{query}", app.base);
        let request = axum::http::Request::get(url).body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let response = timeout(PATIENCE, response).await.expect("the head of the response").unwrap();
        assert_eq!(response.status(), if number % 2 == 0 { 401 } else { 400 });
        unread.push(response);
    }
    let read = app.get(&format!("/api/channel/ana/broadcasts?token={link}")).await;
    assert_eq!(read.status(), StatusCode::OK);
}
