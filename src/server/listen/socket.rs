//! The listening socket and its options, which accepted connections inherit on Linux; and how connections read.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpListener,
};

/// How much is read at a time, in bytes: as much as most requests have.
const READ_BYTES: usize = 4 * 1024;

/// Connections that may wait to be accepted. After a restart all pages reconnect at once.
const BACKLOG: i32 = 4096;

/// The kernel closes the connection of a peer that acknowledges or reads nothing for this long (`TCP_USER_TIMEOUT`;
/// tcp(7)). The default is about 15 minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// TCP keepalive: the idle time before the first probe, and the time between probes. Probes detect a vanished peer on a
/// connection that sends nothing.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Binds an address and listens on it.
///
/// # Errors
/// When the address is in use or does not belong to this machine.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL),
    )?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Checks that an address can be bound, without listening on it.
///
/// # Errors
/// When the address is in use or does not belong to this machine.
pub fn check(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

/// Reads once, and appends what was read. Returns the length, 0 at the end. A connection that waits needs no buffer.
///
/// # Errors
/// Errors of the socket.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin), unread: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
        unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_check_finds_addresses_that_are_in_use_or_elsewhere() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let used = listener.local_addr().unwrap();
        assert_eq!(check(used).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        check(used).unwrap();
        let elsewhere = "192.0.2.1:80".parse().unwrap();
        assert_eq!(check(elsewhere).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn accepted_connections_inherit_the_socket_options() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
