//! A process that holds streams: it opens them, and tells when each got a certain count. A process may open so many files
//! only, so larger crowds are held by several (see `crowd`).
//!
//! It is told what to do by lines on its standard input, and answers each with a line of JSON:
//!
//! | line | answer |
//! |---|---|
//! | `open` | how many streams are open and have had a first event, and what has failed |
//! | `watch N` | at once `true`; then, when every stream had the count N or at `stop`, when each did (µs; 0: it did not) |
//! | end of input | the process ends |

use std::{
    io::{BufRead, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use serde_json::json;

use crate::{
    Result, calls, conn,
    wire::{EventStream, News},
};

/// Connections under way at once: fewer than servers keep waiting.
const OPENING: usize = 256;

/// How long all of the opening may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What Linux says when a connection is begun and not yet made (`EINPROGRESS`).
const IN_PROGRESS: i32 = 115;

/// What to hold.
#[derive(Debug, Clone, clap::Args)]
pub struct Hold {
    pub addr: SocketAddr,
    #[arg(long)]
    pub streams: u32,
    /// Over so many channels.
    #[arg(long, default_value_t = 1)]
    pub channels: u64,
    /// So many of them on each stream.
    #[arg(long, default_value_t = 1)]
    pub per_stream: u64,
    /// The number of the first stream among all processes.
    #[arg(long, default_value_t = 0)]
    pub offset: u32,
}

struct Held {
    socket: TcpStream,
    reader: EventStream,
    is_asked: bool,
    /// Whether its head has come, and its first event.
    has_head: bool,
    has_event: bool,
    /// When the awaited count came, in µs since the epoch.
    at: u64,
}

struct Holder {
    hold: Hold,
    poll: Poll,
    streams: Vec<Option<Held>>,
    failure: Option<String>,
    with_head: u32,
    with_event: u32,
    /// The awaited count, and how many streams have not had it.
    awaited: Option<(u64, usize)>,
    scratch: Vec<u8>,
}

/// Holds streams until the end of input.
pub fn run(hold: Hold) -> Result<()> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(usize::MAX))?;
    let (orders, inbox) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if orders.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(orders);
        let _ended = waker.wake();
    });
    let mut holder = Holder {
        hold,
        poll,
        streams: Vec::new(),
        failure: None,
        with_head: 0,
        with_event: 0,
        awaited: None,
        scratch: vec![0; 64 * 1024],
    };
    holder.serve(&inbox)
}

impl Holder {
    fn serve(&mut self, inbox: &Receiver<String>) -> Result<()> {
        let mut events = Events::with_capacity(4096);
        loop {
            match inbox.try_recv() {
                Ok(order) => self.obey(&order, &mut events)?,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
                Err(std::sync::mpsc::TryRecvError::Empty) => {
                    self.turn(&mut events, None)?;
                    if matches!(self.awaited, Some((_, 0))) {
                        self.tell_times();
                    }
                }
            }
        }
    }

    fn obey(&mut self, order: &str, events: &mut Events) -> Result<()> {
        match order.split_once(' ') {
            None if order == "open" => self.open_all(events),
            None if order == "stop" => {
                self.tell_times();
                Ok(())
            }
            Some(("watch", count)) => {
                self.awaited = Some((count.parse()?, self.streams.iter().flatten().count()));
                self.streams.iter_mut().flatten().for_each(|held| held.at = 0);
                say("true");
                Ok(())
            }
            _ => Err(format!("no order: {order}").into()),
        }
    }

    fn open_all(&mut self, events: &mut Events) -> Result<()> {
        let since = Instant::now();
        let all = self.hold.streams;
        while (self.with_event as usize) < all as usize
            && self.failure.is_none()
            && since.elapsed() < PATIENCE
        {
            let begun = self.streams.len();
            if begun < all as usize && begun < self.with_head as usize + OPENING {
                let number = u32::try_from(begun)?;
                let stream = self.connect(number).map_err(|error| format!("stream {number}: {error}"))?;
                self.streams.push(Some(stream));
                self.turn(events, Some(Duration::ZERO))?;
            } else {
                self.turn(events, Some(Duration::from_millis(100)))?;
            }
        }
        let answer = json!({"open": self.with_head, "events": self.with_event, "failure": self.failure});
        say(&answer.to_string());
        Ok(())
    }

    fn connect(&self, number: u32) -> Result<Held> {
        let socket = conn::socket(self.hold.offset + number)?;
        socket.set_nonblocking(true)?;
        if let Err(error) = socket.connect(&self.hold.addr.into())
            && error.kind() != ErrorKind::WouldBlock
            && error.raw_os_error() != Some(IN_PROGRESS)
        {
            return Err(error.into());
        }
        let mut socket = TcpStream::from_std(socket.into());
        let token = Token(number as usize);
        self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let reader = EventStream::default();
        Ok(Held { socket, reader, is_asked: false, has_head: false, has_event: false, at: 0 })
    }

    fn path(&self, number: u64) -> String {
        let Hold { channels, per_stream, .. } = self.hold;
        let number = u64::from(self.hold.offset) + number;
        if per_stream == 1 {
            return format!("/api/viewer/sse/{}", calls::channel(number % channels));
        }
        let names = (0..per_stream).map(|nth| calls::channel((number * per_stream + nth) % channels));
        format!("/api/viewer/sse?channels={}", names.collect::<Vec<_>>().join(","))
    }

    /// Takes in what has happened on the sockets.
    fn turn(&mut self, events: &mut Events, patience: Option<Duration>) -> Result<()> {
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in events.iter() {
            let number = event.token().0;
            if let Some(held) = self.streams.get(number).and_then(Option::as_ref) {
                let request =
                    (!held.is_asked && event.is_writable()).then(|| calls::stream(&self.path(number as u64)));
                if let Err(error) = self.receive(number, request) {
                    // A stream that has ended.
                    self.streams[number] = None;
                    self.failure.get_or_insert_with(|| error.to_string());
                    if let Some((_, missing)) = &mut self.awaited {
                        *missing = missing.saturating_sub(1);
                    }
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize, request: Option<Vec<u8>>) -> Result<()> {
        let Some(held) = &mut self.streams[number] else { return Ok(()) };
        if let Some(request) = request {
            if let Some(error) = held.socket.take_error()? {
                return Err(error.into());
            }
            held.is_asked = held.socket.write(&request)? == request.len();
        }
        loop {
            let read = match held.socket.read(&mut self.scratch) {
                Ok(0) => return Err("the server has closed a stream".into()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let (mut status, mut counts) = (None, [None; 2]);
            held.reader.feed(&self.scratch[..read], &mut |news| match news {
                News::Open(code) => status = Some(code),
                News::Count(count) => counts = [Some(count), counts[0]],
                News::Other => {}
            })?;
            if let Some(status) = status {
                if status != 200 {
                    return Err(format!("a stream was answered with {status}").into());
                }
                held.has_head = true;
                self.with_head += 1;
            }
            if counts[0].is_some() && !held.has_event {
                held.has_event = true;
                self.with_event += 1;
            }
            if let Some((awaited, missing)) = &mut self.awaited
                && held.at == 0
                && counts.contains(&Some(*awaited))
            {
                held.at = micros();
                *missing -= 1;
            }
            if read < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn tell_times(&mut self) {
        self.awaited = None;
        let times: Vec<u64> =
            self.streams.iter().map(|held| held.as_ref().map_or(0, |held| held.at)).collect();
        say(&json!(times).to_string());
    }
}

/// µs since the epoch: a clock that all processes share.
#[expect(clippy::disallowed_methods, reason = "the kit has no injected clock: it measures real time")]
pub fn micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started this is gone: the end of input ends it too.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
