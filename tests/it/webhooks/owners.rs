//! Several nodes that are up: of each channel, one delivers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::response::IntoResponse;
use futures::future::join_all;
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    SECRET, metric,
    outages::{channels, has_all, node, sqlite},
    until,
};
use crate::support::{Receiver, RedisServer, receiver::verify, viewer};

/// How long the receiver takes for an answer. Each node looks into the outbox at least twice meanwhile.
const ANSWER_TIME: Duration = Duration::from_millis(2_500);

/// The owner of each part of the channels.
fn owners(redis: &RedisServer) -> BTreeMap<String, String> {
    let shares: BTreeMap<String, String> = redis.request(&["HGETALL", "aforo:{shares}"]);
    shares.into_iter().filter(|(field, _)| field.starts_with("part:")).collect()
}

#[tokio::test]
async fn an_event_is_delivered_once_by_the_owner_of_its_channel() {
    let (redis, receiver, folder) =
        (RedisServer::start().await, Receiver::start().await, TempDir::new().unwrap());
    receiver.answer(|_| {
        Box::pin(async {
            sleep(ANSWER_TIME).await;
            StatusCode::OK.into_response()
        })
    });
    let database = sqlite(&folder);
    let nodes = [node(&redis, &database, &receiver).await, node(&redis, &database, &receiver).await];
    until("each node owns half of the channels", async || {
        let owners = owners(&redis);
        let nodes: BTreeSet<_> = owners.values().collect();
        nodes.iter().all(|node| owners.values().filter(|owner| owner == node).count() == 8)
            && nodes.len() == 2
    })
    .await;
    let before = owners(&redis);
    // The node that a viewer joins at is not always the owner.
    for nth in 0..2 {
        join_all(channels().iter().enumerate().map(|(number, channel)| {
            let node = &nodes[(number + nth) % 2];
            async move { node.join(channel, viewer()).await }
        }))
        .await;
    }
    // A node that a busy machine has kept from renewing its lease loses its channels, and the next owner delivers again.
    let (mut is_settled, mut complete) = (true, None);
    until("everything is delivered", async || {
        is_settled &= owners(&redis) == before;
        let all = receiver.received();
        if !has_all(&all, "channel.live") || !has_all(&all, "channel.milestone") {
            return false;
        }
        // What another node has begun to deliver too would be here.
        complete.get_or_insert_with(Instant::now).elapsed() > 2 * ANSWER_TIME
    })
    .await;
    let received = receiver.received();
    let delivered = |node| metric(node, "aforo_webhook_deliveries_total{outcome=\"delivered\"}");
    let (one, two) = (delivered(&nodes[0]).await, delivered(&nodes[1]).await);
    assert!(one > 0.0 && two > 0.0, "both nodes deliver: {one} and {two}");
    let mut times = BTreeMap::<&str, u32>::new();
    for one in &received {
        *times.entry(one.id()).or_default() += 1;
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty() || !is_settled, "{repeated:?} of {} events", times.len());
    verify(&received, &[SECRET]).await;
}
