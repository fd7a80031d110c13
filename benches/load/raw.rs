//! The raw sender: a loop that writes the same frame to as many sockets, and does nothing else. It shows what delivery
//! costs the kernel, so no server on the same sockets can be cheaper.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use socket2::{Domain, Socket, Type};

use crate::{
    Result,
    process::{Process, Scratch, ask, free_address},
};

/// Above the number of streams that a client opens at once.
const BACKLOG: i32 = 1_024;

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Starts the raw sender in a separate process.
pub fn start(scratch: &Scratch) -> Result<Process> {
    let addr = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["raw", &addr.to_string()]);
    let mut process = Process::start("raw sender", &mut command, addr, &scratch.path("raw.log"))?;
    process.wait_until(|addr| ask(addr, &crate::calls::get("/up")).is_ok())?;
    Ok(process)
}

/// Serves until the process is killed, on one thread. `/publish` sends a frame with the next count to all streams.
pub fn serve(addr: SocketAddr) -> Result<()> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())).into())?;
    listener.listen(BACKLOG)?;
    let (mut streams, mut count) = (Vec::new(), 0);
    loop {
        let mut socket = TcpStream::from(listener.accept()?.0);
        socket.set_nodelay(true)?;
        match path_of(&mut socket)?.as_str() {
            path if path.starts_with("/api/viewer/sse/") => {
                socket.write_all(&[STREAM_HEAD.as_bytes(), &chunk(count)].concat())?;
                socket.set_nonblocking(true)?;
                streams.push(socket);
            }
            "/publish" => {
                count += 1;
                let frame = chunk(count);
                for stream in &mut streams {
                    stream.write_all(&frame)?;
                }
                respond(&mut socket)?;
            }
            _ => respond(&mut socket)?,
        }
    }
}

/// Reads a request that fits into one packet. Returns its path.
fn path_of(socket: &mut TcpStream) -> Result<String> {
    let mut request = [0; 2_048];
    let read = socket.read(&mut request)?;
    let text = String::from_utf8_lossy(&request[..read]);
    Ok(text.split(' ').nth(1).ok_or("no request line")?.to_owned())
}

fn respond(socket: &mut TcpStream) -> Result<()> {
    Ok(socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?)
}

/// The frame of a count, as long as that of the server under test, as a chunk.
fn chunk(count: u64) -> Vec<u8> {
    let frame = format!(
        "data: {{\"channelId\":\"channel-0\",\"count\":{count},\"stale\":false,\"asOf\":1234567890123,\"live\":null}}\n\n"
    );
    format!("{:x}\r\n{frame}\r\n", frame.len()).into_bytes()
}
