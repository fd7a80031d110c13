//! The way of one node to Redis: bytes go through it later, or not at all.
//!
//! What the node has sent before it gave a connection up is still delivered, as a network does it. All ways run on a thread
//! of their own.

use std::{
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::oracle::{
    faults::{CALL_LIMIT, LATE},
    plan::Millis,
    random::Random,
};

/// Bytes that a direction holds before it stops reading.
const CHUNKS: usize = 1_024;

/// A chunk holds many calls, so fewer of them are lost or late than the plan says of calls.
const CHUNKS_PER_CALL: u64 = 10;

/// What a way is like.
#[derive(Clone, Copy, Default)]
pub struct State {
    /// How long bytes take, each way.
    pub delay: Millis,
    /// At so many of 100 chunks the connection breaks.
    pub lossy: u64,
    /// So many of 100 chunks are held up.
    pub late: u64,
    /// Nothing goes through. Connections can be made and say nothing.
    pub is_cut: bool,
    /// Connections are refused.
    pub is_away: bool,
    /// When it changes, all connections of before break.
    pub generation: u64,
}

/// A way. Cloning is cheap.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    state: Arc<watch::Sender<State>>,
}

/// The thread on which ways run, until it is dropped.
pub struct Network {
    handle: Handle,
    _end: std_mpsc::Sender<()>,
}

impl Network {
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = std_mpsc::channel();
        thread::spawn(move || {
            let _dropped = ended.recv();
            runtime.shutdown_background();
        });
        Self { handle, _end: end }
    }

    /// A way to a server on this machine.
    pub async fn way(&self, port: u16, delay: Millis, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let listener = listener.into_std().unwrap();
        let state = Arc::new(watch::Sender::new(State { delay, ..State::default() }));
        let (seen, random) = (state.subscribe(), Arc::new(Mutex::new(Random::new(seed))));
        self.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                match listener.accept().await {
                    Ok((near, _)) => drop(tokio::spawn(carry(near, port, seen.clone(), Arc::clone(&random)))),
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Proxy { port: own, state }
    }
}

impl Proxy {
    /// Makes it another.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

/// One connection, until one of its ends has said all or the way breaks.
async fn carry(near: TcpStream, port: u16, mut state: watch::Receiver<State>, random: Arc<Mutex<Random>>) {
    let now = *state.borrow_and_update();
    let is_of_before = move |state: &State| state.generation != now.generation;
    if now.is_away {
        return;
    }
    let through = async {
        if now.is_cut {
            std::future::pending::<()>().await;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let _slower = (near.set_nodelay(true), far.set_nodelay(true));
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let there = pump(&mut near_in, &mut far_out, &state, &random);
        let back = async {
            // A node that has hung up is still heard to the end.
            if pump(&mut far_in, &mut near_out, &state, &random).await == End::Gone {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = there => {}
            () = back => {}
        }
    };
    let mut watched = state.clone();
    tokio::select! {
        () = through => {}
        _ = watched.wait_for(is_of_before) => {}
    }
}

/// How one direction of a connection ends.
#[derive(PartialEq, Eq)]
enum End {
    /// All was said and delivered.
    Said,
    /// The way has broken it.
    Broken,
    /// One of the ends is not there any more.
    Gone,
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    state: &watch::Receiver<State>,
    random: &Mutex<Random>,
) -> End {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let read = async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let Ok(length) = from.read(&mut buffer).await else { return End::Gone };
            if length == 0 {
                return End::Said;
            }
            let State { delay, lossy, late, .. } = *state.borrow();
            let draw = |percent: u64| percent > 0 && random.lock().below(100 * CHUNKS_PER_CALL) < percent;
            if draw(lossy) {
                return End::Broken;
            }
            let more = if draw(late) { random.lock().below(CALL_LIMIT + LATE - 500) } else { 0 };
            let due = Instant::now() + Duration::from_millis(delay + more);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return End::Gone;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if state.borrow().is_cut {
                // What is on its way when the way is cut is lost, with the connection.
                std::future::pending::<()>().await;
            }
            if to.write_all(&chunk).await.is_err() {
                return End::Gone;
            }
        }
        End::Said
    };
    tokio::pin!(write);
    tokio::select! {
        // All that was read is delivered first.
        end = read => if end == End::Said { write.await } else { end },
        end = &mut write => end,
    }
}
