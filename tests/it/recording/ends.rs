//! How the recording goes on when a node ends: by SIGTERM, and by SIGKILL while another node is there.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use aforo::{
    domain::{ChannelId, ViewerId},
    server::clock::{Clock, SystemClock},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::told_until;
use crate::{
    scripted::{Model, Stay},
    support::{PATIENCE, Postgres, Program, RedisServer, TestApp, viewer},
};

/// The host of a page that embeds the channel.
const HOST: &str = "news.example";

/// What the calls of a test did to a channel: each took effect between its request and its answer. All instants are in
/// milliseconds since the epoch.
struct Played {
    channel: ChannelId,
    clock: SystemClock,
    /// The shortest and the longest time in which each page may have counted.
    stays: Vec<[Stay; 2]>,
}

impl Played {
    fn new(channel: ChannelId) -> Self {
        Self { channel, clock: SystemClock::start(), stays: Vec::new() }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// Returns the instants of the request and of the answer.
    async fn call(&self, app: &TestApp, name: &str, viewer: ViewerId, host: Option<&str>) -> (u64, u64) {
        let sent = self.now();
        let body = json!({"channelId": self.channel, "viewerId": viewer.uuid(), "embeddedIn": host});
        let response = app.post(&format!("/api/viewer/{name}"), &body).await;
        assert_eq!(response.status(), StatusCode::OK, "{name} {body}");
        (sent, self.now())
    }

    fn counts_from(&mut self, viewer: ViewerId, host: Option<&'static str>, (sent, answered): (u64, u64)) {
        let stay = |from| Stay { viewer, host, from, to: u64::MAX };
        self.stays.push([stay(answered), stay(sent)]);
    }

    async fn join(&mut self, app: &TestApp, viewer: ViewerId, host: Option<&'static str>) {
        let at = self.call(app, "join", viewer, host).await;
        self.counts_from(viewer, host, at);
    }

    async fn leave(&mut self, app: &TestApp, viewer: ViewerId) {
        let (sent, answered) = self.call(app, "leave", viewer, None).await;
        for [least, most] in self.stays.iter_mut().filter(|both| both[0].viewer == viewer) {
            (least.to, most.to) = (least.to.min(sent), most.to.min(answered));
        }
    }

    /// Nobody counts from some instant between these two on. Returns who did.
    fn lose_all(&mut self, earliest: u64, latest: u64) -> Vec<ViewerId> {
        let present: Vec<_> = self.stays.iter_mut().filter(|both| both[0].to == u64::MAX).collect();
        let lose = |[least, most]: &mut [Stay; 2]| {
            (least.to, most.to) = (earliest, latest);
            least.viewer
        };
        present.into_iter().map(lose).collect()
    }

    /// A viewer who is known to the history goes on at a node.
    async fn go_on(&mut self, app: &TestApp, viewer: ViewerId) {
        let at = self.call(app, "heartbeat", viewer, None).await;
        self.counts_from(viewer, None, at);
    }

    /// The figures of the only broadcast, once they satisfy `is_met`.
    async fn figures(&self, app: &TestApp, is_met: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let path = format!("/api/channel/{}/broadcasts", self.channel);
            let answer: Value = app.get(&path).await.json().await.unwrap();
            let broadcasts = answer["broadcasts"].as_array().unwrap();
            assert!(broadcasts.len() < 2, "one broadcast: {answer}");
            if let Some(figures) = broadcasts.first().filter(|figures| is_met(figures)) {
                return figures.clone();
            }
            assert!(began.elapsed() < PATIENCE, "{answer}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The new viewers of the history: those of the site, and those of [`HOST`].
    async fn new_viewers(&self, app: &TestApp) -> (u64, u64) {
        let path = format!("/api/channel/{}/history?step=60", self.channel);
        let answer: Value = app.get(&path).await.json().await.unwrap();
        let points = answer["points"].as_array().unwrap();
        let of = |point: &Value| {
            let new = &point["newViewers"];
            (new["site"].as_u64().unwrap(), new["embeds"][HOST].as_u64().unwrap_or_default())
        };
        points.iter().map(of).fold((0, 0), |sum, new| (sum.0 + new.0, sum.1 + new.1))
    }

    /// The figures are those of the calls. Where the count was not known it was one of `in_gaps`. `lost`: the
    /// viewer-milliseconds that may be missing.
    #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
    fn assert_watched(&self, figures: &Value, in_gaps: RangeInclusive<u32>, lost: f64) {
        let models =
            [0, 1].map(|nth| Model::new(&self.stays.iter().map(|both| both[nth]).collect::<Vec<_>>()));
        let (from, to) = (figures["startedAt"].as_u64().unwrap(), told_until(figures).unwrap());
        let gaps = (1.0 - figures["observed"].as_f64().unwrap()) * (to - from as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an instant")]
        let [least, most] = models.map(|model| model.watched(from, to.round() as u64) as f64);
        let least = least - gaps * f64::from(*in_gaps.end()) - lost;
        let most = most - gaps * f64::from(*in_gaps.start());
        let watched = figures["watchSeconds"].as_f64().unwrap() * 1e3;
        // Clocks of whole milliseconds may differ by one.
        let slack = 50.0;
        let is_met = (least - slack..=most + slack).contains(&watched);
        assert!(is_met, "{watched} of {least} to {most}, {gaps} ms are not known: {figures}");
    }
}

/// Of the second in which one node ends and another begins, the history has what one of them knows.
const SECOND_OF_SIX: f64 = 6_000.0;

fn someone() -> ViewerId {
    ViewerId::new(viewer()).unwrap()
}

/// Waits until a channel has other figures than now: they have just been written.
async fn until_written(played: &Played, app: &TestApp) -> Value {
    let before = played.figures(app, |_| true).await["watchSeconds"].as_f64();
    played.figures(app, |figures| figures["watchSeconds"].as_f64() > before).await
}

/// A process over this database.
async fn over(database: &str) -> Program {
    Program::start(&[("DATABASE_URL", database), ("STATS", "public")]).await
}

/// Ends a process by SIGTERM.
async fn terminate(mut process: Program) {
    process.signal("TERM");
    assert!(process.wait_for_exit().await.success());
    assert!(!process.log().contains("WARN"), "{}", process.log());
}

#[tokio::test]
async fn what_a_node_has_recorded_when_it_is_ended_is_kept_and_counts_once() {
    let folder = TempDir::new().unwrap();
    let sqlite = format!("sqlite:{}/aforo.db", folder.path().display());
    for database in [sqlite, Postgres::shared().await.database().await] {
        let node = over(&database).await;
        let mut played = Played::new(ChannelId::parse("ana").unwrap());
        for _ in 0..3 {
            played.join(&node, someone(), None).await;
        }
        played.figures(&node, |figures| figures["uniques"] == 3).await;
        until_written(&played, &node).await;
        // What follows is only in the memory of the node: the next write is seconds away.
        let peak = someone();
        for (viewer, host) in [(peak, None), (someone(), Some(HOST)), (someone(), Some(HOST))] {
            played.join(&node, viewer, host).await;
        }
        let last_call = played.now();
        played.leave(&node, peak).await;
        let ended = played.now();
        terminate(node).await;
        let present = played.lose_all(ended, played.now());
        assert_eq!(present.len(), 5);

        let node = over(&database).await;
        let kept = played.figures(&node, |_| true).await;
        assert_eq!((&kept["peak"], &kept["uniques"]), (&json!(6), &json!(6)), "{kept}");
        assert_eq!((&kept["endedAt"], &kept["observed"]), (&Value::Null, &json!(1.0)), "{kept}");
        assert_eq!(played.new_viewers(&node).await, (4, 2));
        played.assert_watched(&kept, 0..=0, SECOND_OF_SIX);
        #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
        // The node rounds times by a clock of its own.
        let is_whole = told_until(&kept).unwrap() + 2.0 >= last_call as f64;
        assert!(is_whole, "all of it is kept: {kept}, {last_call}");

        // Those who were there go on, and the broadcast with them.
        let resumed = played.now();
        for viewer in present {
            played.go_on(&node, viewer).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
        let tells = |figures: &Value| told_until(figures) > Some(resumed as f64 + 2e3);
        let after = played.figures(&node, tells).await;
        for name in ["startedAt", "endedAt", "peak", "peakAt", "uniques"] {
            assert_eq!(after[name], kept[name], "{name} of {after}");
        }
        assert_eq!(played.new_viewers(&node).await, (4, 2), "they are not new");
        // Nobody counted while no node was there.
        played.assert_watched(&after, 0..=5, SECOND_OF_SIX);

        // What is ended and started again and again says the same.
        let now = played.now();
        terminate(node).await;
        played.lose_all(now, played.now());
        let node = over(&database).await;
        let kept = played.figures(&node, |_| true).await;
        played.assert_watched(&kept, 0..=5, 2.0 * SECOND_OF_SIX);
        terminate(node).await;
        let node = over(&database).await;
        assert_eq!(played.figures(&node, |_| true).await, kept);
        assert_eq!(played.new_viewers(&node).await, (4, 2));
    }
}

/// The owner of each part of the channels.
fn owners(redis: &RedisServer) -> BTreeMap<u16, String> {
    let shares: BTreeMap<String, String> = redis.request(&["HGETALL", "aforo:{shares}"]);
    let part =
        |(field, owner): (String, String)| Some((field.strip_prefix("part:")?.parse().unwrap(), owner));
    shares.into_iter().filter_map(part).collect()
}

/// Waits until the owners of the parts satisfy `is_met`.
async fn until_owned(redis: &RedisServer, is_met: impl Fn(&BTreeMap<u16, String>) -> bool) {
    let began = Instant::now();
    while !is_met(&owners(redis)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", owners(redis));
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_broadcast_goes_on_as_one_with_its_figures_when_the_node_that_records_it_is_killed() {
    let redis = RedisServer::start().await;
    let database = Postgres::shared().await.database().await;
    let start = async || {
        let settings = [("REDIS_URL", &*redis.url()), ("DATABASE_URL", &*database), ("STATS", "public")];
        Program::start(&settings).await
    };
    let owner = start().await;
    until_owned(&redis, |owners| owners.len() == 16).await;
    let name = owners(&redis)[&0].clone();
    let of_owner = |owners: &BTreeMap<u16, String>| owners.values().filter(|owner| **owner == name).count();
    let other = start().await;
    until_owned(&redis, |owners| of_owner(owners) == 8 && owners.len() == 16).await;
    let owned = owners(&redis);
    let names = (0..).map(|nth| ChannelId::parse(&format!("c{nth}")).unwrap());
    let channel = names.into_iter().find(|channel| owned[&channel.part()] == name).unwrap();

    // The owner sees each change at once.
    let mut played = Played::new(channel.clone());
    let mut viewers: Vec<_> = (0..5).map(|_| someone()).collect();
    for viewer in &viewers {
        played.join(&owner, *viewer, None).await;
    }
    played.leave(&owner, viewers.pop().unwrap()).await;
    let is_written = |figures: &Value| figures["peak"] == 5 && figures["uniques"] == 5;
    let before = played.figures(&other, is_written).await;
    until_written(&played, &other).await;
    let killed = Instant::now();
    owner.kill();
    until_owned(&redis, |owners| owners.get(&channel.part()).is_some_and(|owner| *owner != name)).await;
    // The lease of four seconds and the pause between two renewals; the rest is for a busy machine.
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(8), "another node takes over after {took:?}");
    println!("another node took over after {took:?}");

    for viewer in &viewers {
        played.call(&other, "heartbeat", *viewer, None).await;
    }
    // Until the new owner has sampled the channel, nobody comes or goes: the count of the gap is known to the test.
    let taken_over = played.now();
    #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
    let tells = |figures: &Value, at: u64| told_until(figures) > Some(at as f64 + 1e3);
    played.figures(&other, |figures| tells(figures, taken_over)).await;
    for _ in 0..2 {
        played.join(&other, someone(), Some(HOST)).await;
    }
    let joined = played.now();
    let is_told = |figures: &Value| tells(figures, joined) && figures["uniques"] == 7;
    let after = played.figures(&other, is_told).await;
    assert_eq!((&after["startedAt"], &after["endedAt"]), (&before["startedAt"], &Value::Null), "{after}");
    assert_eq!((&after["peak"], &after["uniques"]), (&json!(6), &json!(7)), "{after}");
    assert_eq!(played.new_viewers(&other).await, (5, 2));
    played.assert_watched(&after, 4..=4, 0.0);
    #[expect(clippy::cast_precision_loss, reason = "instants need no more than 53 bits")]
    let told = told_until(&after).unwrap() - after["startedAt"].as_u64().unwrap() as f64;
    let gap = (1.0 - after["observed"].as_f64().unwrap()) * told / 1e3;
    println!("{gap} s of {} s are not known: {after}", told / 1e3);
    // What was not written when the node was killed, and the time until another one took over.
    assert!(gap > 0.0 && gap < 4.0 + took.as_secs_f64() + 4.0, "{gap} s are not known: {after}");
}
