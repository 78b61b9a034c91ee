//! The private socket over which `status`, `stop`, `reload`, `restart` and `scale` talk to a running fleet.
//!
//! One request a line, JSON, with the version of the protocol; each is answered by one or more lines.
//! The directory is of mode 0700, the socket of mode 0600, and who connects is asked of the kernel:
//! the supervisor's own user or root, nobody else.

mod client;
mod protocol;
mod server;
mod socket;
mod views;

pub use client::{Client, ClientError};
pub use poolwright_topology::status::{AppStatus, FleetStatus, SlotStatus, Step};
pub use protocol::{End, Progress, Request, Response, SlotFailure, VERSION};
pub use server::Inquirer;
pub use socket::socket_path;
pub use views::{Showing, Views, Watcher};

pub(crate) use server::{Answers, Asked, serve};
pub(crate) use socket::ControlSocket;
