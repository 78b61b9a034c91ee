//! Places for sockets that are nobody else's: in a directory of mode 0700, under a path that is short enough.

use crate::error::Error;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest path that a Unix socket can be bound to: `sun_path` (108 on Linux, 104 on macOS) less
/// the terminator.
const MAX_PATH: usize = 103;

/// The path for a socket that is wanted at `path`; when that is too long for a socket, a short one under
/// `/tmp/poolwright-<uid>` named by a hash of it: the same for everybody who asks as the same user.
pub(crate) fn socket(path: PathBuf) -> PathBuf {
    placed(path, geteuid().as_raw())
}

fn placed(path: PathBuf, uid: u32) -> PathBuf {
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

/// Makes the directory, or checks one that is there: ours, and open to nobody else.
pub(crate) fn directory(path: &Path) -> Result<(), Error> {
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

pub(crate) fn at(path: &Path, source: io::Error) -> Error {
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
        let path = Path::new("/srv/shop/.poolwright/run/control.sock");
        assert_eq!(placed(path.to_owned(), 1000), path);
    }

    #[test]
    fn a_long_state_directory_gets_a_short_path_that_depends_on_nothing_else() {
        let long = |depth| {
            let path = format!("/srv/{}/run/control.sock", "deep/".repeat(depth));
            placed(path.into(), 1000)
        };
        let path = long(40);
        assert!(path.as_os_str().len() <= MAX_PATH, "{}", path.display());
        assert!(path.starts_with("/tmp/poolwright-1000"));
        assert_eq!(path, long(40));
        assert_ne!(path, long(41));
    }
}
