//! Broadcasts of a known script: who comes, stays, comes back and goes, to the millisecond. A plain model of the script
//! has the same figures as the API and the page.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aforo::{
    domain::{ChannelId, Policy, SessionId, SessionKey, Timestamp, ViewerId},
    server::{
        clock::{Clock, SystemClock},
        config::DatabaseConfig,
        database::Database,
        history::Place,
        recording::simulated::SimulatedNode,
    },
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::support::{Program, TestApp};

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

/// The time in which a page of a viewer counts.
#[derive(Debug, Clone, Copy)]
struct Stay {
    viewer: ViewerId,
    host: Option<&'static str>,
    from: u64,
    to: u64,
}

/// The figures of a script, by the plainest arithmetic.
struct Model {
    /// The count after each event, in their order.
    steps: Vec<(u64, u32)>,
    uniques: usize,
    peak: (u32, u64),
    /// Who is new, by minute and host.
    new: BTreeMap<(u64, Option<&'static str>), u64>,
}

impl Model {
    fn new(stays: &[Stay]) -> Self {
        let edges = stays.iter().flat_map(|stay| [(stay.from, true, stay), (stay.to, false, stay)]);
        let mut edges: Vec<_> = edges.filter(|(_, _, stay)| stay.from < stay.to).collect();
        // At one instant, whoever goes is gone before the others come.
        edges.sort_by_key(|(at, comes, _)| (*at, *comes));
        let (mut present, mut steps, mut peak) = (BTreeMap::<_, u32>::new(), Vec::new(), (0, 0));
        let mut count = 0;
        for (at, comes, stay) in edges {
            let pages = present.entry(stay.viewer.uuid()).or_default();
            if comes {
                *pages += 1;
                count += u32::from(*pages == 1);
            } else {
                *pages -= 1;
                count -= u32::from(*pages == 0);
            }
            steps.push((at, count));
            if count > peak.0 {
                peak = (count, at);
            }
        }
        let mut stays: Vec<_> = stays.iter().collect();
        stays.sort_by_key(|stay| stay.from);
        let (mut known, mut new) = (BTreeSet::new(), BTreeMap::new());
        for stay in stays {
            if known.insert(stay.viewer.uuid()) {
                *new.entry((stay.from / MINUTE, stay.host)).or_default() += 1;
            }
        }
        Self { steps, uniques: known.len(), peak, new }
    }

    /// The events from one instant to another.
    fn during(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u32)> {
        self.steps.iter().copied().filter(move |(at, _)| (from..to).contains(at))
    }

    /// The viewer-milliseconds of a span.
    fn watched(&self, from: u64, to: u64) -> u64 {
        let (mut at, mut count, mut sum) = (from, self.at(from), 0);
        for (next, value) in self.during(from, to) {
            sum += (next - at) * u64::from(count);
            (at, count) = (next, value);
        }
        sum + (to - at) * u64::from(count)
    }

    /// The count at an instant.
    fn at(&self, at: u64) -> u32 {
        self.during(0, at + 1).last().map_or(0, |(_, count)| count)
    }

    /// The lowest and the highest count of a minute.
    fn extremes(&self, from: u64) -> (u32, u32) {
        let all: Vec<u32> =
            self.during(from, from + MINUTE).map(|(_, count)| count).chain([self.at(from)]).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }
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

#[tokio::test]
async fn the_figures_of_a_broadcast_are_those_of_its_script() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let (length, lull) = (47 * MINUTE + 13_579, (20 * MINUTE, 23 * MINUTE + 777));
    let channel = ChannelId::parse("ana").unwrap();
    for (nth, seed) in (0..).zip([1, 2, 3]) {
        let visits = script(seed, length, 400, lull);
        let stays: Vec<_> = visits.iter().map(Visit::stay).collect();
        let model = Model::new(&stays);
        // At a whole minute, so that minutes of the script are minutes of the history.
        let now = SystemClock::start().now().as_millis();
        let start = (now - (nth + 1) * 120 * MINUTE) / MINUTE * MINUTE;

        let database = Database::open(&DatabaseConfig::Sqlite(file.clone())).await.unwrap();
        let at = |millis| Timestamp::from_millis(start + millis);
        let before = Timestamp::from_millis(start - 2 * MINUTE);
        let node = SimulatedNode::new(&database, Policy::default(), before, Duration::from_secs(4));
        let mut acts: Vec<_> = visits
            .iter()
            .flat_map(|visit| visit.acts().into_iter().map(move |(at, act)| (at, act, visit)))
            .collect();
        acts.sort_by_key(|(at, act, _)| (*at, *act));
        for (millis, act, visit) in acts {
            node.advance_to(at(millis)).await.unwrap();
            let who = visit.who(&channel);
            match act {
                Act::Join => node.join(&who, visit.host.map_or(Place::Site, Place::Embed)).await.unwrap(),
                Act::Beat => node.heartbeat(&who).await.unwrap(),
                Act::Leave => node.leave(&who).await.unwrap(),
            }
        }
        node.advance_to(at(length + 8 * MINUTE)).await.unwrap();
        node.finish().await.unwrap();
        database.close().await;

        let url = format!("--database-url=sqlite:{}", file.display());
        let app = TestApp::with(&["--stats=public", &url]).await;
        let answer = json_of(&app, "/api/channel/ana/broadcasts").await;
        let broadcasts = answer["broadcasts"].as_array().unwrap();
        assert_eq!(
            broadcasts.len(),
            1 + usize::try_from(nth).unwrap(),
            "the lull belongs to the broadcast: {answer}"
        );
        let figures =
            broadcasts.iter().find(|one| one["startedAt"] == start).expect("it starts with its first viewer");
        let watched = model.watched(0, length);
        assert_eq!(figures["endedAt"], start + length, "seed {seed}: {figures}");
        assert_eq!(figures["peak"], model.peak.0, "seed {seed}");
        assert_eq!(figures["peakAt"], start + model.peak.1, "seed {seed}");
        assert_eq!(figures["uniques"], model.uniques, "seed {seed}");
        let close = |figure: &Value, expected: f64| (figure.as_f64().unwrap() - expected).abs() < 1e-6;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (watch_seconds, average) = (watched as f64 / 1e3, watched as f64 / length as f64);
        assert!(close(&figures["watchSeconds"], watch_seconds), "seed {seed}: {watch_seconds} in {figures}");
        assert!(close(&figures["average"], average), "seed {seed}: {average} in {figures}");
        assert!(close(&figures["observed"], 1.0), "seed {seed}: {figures}");

        let (from, to) = (start - MINUTE, start + 50 * MINUTE);
        let history = json_of(&app, &format!("/api/channel/ana/history?step=60&from={from}&to={to}")).await;
        let points = history["points"].as_array().unwrap();
        assert_eq!(points.len(), 51);
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
            assert_eq!((&point["min"], &point["max"]), (&json!(min), &json!(max)), "seed {seed}: {point}");
            assert!(close(&point["average"], average), "seed {seed}: {average} in {point}");
            assert!(close(&point["observed"], 1.0), "seed {seed}: {point}");
            let new = |host| {
                let minute = at.checked_sub(start).map(|from| from / MINUTE);
                minute.and_then(|minute| model.new.get(&(minute, host))).copied().unwrap_or_default()
            };
            let embeds = &point["newViewers"]["embeds"];
            assert_eq!(point["newViewers"]["site"], new(None), "seed {seed}: {point}");
            for host in ["news.example", "forum.example"] {
                assert_eq!(
                    embeds[host].as_u64().unwrap_or_default(),
                    new(Some(host)),
                    "seed {seed}: {point}"
                );
            }
        }

        let page = format!("{}/ana/stats?range=broadcast&broadcast={start}&tz=UTC", app.base);
        let html =
            app.client.get(page).header("accept-language", "en").send().await.unwrap().text().await.unwrap();
        if nth == 0 {
            assert_eq!(on_page(&html, "peak"), model.peak.0.to_string());
            assert_eq!(on_page(&html, "uniques"), model.uniques.to_string());
            assert_eq!(on_page(&html, "average"), format!("{average:.1}").trim_end_matches(".0"));
            assert_eq!(on_page(&html, "observed"), "100%");
            let (hours, minutes) = (watched / 3_600_000, watched / MINUTE % 60);
            assert_eq!(on_page(&html, "watchSeconds"), format!("{hours} h {minutes} min"));
        }
    }
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
