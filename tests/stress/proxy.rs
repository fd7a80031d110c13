//! A TCP proxy between one node and Redis that delays or drops bytes.
//!
//! Like a network, it still delivers what the node has sent before it closed the connection. All proxies run on one
//! thread.

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

/// The number of chunks that one direction buffers before it stops reading.
const CHUNKS: usize = 1_024;

/// Divides the percentages of the plan: they are per call, and a chunk contains many calls.
const CALLS_PER_CHUNK: u64 = 10;

/// The state of a proxy.
#[derive(Clone, Copy, Default)]
pub struct State {
    /// The delay in each direction.
    pub delay: Millis,
    /// The percentage of calls that break the connection.
    pub lossy: u64,
    /// The percentage of calls that are delayed.
    pub late: u64,
    /// Nothing gets through. Connections are accepted, but transfer no bytes.
    pub is_cut: bool,
    /// Connections are closed at once.
    pub is_away: bool,
    /// A change closes all existing connections.
    pub generation: u64,
}

/// A handle to a proxy. Cloning is cheap.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    state: Arc<watch::Sender<State>>,
}

/// The thread on which all proxies run. Dropping it ends them.
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

    /// Starts a proxy to a server on this machine.
    pub async fn proxy(&self, port: u16, delay: Millis, seed: u64) -> Proxy {
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
    /// Changes the state.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

/// Forwards one connection until one side closes it or the proxy breaks it.
async fn carry(near: TcpStream, port: u16, mut state: watch::Receiver<State>, random: Arc<Mutex<Random>>) {
    let now = *state.borrow_and_update();
    let has_changed = move |state: &State| state.generation != now.generation;
    if now.is_away {
        return;
    }
    let through = async {
        if now.is_cut {
            std::future::pending::<()>().await;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let _unsupported = (near.set_nodelay(true), far.set_nodelay(true));
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let there = pump(&mut near_in, &mut far_out, &state, &random);
        let back = async {
            // If the node has closed the connection, its remaining bytes are still delivered.
            if pump(&mut far_in, &mut near_out, &state, &random).await == End::Failed {
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
        _ = watched.wait_for(has_changed) => {}
    }
}

/// How one direction of a connection ends.
#[derive(PartialEq, Eq)]
enum End {
    /// The sender has closed the connection, and everything was delivered.
    Done,
    /// The proxy has broken the connection.
    Broken,
    /// A read or write failed.
    Failed,
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
            let Ok(length) = from.read(&mut buffer).await else { return End::Failed };
            if length == 0 {
                return End::Done;
            }
            let State { delay, lossy, late, .. } = *state.borrow();
            let draw = |percent: u64| percent > 0 && random.lock().below(100 * CALLS_PER_CHUNK) < percent;
            if draw(lossy) {
                return End::Broken;
            }
            let more = if draw(late) { random.lock().below(CALL_LIMIT + LATE - 500) } else { 0 };
            let due = Instant::now() + Duration::from_millis(delay + more);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return End::Failed;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if state.borrow().is_cut {
                // Bytes in flight at the time of a cut are lost.
                std::future::pending::<()>().await;
            }
            if to.write_all(&chunk).await.is_err() {
                return End::Failed;
            }
        }
        End::Done
    };
    tokio::pin!(write);
    tokio::select! {
        // Everything that was read is delivered before the end.
        end = read => if end == End::Done { write.await } else { end },
        end = &mut write => end,
    }
}
