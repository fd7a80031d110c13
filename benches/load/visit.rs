//! One connection of a browser or attacker, from start to end. It uses blocking I/O, so many of them run on threads.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use crate::{
    Result,
    calls::{Audience, Call, channel, stream},
    conn,
    wire::{EventStream, Response, StreamEvent},
};

/// The timeout for every expected event.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a [`Visit::HeldStream`] stays open.
const HELD: Duration = Duration::from_millis(500);

/// One of this many connections is a [`Visit::Stall`], which the server closes after 10 s.
const STALLS: u32 = 1_000;

/// A kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// A page that sends several calls over one keep-alive connection, including its leave.
    Page,
    /// A page that joins and sends nothing more.
    Vanishes,
    /// A stream that is closed after its first event.
    Stream,
    /// A stream of ten channels that is open for a while and then reset.
    HeldStream,
    /// A stream that is closed after its request without reading.
    UnreadStream,
    /// An incomplete request head.
    HalfHead,
    /// An incomplete body.
    HalfBody,
    /// A connection without any request.
    Silence,
    /// An incomplete request head on a connection that stays open.
    Stall,
}

impl Visit {
    const TURNS: [Self; 8] = [
        Self::Page,
        Self::Stream,
        Self::Vanishes,
        Self::HalfHead,
        Self::HeldStream,
        Self::UnreadStream,
        Self::HalfBody,
        Self::Silence,
    ];

    /// The kind of connection `number`.
    pub fn of(number: u32) -> Self {
        if number % STALLS == STALLS - 1 {
            Self::Stall
        } else {
            Self::TURNS[number as usize % Self::TURNS.len()]
        }
    }

    /// Opens and ends connection `number`. Half of the aborted connections end with a TCP reset.
    pub fn make(addr: SocketAddr, number: u32, audience: Audience) -> Result<()> {
        let visit = Self::of(number);
        let socket = conn::socket(number)?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        let is_odd = (number / 8) % 2 == 1;
        if is_odd && !matches!(visit, Self::Page | Self::Vanishes | Self::Stall) || visit == Self::HeldStream
        {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        visit
            .run(&mut stream, number, audience)
            .map_err(|error| format!("{visit:?} {number}: {error}").into())
    }

    fn run(self, connection: &mut TcpStream, number: u32, audience: Audience) -> Result<()> {
        let request = |call| audience.request(call, number.into());
        let half = |request: Vec<u8>, without: usize| request[..request.len() - without].to_vec();
        match self {
            Self::Page => {
                for call in [Call::Join, Call::Heartbeat, Call::Count, Call::Heartbeat, Call::Leave] {
                    ask(connection, &request(call))?;
                }
            }
            Self::Vanishes => ask(connection, &request(Call::Join))?,
            Self::Stream => {
                first_event(connection, &format!("/{}", channel(u64::from(number) % audience.channels)))?;
            }
            Self::HeldStream => {
                let first = u64::from(number) % audience.channels;
                let names: Vec<_> = (first..first + 10).map(|nth| channel(nth % audience.channels)).collect();
                first_event(connection, &format!("?channels={}", names.join(",")))?;
                sleep(HELD);
            }
            Self::UnreadStream => {
                let path = format!("/api/viewer/sse/{}", channel(u64::from(number) % audience.channels));
                connection.write_all(&stream(&path))?;
            }
            Self::HalfHead => connection.write_all(&request(Call::Join)[..40])?,
            Self::HalfBody => connection.write_all(&half(request(Call::Join), 20))?,
            Self::Silence => {}
            Self::Stall => {
                connection.write_all(&request(Call::Join)[..40])?;
                let mut rest = Vec::new();
                match connection.read_to_end(&mut rest) {
                    Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
                    _closed => {}
                }
            }
        }
        Ok(())
    }
}

/// Sends a request and reads the response. Fails if its status is not 2xx.
fn ask(connection: &mut TcpStream, request: &[u8]) -> Result<()> {
    connection.write_all(request)?;
    let mut received = Vec::new();
    let mut piece = [0; 2048];
    loop {
        if let Some(response) = Response::parse(&received)? {
            let is_ok = (200..300).contains(&response.status);
            return if is_ok { Ok(()) } else { Err(format!("unexpected status {}", response.status).into()) };
        }
        match connection.read(&mut piece)? {
            0 => return Err("the server closed the connection".into()),
            read => received.extend_from_slice(&piece[..read]),
        }
    }
}

/// Opens a stream and reads until its first count.
fn first_event(connection: &mut TcpStream, of: &str) -> Result<()> {
    connection.write_all(&stream(&format!("/api/viewer/sse{of}")))?;
    let mut events = EventStream::default();
    let mut piece = [0; 4096];
    let (mut status, mut has_count) = (200, false);
    while !has_count {
        let read = connection.read(&mut piece)?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        events.feed(&piece[..read], &mut |event| match event {
            StreamEvent::Open(code) => status = code,
            StreamEvent::Count(_) => has_count = true,
            StreamEvent::Other => {}
        })?;
        if status != 200 {
            return Err(format!("a stream has status {status}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_visit_occurs() {
        let count = |visit| (0..8_000).filter(|number| Visit::of(*number) == visit).count();
        assert_eq!(count(Visit::Stall), 8);
        assert!(Visit::TURNS.iter().all(|visit| count(*visit) >= 900));
    }
}
