//! A non-blocking keep-alive connection for calls, one call at a time.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};

use crate::{Result, wire::Response};

/// Connections per source address. An address has about 28,000 ports.
const PER_ADDRESS: u32 = 1_000;

/// A socket for connection `number`, bound to a loopback address. It is not connected yet.
pub fn socket(number: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::from(0x7f10_0000 + number / PER_ADDRESS);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    Ok(socket)
}

/// A connection.
pub struct Conn {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Conn {
    /// Connects, and registers the connection under `token`.
    pub fn open(addr: SocketAddr, registry: &Registry, token: Token) -> Result<Self> {
        let mut stream = TcpStream::from_std(std::net::TcpStream::connect(addr)?);
        stream_options(&stream)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, request: Vec::new(), sent: 0, received: Vec::with_capacity(1024) })
    }

    /// Sends a request, or as much of it as the socket accepts. [`Conn::proceed`] sends the rest.
    pub fn send(&mut self, request: Vec<u8>) -> Result<()> {
        self.request = request;
        self.sent = 0;
        self.flush()
    }

    /// Continues the current call. Passes the body to `look` and returns the status when the response is complete.
    pub fn proceed(&mut self, scratch: &mut [u8], look: impl FnOnce(&[u8])) -> Result<Option<u16>> {
        self.flush()?;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => self.received.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some(response) = Response::parse(&self.received)? {
                look(&self.received[response.body.0..response.body.1]);
                self.received.clear();
                return Ok(Some(response.status));
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn stream_options(stream: &TcpStream) -> Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(())
}
