//! The listening sockets: bound before the first worker, held until after the last.
//!
//! Holding them is what makes a restart invisible: while no worker accepts, the kernel queues.

use crate::error::Error;
use crate::spec::AppSpec;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// Connections that the kernel queues while nobody accepts. It is capped by `net.core.somaxconn`,
/// whose default is this number.
const BACKLOG: i32 = 4096;

/// How long an address may be taken by processes that are about to be gone: the workers of a supervisor that was killed
/// die with it, and hold the socket until the kernel has taken them down, which takes a moment for a large one.
const DYING: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The held socket of one app.
#[derive(Debug)]
pub(crate) struct Held {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Held {
    /// Binds what the app declares, if the supervisor is to hold it.
    pub(crate) fn bind(app: &AppSpec) -> Result<Option<Self>, Error> {
        let Some(address) = app.held_address() else {
            return Ok(None);
        };
        match patiently(|| listen(address)) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::AddressInUse {
                app: app.name.clone(),
                address,
            }),
            Err(source) => Err(Error::Listen {
                app: app.name.clone(),
                address,
                source,
            }),
        }
    }

    /// The address, with the port that the system chose when 0 was declared.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// By what the kernel knows the socket, whichever descriptor it is under.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.socket)?.st_ino)
    }

    /// Another descriptor of the same socket, for a worker.
    pub(crate) fn hand_down(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

/// The outcome of an attempt that is made again while the address is in use, for as long as somebody may be about to leave it.
#[expect(
    clippy::disallowed_methods,
    reason = "the address is claimed before anything else of the supervisor runs"
)]
fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let begin = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < DYING => {
                thread::sleep(LOOK_AGAIN);
            }
            outcome => return outcome,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<Held> {
    // Blocking, as systemd hands sockets down: who wants it otherwise sets it.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A supervisor that is started again must not wait for its predecessor's connections to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Held {
        socket: socket.into(),
        address: bound,
    })
}
