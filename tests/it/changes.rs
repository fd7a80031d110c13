//! Reads of many channels, of which only those that have changed are read: what they cost Redis, and what they return when
//! the list of changes is lost, damaged, full or forbidden.

use std::time::{Duration, Instant};

use aforo::{
    domain::{Act, ChannelId},
    server::{
        redis::RedisRunner,
        store::{Batch, MAX_OPS, Reading, Store, remote::RemoteStore},
    },
};
use tokio::time::sleep;

use crate::{
    contract::{
        attend, attendance,
        rules::{RULES, channel, op, write},
    },
    support::RedisServer,
};

const LIST: &str = "test:{changes}";

type Node = RemoteStore<RedisRunner>;

fn node(url: &str) -> Node {
    RemoteStore::new(RedisRunner::open(url).unwrap(), "test", RULES)
}

fn channels(number: usize) -> Vec<ChannelId> {
    (0..number).map(|nth| channel(&format!("channel-{nth}"))).collect()
}

async fn join(node: &Node, name: &str, viewer: u128) {
    write(node, name, &[op(viewer, viewer, Act::Join { lease: RULES.longest_lease })]).await;
}

async fn leave(node: &Node, name: &str, viewer: u128) {
    write(node, name, &[op(viewer, viewer, Act::Leave)]).await;
}

async fn counts(node: &Node, channels: &[ChannelId]) -> Vec<u32> {
    node.counts(channels).await.into_iter().map(|reading| reading.unwrap().count).collect()
}

/// Two nodes that know the counts of the channels, which have one viewer each.
async fn settled(redis: &RedisServer, channels: &[ChannelId]) -> [Node; 2] {
    let nodes = [node(&redis.url()), node(&redis.url())];
    for (number, node) in (1..).zip(&nodes) {
        attend(number, node).await;
    }
    for channel in channels {
        join(&nodes[0], channel.as_str(), 1).await;
    }
    for node in &nodes {
        // The first reads show that the channels stay as they are.
        for _ in 0..4 {
            assert_eq!(counts(node, channels).await, vec![1; channels.len()]);
        }
    }
    nodes
}

/// How often a command was called, by scripts too.
fn calls_of(redis: &RedisServer, command: &str) -> u64 {
    let stats: String = redis.command("INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_check_for_losses_finds_a_channel_that_has_as_many_viewers_again() {
    let redis = RedisServer::start().await;
    let [one, other] = settled(&redis, &channels(1)).await;
    let mark = async || one.verify(&channels(1)).await[0].as_ref().unwrap().mark;
    let before = mark().await;
    redis.command::<()>("FLUSHALL");
    join(&other, "channel-0", 2).await;
    assert_eq!(counts(&one, &channels(1)).await, [1], "a read may trust the mark");
    assert_ne!(mark().await, before);
}

#[tokio::test]
async fn channels_that_have_not_changed_are_not_read() {
    let redis = RedisServer::start().await;
    let channels = channels(100);
    let [one, other] = settled(&redis, &channels).await;
    let (before, began) = (calls_of(&redis, "zcount"), Instant::now());
    for nth in 0..10 {
        join(&other, "channel-7", 2 + nth).await;
        let seen = counts(&one, &channels).await;
        assert_eq!(seen[7], 2 + u32::try_from(nth).unwrap());
        assert_eq!(seen.iter().sum::<u32>(), 101 + u32::try_from(nth).unwrap());
    }
    // Each round reads the channel for the write and for the read, and asks for changes. After ten seconds and more, a channel
    // is read again.
    let calls = calls_of(&redis, "zcount") - before;
    assert!(calls <= 40 || began.elapsed() > Duration::from_secs(10), "{calls} counts");
}

/// What is known of a channel, as the nodes judge it.
fn facts(
    readings: Vec<Result<Reading, aforo::server::store::StoreError>>,
) -> Vec<impl PartialEq + std::fmt::Debug> {
    let readings = readings.into_iter().map(Result::unwrap);
    readings.map(|reading| (reading.count, reading.mark, reading.restored)).collect()
}

#[tokio::test]
async fn every_change_of_another_node_shows_in_the_next_read() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, other] = settled(&redis, &channels).await;
    let short = Act::Heartbeat { lease: Duration::from_millis(300) };
    join(&other, "channel-0", 2).await;
    leave(&other, "channel-1", 1).await;
    // A shorter lease ends a viewer sooner than a node that has read the channel before knows.
    write(&other, "channel-2", &[op(1, 1, short)]).await;
    // A viewer with two pages.
    write(&other, "channel-3", &[op(1, 2, Act::Join { lease: RULES.longest_lease })]).await;
    leave(&other, "channel-3", 1).await;
    redis.command::<()>("DEL test:{channel-4}:viewers test:{channel-4}:sessions");
    join(&other, "channel-4", 9).await;
    assert_eq!(counts(&one, &channels).await, [2, 0, 1, 1, 1]);
    assert_eq!(facts(one.counts(&channels).await), facts(other.verify(&channels).await));
    sleep(Duration::from_millis(310)).await;
    assert_eq!(counts(&one, &channels).await, [2, 0, 0, 1, 1]);
}

#[tokio::test]
async fn a_list_that_is_lost_or_damaged_hides_no_change() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, other] = settled(&redis, &channels).await;
    let mut viewers = 1;
    for damage in [
        vec!["DEL", LIST],
        vec!["SET", LIST, "text"],
        vec!["ZREM", LIST, ">"],
        vec!["ZREM", LIST, ""],
        vec!["ZREMRANGEBYRANK", LIST, "0", "-1"],
        // As an old copy of the data would have it.
        vec!["ZADD", LIST, "1", "", "1", ">"],
    ] {
        for is_before in [true, false] {
            let names = format!("{damage:?}, {is_before}");
            for _ in 0..2 {
                counts(&one, &channels).await;
            }
            if is_before {
                redis.request::<redis::Value>(&damage);
            }
            viewers += 1;
            join(&other, "channel-3", viewers).await;
            if !is_before {
                redis.request::<redis::Value>(&damage);
                // The other node has replaced the list when this one asks.
                counts(&other, &channels).await;
            }
            let expected = [1, 1, 1, u32::try_from(viewers).unwrap(), 1];
            assert_eq!(counts(&one, &channels).await, expected, "{names}");
            assert_eq!(counts(&one, &channels).await, expected, "{names}");
        }
    }
}

#[tokio::test]
async fn many_changes_are_bounded_and_none_is_hidden() {
    const MANY: usize = 20_000;
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, other] = settled(&redis, &channels).await;
    let new = |nth| Batch {
        channel: channel(&format!("new-{nth}")),
        ops: std::iter::once(op(1, 1, Act::Join { lease: RULES.longest_lease })).collect(),
    };
    for from in (0..MANY).step_by(MAX_OPS) {
        let batches: Vec<_> = (from..from + MAX_OPS).map(new).collect();
        assert!(other.write(&batches).await.iter().all(Result::is_ok));
    }
    join(&other, "channel-3", 2).await;
    assert_eq!(counts(&one, &channels).await, [1, 1, 1, 2, 1]);
    let size = || redis.request::<u64>(&["ZCARD", LIST]);
    assert!(size() < 16_500, "more changes than that between two questions are dropped: {}", size());
    for from in (0..MANY / 2).step_by(MAX_OPS) {
        let leaves = (from..from + MAX_OPS).map(|nth| Batch {
            channel: channel(&format!("new-{nth}")),
            ops: std::iter::once(op(1, 1, Act::Leave)).collect(),
        });
        assert!(other.write(&leaves.collect::<Vec<_>>()).await.iter().all(Result::is_ok));
    }
    join(&other, "channel-1", 2).await;
    // Each question removes some.
    for _ in 0..30 {
        assert_eq!(counts(&one, &channels).await, [1, 2, 1, 2, 1]);
    }
    assert!(size() < 4_200, "{}", size());
    join(&other, "channel-4", 2).await;
    assert_eq!(counts(&one, &channels).await, [1, 2, 1, 2, 2]);
}

#[tokio::test]
async fn without_memory_or_permission_every_channel_is_read() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, other] = settled(&redis, &channels).await;
    redis.command::<()>("CONFIG SET maxmemory 1");
    for lost in [false, true] {
        if lost {
            redis.request::<i64>(&["DEL", LIST]);
        }
        assert_eq!(counts(&one, &channels).await, [1; 5]);
    }
    redis.command::<()>("CONFIG SET maxmemory 0");
    join(&other, "channel-2", 2).await;
    assert_eq!(counts(&one, &channels).await, [1, 1, 2, 1, 1]);

    // The user of an earlier version.
    redis.add_user("a-password", &["-zscore"]);
    let url = format!("redis://aforo:a-password@127.0.0.1:{}", redis.port);
    let limited = RemoteStore::new(RedisRunner::open(&url).unwrap(), "aforo", RULES);
    attend(3, &limited).await;
    for viewers in 1..4 {
        join(&limited, "channel-2", viewers.into()).await;
        assert_eq!(counts(&limited, &channels).await, [0, 0, viewers, 0, 0]);
    }
    let live = limited.live().await.unwrap();
    assert!(live.is_whole && live.live.len() == 1);
}

/// The loss of a channel that nobody writes to does not show in counts for a while, but in checks it does.
#[tokio::test]
async fn a_server_that_takes_no_writes_is_still_read() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, other] = settled(&redis, &channels).await;
    let set = |replicas| redis.request::<()>(&["CONFIG", "SET", "min-replicas-to-write", replicas]);
    set("1");
    let newcomer = node(&redis.url());
    for node in [&one, &other, &newcomer] {
        assert_eq!(counts(node, &channels).await, [1; 5]);
    }
    set("0");
    redis.request::<()>(&["DEL", LIST]);
    set("1");
    for node in [&one, &other, &newcomer] {
        assert_eq!(counts(node, &channels).await, [1; 5]);
    }
    set("0");
    join(&other, "channel-3", 2).await;
    for node in [&one, &newcomer] {
        assert_eq!(counts(node, &channels).await, [1, 1, 1, 2, 1]);
    }
}

#[tokio::test]
async fn a_check_shows_a_lost_channel() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, _other] = settled(&redis, &channels).await;
    redis.command::<()>("DEL test:{channel-2}:viewers test:{channel-2}:sessions");
    let found: Vec<_> =
        one.verify(&channels).await.into_iter().map(|reading| reading.unwrap().count).collect();
    assert_eq!(found, [1, 1, 0, 1, 1]);
    assert_eq!(counts(&one, &channels).await, [1, 1, 0, 1, 1], "the loss is known now");
}

#[tokio::test]
async fn the_live_list_names_every_channel_that_was_entered() {
    let redis = RedisServer::start().await;
    let [one, other] = settled(&redis, &channels(5)).await;
    for nth in 1..20 {
        join(&other, &format!("new-{nth}"), 1).await;
        let live = one.live().await.unwrap();
        assert!(live.is_whole && live.live.len() == 5 + nth, "{} of {}", live.live.len(), 5 + nth);
    }
    let listings = || calls_of(&redis, "zrangebyscore");
    let before = listings();
    for _ in 0..10 {
        assert_eq!(one.live().await.unwrap().live.len(), 24);
    }
    assert!(listings() - before < 16 * 5, "{}", listings() - before);

    // One write may enter more channels of one part than one call takes: the part is the sum of the letters.
    let names: Vec<_> = (0..=999).map(|nth| format!("many-{nth:03}-{:03}", 999 - nth)).collect();
    let batch = |name: &String| Batch {
        channel: channel(name),
        ops: std::iter::once(op(1, 1, Act::Join { lease: RULES.longest_lease })).collect(),
    };
    assert!(other.write(&names.iter().map(batch).collect::<Vec<_>>()).await.iter().all(Result::is_ok));
    assert_eq!(one.live().await.unwrap().live.len(), 1_024);
    let leave = |name: &String| Batch { ops: std::iter::once(op(1, 1, Act::Leave)).collect(), ..batch(name) };
    assert!(other.write(&names.iter().map(leave).collect::<Vec<_>>()).await.iter().all(Result::is_ok));

    // Another node enters the channels of a lost bucket again.
    for bucket in redis.keys(0).iter().filter(|key| key.contains("{live ")) {
        redis.request::<i64>(&["DEL", bucket]);
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(one.live().await.unwrap().live.len(), 0, "no name is known for longer");
    let third = node(&redis.url());
    attend(3, &third).await;
    for nth in 1..20 {
        write(&third, &format!("new-{nth}"), &[op(1, 1, Act::Heartbeat { lease: RULES.longest_lease })])
            .await;
        assert_eq!(one.live().await.unwrap().live.len(), nth);
    }
}

/// Nodes of earlier versions do not list what they change. They are in the roll call.
#[tokio::test]
async fn beside_a_node_of_an_earlier_version_every_channel_is_read() {
    let redis = RedisServer::start().await;
    let channels = channels(5);
    let [one, _other] = settled(&redis, &channels).await;
    let end = "9000000000000";
    let change = |viewer: &str| redis.request::<u64>(&["ZADD", "test:{channel-1}:viewers", end, viewer]);
    change("fourteen bytes");
    assert_eq!(counts(&one, &channels).await, [1; 5], "the change is not in the list");
    redis.request::<u64>(&["HSET", "test:{nodes}", "00000000000000ff", &format!("{end} 0")]);
    one.attend(&attendance(1)).await.unwrap();
    assert_eq!(counts(&one, &channels).await, [1, 2, 1, 1, 1]);
    for viewers in 3..6 {
        change(&format!("fourteen byte{viewers}"));
        assert_eq!(counts(&one, &channels).await, [1, viewers, 1, 1, 1]);
    }
    redis.request::<u64>(&["HDEL", "test:{nodes}", "00000000000000ff"]);
    one.attend(&attendance(1)).await.unwrap();
    for _ in 0..5 {
        counts(&one, &channels).await;
    }
    change("fourteen-bytes");
    assert_eq!(counts(&one, &channels).await, [1, 5, 1, 1, 1], "the list is used again");
}
