//! A helper process that opens streams and reports when each one received a certain count. The number of open files per
//! process is limited, so larger crowds use several processes (see `crowd`).
//!
//! It reads commands as lines from standard input, and writes responses as lines of JSON:
//!
//! | command | response |
//! |---|---|
//! | `open` | the number of open streams, the number of streams with a first event, and the first error |
//! | `watch N` | `true` at once; when all streams have received count N, or at `stop`, the times in µs (0: not
//! received) |
//! | end of input | the process exits |

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
    wire::{EventStream, StreamEvent},
};

/// The maximum number of pending connections, below the backlog of the servers.
const OPENING: usize = 256;

/// The timeout for opening all streams.
const PATIENCE: Duration = Duration::from_secs(120);

/// `EINPROGRESS` on Linux: a connection is pending.
const IN_PROGRESS: i32 = 115;

/// The streams to hold.
#[derive(Debug, Clone, clap::Args)]
pub struct Hold {
    pub addr: SocketAddr,
    #[arg(long)]
    pub streams: u32,
    /// The number of channels that the streams are spread over.
    #[arg(long, default_value_t = 1)]
    pub channels: u64,
    /// The number of channels on each stream.
    #[arg(long, default_value_t = 1)]
    pub per_stream: u64,
    /// The number of the first stream among all processes.
    #[arg(long, default_value_t = 0)]
    pub offset: u32,
}

struct Held {
    socket: TcpStream,
    reader: EventStream,
    is_requested: bool,
    has_head: bool,
    /// Whether the first event has arrived.
    has_event: bool,
    /// When the awaited count arrived, in µs since the Unix epoch; 0: not yet.
    at: u64,
}

struct Holder {
    hold: Hold,
    poll: Poll,
    streams: Vec<Option<Held>>,
    failure: Option<String>,
    with_head: u32,
    with_event: u32,
    /// The awaited count, and the number of streams that have not received it.
    awaited: Option<(u64, usize)>,
    scratch: Vec<u8>,
}

/// Holds streams until the end of input.
pub fn run(hold: Hold) -> Result<()> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(usize::MAX))?;
    let (commands, inbox) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if commands.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(commands);
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
                Ok(command) => self.execute(&command, &mut events)?,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
                Err(std::sync::mpsc::TryRecvError::Empty) => {
                    self.poll_once(&mut events, None)?;
                    if matches!(self.awaited, Some((_, 0))) {
                        self.report_times();
                    }
                }
            }
        }
    }

    fn execute(&mut self, command: &str, events: &mut Events) -> Result<()> {
        match command.split_once(' ') {
            None if command == "open" => self.open_all(events),
            None if command == "stop" => {
                self.report_times();
                Ok(())
            }
            Some(("watch", count)) => {
                self.awaited = Some((count.parse()?, self.streams.iter().flatten().count()));
                self.streams.iter_mut().flatten().for_each(|held| held.at = 0);
                print_line("true");
                Ok(())
            }
            _ => Err(format!("unknown command: {command}").into()),
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
                self.poll_once(events, Some(Duration::ZERO))?;
            } else {
                self.poll_once(events, Some(Duration::from_millis(100)))?;
            }
        }
        let response = json!({"open": self.with_head, "events": self.with_event, "failure": self.failure});
        print_line(&response.to_string());
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
        Ok(Held { socket, reader, is_requested: false, has_head: false, has_event: false, at: 0 })
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

    /// Handles the events of the sockets.
    fn poll_once(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in events.iter() {
            let number = event.token().0;
            if let Some(held) = self.streams.get(number).and_then(Option::as_ref) {
                let request = (!held.is_requested && event.is_writable())
                    .then(|| calls::stream(&self.path(number as u64)));
                if let Err(error) = self.receive(number, request) {
                    // The stream has ended.
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
            held.is_requested = held.socket.write(&request)? == request.len();
        }
        loop {
            let read = match held.socket.read(&mut self.scratch) {
                Ok(0) => return Err("the server closed a stream".into()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let (mut status, mut counts) = (None, [None; 2]);
            held.reader.feed(&self.scratch[..read], &mut |event| match event {
                StreamEvent::Open(code) => status = Some(code),
                StreamEvent::Count(count) => counts = [Some(count), counts[0]],
                StreamEvent::Other => {}
            })?;
            if let Some(status) = status {
                if status != 200 {
                    return Err(format!("a stream has status {status}").into());
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

    fn report_times(&mut self) {
        self.awaited = None;
        let times: Vec<u64> =
            self.streams.iter().map(|held| held.as_ref().map_or(0, |held| held.at)).collect();
        print_line(&json!(times).to_string());
    }
}

/// The system time in µs since the Unix epoch. All processes share this clock.
#[expect(clippy::disallowed_methods, reason = "the kit measures real time and has no injected clock")]
pub fn micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // Fails if the parent has exited. Then the end of input ends this process.
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}
