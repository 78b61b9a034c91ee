//! Why a fleet cannot be run at all; what happens to a running one is an [`crate::Event`].

use poolwright_topology::tag::Name;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a fleet cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken.
    #[error(
        "cannot listen on {address} for the app {app}: another process listens there (`{}` says which)",
        who_listens(address.port())
    )]
    AddressInUse {
        /// The app.
        app: Name,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had for another reason.
    #[error("cannot listen on {address} for the app {app}")]
    Listen {
        /// The app.
        app: Name,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another supervisor runs this fleet.
    #[error("this fleet is already running: the supervisor {} holds {}", show_pid(*pid), lock.display())]
    AlreadyRunning {
        /// Its process, when it said so.
        pid: Option<u32>,
        /// The lock that it holds.
        lock: PathBuf,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}", path.display())]
    Control {
        /// The socket, its directory or its lock.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The control socket's directory is somebody else's.
    #[error(
        "{} belongs to the user id {owner}, expected a directory of the user id {expected}",
        path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// A program that shall be seen to listen or to accept, nobody says where.
    #[error(
        "the app {app} has ready = \"{ready}\" and no port to be seen on, expected `listen`, with a port other than 0 for a program that binds it by itself"
    )]
    NothingToSee {
        /// The app.
        app: Name,
        /// How it was to be seen.
        ready: &'static str,
    },
    /// The system refuses a thread, a signal handler or a socket.
    #[error("cannot set up the supervisor")]
    Setup(#[source] io::Error),
}

/// The command that says which process listens on a port.
#[must_use]
pub fn who_listens(port: u16) -> String {
    match cfg!(target_os = "linux") {
        true => format!("ss -ltnp 'sport = :{port}'"),
        false => format!("lsof -nP -iTCP:{port} -sTCP:LISTEN"),
    }
}

fn show_pid(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "of an unknown process".to_owned(),
        |pid| format!("with pid {pid}"),
    )
}
