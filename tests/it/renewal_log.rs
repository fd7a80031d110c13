//! The log of renewals over a real Redis and a real Redis Cluster: heartbeats of a busy node, while nodes die, leave and shut
//! down.

use std::{collections::HashMap, slice, time::Duration};

use aforo::{
    domain::{Act, Op, Session, Timestamp},
    server::{
        redis::{ClusterRunner, RedisRunner},
        store::{
            Append, Attendance, Left, LeftSince, LogId, Renewal, RenewalLog, ShortIds, Store, StoreError,
            remote::RemoteStore,
        },
    },
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    contract::{
        attend, attendance,
        rules::{RULES, channel, op, write},
    },
    support::{PATIENCE, Program, RedisCluster, RedisServer, acl_line, viewer},
};

/// The lease of a heartbeat, in milliseconds.
const LEASE: u64 = 60_000;

/// The number of viewers. Each sends heartbeats without a pause. On a cluster, a node logs only those of channels with many.
const VIEWERS: u64 = 80;

/// One server, or a cluster that has the logs on another server than the channel.
enum Redis {
    One(RedisServer),
    Cluster(RedisCluster),
}

impl Redis {
    async fn one() -> Self {
        Self::One(RedisServer::start().await)
    }

    async fn cluster() -> Self {
        let cluster = RedisCluster::start(0).await;
        assert_ne!(cluster.primary_of("nodes"), cluster.primary_of("ana"));
        Self::Cluster(cluster)
    }

    async fn node(&self) -> Program {
        let urls = match self {
            Self::One(server) => server.url(),
            Self::Cluster(cluster) => cluster.urls(),
        };
        node(&urls).await
    }

    /// The server that keeps this hash tag.
    fn server_of(&self, tag: &str) -> &RedisServer {
        match self {
            Self::One(server) => server,
            Self::Cluster(cluster) => &cluster.servers[cluster.primary_of(tag)],
        }
    }

    fn servers(&self) -> &[RedisServer] {
        match self {
            Self::One(server) => slice::from_ref(server),
            Self::Cluster(cluster) => &cluster.servers,
        }
    }

    fn of_logs(&self) -> &RedisServer {
        self.server_of("nodes")
    }

    fn of_channel(&self) -> &RedisServer {
        self.server_of("ana")
    }
}

async fn node(url: &str) -> Program {
    Program::start(&[("REDIS_URL", url)]).await
}

/// Viewers that have joined.
async fn crowd(node: &Program) -> Vec<Uuid> {
    let viewers: Vec<_> = (0..VIEWERS).map(|_| viewer()).collect();
    join_all(viewers.iter().map(|viewer| node.join("ana", *viewer))).await;
    viewers
}

/// Does something while all viewers send heartbeats.
async fn under_load<T>(node: &Program, viewers: &[Uuid], act: impl Future<Output = T>) -> T {
    let load = join_all(viewers.iter().map(|viewer| async move {
        loop {
            let beat = node.heartbeat("ana", *viewer).await;
            assert_eq!((&beat["stale"], &beat["active"]), (&json!(false), &json!(true)));
        }
    }));
    tokio::select! {
        done = act => done,
        _ = load => unreachable!("heartbeats go on for ever"),
    }
}

/// The logs that are not written to their channels yet.
fn logs(redis: &RedisServer) -> Vec<String> {
    redis.keys(0).into_iter().filter(|key| key.starts_with("aforo:{nodes}:log ")).collect()
}

async fn until(is_met: impl Fn() -> bool) {
    let met = async {
        while !is_met() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, met).await.expect("it happens in time");
}

/// The time of Redis in milliseconds.
fn now(redis: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) = redis.command("TIME");
    seconds * 1_000 + micros / 1_000
}

/// When the first lease of a viewer in the channel ends.
fn first_end(redis: &RedisServer) -> u64 {
    let leases: Vec<(Vec<u8>, u64)> = redis.command("ZRANGE aforo:{ana}:viewers 0 -1 WITHSCORES");
    assert_eq!(leases.len() as u64, VIEWERS);
    leases.into_iter().map(|(_, end)| end).min().unwrap()
}

macro_rules! on_one_and_on_a_cluster {
    ($($test:ident),+) => {
        mod one {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Redis::one().await).await;
            })+
        }

        mod cluster {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Redis::cluster().await).await;
            })+
        }
    };
}

on_one_and_on_a_cluster!(
    heartbeats_under_load_are_logged_and_soon_in_their_channel,
    a_node_that_is_killed_loses_no_heartbeat,
    an_answer_under_load_has_all_that_its_node_has_answered,
    a_leave_through_another_node_is_heeded_under_load,
    a_node_that_shuts_down_writes_its_log_first,
    nobody_who_left_through_a_node_that_is_gone_is_restored_after_a_loss
);

async fn heartbeats_under_load_are_logged_and_soon_in_their_channel(redis: Redis) {
    let node = redis.node().await;
    let viewers = crowd(&node).await;
    under_load(&node, &viewers, until(|| !logs(redis.of_logs()).is_empty())).await;
    let since = now(redis.of_channel());
    let beats = join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    assert!(beats.iter().all(|beat| *beat == json!({"count": VIEWERS, "stale": false, "active": true})));
    until(|| logs(redis.of_logs()).is_empty() && first_end(redis.of_channel()) >= since + LEASE).await;
    assert_eq!(node.count("ana").await, VIEWERS);
}

async fn a_node_that_is_killed_loses_no_heartbeat(redis: Redis) {
    let (one, two) = (redis.node().await, redis.node().await);
    let viewers = crowd(&one).await;
    // The other node attends too.
    two.heartbeat("ana", viewers[0]).await;
    let is_waiting = |since| !logs(redis.of_logs()).is_empty() && first_end(redis.of_channel()) < since;
    let stopped = async {
        loop {
            under_load(&one, &viewers, until(|| !logs(redis.of_logs()).is_empty())).await;
            let since = now(redis.of_channel());
            join_all(viewers.iter().map(|viewer| one.heartbeat("ana", *viewer))).await;
            // Stopped, the node can't write them.
            one.signal("STOP");
            if is_waiting(since + LEASE) {
                break since;
            }
            one.signal("CONT");
        }
    };
    let since = timeout(PATIENCE, stopped).await.expect("the node is stopped before it writes its log");
    one.kill();
    until(|| logs(redis.of_logs()).is_empty() && first_end(redis.of_channel()) >= since + LEASE).await;
    assert_eq!(two.count("ana").await, VIEWERS);
}

async fn an_answer_under_load_has_all_that_its_node_has_answered(redis: Redis) {
    let node = redis.node().await;
    let viewers = crowd(&node).await;
    let change = async {
        for _ in 0..10 {
            until(|| !logs(redis.of_logs()).is_empty()).await;
            let new = viewer();
            let count = async || node.heartbeat("ana", viewers[0]).await["count"].clone();
            assert_eq!(node.join("ana", new).await["count"], VIEWERS + 1);
            assert_eq!(count().await, VIEWERS + 1);
            node.leave("ana", new).await;
            assert_eq!(count().await, VIEWERS);
        }
    };
    under_load(&node, &viewers, change).await;
}

async fn a_leave_through_another_node_is_heeded_under_load(redis: Redis) {
    let (one, two) = (redis.node().await, redis.node().await);
    let viewers = crowd(&one).await;
    let (leaving, staying) = viewers.split_at(10);
    let remaining = VIEWERS - 10;
    let leaves = || redis.of_logs().command::<usize>("ZCARD aforo:{nodes}:leaves");
    let leave = async {
        for (nth, viewer) in leaving.iter().enumerate() {
            until(|| !logs(redis.of_logs()).is_empty()).await;
            let beat = one.heartbeat("ana", *viewer).await;
            assert_eq!(beat["active"], true);
            two.leave("ana", *viewer).await;
            // On a busy machine, a node of a cluster may answer before it has entered the leave.
            until(|| leaves() == nth + 1).await;
            assert_eq!(one.heartbeat("ana", *viewer).await["active"], false);
        }
    };
    under_load(&one, staying, leave).await;
    until(|| logs(redis.of_logs()).is_empty()).await;
    assert_eq!((one.count("ana").await, two.count("ana").await), (remaining, remaining));
    join_all(leaving.iter().map(|viewer| two.join("ana", *viewer))).await;
    until(|| leaves() == 0).await;
}

async fn a_node_that_shuts_down_writes_its_log_first(redis: Redis) {
    let mut node = redis.node().await;
    let viewers = crowd(&node).await;
    under_load(&node, &viewers, until(|| !logs(redis.of_logs()).is_empty())).await;
    let since = now(redis.of_channel());
    join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    node.signal("TERM");
    assert!(node.wait_for_exit().await.success());
    assert_eq!(logs(redis.of_logs()), Vec::<String>::new());
    assert!(first_end(redis.of_channel()) >= since + LEASE);
}

/// Waits until all nodes have read who has left. They do so after a roll call, unless they did within half a second.
async fn until_leaves_are_read(redis: &Redis) {
    let attended = || {
        let roll: HashMap<String, String> = redis.of_logs().command("HGETALL aforo:{nodes}");
        roll.into_iter().filter(|(field, _)| field.len() == 16).collect::<HashMap<_, _>>()
    };
    for _ in 0..4 {
        sleep(Duration::from_millis(600)).await;
        let before = attended();
        until(|| {
            let now = attended();
            before.iter().all(|(node, at)| now.get(node) != Some(at))
        })
        .await;
    }
}

async fn nobody_who_left_through_a_node_that_is_gone_is_restored_after_a_loss(redis: Redis) {
    let (one, two) = (redis.node().await, redis.node().await);
    let viewers = crowd(&one).await;
    join_all(viewers.iter().map(|viewer| two.heartbeat("ana", *viewer))).await;
    let (leaving, staying) = viewers.split_at(20);
    join_all(leaving.iter().map(|viewer| one.leave("ana", *viewer))).await;
    // One comes back.
    one.join("ana", leaving[0]).await;
    let remaining = staying.len() as u64 + 1;
    until_leaves_are_read(&redis).await;
    two.heartbeat("ana", leaving[0]).await;
    one.kill();
    redis.servers().iter().for_each(|server| server.command("FLUSHALL"));
    let recovered = async {
        loop {
            let answer: Value = two.get("/api/viewer/count/ana").await.json().await.unwrap();
            if answer["stale"] == false && answer["count"] != 0 {
                return answer["count"].clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, recovered).await.expect("the channel is restored"), remaining);
}

#[tokio::test]
async fn who_has_left_is_read_in_order_and_in_a_bounded_number() {
    let redis = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "aforo", RULES);
    attend(1, &store).await;
    let leave = async |n| {
        let ops = [op(n, n, Act::Join { lease: RULES.longest_lease }), op(n, n, Act::Leave)];
        let left = write(&store, "ana", &ops).await.reading.as_of;
        // The next one leaves at another time.
        sleep(Duration::from_millis(5)).await;
        let [Op { viewer, session, .. }, _] = ops;
        Left { channel: channel("ana"), ids: ShortIds::of(viewer, session), at: left }
    };
    let [_, second, third] = [leave(3).await, leave(2).await, leave(1).await];
    // These are no sessions.
    let at = second.at.as_millis().to_string();
    for member in ["short", "a session of 22 bytes and no channel"] {
        redis.request::<()>(&["ZADD", "aforo:{nodes}:leaves", &at, member]);
    }
    // And of this one it is not known whether it has left.
    let may_have_left = format!("{at}.5");
    redis.request::<()>(&["ZADD", "aforo:{nodes}:leaves", &may_have_left, "a session of 22 bytes ana"]);
    let since = second.at;
    let all = LeftSince { left: vec![second, third], rest: None };
    assert_eq!(store.left_since(since).await.unwrap(), all);
    let at = |nth: usize| Timestamp::from_millis(9_000_000_000_000 + nth as u64);
    let fill =
        "for i = 1, 2500 do redis.call('ZADD', KEYS[1], 9000000000000 + i, string.format('%022dana', i)) end";
    redis.request::<()>(&["EVAL", fill, "1", "aforo:{nodes}:leaves"]);
    // The last of a read may share its millisecond with others.
    for (since, first, last, rest) in [(0, 1, 2_000, Some(2_000)), (2_000, 2_000, 2_500, None)] {
        let read = store.left_since(at(since)).await.unwrap();
        let ends = (read.left[0].at, read.left.last().unwrap().at);
        assert_eq!((ends, read.rest), ((at(first), at(last)), rest.map(at)));
    }
    redis.request::<()>(&["EVAL", &fill.replace(" + i", ""), "1", "aforo:{nodes}:leaves"]);
    assert_eq!(store.left_since(at(0)).await.unwrap().rest, Some(at(1)), "it goes on behind them");
}

#[tokio::test]
async fn a_leave_while_the_server_of_the_logs_is_away_is_heeded_when_it_is_back() {
    let redis = Redis::cluster().await;
    let (one, two) = (redis.node().await, redis.node().await);
    let viewers = crowd(&one).await;
    let (leaving, staying) = viewers.split_first().unwrap();
    let load = async {
        loop {
            join_all(staying.iter().map(|viewer| one.heartbeat("ana", *viewer))).await;
        }
    };
    let leave = async {
        until(|| !logs(redis.of_logs()).is_empty()).await;
        let of_logs = redis.of_logs();
        of_logs.pause();
        two.leave("ana", *leaving).await;
        for _ in 0..10 {
            assert_eq!(one.heartbeat("ana", *leaving).await["active"], false);
        }
        of_logs.resume();
        until(|| of_logs.command::<usize>("ZCARD aforo:{nodes}:leaves") == 1).await;
        assert_eq!(one.heartbeat("ana", *leaving).await["active"], false);
    };
    tokio::select! {
        () = leave => {}
        () = load => unreachable!("heartbeats go on for ever"),
    }
    until(|| logs(redis.of_logs()).is_empty()).await;
    let count = async {
        while one.count("ana").await != VIEWERS - 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, count).await.expect("the count is right again");
}

#[tokio::test]
async fn a_user_who_may_not_log_counts_as_before() {
    let redis = RedisServer::start().await;
    let allowed = acl_line("secret");
    let words: Vec<_> = allowed.iter().map(String::as_str).filter(|word| *word != "+rpush").collect();
    redis.request::<()>(&words);
    let url = format!("redis://aforo:secret@127.0.0.1:{}", redis.port);
    let node = node(&url).await;
    let viewers = crowd(&node).await;
    let tried = || redis.command::<String>("INFO commandstats").contains("cmdstat_zmscore");
    under_load(&node, &viewers, until(tried)).await;
    let since = now(&redis);
    let beats = join_all(viewers.iter().map(|viewer| node.heartbeat("ana", *viewer))).await;
    assert!(beats.iter().all(|beat| *beat == json!({"count": VIEWERS, "stale": false, "active": true})));
    assert!(first_end(&redis) >= since + LEASE);
    assert_eq!(logs(&redis), Vec::<String>::new());
}

#[tokio::test]
async fn a_renewal_of_a_session_that_has_left_enters_it_again() {
    let redis = RedisServer::start().await;
    let one = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "aforo", RULES);
    finds_a_lost_leave(&redis, &one).await;
    let cluster = RedisCluster::start(0).await;
    let urls = cluster.urls();
    let urls: Vec<_> = urls.split(',').collect();
    let many = RemoteStore::new(ClusterRunner::open(&urls).unwrap(), "aforo", RULES);
    finds_a_lost_leave(&cluster.servers[cluster.primary_of("nodes")], &many).await;
}

async fn finds_a_lost_leave(of_logs: &RedisServer, store: &dyn Store) {
    attend(1, store).await;
    let join = Act::Join { lease: RULES.longest_lease };
    let joined = write(store, "ana", &[op(1, 1, join), op(2, 2, join)]).await.reading;
    let sessions = || of_logs.command::<Vec<Vec<u8>>>("ZRANGE aforo:{nodes}:leaves 0 -1");
    let enters = async |ops: &[Op]| {
        of_logs.command::<()>("DEL aforo:{nodes}:leaves");
        let active = write(store, "ana", ops).await.active;
        // A slow call is made up for at the next roll call.
        attend(1, store).await;
        (active.to_vec(), sessions())
    };
    let (_, left) = enters(&[op(2, 2, Act::Leave)]).await;
    assert_eq!(left.len(), 1);
    let beat = Act::Logged(Session::beating(joined.as_of, RULES.longest_lease, false));
    assert_eq!(enters(&[op(1, 1, beat), op(2, 2, beat)]).await, (vec![true, false], left.clone()));
    // The last of the operations decides.
    let ops = [op(2, 2, join), op(1, 1, Act::Leave), op(1, 1, join), op(2, 2, Act::Leave)];
    assert_eq!(enters(&ops).await.1, left);
}

/// A store of a user who lacks a right on the server of the logs.
fn store_of_user_without(right: &str, cluster: &RedisCluster) -> RemoteStore<ClusterRunner> {
    let of_logs = cluster.primary_of("nodes");
    for (n, server) in cluster.servers.iter().enumerate() {
        let rights = ["+cluster|slots", "+ping", right];
        server.add_user("secret", &rights[..if n == of_logs { 3 } else { 2 }]);
    }
    let url = |server: &RedisServer| format!("redis://aforo:secret@127.0.0.1:{}", server.port);
    let urls: Vec<_> = cluster.servers.iter().map(url).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    RemoteStore::new(ClusterRunner::open(&urls).unwrap(), "aforo", RULES)
}

#[tokio::test]
async fn nothing_is_logged_while_a_leave_is_not_entered_nor_after_its_node_has_gone() {
    let cluster = RedisCluster::start(0).await;
    let store = store_of_user_without("-zadd", &cluster);
    let of_logs = &cluster.servers[cluster.primary_of("nodes")];
    let logged = || of_logs.command::<String>("HGET aforo:{nodes} logged");
    let attends = async |expected_for| {
        store.attend(&Attendance { expected_for, ..attendance(1) }).await.unwrap();
        logged()
    };
    let long = Duration::from_secs(60);
    assert_eq!(attends(long).await, "1");
    let join = Act::Join { lease: RULES.longest_lease };
    write(&store, "ana", &[op(1, 1, join), op(1, 1, Act::Leave)]).await;
    assert_eq!(attends(long).await, "");
    of_logs.add_user("secret", &["+cluster|slots", "+ping"]);
    assert_eq!(attends(long).await, "1", "it is entered late");
    assert_eq!(of_logs.command::<usize>("ZCARD aforo:{nodes}:leaves"), 1);

    of_logs.add_user("secret", &["+cluster|slots", "+ping", "-zadd"]);
    write(&store, "ana", &[op(2, 2, join), op(2, 2, Act::Leave)]).await;
    attends(Duration::ZERO).await;
    let other = RemoteStore::new(ClusterRunner::open(&[&of_logs.url()]).unwrap(), "aforo", RULES);
    attend(2, &other).await;
    assert_eq!(logged(), "");
    let until: u64 = of_logs.command("HGET aforo:{nodes} unlogged");
    assert!(until > now(of_logs), "until no node can take the session for live");
}

#[tokio::test]
async fn a_user_of_a_cluster_who_may_not_log_is_no_outage() {
    let cluster = RedisCluster::start(0).await;
    let store = store_of_user_without("-rpush", &cluster);
    attend(1, &store).await;
    let Op { viewer, session, .. } = op(1, 1, Act::Leave);
    let renewal = Renewal { channel: channel("ana"), viewer, session, lease: RULES.longest_lease };
    let logs = store.renewal_log().unwrap();
    let append = async || logs.append(LogId { node: 1, is_second: false }, slice::from_ref(&renewal)).await;
    // On a busy machine, a call may arrive late.
    let refused = async {
        loop {
            // A call may have taken long.
            store.unresolved_outage().into_iter().for_each(|outage| store.resolve_outages(outage));
            match append().await {
                Err(error @ StoreError::Refused(_)) => break error,
                Ok(Append::NotNow) | Err(_) => sleep(Duration::from_millis(20)).await,
                Ok(other) => panic!("{other:?}"),
            }
        }
    };
    let error = timeout(PATIENCE, refused).await.expect("it is refused");
    let reasons = ["can't run this command", "has no permissions to run"];
    assert!(reasons.iter().any(|reason| error.to_string().contains(reason)), "{error}");
    assert_eq!(store.unresolved_outage(), None);
}

#[tokio::test]
async fn the_sessions_that_have_left_are_freed_in_small_steps() {
    let redis = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&redis.url()).unwrap(), "aforo", RULES);
    attend(1, &store).await;
    let fill = "for i = 1, 2500 do redis.call('ZADD', KEYS[1], 1, i) end";
    redis.request::<()>(&["EVAL", fill, "1", "aforo:{nodes}:leaves"]);
    let join = Act::Join { lease: RULES.longest_lease };
    write(&store, "ana", &[op(1, 1, join), op(2, 2, join), op(2, 2, Act::Leave)]).await;
    assert_eq!(redis.command::<usize>("ZCARD aforo:{nodes}:leaves"), 1_501, "a write frees at most 1,000");
    store.sweep().await.unwrap();
    assert_eq!(redis.command::<usize>("ZCARD aforo:{nodes}:leaves"), 1);
}
