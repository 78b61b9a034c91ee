//! Where the control socket is, and that only one supervisor has it.
//!
//! The claim is a lock on a file beside the socket, not the socket itself: a socket file outlives its
//! owner, a lock does not. Whoever holds the lock may replace whatever socket is there. (`flock`, which macOS has as well.)

use crate::error::Error;
use crate::private::{self, at};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Where the control socket of the fleet with this state directory is: the same answer for the
/// supervisor and for those who talk to it, as the same user.
///
/// `<state_dir>/run/control.sock`; when that is too long for a socket, a short path under
/// `/tmp/poolwright-<uid>` named by a hash of it.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    let state_dir = state_dir
        .canonicalize()
        .or_else(|_| std::path::absolute(state_dir))
        .unwrap_or_else(|_| state_dir.to_owned());
    private::socket(state_dir.join("run/control.sock"))
}

/// The bound control socket and the lock on it. Dropping it removes the socket and gives up the lock.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    _lock: File,
}

impl ControlSocket {
    /// Claims and binds the socket; replaces one that a dead supervisor left behind.
    pub(crate) fn bind(state_dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(state_dir).map_err(|source| at(state_dir, source))?;
        let path = socket_path(state_dir);
        if let Some(directory) = path.parent() {
            private::directory(directory)?;
        }
        let lock = claim(&path.with_extension("lock"))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path, error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|source| at(&path, source))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(|source| at(&path, source))?;
        Ok(Self {
            path,
            listener,
            _lock: lock,
        })
    }

    pub(crate) const fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // One that is left behind is replaced by the next supervisor.
        fs::remove_file(&self.path).ok();
    }
}

/// Takes the lock and writes our pid into it, for whoever finds it taken.
fn claim(path: &Path) -> Result<File, Error> {
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| at(path, source))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).ok();
            return Err(Error::AlreadyRunning {
                pid: pid.trim().parse().ok(),
                lock: path.to_owned(),
            });
        }
        Err(error) => return Err(at(path, error.into())),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(|source| at(path, source))?;
    Ok(lock)
}
