//! The baseline: a bare axum server that parses and answers the same requests without doing anything. Its event stream
//! is that of axum, over a watch channel.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::sse::{Event, Sse},
    routing::{get, post},
};
use futures::{Stream, stream::unfold};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Result,
    process::{Process, Scratch, ask, free_address},
};

/// Starts the bare server in a separate process.
pub fn start(scratch: &Scratch) -> Result<Process> {
    let addr = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", &addr.to_string()]);
    let mut process = Process::start("bare axum", &mut command, addr, &scratch.path("bare.log"))?;
    process.wait_until(|addr| ask(addr, &crate::calls::get("/api/viewer/count/up")).is_ok())?;
    Ok(process)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    channel_id: String,
    viewer_id: String,
    session_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinResponse {
    viewer_id: String,
    session_id: String,
    count: usize,
    stale: bool,
    heartbeat_interval_ms: u32,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    channel_id: String,
    count: u64,
    stale: bool,
    as_of: u64,
}

#[derive(Clone)]
struct Shared {
    count: Arc<AtomicU64>,
    frames: Arc<watch::Sender<String>>,
}

/// Serves until the process is killed.
#[tokio::main]
pub async fn serve(addr: SocketAddr) -> Result<()> {
    let frames = Arc::new(watch::Sender::new(frame(0)));
    let router = Router::new()
        .route("/api/viewer/join", post(beat))
        .route("/api/viewer/heartbeat", post(beat))
        .route("/api/viewer/leave", post(beat))
        .route("/api/viewer/count/{channel}", get(count))
        .route("/api/viewer/sse/{channel}", get(stream))
        .route("/publish", post(publish))
        .with_state(Shared { count: Arc::default(), frames });
    axum::serve(TcpListener::bind(addr).await?, router).await?;
    Ok(())
}

async fn beat(Json(call): Json<Call>) -> Json<JoinResponse> {
    let Call { channel_id, viewer_id, session_id } = call;
    let count = channel_id.len();
    Json(JoinResponse { viewer_id, session_id, count, stale: false, heartbeat_interval_ms: 30_000 })
}

async fn count(Path(channel_id): Path<String>) -> Json<Count> {
    Json(Count { channel_id, count: 1, stale: false, as_of: 1 })
}

async fn publish(State(shared): State<Shared>) -> Json<u64> {
    let count = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
    shared.frames.send_replace(frame(count));
    Json(count)
}

fn frame(count: u64) -> String {
    format!(r#"{{"channelId":"channel-0","count":{count},"stale":false,"asOf":1234567890123,"live":null}}"#)
}

async fn stream(
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = std::result::Result<Event, Infallible>>> {
    let mut frames = shared.frames.subscribe();
    frames.mark_changed();
    Sse::new(unfold(frames, async |mut frames| {
        frames.changed().await.ok()?;
        let event = Event::default().data(frames.borrow_and_update().as_str());
        Some((Ok(event), frames))
    }))
}
