//! A server process with the embedded store that is stopped for a while.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Program, viewer};

/// Leases end while the process is stopped, although the pages are there. Only some pages have sent a beat since.
#[tokio::test]
async fn counts_are_incomplete_after_a_pause_in_which_leases_have_ended() {
    let intervals = [
        ("VIEWER_HEARTBEAT_INTERVAL", "4000"),
        ("VIEWER_TIMEOUT", "8"),
        ("VIEWER_HIDDEN_TIMEOUT", "8"),
        ("VIEWER_COUNT_UPDATE_INTERVAL", "200"),
    ];
    let program = Program::start(&intervals).await;
    for _ in 0..3 {
        assert_eq!(program.join("ana", viewer()).await["stale"], false);
    }
    let mut events = program.sse("sse/ana").await;
    events.until_fresh(3).await;
    program.signal("STOP");
    sleep(Duration::from_secs(9)).await;
    program.signal("CONT");
    // The pages have 4 s for their next heartbeat, and 5 s more.
    let ana = viewer();
    assert_eq!(program.get("/badge/ana.txt").await.text().await.unwrap().trim(), "—");
    let joined = program.join("ana", ana).await;
    assert_eq!((&joined["count"], &joined["stale"]), (&Value::from(1), &Value::from(true)), "{joined}");
    let live: Value = program.get("/api/viewer/live").await.json().await.unwrap();
    assert_eq!(live["channels"][0]["stale"], true, "{live}");
    let settled = async {
        while program.join("ana", ana).await["stale"] == true {
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("the counts are complete again");
    events.until_fresh(1).await;
}
