//! Operation with a real Redis Cluster: spread of channels, failover and moving slots.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use aforo::{
    domain::{ChannelId, Policy},
    server::{
        redis::Runner,
        store::{Store, remote::RemoteStore},
    },
};
use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::{PATIENCE, RedisCluster, Sample, Sampler, TestApp, TestRunner, viewer};

/// Channels on all three primaries.
const CHANNELS: [&str; 6] = ["ana", "bob", "eva", "leo", "mia", "zoe"];

/// A node that has connected to the cluster.
async fn node(cluster: &RedisCluster) -> TestApp {
    let app = TestApp::with(&["--redis-url", &cluster.urls()]).await;
    app.sse("sse/unrelated").await.until_fresh(0).await;
    app
}

#[tokio::test]
async fn channels_are_spread_over_the_primaries_and_counted_on_every_node() {
    let cluster = RedisCluster::start(0).await;
    let (one, two) = (node(&cluster).await, node(&cluster).await);
    let mut primaries: Vec<_> = CHANNELS.iter().map(|channel| cluster.primary_of(channel)).collect();
    primaries.sort_unstable();
    primaries.dedup();
    assert_eq!(primaries.len(), 3, "the channels are on all primaries");
    for (n, channel) in CHANNELS.iter().enumerate() {
        join_all((0..=n).map(|_| one.join(channel, viewer()))).await;
    }
    let answer: serde_json::Value =
        two.get(&format!("/api/viewer/counts?channels={}", CHANNELS.join(","))).await.json().await.unwrap();
    let counts: Vec<_> =
        answer["counts"].as_array().unwrap().iter().map(|count| count["count"].clone()).collect();
    assert_eq!(counts, (1..=6).map(|n| json!(n)).collect::<Vec<_>>());
    let live: serde_json::Value = two.get("/api/viewer/live").await.json().await.unwrap();
    assert_eq!(live["channels"].as_array().unwrap().len(), 6);
    assert_eq!(live["channels"][0]["channelId"], "zoe");
    for server in &cluster.servers {
        for key in server.command::<Vec<String>>("KEYS *") {
            assert!(server.request::<i64>(&["PTTL", &key]) > 0, "{key} expires");
        }
    }
}

#[tokio::test]
async fn a_failed_primary_is_replaced_and_other_channels_are_unaffected() {
    let mut cluster = RedisCluster::start(1).await;
    let app = node(&cluster).await;
    let viewers: Vec<_> = (0..10).map(|_| viewer()).collect();
    for channel in CHANNELS {
        join_all(viewers.iter().map(|viewer| app.join(channel, *viewer))).await;
    }
    let primary = cluster.primary_of("ana");
    let (affected, others): (Vec<_>, Vec<_>) =
        CHANNELS.into_iter().partition(|channel| cluster.primary_of(channel) == primary);
    let mut stream = app.sse("sse/ana").await;
    stream.until_fresh(10).await;
    cluster.servers[primary].kill();
    for _ in 0..10 {
        for channel in &others {
            assert_eq!(
                app.heartbeat(channel, viewers[0]).await,
                json!({"count": 10, "stale": false, "active": true})
            );
        }
        let beat = app.heartbeat("ana", viewers[0]).await;
        assert_eq!(
            (&beat["count"], &beat["active"]),
            (&json!(10), &json!(true)),
            "the count may be stale but is never too low"
        );
        sleep(Duration::from_millis(50)).await;
    }
    app.join("ana", viewer()).await;
    let before = stream.until_fresh(11).await;
    assert!(before.iter().all(|count| *count == Some(10)), "{before:?}");
    for channel in affected {
        assert!(app.count(channel).await >= 10);
    }
}

/// The roll call is on another primary, so no node misses one.
#[tokio::test]
async fn after_an_outage_of_one_primary_no_node_shows_a_count_that_lacks_what_another_has_to_replay() {
    let cluster = RedisCluster::start(0).await;
    let runner = TestRunner::to_cluster(&cluster);
    let (one, two) = (TestApp::with_runner(runner.clone(), &[]).await, node(&cluster).await);
    let of_roll_call = cluster.primary_of("nodes");
    let channel = CHANNELS.into_iter().find(|channel| cluster.primary_of(channel) != of_roll_call).unwrap();
    let primary = &cluster.servers[cluster.primary_of(channel)];
    let viewers: Vec<_> = (0..60).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| one.join(channel, *viewer))).await;
    assert_eq!(two.count(channel).await, 60);
    primary.pause();
    // This node's leaves wait in the node, not in its connection.
    runner.set_cut(true);
    join_all(viewers[..40].iter().map(|viewer| one.leave(channel, *viewer))).await;
    // The outage ends with the deadline of the other node's first call.
    while reading(&two, channel).await["stale"] == false {}
    primary.resume();
    let reconnect = async {
        sleep(Duration::from_secs(1)).await;
        runner.set_cut(false);
    };
    let read = tokio::join!(first_live(&two, channel), reconnect);
    assert_eq!(read, (json!(20), ()));
}

/// A second node knows the one channel from before, and has never read the other one. A third node starts meanwhile.
#[tokio::test]
async fn after_an_outage_of_one_primary_the_first_reading_of_a_channel_is_live_only_if_it_is_complete() {
    let cluster = RedisCluster::start(0).await;
    let runner = TestRunner::to_cluster(&cluster);
    let (one, two) = (TestApp::with_runner(runner.clone(), &[]).await, node(&cluster).await);
    let away = (cluster.primary_of("nodes") + 1) % 3;
    let names = (0..).map(|n| format!("channel{n}"));
    let channels: Vec<_> = names.filter(|name| cluster.primary_of(name) == away).take(2).collect();
    let viewers: Vec<_> = (0..60).map(|_| viewer()).collect();
    for channel in &channels {
        join_all(viewers.iter().map(|viewer| one.join(channel, *viewer))).await;
    }
    assert_eq!(two.count(&channels[0]).await, 60);
    let _open = two.sse("sse/unrelated").await;
    cluster.servers[away].pause();
    // This node's leaves wait in the node, not in its connection.
    runner.set_cut(true);
    for channel in &channels {
        join_all(viewers[..40].iter().map(|viewer| one.leave(channel, *viewer))).await;
    }
    let three = TestApp::with(&["--redis-url", &cluster.urls()]).await;
    // Longer than the deadline of a call, and shorter than a node is waited for.
    sleep(Duration::from_secs(3)).await;
    cluster.servers[away].resume();
    let reconnect = async {
        sleep(Duration::from_secs(1)).await;
        runner.set_cut(false);
    };
    let read = tokio::join!(
        first_live(&two, &channels[0]),
        first_live(&two, &channels[1]),
        first_live(&three, &channels[0]),
        first_listed(&two, &channels[0]),
        reconnect
    );
    assert_eq!(read, (json!(20), json!(20), json!(20), json!(20), ()));
}

/// The answer to a count call.
async fn reading(app: &TestApp, channel: &str) -> serde_json::Value {
    app.get(&format!("/api/viewer/count/{channel}")).await.json().await.unwrap()
}

/// The first count that is live.
async fn first_live(app: &TestApp, channel: &str) -> serde_json::Value {
    let first = async {
        loop {
            let answer = reading(app, channel).await;
            if answer["stale"] == false {
                return answer["count"].clone();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, first).await.expect("the count is live again")
}

/// The first count of a channel in the live list that is live.
async fn first_listed(app: &TestApp, channel: &str) -> serde_json::Value {
    let first = async {
        loop {
            let answer: serde_json::Value = app.get("/api/viewer/live").await.json().await.unwrap();
            let mut listed = answer["channels"].as_array().unwrap().iter();
            let listed = listed.find(|one| one["channelId"] == channel);
            if let Some(one) = listed.filter(|one| one["stale"] == false) {
                return one["count"].clone();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, first).await.expect("the channel is listed with a live count")
}

/// The channels are on other primaries than their entries in the list of live channels, which are lost.
#[tokio::test]
async fn after_a_loss_of_one_primary_a_live_list_that_lacks_channels_is_never_shown_as_live() {
    let mut cluster = RedisCluster::start(0).await;
    let (one, two) = (node(&cluster).await, node(&cluster).await);
    let lost = (cluster.primary_of("nodes") + 1) % 3;
    let primary_of_entry = |name: &str| {
        let part = ChannelId::parse(name).unwrap().part();
        cluster.primary_of(&format!("live {part}"))
    };
    let names = (0..).map(|n| format!("channel{n}")).filter(|name| cluster.primary_of(name) != lost);
    let (there, elsewhere): (Vec<_>, Vec<_>) =
        names.take(30).partition(|name| primary_of_entry(name) == lost);
    let [before, during, other] = [&there[0], &there[1], &elsewhere[0]];
    one.join(before, viewer()).await;
    one.join(other, viewer()).await;
    first_listed(&two, before).await;
    cluster.servers[lost].kill();
    while listing(&two).await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    one.join(during, viewer()).await;
    for _ in 0..10 {
        let ready = two.get("/readyz").await;
        assert_eq!(ready.status(), 503, "the other servers answer, but not this one");
        assert_eq!(ready.json::<serde_json::Value>().await.unwrap()["reason"], "store");
        sleep(Duration::from_millis(50)).await;
    }
    cluster.servers[lost].run().await;
    let first = async {
        loop {
            if let Some(listed) = listing(&two).await {
                return listed;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let listed = timeout(PATIENCE, first).await.expect("the list is live again");
    let mut all = [before, during, other].map(String::clone);
    all.sort_unstable();
    assert_eq!(listed, all);
    let ready = async { while two.get("/readyz").await.status() != 200 {} };
    timeout(PATIENCE, ready).await.expect("the store is available again");
}

#[tokio::test]
async fn the_live_list_of_a_primary_is_doubted_until_all_nodes_have_checked() {
    let mut cluster = RedisCluster::start(0).await;
    let store = RemoteStore::new(TestRunner::to_cluster(&cluster), "aforo", Policy::default().lease_rules());
    let is_whole = async |part: u16| store.listed(&[part]).await.is_ok_and(|names| names.is_whole);
    let part = ChannelId::parse("ana").unwrap().part();
    let elsewhere = (0..ChannelId::PARTS)
        .find(|other| {
            cluster.primary_of(&format!("live {other}")) != cluster.primary_of(&format!("live {part}"))
        })
        .unwrap();
    assert!(is_whole(part).await && is_whole(elsewhere).await);
    let primary = cluster.primary_of(&format!("live {part}"));
    cluster.servers[primary].kill();
    while is_whole(part).await {}
    cluster.servers[primary].run().await;
    let answers = async { while store.listed(&[part]).await.is_err() {} };
    timeout(PATIENCE, answers).await.expect("the primary answers");
    assert!(!is_whole(part).await && is_whole(elsewhere).await);
    store.resolve_outages(store.unresolved_outage().expect("it was noticed"));
    assert!(is_whole(part).await);
}

/// The channels of the live list in order of their names, if it is shown as live.
async fn listing(app: &TestApp) -> Option<Vec<String>> {
    let answer: serde_json::Value = app.get("/api/viewer/live").await.json().await.unwrap();
    let channels = answer["channels"].as_array()?;
    let name = |channel: &serde_json::Value| channel["channelId"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = channels.iter().map(name).collect();
    names.sort_unstable();
    channels.iter().all(|channel| channel["stale"] == false).then_some(names)
}

#[tokio::test]
async fn a_primary_that_hangs_delays_no_call_to_another_and_makes_no_other_count_stale() {
    let cluster = RedisCluster::start(0).await;
    let nodes = [node(&cluster).await, node(&cluster).await];
    let hung = (cluster.primary_of("nodes") + 1) % 3;
    let (affected, others): (Vec<_>, Vec<_>) =
        CHANNELS.into_iter().partition(|channel| cluster.primary_of(channel) == hung);
    for channel in CHANNELS {
        nodes[0].join(channel, viewer()).await;
        for node in &nodes {
            assert_eq!(node.count(channel).await, 1);
        }
    }
    let names = (0..600).map(|n| format!("channel{n}"));
    let mut new_channels =
        names.filter(|name| cluster.primary_of(name) != hung).collect::<Vec<_>>().into_iter();
    let watched = format!("sse/{}", others[0]);
    let samplers = [Sampler::on(&nodes[0], &watched).await, Sampler::on(&nodes[1], &watched).await];
    cluster.servers[hung].pause();
    let began = Instant::now();
    let is_over = || began.elapsed() > Duration::from_secs(8);
    let affected_calls = async {
        for node in nodes.iter().cycle() {
            let answer = node.join(affected[0], viewer()).await;
            assert!(answer["stale"] == true, "{answer}");
            sleep(Duration::from_millis(20)).await;
            if is_over() {
                break;
            }
        }
    };
    let other_calls = async {
        let (mut times, mut stale) = (Vec::new(), 0);
        for expected in 2.. {
            for (n, channel) in others.iter().enumerate() {
                let started = Instant::now();
                let answer = nodes[n % 2].join(channel, viewer()).await;
                times.push(started.elapsed());
                assert_eq!(
                    (&answer["count"], &answer["stale"]),
                    (&json!(expected), &json!(false)),
                    "{channel}"
                );
            }
            // Nor is a channel stale that neither node knows.
            let Some(new) = new_channels.next() else { break };
            for answer in [nodes[0].join(&new, viewer()).await, reading(&nodes[1], &new).await] {
                stale += usize::from(answer["stale"] != false);
                assert!(answer["stale"] == true || answer["count"] == 1, "{new}: {answer}");
            }
            if is_over() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        times.sort();
        (times[times.len() / 2], stale, times.len())
    };
    let ((), (median, stale, calls)) = tokio::join!(affected_calls, other_calls);
    assert!(median < Duration::from_millis(500), "{median:?}: calls do not wait for the deadline of another");
    // A healthy server may hang for a moment on a busy machine.
    assert!(stale * 10 < calls, "{stale} of {calls} answers are stale");
    for sampler in &samplers {
        let samples = sampler.samples();
        let stale = samples.iter().filter(|sample| sample.stale).count();
        assert!(stale * 5 < samples.len(), "{samples:?}");
    }
}

/// Sends heartbeats for all viewers of a channel through both nodes in turn, with a guest who joins and leaves, until
/// `stop` is set. Returns the number of stale responses.
async fn audience(nodes: &[TestApp; 2], channel: &str, viewers: &[Uuid], stop: &AtomicBool) -> usize {
    let (guest, expected) = (viewer(), viewers.len() as u64);
    let mut stale = 0;
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (node, other) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
        let mut answers = join_all(viewers.iter().map(|viewer| node.heartbeat(channel, *viewer))).await;
        answers.push(other.join(channel, guest).await);
        node.leave(channel, guest).await;
        for answer in answers {
            let count = answer["count"].as_u64();
            assert!((Some(expected)..=Some(expected + 1)).contains(&count), "{channel}: {answer}");
            stale += usize::from(answer["stale"] == true);
        }
        sleep(Duration::from_millis(20)).await;
    }
    stale
}

#[tokio::test]
async fn the_slots_of_a_primary_are_doubted_after_a_new_connection_to_it() {
    let cluster = RedisCluster::start(0).await;
    let runner = TestRunner::to_cluster(&cluster);
    let script = runner.script("return 1");
    let keys = CHANNELS.map(|channel| format!("{{{channel}}}").into_bytes());
    let restarted = cluster.primary_of("ana");
    for is_doubted in [false, true] {
        for (channel, key) in CHANNELS.iter().zip(&keys) {
            // A call does not wait for a new connection for as long as a busy machine can take to open it.
            let answered = async {
                while runner.run(&script, std::slice::from_ref(key), &[]).await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(PATIENCE, answered).await.expect("the primary answers");
            let is_affected = cluster.primary_of(channel) == restarted;
            assert_eq!(runner.was_away(key), is_doubted && is_affected, "{channel}");
        }
        cluster.servers[restarted].command::<i64>("CLIENT KILL TYPE normal");
    }
}

#[tokio::test]
async fn moving_slots_under_load_fails_no_call_and_loses_no_viewer() {
    let cluster = RedisCluster::start(0).await;
    let nodes = [node(&cluster).await, node(&cluster).await];
    let viewers: Vec<_> = (0..10).map(|_| viewer()).collect();
    for channel in CHANNELS {
        join_all(viewers.iter().map(|viewer| nodes[0].join(channel, *viewer))).await;
    }
    let watched = format!("sse?channels={}", CHANNELS.join(","));
    let samplers = [Sampler::on(&nodes[0], &watched).await, Sampler::on(&nodes[1], &watched).await];
    let all_fresh = || {
        join_all(
            CHANNELS
                .map(|channel| join_all(samplers.each_ref().map(|sampler| sampler.until_fresh(channel, 10)))),
        )
    };
    all_fresh().await;

    let source = cluster.primary_of("ana");
    let target = (source + 1) % 3;
    let (moving, staying): (Vec<_>, Vec<_>) =
        CHANNELS.into_iter().partition(|channel| cluster.primary_of(channel) == source);
    let stop = AtomicBool::new(false);
    let moves = async {
        for (from, to) in [(source, target), (target, source), (source, target), (target, source)] {
            for channel in &moving {
                cluster.move_slot(cluster.slot_of(channel), from, to).await;
                assert_eq!(cluster.primary_of(channel), to);
            }
            cluster.reshard(200, from, to).await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    let audiences = CHANNELS.map(|channel| audience(&nodes, channel, &viewers, &stop));
    let ((), stale) = tokio::join!(moves, join_all(audiences));

    all_fresh().await;
    let before = samplers.each_ref().map(|sampler| sampler.samples().len());
    sleep(Duration::from_secs(1)).await;
    for (sampler, before) in samplers.iter().zip(before) {
        let samples = sampler.samples();
        assert_eq!(samples.len(), before, "correct counts do not change: {:?}", &samples[before..]);
        let (low, high) = (Some(10), Some(11));
        assert!(samples.iter().all(|sample| (low..=high).contains(&sample.count)), "{samples:?}");
        let stays = |sample: &&Sample| staying.contains(&&*sample.channel);
        assert!(samples.iter().filter(stays).all(|sample| !sample.stale), "{samples:?}");
    }
    for (channel, stale) in CHANNELS.iter().zip(stale) {
        assert!(stale == 0 || moving.contains(channel), "{channel}: {stale} stale responses");
    }
}
