//! The listening socket: handed down, or bound.

use crate::settings::Surroundings;
use listenfd::ListenFd;
use rustix::io::FdFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// How many connections may wait to be accepted; the kernel cuts it to its own limit.
const BACKLOG: i32 = 1024;

/// Where connections come from.
#[derive(Debug)]
pub enum Listening {
    /// On a socket that the supervisor holds too: what this worker does not accept, another does.
    Shared(TcpListener),
    /// On a socket of this process: what it does not accept is lost.
    Own(TcpListener),
}

/// The socket that was handed down: `LISTEN_FDS=1`, `LISTEN_PID` this process, descriptor 3. To be
/// called before anything else is opened.
///
/// # Errors
/// When a descriptor was announced that is no listening socket.
pub fn inherited() -> io::Result<Option<TcpListener>> {
    let socket = ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(socket) = &socket {
        rustix::io::fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    }
    Ok(socket)
}

/// Listens on `inherited`, else on `address`.
///
/// Under PM2's fork mode several processes bind the same port and PM2 does nothing to let them: so
/// there, and only there, the port is shared with `SO_REUSEPORT`, and the kernel spreads the
/// connections. Elsewhere a second process on the port is a mistake that must be told.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(
    inherited: Option<TcpListener>,
    address: SocketAddr,
    surroundings: Surroundings,
) -> io::Result<Listening> {
    if let Some(socket) = inherited {
        socket.set_nonblocking(true)?;
        return Ok(Listening::Shared(socket));
    }
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if matches!(surroundings, Surroundings::Pm2(_)) {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Listening::Own(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port_of(listening: &Listening) -> SocketAddr {
        match listening {
            Listening::Shared(socket) | Listening::Own(socket) => socket.local_addr().unwrap(),
        }
    }

    #[test]
    fn workers_of_pm2_share_a_port_and_a_stray_process_is_refused() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = listen(None, any, Surroundings::Pm2(None)).unwrap();
        let address = port_of(&first);
        listen(None, address, Surroundings::Pm2(None)).unwrap();
        let error = listen(None, address, Surroundings::Bare).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
