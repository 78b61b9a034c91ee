//! A network between clients and a server that can stop to carry anything.

use std::io;
use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const CHUNK: usize = 16 * 1024;

/// Carries every connection of a port of 127.0.0.1 to a server, until it is dropped; then it cuts them.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    carries: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port. Has to be called in a tokio runtime.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", crate::ports::free_port()?)).await?;
        let port = listener.local_addr()?.port();
        let (carries, gate) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(carry(client, server, gate.clone()));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            port,
            carries,
            task,
        })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From here on nothing arrives at either side: no data, no end of a connection. Connections are accepted, as by a network
    /// that has swallowed the server.
    pub fn swallow(&self) {
        self.carries.send_replace(false);
    }

    /// Carries again, what has waited as well.
    pub fn carry(&self) {
        self.carries.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut gate: watch::Receiver<bool>) {
    if open(&mut gate).await.is_err() {
        return;
    }
    // Whoever it was meant for is not there: the client sees the end.
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = one_way(from_client, to_server, gate.clone());
    let back = one_way(from_server, to_client, gate);
    // Each side sees what became of the other.
    let _ = tokio::join!(there, back);
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        open(&mut gate).await?;
        match read {
            Ok(length @ 1..) => {
                to.write_all(chunk.get(..length).unwrap_or_default())
                    .await?
            }
            // The end, of whatever kind.
            Ok(0) | Err(_) => return to.shutdown().await,
        }
    }
}

async fn open(gate: &mut watch::Receiver<bool>) -> io::Result<()> {
    match gate.wait_for(|carries| *carries).await {
        Ok(_) => Ok(()),
        Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_swallowed_arrives_when_it_carries_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"one").await.unwrap();
        let mut read = [0; 3];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one");

        proxy.swallow();
        client.write_all(b"two").await.unwrap();
        let nothing = timeout(Duration::from_millis(100), server.read_exact(&mut read));
        assert!(nothing.await.is_err(), "it carried {read:?}");

        proxy.carry();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"two");
    }
}
