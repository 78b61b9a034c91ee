//! A network between clients and a server that can stop to carry anything or refuse everybody, and counts how often clients wait for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    state: watch::Sender<State>,
    round_trips: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What it does to its connections.
#[derive(Debug)]
struct State {
    carries: bool,
    refuses: bool,
    /// How many connections there were, which is the number of the next.
    connections: u64,
    /// Those with a lower number are carried no more.
    forgotten: u64,
}

/// What a connection has to wait for.
#[derive(Debug, Clone)]
struct Gate {
    number: u64,
    state: watch::Receiver<State>,
}

impl Proxy {
    /// Listens on a free port. Has to be called in a tokio runtime.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", crate::ports::free_port()?)).await?;
        let port = listener.local_addr()?.port();
        let (state, _) = watch::channel(State {
            carries: true,
            refuses: false,
            connections: 0,
            forgotten: 0,
        });
        let round_trips = Arc::new(AtomicU64::new(0));
        let (gates, trips) = (state.clone(), Arc::clone(&round_trips));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(carry(client, server, Gate::next(&gates), Arc::clone(&trips)));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            port,
            state,
            round_trips,
            task,
        })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often a client has sent something after the server had, or for the first time: how often it had to wait for the
    /// network, whatever it sent in how many pieces.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// From here on nothing arrives at either side: no data, no end of a connection. Connections are accepted, as by a network
    /// that has swallowed the server.
    pub fn swallow(&self) {
        self.state.send_modify(|state| state.carries = false);
    }

    /// From here on every connection is cut: those that there are, and new ones as soon as they are made, as by a server that is
    /// down.
    pub fn refuse(&self) {
        self.state.send_modify(|state| state.refuses = true);
    }

    /// Carries again, what was swallowed as well.
    pub fn carry(&self) {
        self.state.send_modify(|state| {
            state.carries = true;
            state.refuses = false;
        });
    }

    /// From here on nothing arrives over the connections that there are, and never will; new ones are carried. So does a
    /// firewall that has lost its table.
    pub fn forget(&self) {
        self.state
            .send_modify(|state| state.forgotten = state.connections);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// The gate of a new connection.
    fn next(state: &watch::Sender<State>) -> Self {
        let receiver = state.subscribe();
        let mut number = 0;
        state.send_modify(|state| {
            number = state.connections;
            state.connections += 1;
        });
        Self {
            number,
            state: receiver,
        }
    }

    async fn open(&mut self) -> io::Result<()> {
        let number = self.number;
        let open = self
            .state
            .wait_for(|state| state.carries && state.forgotten <= number);
        match open.await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

async fn carry(client: TcpStream, server: SocketAddr, gate: Gate, trips: Arc<AtomicU64>) {
    let mut state = gate.state.clone();
    tokio::select! {
        biased;
        // What is dropped is cut. An error is the network's own end.
        _ = state.wait_for(|state| state.refuses) => {}
        () = both_ways(client, server, gate, trips) => {}
    }
}

async fn both_ways(client: TcpStream, server: SocketAddr, mut gate: Gate, trips: Arc<AtomicU64>) {
    if gate.open().await.is_err() {
        return;
    }
    // Whoever it was meant for is not there: the client sees the end.
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    // Held back until another one is acknowledged, a small message would cost time that no network takes.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let clients_turn = AtomicBool::new(true);
    let asked = || {
        if clients_turn.swap(false, Ordering::SeqCst) {
            trips.fetch_add(1, Ordering::SeqCst);
        }
    };
    let answered = || clients_turn.store(true, Ordering::SeqCst);
    let there = one_way(from_client, to_server, gate.clone(), asked);
    let back = one_way(from_server, to_client, gate, answered);
    // Each side sees what became of the other.
    let _ = tokio::join!(there, back);
}

/// Carries what comes, after `carries` was told.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: Gate,
    carries: impl Fn(),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        gate.open().await?;
        match read {
            Ok(length @ 1..) => {
                carries();
                to.write_all(chunk.get(..length).unwrap_or_default())
                    .await?
            }
            // The end, of whatever kind.
            Ok(0) | Err(_) => return to.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A server, and the network to it.
    async fn far_away() -> (TcpListener, Proxy) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        (listener, proxy)
    }

    /// Both ends of a new connection.
    async fn connected(listener: &TcpListener, proxy: &Proxy) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, server)
    }

    #[tokio::test]
    async fn what_is_swallowed_arrives_when_it_carries_again() {
        let (listener, proxy) = far_away().await;
        let (mut client, mut server) = connected(&listener, &proxy).await;
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

    #[tokio::test]
    async fn a_forgotten_connection_is_never_carried_again_and_new_ones_are() {
        let (listener, proxy) = far_away().await;
        let (mut old, mut old_server) = connected(&listener, &proxy).await;
        let mut read = [0; 3];
        old.write_all(b"one").await.unwrap();
        old_server.read_exact(&mut read).await.unwrap();

        proxy.forget();
        old.write_all(b"two").await.unwrap();
        let (mut new, mut new_server) = connected(&listener, &proxy).await;
        new.write_all(b"new").await.unwrap();
        new_server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"new");
        let nothing = timeout(Duration::from_millis(100), old_server.read_exact(&mut read));
        assert!(nothing.await.is_err(), "it carried {read:?}");
    }

    #[tokio::test]
    async fn what_is_sent_without_a_wait_in_between_is_one_round_trip() {
        let (listener, proxy) = far_away().await;
        let (mut client, mut server) = connected(&listener, &proxy).await;
        let mut read = [0; 3];
        for trips in 1..=3 {
            for _ in 0..2 {
                client.write_all(b"ask").await.unwrap();
                server.read_exact(&mut read).await.unwrap();
            }
            server.write_all(b"say").await.unwrap();
            client.read_exact(&mut read).await.unwrap();
            assert_eq!(proxy.round_trips(), trips);
        }
    }

    #[tokio::test]
    async fn who_is_refused_is_cut_off_whether_connected_already_or_not() {
        let (listener, proxy) = far_away().await;
        let address = ("127.0.0.1", proxy.port());
        let mut before = TcpStream::connect(address).await.unwrap();
        let (_server, _) = listener.accept().await.unwrap();

        proxy.refuse();
        let mut after = TcpStream::connect(address).await.unwrap();
        for client in [&mut before, &mut after] {
            let end = client.read(&mut [0]).await;
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        }

        proxy.carry();
        TcpStream::connect(address).await.unwrap();
        listener.accept().await.unwrap();
    }
}
