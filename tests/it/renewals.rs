//! The shortcut for heartbeats in `renew.lua`, which must do what the rest of the script would do.

use aforo::{
    domain::Act,
    server::{redis::RedisRunner, store::remote::RemoteStore},
};
use proptest::{prelude::Rng, test_runner::TestRng};
use redis::{Connection, Value, cmd};

use crate::{
    contract::{
        attend,
        rules::{RULES, op, write},
    },
    support::RedisServer,
};

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../../src/server/store/remote/scripts/", $name, ".lua"))
    };
}

const START: u64 = 1_800_000_000_000;

/// The script with the time of the call as its sixth argument.
fn script(has_shortcut: bool) -> String {
    let renew = if has_shortcut { part!("renew") } else { "local function renew() return 0, 0 end\n" };
    let call = part!("call").replace("call('TIME')", "{ floor(ARGV[6] / 1000), ARGV[6] % 1000 * 1000 }");
    let batch = part!("batch").replace("ARGV[channel + 5]", "ARGV[channel + 6]");
    assert!(call.contains("ARGV[6]") && batch.contains("channel + 6"));
    [part!("note"), &call, renew, "local function general()\n", part!("write"), "end\n", &batch].concat()
}

/// The keys of two channels.
fn keys(prefix: &str) -> Vec<String> {
    ["v0", "s0", "v1", "s1"].map(|name| format!("{prefix}{name}")).to_vec()
}

/// Sweeps both channels at a time.
fn sweep(redis: &mut Connection, prefix: &str, now: u64) {
    let time = "{ math.floor(ARGV[5] / 1000), ARGV[5] % 1000 * 1000 }";
    let script = part!("sweep").replace("redis.call('TIME')", time);
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(4).arg(keys(prefix)).arg(100).arg(30_000).arg(600_000).arg(15_000).arg(now);
    eval.exec(redis).unwrap();
}

/// Writes the operations of two channels at a time, and returns the answer and all data.
fn call(redis: &mut Connection, prefix: &str, script: &str, now: u64, channels: &[Vec<u8>]) -> Vec<Value> {
    let keys = keys(prefix);
    let mut eval = cmd("EVAL");
    eval.arg(script)
        .arg(3 + keys.len())
        .arg(format!("{prefix}nodes"))
        .arg(format!("{prefix}changes"))
        .arg(format!("{prefix}leaves"))
        .arg(&keys);
    // The memory of leaves is longer than the test takes.
    eval.arg(4).arg(30_000).arg(600_000).arg("0123456789abcdef").arg(0).arg(now).arg(channels);
    let mut seen = vec![eval.query(redis).unwrap()];
    for pair in keys.chunks_exact(2) {
        seen.push(cmd("ZRANGE").arg(&pair[0]).arg(0).arg(-1).arg("WITHSCORES").query(redis).unwrap());
        // Older servers can't tell, and keys of only unknown sessions that have left expire by the server's clock.
        let expires =
            pair.iter().map(|key| cmd("PEXPIRETIME").arg(key).query::<u64>(redis).unwrap_or_default());
        let expires = expires.filter(|at| *at > START).map(|at| Value::Int(at.cast_signed()));
        seen.extend(expires.collect::<Vec<_>>());
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = cmd("HGETALL").arg(&pair[1]).query(redis).unwrap();
        fields.sort();
        seen.extend(fields.into_iter().map(|(name, data)| Value::BulkString([name, data].concat())));
    }
    let changes =
        cmd("ZRANGE").arg(format!("{prefix}changes")).arg(0).arg(-1).query::<Vec<String>>(redis).unwrap();
    seen.extend(changes.iter().map(|name| Value::SimpleString(name.replacen(prefix, "", 1))));
    seen.push(
        cmd("ZRANGE").arg(format!("{prefix}leaves")).arg(0).arg(-1).arg("WITHSCORES").query(redis).unwrap(),
    );
    seen
}

/// Operations of a channel: mostly heartbeats, of sessions that are known or not, alone or not, with equal or shorter
/// leases, and twice in a call. Those of a log come together.
fn any_ops(random: &mut TestRng, now: u64) -> Vec<u8> {
    let mut below = |n: u32| random.next_u32() % n;
    let acts: &[u8] = match below(24) {
        0 | 1 => b"JJHNLKRMWT",
        2..8 => b"T",
        _ => b"HHHN",
    };
    let mut ops = Vec::new();
    // If a lease is granted and shortened in one call, only the shortcut knows that the count is the same as before.
    let shift = if below(8) == 0 { below(5) } else { 0 };
    for _ in 0..1 + below(4) {
        let viewer = below(6);
        let act = acts[below(u32::try_from(acts.len()).unwrap()) as usize];
        ops.push(act);
        ops.extend([u8::try_from(viewer).unwrap(); 14]);
        ops.extend([u8::from(below(60) == 0); 8]);
        ops.extend([30_000, 30_000, 30_000, 9_000, 300_u32][((viewer + shift) % 5) as usize].to_be_bytes());
        if b"RMW".contains(&act) {
            ops.extend(&(now - u64::from(below(40_000))).to_be_bytes()[2..]);
            ops.extend(u16::try_from(below(2_000)).unwrap().to_be_bytes());
        } else if act == b'T' {
            let age = if below(8) == 0 { below(40_000) } else { below(1_500) };
            ops.extend(&(now + u64::from(below(20) == 0) - u64::from(age)).to_be_bytes()[2..]);
            ops.extend(u16::MAX.to_be_bytes());
        }
    }
    ops
}

#[tokio::test]
async fn the_shortcut_for_heartbeats_changes_and_answers_the_same() {
    let server = RedisServer::start().await;
    let mut redis = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let (with, without) = (script(true), script(false));
    let mut random = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[7; 32]);
    let (mut now, mut renewed) = (START, 0);
    for prefix in ["a", "b"] {
        cmd("ZADD").arg(format!("{prefix}changes")).arg(1).arg("").arg(1).arg(">").exec(&mut redis).unwrap();
    }
    for step in 0..3_000 {
        let channels = [any_ops(&mut random, now), any_ops(&mut random, now)];
        let ours = call(&mut redis, "a", &with, now, &channels);
        let plain = call(&mut redis, "b", &without, now, &channels);
        let Value::Array(answer) = &ours[0] else { panic!("{ours:?}") };
        let Value::Array(expected) = &plain[0] else { panic!("{plain:?}") };
        for (ours, plain) in answer.iter().zip(expected) {
            match (ours, plain) {
                (Value::Int(1), Value::BulkString(flags)) => {
                    assert!(flags.iter().all(|flag| *flag == b'1'), "step {step}: {flags:?}");
                    renewed += 1;
                }
                _ => assert_eq!(ours, plain, "step {step}: {channels:?}"),
            }
        }
        assert_eq!(answer.len(), expected.len());
        assert_eq!(ours[1..], plain[1..], "step {step}: {channels:?}");
        // Now and then the clock is set back after a sweep, the leases end, or a server that evicts keys removes one.
        now = match random.next_u32() % 100 {
            0..2 => {
                ["a", "b"].iter().for_each(|prefix| sweep(&mut redis, prefix, now));
                now - 500
            }
            2 => now + 31_000,
            3 => {
                for prefix in ["a", "b"] {
                    cmd("DEL").arg(format!("{prefix}v0")).exec(&mut redis).unwrap();
                }
                now + 1
            }
            _ => now + u64::from(random.next_u32() % 700),
        };
    }
    assert!(renewed > 500, "the shortcut was taken {renewed} times");
}

#[tokio::test]
async fn a_channel_gets_an_index_before_its_keys_are_slow() {
    let server = RedisServer::start().await;
    let store = RemoteStore::new(RedisRunner::open(&server.url()).unwrap(), "test", RULES);
    attend(1, &store).await;
    // Before 7.0 the plain list is a ziplist.
    for (viewers, of_viewers, of_sessions) in [(60, "list", "list"), (80, "skiplist", "hashtable")] {
        for viewer in 1..=viewers {
            // The leases grow, so that the expiry of the keys is extended.
            let lease = RULES.longest_lease / 100 * (20 + u32::try_from(viewer).unwrap());
            write(&store, "channel", &[op(viewer, 1, Act::Join { lease })]).await;
        }
        let encoding = |kind: &str| {
            let encoding: String =
                server.request(&["OBJECT", "ENCODING", &format!("test:{{channel}}:{kind}")]);
            if ["listpack", "ziplist"].contains(&encoding.as_str()) { "list".to_owned() } else { encoding }
        };
        assert_eq!((encoding("viewers").as_str(), encoding("sessions").as_str()), (of_viewers, of_sessions));
        assert_eq!(
            server.command::<usize>("ZCARD test:{channel}:viewers"),
            usize::try_from(viewers).unwrap()
        );
        assert_eq!(
            server.command::<usize>("HLEN test:{channel}:sessions"),
            usize::try_from(viewers).unwrap() + 1
        );
    }
}
