//! Where the control socket is, and that only one supervisor has it.
//!
//! The claim is a lock on a file beside the socket, not the socket itself: a socket file outlives its
//! owner, a lock does not. Whoever holds the lock may replace whatever socket is there.

use crate::error::Error;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The longest path that a Unix socket can be bound to: `sun_path` (108 on Linux, 104 on macOS) less
/// the terminator.
const MAX_PATH: usize = 103;

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
    placed(&state_dir, geteuid().as_raw())
}

fn placed(state_dir: &Path, uid: u32) -> PathBuf {
    let path = state_dir.join("run/control.sock");
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= MAX_PATH {
        return path;
    }
    PathBuf::from(format!("/tmp/poolwright-{uid}/{:016x}.sock", fnv1a(bytes)))
}

/// FNV-1a, 64 bit: the standard library's hashes may differ between two releases of the binary, and
/// both ends have to agree.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
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
            private_directory(directory)?;
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

/// Makes the directory, or checks one that is there: ours, and open to nobody else.
fn private_directory(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(path, error)),
        _ => {}
    }
    // Not followed: in /tmp, somebody else's link could stand there.
    let metadata = fs::symlink_metadata(path).map_err(|source| at(path, source))?;
    let expected = geteuid().as_raw();
    if metadata.uid() != expected {
        return Err(Error::ForeignDirectory {
            path: path.to_owned(),
            owner: metadata.uid(),
            expected,
        });
    }
    if !metadata.is_dir() {
        return Err(at(path, io::ErrorKind::NotADirectory.into()));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|source| at(path, source))
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

fn at(path: &Path, source: io::Error) -> Error {
    Error::Control {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_state_directory_holds_its_own_socket() {
        assert_eq!(
            placed(Path::new("/srv/shop/.poolwright"), 1000),
            Path::new("/srv/shop/.poolwright/run/control.sock")
        );
    }

    #[test]
    fn a_long_state_directory_gets_a_short_path_that_depends_on_nothing_else() {
        let long = PathBuf::from(format!("/srv/{}/.poolwright", "deep/".repeat(40)));
        let other = PathBuf::from(format!("/srv/{}/.poolwright", "deep/".repeat(41)));
        let path = placed(&long, 1000);
        assert!(path.as_os_str().len() <= MAX_PATH, "{}", path.display());
        assert!(path.starts_with("/tmp/poolwright-1000"));
        assert_eq!(path, placed(&long, 1000));
        assert_ne!(path, placed(&other, 1000));
    }
}
