//! A network between clients and Postgres that takes its time.

use std::time::Duration;

use anyhow::Result;
use poolwright_testkit::ports::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

const CHUNK: usize = 16 * 1024;

/// Carries every connection of a port of 127.0.0.1 to another one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    port: u16,
    task: JoinHandle<()>,
}

impl Network {
    /// Everything takes `delay` each way.
    pub(crate) async fn start(server: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", free_port()?)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, server, delay));
                // Of those that have ended nothing is kept.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, task })
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: u16, delay: Duration) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    // As the testkit's proxy has it, which stands behind this one.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        one_way(from_client, to_server, delay),
        one_way(from_server, to_client, delay),
    );
}

/// Reads on while what was read is under way: a slow network, not a narrow one.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut under_way) = mpsc::unbounded_channel();
    let read = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let bytes = chunk.get(..length).unwrap_or_default().to_vec();
            if send.send((Instant::now() + delay, bytes)).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side has seen the end already, or sees it now.
        to.shutdown().await.ok();
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_trip_takes_the_delay_twice_however_many_pieces_are_under_way() {
        let delay = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().port();
        let network = Network::start(server, delay).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", network.port()))
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let begin = Instant::now();
        client.write_all(b"on").await.unwrap();
        client.write_all(b"e?").await.unwrap();
        let mut read = [0; 4];
        server.read_exact(&mut read).await.unwrap();
        assert!(begin.elapsed() >= delay);
        server.write_all(b"one!").await.unwrap();
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one!");
        assert!(begin.elapsed() >= 2 * delay);
    }
}
