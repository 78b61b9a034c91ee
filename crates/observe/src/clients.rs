//! Which process on this host is the client of a backend.
//!
//! Postgres knows a client's address and port only. Where the client runs on this host, the kernel knows
//! the rest: `/proc/net/tcp` has the socket's inode, `/proc/<pid>/fd` its owner. A client's port is its own
//! only together with the port that it is connected to: clients of two servers may share one. So `verify` can tell two
//! processes behind one executor id, with no help from either. Linux only; elsewhere, and for clients on other
//! hosts or behind a Unix socket, the process stays unknown.

use poolwright_topology::census::Backend;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// Finds the client processes of one server, and remembers them: a session's client does not change.
#[derive(Debug)]
pub struct Clients {
    server_port: u16,
    known: HashMap<(i32, Option<i64>), Option<u32>>,
}

impl Clients {
    /// For the server that clients on this host reach at `server_port`.
    #[must_use]
    pub fn of(server_port: u16) -> Self {
        Self {
            server_port,
            known: HashMap::new(),
        }
    }

    /// Fills in `client_pid` of every row whose client can be found.
    pub fn identify(&mut self, rows: &mut [Backend]) {
        let unknown: HashMap<SocketAddr, (i32, Option<i64>)> = rows
            .iter()
            .filter(|row| !self.known.contains_key(&(row.pid, row.started)))
            .filter_map(|row| {
                let address: SocketAddr = row.client.as_ref()?.parse().ok()?;
                Some((address, (row.pid, row.started)))
            })
            .collect();
        if !unknown.is_empty() {
            let found = owners(&unknown.keys().copied().collect(), self.server_port);
            for (address, session) in unknown {
                self.known.insert(session, found.get(&address).copied());
            }
        }
        for row in rows.iter_mut() {
            row.client_pid = self.known.get(&(row.pid, row.started)).copied().flatten();
        }
        let present: HashSet<_> = rows.iter().map(|row| (row.pid, row.started)).collect();
        self.known.retain(|session, _| present.contains(session));
    }
}

#[cfg(target_os = "linux")]
fn owners(locals: &HashSet<SocketAddr>, server_port: u16) -> HashMap<SocketAddr, u32> {
    use procfs::process::FDTarget;

    let inodes: HashMap<u64, SocketAddr> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|table| towards(server_port, table))
        .map(|entry| (entry.inode, unmapped(entry.local_address)))
        .filter(|(inode, local)| *inode != 0 && locals.contains(local))
        .collect();
    if inodes.is_empty() {
        return HashMap::new();
    }
    let mut owners = HashMap::new();
    // Processes come and go while they are listed, and others' may be closed to us: neither is an error.
    for process in procfs::process::all_processes()
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(descriptors) = process.fd() else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            if let FDTarget::Socket(inode) = descriptor.target
                && let Some(local) = inodes.get(&inode)
                && let Ok(pid) = u32::try_from(process.pid)
            {
                owners.insert(*local, pid);
            }
        }
    }
    owners
}

/// The sockets of a table of the kernel's that are connected to the port. The table has all of the host, tens of thousands after a load with a
/// connection for each request, so it is read row by row and only these are kept. One that cannot be read has none.
#[cfg(target_os = "linux")]
fn towards(port: u16, table: &str) -> Vec<procfs::net::TcpNetEntry> {
    use procfs::FromBufReadSI;
    use std::fs::File;
    use std::io::{BufRead, BufReader};

    let Ok(table) = File::open(table) else {
        return Vec::new();
    };
    // Also met by its own end of a connection; an entry tells which end is which.
    let end = format!(":{port:04X} ");
    let (mut table, mut row) = (BufReader::new(table), String::new());
    let mut kept = String::from("the parser skips the first line\n");
    while table.read_line(&mut row).is_ok_and(|read| read > 0) {
        if row.contains(&end) {
            kept.push_str(&row);
        }
        row.clear();
    }
    let system = procfs::current_system_info();
    let entries = procfs::net::TcpNetEntries::from_buf_read(kept.as_bytes(), system);
    let mut entries = entries.map(|entries| entries.0).unwrap_or_default();
    entries.retain(|entry| entry.remote_address.port() == port);
    entries
}

#[cfg(not(target_os = "linux"))]
fn owners(_locals: &HashSet<SocketAddr>, _server_port: u16) -> HashMap<SocketAddr, u32> {
    HashMap::new()
}

/// `::ffff:127.0.0.1` as `127.0.0.1`, which is how Postgres says it.
#[cfg(target_os = "linux")]
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_clients_of_a_port_are_found_among_all_sockets_and_its_own_ends_are_not() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (server, other) = (listen(), listen());
        let address = server.local_addr().unwrap();
        let clients = [address, address].map(|to| TcpStream::connect(to).unwrap());
        let _accepted = [(); 2].map(|()| server.accept().unwrap());
        let stranger = TcpStream::connect(other.local_addr().unwrap()).unwrap();

        let locals = clients.iter().chain([&stranger]);
        let locals: HashSet<_> = locals.map(|socket| socket.local_addr().unwrap()).collect();
        let found = owners(&locals, address.port());
        let ours = clients.map(|socket| (socket.local_addr().unwrap(), std::process::id()));
        assert_eq!(found, HashMap::from(ours));
    }
}
