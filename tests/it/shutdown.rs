//! The end of a node while its store is away.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{RedisServer, TestApp, viewer};

/// A busy machine can take so long to start Redis that the node has given up.
const ATTEMPTS: usize = 3;

#[tokio::test]
async fn a_node_that_ends_while_redis_is_away_writes_what_it_has_accepted_when_redis_returns() {
    for _ in 0..ATTEMPTS {
        let mut redis = RedisServer::start().await;
        let node = TestApp::with_redis(&redis).await;
        node.join("ana", viewer()).await;
        redis.kill();
        for _ in 0..3 {
            assert_eq!(node.join("ana", viewer()).await["stale"], true);
        }
        let end = tokio::spawn(node.stop());
        sleep(Duration::from_millis(2_500)).await;
        redis.run().await;
        end.await.unwrap();
        if redis.command::<u32>("ZCARD aforo:{ana}:viewers") == 4 {
            return;
        }
    }
    panic!("the viewers are not written");
}
