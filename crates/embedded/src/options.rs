//! What kind of server is wanted.

use std::path::PathBuf;

/// What the server is for, which decides how careful it is with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Data that should survive a crash of the machine.
    Development,
    /// Data that nobody misses: nothing is flushed to disk.
    Test,
}

/// Where the server keeps its data.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// Kept, and taken up again by the next start.
    Persistent(PathBuf),
    /// Removed with the handle.
    Temporary,
}

/// How to start a [`Server`](crate::Server).
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) purpose: Purpose,
    pub(crate) location: Location,
    pub(crate) max_connections: u16,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) bin_dir: Option<PathBuf>,
}

impl Options {
    /// A server whose data is kept under `directory` (such as `.poolwright/postgres`), on the same
    /// port as last time where that is free. A server that still runs there is adopted.
    pub fn development(directory: impl Into<PathBuf>) -> Self {
        Self::new(Purpose::Development, Location::Persistent(directory.into()))
    }

    /// A fresh, empty server that leaves nothing behind.
    #[must_use]
    pub fn test() -> Self {
        Self::new(Purpose::Test, Location::Temporary)
    }

    fn new(purpose: Purpose, location: Location) -> Self {
        // 100 is Postgres's own default.
        Self {
            purpose,
            location,
            max_connections: 100,
            settings: Vec::new(),
            bin_dir: None,
        }
    }

    /// The server's `max_connections` (default 100).
    #[must_use]
    pub fn max_connections(mut self, connections: u16) -> Self {
        self.max_connections = connections;
        self
    }

    /// Any setting of `postgresql.conf`; it wins over this crate's own. Not for secrets: it stands
    /// on the server's command line.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Use the installation whose `postgres` and `initdb` stand here instead of looking for one.
    #[must_use]
    pub fn bin_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(directory.into());
        self
    }
}
