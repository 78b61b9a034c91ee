//! A Postgres server of one's own, for development and for tests, without ceremony.
//!
//! [`Server::start`] finds an installation, makes a data directory, starts `postgres` on a free
//! loopback port and hands out URLs. Invariants:
//!
//! - **It ends with us.** A server that we started does not outlive the process that started it,
//!   also when that process is killed: the kernel sends it the signal for a fast shutdown.
//! - **It is private.** It listens on 127.0.0.1 only, without a Unix socket, and asks for a random
//!   password that stands in a file of mode 0600 and in no command line, log or error.
//! - **It runs as root, too.** Postgres refuses to; so the server is stepped down to an unprivileged
//!   account, and its directory stands where that account can reach it.
//!
//! The crate `postgresql_embedded` lost: it cannot step down from root, its server outlives a killed
//! parent, and it downloads archives. Its command half, `postgresql_commands`, builds the `initdb`
//! command line here.
//!
//! `initdb` takes 0.6 s on a 2-core machine and a copy of its result 0.2 s, so there is no cache of
//! template directories: it would save less than it would have to explain.

mod account;
mod error;
mod home;
mod initialise;
mod installation;
mod options;
mod postmaster;
mod process;
mod server;

pub use error::Error;
pub use options::{Options, Purpose};
pub use server::Server;
