//! One connection from its start to its end, as browsers, networks and strangers make them. It waits for what it is due,
//! so many of them run in threads.

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
    wire::{Answer, EventStream, News},
};

/// How long anything may take that has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a stream is held that is held.
const HELD: Duration = Duration::from_millis(500);

/// One in so many sends half of a head and then waits until the server hangs up, which takes it 10 s.
const STALLS: u32 = 1_000;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// A page that stays for some beats: all over one connection that is kept alive.
    Page,
    /// A page that joins and is never heard of again.
    Vanishes,
    /// A stream that is closed after its first event.
    Stream,
    /// A stream of ten channels that is held for a moment and then reset.
    HeldStream,
    /// A stream that nobody reads from: closed once it is asked for.
    UnreadStream,
    /// A head that breaks off.
    HalfHead,
    /// A body that breaks off.
    HalfBody,
    /// Nothing is said at all.
    Silence,
    /// A head that breaks off, on a connection that stays.
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

    /// What the connection of this number is.
    pub fn of(number: u32) -> Self {
        if number % STALLS == STALLS - 1 {
            Self::Stall
        } else {
            Self::TURNS[number as usize % Self::TURNS.len()]
        }
    }

    /// Makes the connection of this number, and ends it. Every other of those that break off does so with a reset.
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
                    _hung_up => {}
                }
            }
        }
        Ok(())
    }
}

/// Sends a call and reads its answer, which has to be a success.
fn ask(connection: &mut TcpStream, request: &[u8]) -> Result<()> {
    connection.write_all(request)?;
    let mut received = Vec::new();
    let mut piece = [0; 2048];
    loop {
        if let Some(answer) = Answer::parse(&received)? {
            let is_well = (200..300).contains(&answer.status);
            return if is_well { Ok(()) } else { Err(format!("answered with {}", answer.status).into()) };
        }
        match connection.read(&mut piece)? {
            0 => return Err("hung up".into()),
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
            return Err("hung up".into());
        }
        events.feed(&piece[..read], &mut |news| match news {
            News::Open(code) => status = code,
            News::Count(_) => has_count = true,
            News::Other => {}
        })?;
        if status != 200 {
            return Err(format!("a stream was answered with {status}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_turn() {
        let count = |visit| (0..8_000).filter(|number| Visit::of(*number) == visit).count();
        assert_eq!(count(Visit::Stall), 8);
        assert!(Visit::TURNS.iter().all(|visit| count(*visit) >= 900));
    }
}
