//! Broadcasts of a known script: who comes, stays, comes back and goes, to the millisecond. A plain model of the script
//! has the same figures as the API and the page.

mod model;

use std::{ops::Range, time::Duration};

use aforo::{
    domain::{ChannelId, Policy, SessionId, SessionKey, Timestamp, ViewerId},
    server::{
        clock::{Clock, SystemClock},
        config::{self, Config, DatabaseConfig},
        database::Database,
        history::Place,
        recording::{MAX_WAITING_BYTES, simulated::SimulatedNode},
    },
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

pub use self::model::{Model, Stay};
use crate::support::{PATIENCE, Postgres, Program, TestApp};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// The lease of a beat.
const LEASE: u64 = 60 * SECOND;

/// One loaded page of a viewer.
#[derive(Debug, Clone)]
struct Visit {
    viewer: ViewerId,
    session: SessionId,
    host: Option<&'static str>,
    /// When it joins, and when it leaves or sends its last beat: in milliseconds after the start.
    from: u64,
    to: u64,
    /// Whether it goes without a leave.
    vanishes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Leave,
    Beat,
    Join,
}

impl Visit {
    /// When it is counted no more.
    fn end(&self) -> u64 {
        if self.vanishes { self.to + LEASE } else { self.to }
    }

    /// What its page does, and when.
    fn acts(&self) -> Vec<(u64, Act)> {
        let beats = (self.from + 25 * SECOND..self.to).step_by(25_000).map(|at| (at, Act::Beat));
        let last = if self.vanishes { Act::Beat } else { Act::Leave };
        [(self.from, Act::Join)].into_iter().chain(beats).chain([(self.to, last)]).collect()
    }

    fn stay(&self) -> Stay {
        Stay { viewer: self.viewer, host: self.host, from: self.from, to: self.end() }
    }

    fn who(&self, channel: &ChannelId) -> SessionKey {
        SessionKey { channel: channel.clone(), viewer: self.viewer, session: self.session }
    }
}

/// A broadcast that lasts `length` milliseconds, with `viewers` viewers. The first comes at its start and the last one goes
/// at its end. In `lull` nobody watches.
fn script(seed: u64, length: u64, viewers: u64, lull: (u64, u64)) -> Vec<Visit> {
    let mut state = seed;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut visits = Vec::new();
    let halves = [(0, lull.0), (lull.1, length)];
    for nth in 0..viewers {
        let (start, end) = halves[usize::from(nth % 3 == 2)];
        let viewer = ViewerId::new(Uuid::new_v4()).unwrap();
        let host =
            [None, None, Some("news.example"), Some("forum.example")][usize::try_from(below(4)).unwrap()];
        let vanishes = below(8) == 0;
        // Whoever vanishes does so at a whole second, at which a sample notices it.
        let latest = if vanishes { end - LEASE - SECOND } else { end };
        let from = start + below((latest - start) / 2);
        let to = from + 1 + below(latest - from);
        let to = if vanishes { to / SECOND * SECOND + SECOND } else { to };
        let visit =
            Visit { viewer, session: SessionId::new(Uuid::new_v4()).unwrap(), host, from, to, vanishes };
        // Some have a second tab, which may stay longer, and some come back later.
        let again = match below(5) {
            0 if to > from + 2 => Some((from + (to - from) / 2, end)),
            1 if visit.end() + 10 < end => Some((visit.end() + 10, end)),
            _ => None,
        };
        if let Some((from, latest)) = again {
            let session = SessionId::new(Uuid::new_v4()).unwrap();
            let to = from + 1 + below(latest - from);
            visits.push(Visit { session, from, to, vanishes: false, ..visit.clone() });
        }
        visits.push(visit);
    }
    for (from, to) in [(0, 1_234), (length - 4_321, length)] {
        let viewer = ViewerId::new(Uuid::new_v4()).unwrap();
        let session = SessionId::new(Uuid::new_v4()).unwrap();
        visits.push(Visit { viewer, session, host: None, from, to, vanishes: false });
    }
    visits
}

async fn json_of(app: &TestApp, path: &str) -> Value {
    let response = app.get(path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

/// The figure of the page with this name.
fn on_page(html: &str, name: &str) -> String {
    let (_, rest) =
        html.split_once(&format!("data-figure=\"{name}\"")).unwrap_or_else(|| panic!("{name} in {html}"));
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once("</").unwrap().0.replace("<!>", "").replace('\u{a0}', " ")
}

/// Plays what a script that began at `start` has in a span. Returns how many writes of the database failed. Each call of a
/// viewer succeeds.
async fn play(node: &SimulatedNode, start: u64, visits: &[Visit], span: Range<u64>) -> u32 {
    let channel = ChannelId::parse("ana").unwrap();
    let acts =
        visits.iter().flat_map(|visit| visit.acts().into_iter().map(move |(at, act)| (at, act, visit)));
    let mut acts: Vec<_> = acts.filter(|(at, ..)| span.contains(at)).collect();
    acts.sort_by_key(|(at, act, _)| (*at, *act));
    let mut failed = 0;
    for (millis, act, visit) in acts {
        failed += pass(node, start + millis).await;
        let who = visit.who(&channel);
        match act {
            Act::Join => node.join(&who, visit.host.map_or(Place::Site, Place::Embed)).await.unwrap(),
            Act::Beat => node.heartbeat(&who).await.unwrap(),
            Act::Leave => node.leave(&who).await.unwrap(),
        }
    }
    failed + pass(node, start + span.end).await
}

/// Lets time pass on a node. Returns how many writes of the database failed.
async fn pass(node: &SimulatedNode, until: u64) -> u32 {
    let (until, mut failed) = (Timestamp::from_millis(until), 0);
    while node.now() < until {
        failed += u32::from(node.advance_to(until).await.is_err());
    }
    failed
}

/// A node in simulated time that has no viewers two minutes before `start`.
fn node_before(start: u64, database: &Database) -> SimulatedNode {
    let before = Timestamp::from_millis(start - 2 * MINUTE);
    SimulatedNode::new(database, Policy::default(), before, Duration::from_secs(4))
}

/// The broadcast that began at `start` has the figures of its script, in the API and on the page.
async fn assert_figures(app: &TestApp, start: u64, length: u64, model: &Model) {
    let answer = json_of(app, "/api/channel/ana/broadcasts").await;
    let broadcasts = answer["broadcasts"].as_array().unwrap();
    let figures = broadcasts.iter().find(|one| one["startedAt"] == start);
    let figures = figures.unwrap_or_else(|| panic!("it starts with its first viewer: {answer}"));
    let watched = model.watched(0, length);
    assert_eq!(figures["endedAt"], start + length, "{figures}");
    assert_eq!(figures["peak"], model.peak.0, "{figures}");
    assert_eq!(figures["peakAt"], start + model.peak.1, "{figures}");
    assert_eq!(figures["uniques"], model.uniques, "{figures}");
    let close = |figure: &Value, expected: f64| (figure.as_f64().unwrap() - expected).abs() < 1e-6;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (watch_seconds, average) = (watched as f64 / 1e3, watched as f64 / length as f64);
    assert!(close(&figures["watchSeconds"], watch_seconds), "{watch_seconds} in {figures}");
    assert!(close(&figures["average"], average), "{average} in {figures}");
    assert!(close(&figures["observed"], 1.0), "{figures}");

    let minutes = length.div_ceil(MINUTE) + 3;
    let (from, to) = (start - MINUTE, start + (minutes - 1) * MINUTE);
    let history = json_of(app, &format!("/api/channel/ana/history?step=60&from={from}&to={to}")).await;
    let points = history["points"].as_array().unwrap();
    assert_eq!(points.len() as u64, minutes);
    for point in points {
        let at = point["at"].as_u64().unwrap();
        let (min, max, average) = match at.checked_sub(start) {
            None => (0, 0, 0.0),
            Some(from) => {
                let (min, max) = model.extremes(from);
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                (min, max, model.watched(from, from + MINUTE) as f64 / MINUTE as f64)
            }
        };
        assert_eq!((&point["min"], &point["max"]), (&json!(min), &json!(max)), "{point}");
        assert!(close(&point["average"], average), "{average} in {point}");
        assert!(close(&point["observed"], 1.0), "{point}");
        let new = |host| {
            let minute = at.checked_sub(start).map(|from| from / MINUTE);
            minute.and_then(|minute| model.new.get(&(minute, host))).copied().unwrap_or_default()
        };
        let embeds = &point["newViewers"]["embeds"];
        assert_eq!(point["newViewers"]["site"], new(None), "{point}");
        for host in ["news.example", "forum.example"] {
            assert_eq!(embeds[host].as_u64().unwrap_or_default(), new(Some(host)), "{point}");
        }
    }

    // The main figures are those of the newest broadcast.
    if broadcasts[0]["startedAt"] == start {
        let page = format!("{}/ana/stats?range=broadcast&broadcast={start}&tz=UTC", app.base);
        let page = app.client.get(page).header("accept-language", "en").send().await.unwrap();
        let html = page.text().await.unwrap();
        assert_eq!(on_page(&html, "peak"), model.peak.0.to_string());
        assert_eq!(on_page(&html, "uniques"), model.uniques.to_string());
        assert_eq!(on_page(&html, "average"), format!("{average:.1}").trim_end_matches(".0"));
        assert_eq!(on_page(&html, "observed"), "100%");
        let (hours, minutes) = (watched / 3_600_000, watched / MINUTE % 60);
        assert_eq!(on_page(&html, "watchSeconds"), format!("{hours} h {minutes} min"));
    }
}

/// So long ago, at a whole minute: minutes of the script are minutes of the history.
fn ago(millis: u64) -> u64 {
    (SystemClock::start().now().as_millis() - millis) / MINUTE * MINUTE
}

#[tokio::test]
async fn the_figures_of_a_broadcast_are_those_of_its_script() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let (length, lull) = (47 * MINUTE + 13_579, (20 * MINUTE, 23 * MINUTE + 777));
    for seed in [1, 2, 3] {
        let visits = script(seed, length, 400, lull);
        let stays: Vec<_> = visits.iter().map(Visit::stay).collect();
        let start = ago(seed * 120 * MINUTE);
        let database = Database::open(&DatabaseConfig::Sqlite(file.clone())).await.unwrap();
        let node = node_before(start, &database);
        let failed = play(&node, start, &visits, 0..length + 8 * MINUTE).await;
        assert_eq!(failed, 0, "writes that failed");
        node.finish().await.unwrap();
        database.close().await;

        let url = format!("--database-url=sqlite:{}", file.display());
        let app = TestApp::with(&["--stats=public", &url]).await;
        let answer = json_of(&app, "/api/channel/ana/broadcasts").await;
        let broadcasts = answer["broadcasts"].as_array().unwrap();
        assert_eq!(broadcasts.len() as u64, seed, "the lull belongs to the broadcast: {answer}");
        assert_figures(&app, start, length, &Model::new(&stays)).await;
    }
}

/// The database goes away in the middle of a broadcast, and is back after an hour. Viewers notice nothing of it, what waits
/// keeps its bound, and no minute of the broadcast is missing afterwards.
#[tokio::test]
async fn the_figures_of_a_broadcast_with_an_hour_without_the_database_are_those_of_its_script() {
    let mut server = Postgres::start().await;
    let url = server.database().await;
    let Config { database, .. } = config::read(["aforo", &format!("--database-url={url}")]).unwrap();
    let database = Database::open(&database).await.unwrap();
    tokio::spawn(database.clone().run());
    let until_available = async |is_available: bool| {
        let changed = async {
            while database.is_available() != is_available {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, changed).await.expect("the node notices whether the database is there");
    };

    let (length, lull) = (80 * MINUTE + 24_680, (30 * MINUTE, 33 * MINUTE + 777));
    let outage = 7 * MINUTE + 11_000..67 * MINUTE + 11_000;
    let visits = script(4, length, 300, lull);
    let stays: Vec<_> = visits.iter().map(Visit::stay).collect();
    let (model, start) = (Model::new(&stays), ago(120 * MINUTE));
    let node = node_before(start, &database);
    let ana = ChannelId::parse("ana").unwrap();
    assert_eq!(play(&node, start, &visits, 0..outage.start).await, 0, "writes that failed");
    server.kill();
    until_available(false).await;
    let mut failed = 0;
    for from in outage.clone().step_by(60_000) {
        failed += play(&node, start, &visits, from..from + MINUTE).await;
        let count = node.presence().count_of(&ana).await;
        assert_eq!(
            (count.value(), count.is_stale()),
            (Some(model.at(from + MINUTE)), false),
            "after {from} ms"
        );
    }
    assert_eq!(failed, 900, "every write of the hour fails");
    // The bound is for an hour of a thousand such channels. The rows of the parts are there once for all of them.
    let waiting = node.waiting_bytes().await;
    println!("{waiting} bytes wait for the database");
    assert!(waiting > 0 && waiting <= MAX_WAITING_BYTES / 1_000, "{waiting} bytes wait");
    server.run().await;
    until_available(true).await;
    let after = play(&node, start, &visits, outage.end..length + 8 * MINUTE).await;
    assert_eq!(after, 0, "writes that failed");
    node.finish().await.unwrap();
    assert!(node.waiting_bytes().await < waiting / 100, "what waited is written");

    let app = TestApp::with(&["--stats=public", &format!("--database-url={url}")]).await;
    let answer = json_of(&app, "/api/channel/ana/broadcasts").await;
    assert_eq!(answer["broadcasts"].as_array().unwrap().len(), 1, "{answer}");
    assert_figures(&app, start, length, &model).await;
}

/// The same in real time, with a server of its own process: `cargo test --test it -- --ignored ten_minutes`. The script is
/// what the calls did: each took effect between its request and its answer.
#[tokio::test]
#[ignore = "takes 16 minutes"]
async fn the_figures_of_ten_minutes_in_real_time_are_those_of_the_calls() {
    let (length, lull) = (10 * MINUTE, (5 * MINUTE, 6 * MINUTE + 500));
    let visits = script(7, length, 150, lull);
    let server = Program::start(&[("STATS", "public")]).await;
    let app: &TestApp = &server;
    let clock = SystemClock::start();
    let began = Instant::now();
    let call = async |name: &str, body: Value| {
        let sent = clock.now().as_millis();
        let response =
            app.client.post(format!("{}/api/viewer/{name}", app.base)).json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name} {body}");
        (sent, clock.now().as_millis())
    };
    let call = &call;
    // The shortest and the longest time in which each page may have counted.
    let play = async |visit: &Visit| {
        let body = json!({
            "channelId": "ana", "viewerId": visit.viewer.uuid(), "sessionId": visit.session.uuid(), "embeddedIn": visit.host,
        });
        let (mut from, mut to) = ((0, 0), (0, 0));
        for (at, act) in visit.acts() {
            sleep_until(began + Duration::from_millis(at)).await;
            match act {
                Act::Join => from = call("join", body.clone()).await,
                Act::Beat => to = call("heartbeat", body.clone()).await,
                Act::Leave => to = call("leave", body.clone()).await,
            }
        }
        if visit.vanishes {
            // The next sample, which is a second later at most, finds that the lease has ended.
            to = (to.0 + LEASE, to.1 + LEASE + SECOND + 250);
        }
        let stay = Stay { viewer: visit.viewer, host: visit.host, from: from.1, to: to.0 };
        [stay, Stay { from: from.0, to: to.1, ..stay }]
    };
    let stays = futures::future::join_all(visits.iter().map(play)).await;
    let [least, most] = [0, 1].map(|nth| {
        let stays: Vec<_> = stays.iter().map(|both| both[nth]).collect();
        let (from, to) = (stays.iter().map(|stay| stay.from).min(), stays.iter().map(|stay| stay.to).max());
        (Model::new(&stays), from.unwrap(), to.unwrap())
    });
    let figures = loop {
        let answer = json_of(app, "/api/channel/ana/broadcasts").await;
        let newest = answer["broadcasts"][0].clone();
        if !newest["endedAt"].is_null() {
            assert_eq!(answer["broadcasts"].as_array().unwrap().len(), 1, "{answer}");
            break newest;
        }
        assert!(began.elapsed() < Duration::from_secs(17 * 60), "{answer}");
        sleep(Duration::from_secs(5)).await;
    };
    let watched = [&least, &most].map(|(model, from, to)| model.watched(*from, *to));
    println!("figures: {figures}");
    println!(
        "script: {} to {} viewer-milliseconds, peak {} to {}, {} viewers",
        watched[0], watched[1], least.0.peak.0, most.0.peak.0, most.0.uniques
    );
    let number = |name: &str| figures[name].as_f64().unwrap();
    let (started, ended) = (number("startedAt"), number("endedAt"));
    #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
    let within = |value: f64, (least, most): (u64, u64)| value >= least as f64 && value <= most as f64;
    assert!(within(started, (most.1, least.1)), "{figures}");
    assert!(within(ended, (least.2, most.2)), "{figures}");
    assert_eq!(figures["uniques"], most.0.uniques, "{figures}");
    assert!(within(number("peak"), (least.0.peak.0.into(), most.0.peak.0.into())), "{figures}");
    assert!(within(number("watchSeconds") * 1e3, (watched[0], watched[1])), "{watched:?} in {figures}");
    assert!(
        (number("average") - number("watchSeconds") / ((ended - started) / 1e3)).abs() < 1e-6,
        "{figures}"
    );
    assert!((number("observed") - 1.0).abs() < 1e-9, "{figures}");
}
