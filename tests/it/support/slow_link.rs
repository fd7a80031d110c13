//! A network hop that delays what clients send.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// Passes connections on to a port of this machine, and holds back each request of a client for a while. So every round
/// trip takes that long. Dropping it ends the listener.
pub struct SlowLink {
    pub port: u16,
    task: JoinHandle<()>,
}

impl SlowLink {
    /// A link to `port`.
    pub async fn to(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A connection ends when one of both ends it.
                    let _ended = pass(client, port, delay).await;
                });
            }
        });
        Self { port: own, task }
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, port: u16, delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut requests, mut to_client) = client.into_split();
    let (mut responses, mut to_server) = server.into_split();
    let there = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = requests.read(&mut bytes).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            sleep(delay).await;
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    let back = async { io::copy(&mut responses, &mut to_client).await.map(drop) };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}
