//! Why there is no server.

use std::io;
use std::path::{Path, PathBuf};

/// Why a server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No installation was found.
    #[error(
        "no PostgreSQL installation found (looked at {looked_at}); install one \
         (Debian, Ubuntu: apt-get install postgresql), or give the URL of a running server"
    )]
    NotInstalled {
        /// Every place that was looked at.
        looked_at: String,
    },
    /// The data was written by another major version than any that is installed.
    #[error(
        "{} holds data of PostgreSQL {found}, but installed is {installed}; install \
         PostgreSQL {found}, or remove the directory to start anew", data.display()
    )]
    WrongVersion {
        /// The data directory.
        data: PathBuf,
        /// Its major version.
        found: String,
        /// The major versions that are installed.
        installed: String,
    },
    /// Running as root, and nobody to step down to.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has neither a `postgres` nor a \
         `nobody` to run it as; add one (useradd --system postgres)"
    )]
    NoAccount,
    /// The directory for the data belongs to somebody else.
    #[error(
        "{} belongs to uid {found}, expected uid {expected}; remove it, or choose another place",
        path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// Who should own it.
        expected: u32,
    },
    /// A file or process operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed in {}:\n{output}", data.display())]
    Initdb {
        /// Where the data directory should have come to be.
        data: PathBuf,
        /// What it printed.
        output: String,
    },
    /// The server ended while it was starting.
    #[error("postgres ended ({status}) before it accepted connections; the end of its log:\n{log}")]
    EndedEarly {
        /// How it ended.
        status: String,
        /// The tail of its log.
        log: String,
    },
    /// The server did not come up in time.
    #[error("postgres did not accept connections within {seconds} s; the end of its log:\n{log}")]
    NotReady {
        /// How long it was given.
        seconds: u64,
        /// The tail of its log.
        log: String,
    },
    /// No free port in several attempts.
    #[error("found no free port on 127.0.0.1 in {attempts} attempts")]
    NoPort {
        /// How many ports were tried.
        attempts: u32,
    },
    /// The server runs but refuses a connection.
    #[error("postgres on 127.0.0.1:{port} runs, but refuses the superuser's connection")]
    Refused {
        /// The port.
        port: u16,
        /// What the server answered.
        #[source]
        source: sqlx::Error,
    },
    /// The server did not stop, not even when killed.
    #[error("postgres (pid {pid}) did not stop; the end of its log:\n{log}")]
    NotStopped {
        /// Its process.
        pid: i32,
        /// The tail of its log.
        log: String,
    },
    /// A worker thread of this crate went away.
    #[error("the task that was to {action} ended unexpectedly")]
    TaskEnded {
        /// What it was to do.
        action: &'static str,
    },
}

impl Error {
    /// An [`Error::Io`] for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
