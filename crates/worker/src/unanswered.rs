//! Questions that were sent over TCP and never answered, as the kernel saw it.
//!
//! The SDK's pool lets nobody near its connections, and waits for an answer without a limit. But the kernel knows of every socket
//! when it last sent and last received: a connection that has sent since it last received waits for an answer. An idle connection
//! does not, nor does one that listens, however long. The kernel's clock may be too coarse to tell which came last. Then it was the
//! question, if the other end has acknowledged something after its last word: with an answer it would have done so in that.
//!
//! Linux tells it by `sock_diag(7)`. Elsewhere, and where a sandbox leaves that out, no socket is seen to wait.

use crate::settings::DatabaseUrl;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long an acknowledgement may be put off, for an answer to carry it: 200 ms on Linux. What comes later is a sign of life.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(250);

/// One connection of this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    /// Names the socket for as long as there is one.
    inode: u32,
    /// The other end.
    server: IpAddr,
    /// How long ago something was sent.
    sent: Duration,
    /// How long ago something was received.
    received: Duration,
    /// How long ago something that was sent was acknowledged, or the other end gave a sign of life.
    acknowledged: Duration,
}

impl Connection {
    fn waits(&self) -> bool {
        let after = self.received.saturating_sub(self.acknowledged);
        let acknowledged = !after.is_zero() && after <= ACKNOWLEDGED_WITHIN;
        self.sent < self.received || self.sent == self.received && acknowledged
    }
}

/// Which connections of this process to one server have been waiting for an answer, and since when.
#[derive(Debug)]
pub(crate) struct Unanswered {
    host: String,
    port: u16,
    /// By the socket; and where it leads.
    since: BTreeMap<u32, (Instant, IpAddr)>,
}

impl Unanswered {
    /// Of the connections to the server of this URL.
    pub(crate) fn by(server: &DatabaseUrl) -> Self {
        Self {
            // A URL has brackets around an address, a lookup has none.
            host: server.host().trim_matches(['[', ']']).to_owned(),
            port: server.port(),
            since: BTreeMap::new(),
        }
    }

    /// Looks once, and says how many connections wait for an answer since a look that is at least `patience` ago. Looks further
    /// apart than `patience` would never see one. Cancel safe.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(crate) async fn since(&mut self, patience: Duration) -> io::Result<usize> {
        let port = self.port;
        // Some microseconds; but it is a question to the kernel, and that has locks.
        let seen = tokio::task::spawn_blocking(move || kernel::connections(port)).await;
        let now = Instant::now();
        self.saw(&seen.map_err(io::Error::other)??, now);
        let late = |(since, _): &(Instant, IpAddr)| now.duration_since(*since) >= patience;
        if !self.since.values().any(late) {
            return Ok(0);
        }
        // Only now: whose they are and where they lead is asked for when there is something to ask.
        let own = kernel::own_sockets()?;
        let Ok(found) = tokio::net::lookup_host((self.host.as_str(), self.port)).await else {
            // Nobody knows now; at the next look perhaps.
            return Ok(0);
        };
        let there: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        self.since
            .retain(|inode, (_, server)| own.contains(inode) && there.contains(server));
        Ok(self.since.values().filter(|waits| late(waits)).count())
    }

    /// Takes note of what was seen at `now`.
    fn saw(&mut self, connections: &[Connection], now: Instant) {
        let before = std::mem::take(&mut self.since);
        let waits = |connection: &Connection| {
            let known = before.get(&connection.inode).map(|(since, _)| *since);
            // One that received something meanwhile waits for another answer now, if for any.
            let still = known.filter(|since| connection.received >= now.duration_since(*since));
            let since = still.or_else(|| connection.waits().then_some(now))?;
            Some((connection.inode, (since, connection.server)))
        };
        self.since = connections.iter().filter_map(waits).collect();
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use super::Connection;
    use netlink_packet_core::{
        NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    };
    use netlink_packet_sock_diag::SockDiagMessage;
    use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
    use netlink_packet_sock_diag::inet::nlas::Nla;
    use netlink_packet_sock_diag::inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
    };
    use netlink_sys::protocols::NETLINK_SOCK_DIAG;
    use netlink_sys::{Socket, SocketAddr};
    use std::collections::BTreeSet;
    use std::io;
    use std::time::Duration;

    /// The connections of everybody on this host to this port of any server.
    pub(super) fn connections(port: u16) -> io::Result<Vec<Connection>> {
        let mut found = asked(AF_INET, SocketId::new_v4(), port)?;
        found.extend(asked(AF_INET6, SocketId::new_v6(), port)?);
        Ok(found)
    }

    fn asked(family: u8, of: SocketId, port: u16) -> io::Result<Vec<Connection>> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            states: StateFlags::ESTABLISHED,
            // The kernel tells of no others.
            socket_id: SocketId {
                destination_port: port,
                ..of
            },
        };
        let mut request = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send(&bytes, 0)?;
        let mut found = Vec::new();
        loop {
            let (bytes, _) = socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let message: NetlinkMessage<SockDiagMessage> =
                    NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(told)) => {
                        found.extend(connection(&told));
                    }
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(refused) => return Err(refused.to_io()),
                    _ => {}
                }
                let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
                // Messages begin at multiples of four.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn connection(told: &InetResponse) -> Option<Connection> {
        let times = told.nlas.iter().find_map(|told| match told {
            Nla::TcpInfo(times) => Some(times),
            _ => None,
        })?;
        Some(Connection {
            inode: told.header.inode,
            server: told.header.socket_id.destination_address,
            sent: Duration::from_millis(times.last_data_sent.into()),
            received: Duration::from_millis(times.last_data_recv.into()),
            acknowledged: Duration::from_millis(times.last_ack_recv.into()),
        })
    }

    /// The inodes of this process' sockets.
    pub(super) fn own_sockets() -> io::Result<BTreeSet<u32>> {
        let mut own = BTreeSet::new();
        for descriptor in std::fs::read_dir("/proc/self/fd")? {
            // One that was closed meanwhile is none.
            let Ok(target) = std::fs::read_link(descriptor?.path()) else {
                continue;
            };
            let name = target.to_string_lossy();
            let inode = name
                .strip_prefix("socket:[")
                .and_then(|n| n.strip_suffix(']'));
            own.extend(inode.and_then(|inode| inode.parse::<u32>().ok()));
        }
        Ok(own)
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use super::Connection;
    use std::collections::BTreeSet;
    use std::io;

    /// macOS tells the times of a socket to its owner only (`TCP_CONNECTION_INFO`), and the owner is the SDK.
    pub(super) fn connections(_port: u16) -> io::Result<Vec<Connection>> {
        Ok(Vec::new())
    }

    pub(super) fn own_sockets() -> io::Result<BTreeSet<u32>> {
        Ok(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_testkit::wait::Seen;
    use poolwright_testkit::wait_until;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const SHORT: Duration = Duration::from_millis(300);

    /// Time enough for the clock of the kernel to tell what came first.
    const APART: Duration = Duration::from_millis(20);

    fn connection(inode: u32, sent: u64, received: u64) -> Connection {
        let received = Duration::from_secs(received);
        Connection {
            inode,
            server: Ipv4Addr::LOCALHOST.into(),
            sent: Duration::from_secs(sent),
            received,
            acknowledged: received,
        }
    }

    fn nothing_yet() -> Unanswered {
        Unanswered {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            since: BTreeMap::new(),
        }
    }

    fn waits(of: &Unanswered, inode: u32) -> Option<Instant> {
        of.since.get(&inode).map(|(since, _)| *since)
    }

    #[test]
    fn a_connection_waits_from_the_first_look_until_something_came() {
        let mut unanswered = nothing_yet();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        // Asked a second ago, idle for a minute before.
        unanswered.saw(&[connection(1, 1, 60), connection(2, 60, 60)], at(0));
        assert_eq!(waits(&unanswered, 1), Some(at(0)));
        assert_eq!(waits(&unanswered, 2), None, "it was answered");
        // What the kernel sends again is sent anew.
        unanswered.saw(&[connection(1, 0, 65)], at(5));
        assert_eq!(waits(&unanswered, 1), Some(at(0)));
        // Answered, and asked again, both between two looks.
        unanswered.saw(&[connection(1, 1, 2)], at(10));
        assert_eq!(waits(&unanswered, 1), Some(at(10)));
        unanswered.saw(&[], at(15));
        assert_eq!(waits(&unanswered, 1), None, "it is closed");
    }

    #[test]
    fn where_the_clock_is_too_coarse_an_acknowledgement_without_an_answer_tells() {
        let both = connection(1, 3, 3);
        assert!(!both.waits(), "acknowledged with the answer");
        let acknowledged = |milliseconds| Connection {
            acknowledged: Duration::from_millis(milliseconds),
            ..both
        };
        assert!(acknowledged(2960).waits(), "put off, and no answer came");
        assert!(!acknowledged(1000).waits(), "a sign of life");

        // What was known to wait does so whatever sign of life comes.
        let mut unanswered = nothing_yet();
        let begun = Instant::now();
        unanswered.saw(&[acknowledged(2960)], begun);
        let later = Connection {
            acknowledged: Duration::ZERO,
            ..connection(1, 63, 63)
        };
        unanswered.saw(&[later], begun + Duration::from_secs(60));
        assert_eq!(waits(&unanswered, 1), Some(begun));
    }

    #[tokio::test]
    async fn the_kernel_tells_who_was_not_answered() -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let url = format!("postgres://app@localhost:{port}/app");
        let mut unanswered = Unanswered::by(&DatabaseUrl::parse(&url)?);

        let mut answered = TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut server, _) = listener.accept().await?;
        answered.write_all(b"?").await?;
        server.read_u8().await?;
        tokio::time::sleep(APART).await;
        server.write_all(b"!").await?;
        answered.read_u8().await?;
        let _idle = TcpStream::connect(("127.0.0.1", port)).await?;
        assert_eq!(unanswered.since(SHORT).await?, 0);

        let mut waiting = TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::time::sleep(APART).await;
        waiting.write_all(b"?").await?;
        let found = wait_until(
            "one waits",
            Duration::from_secs(10),
            async || match unanswered.since(SHORT).await {
                Ok(0) => Seen::NotYet(()),
                other => Seen::Yes(other),
            },
        );
        assert_eq!(found.await??, 1);
        drop(waiting);
        assert_eq!(unanswered.since(SHORT).await?, 0, "it is closed");
        Ok(())
    }
}
