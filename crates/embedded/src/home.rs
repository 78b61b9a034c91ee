//! The directory that holds everything of one server: data, password, log, last port.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::Error;
use crate::account::Account;
use crate::options::Location;
use crate::postmaster;

const DATA: &str = "data";
const LOCK: &str = "lock";

/// How the directories of temporary servers begin.
const PREFIX: &str = "poolwright-postgres-";

/// A temporary directory that nobody holds is left over, once it is old enough not to be one that
/// is being made at this moment.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// How much of the log goes into an error.
const LOG_TAIL_LINES: usize = 20;

/// A directory of mode 0700 that belongs to the server's account.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// Keeps a temporary home alive; removes it when dropped.
    _temporary: Option<TempDir>,
}

impl Home {
    /// Makes the directory, or takes up the one that stands there.
    pub(crate) fn open(location: &Location, account: &Account) -> Result<Self, Error> {
        match location {
            Location::Temporary => Self::temporary(account),
            Location::Persistent(wanted) => Self::persistent(wanted, account),
        }
    }

    fn temporary(account: &Account) -> Result<Self, Error> {
        let parent = [std::env::temp_dir(), PathBuf::from("/var/tmp")]
            .into_iter()
            .find(|parent| account.can_reach(parent))
            .unwrap_or_else(std::env::temp_dir);
        sweep(&parent, account, LEFT_OVER);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(Error::io("make a directory in", &parent))?;
        let path = directory.path().to_owned();
        give(&path, account)?;
        Ok(Self {
            path,
            _temporary: Some(directory),
        })
    }

    fn persistent(wanted: &Path, account: &Account) -> Result<Self, Error> {
        let wanted = std::path::absolute(wanted).map_err(Error::io("resolve", wanted))?;
        let parent = wanted.parent().unwrap_or(&wanted);
        let path = if account.can_reach(parent) {
            wanted
        } else {
            let detour = detour(&wanted);
            tracing::warn!(
                wanted = %wanted.display(),
                used = %detour.display(),
                "the account that runs Postgres (uid {}) cannot reach the wanted directory; \
                 its data is kept elsewhere",
                account.uid,
            );
            detour
        };
        make(&path, account)?;
        // Somebody else may have made it first, in a place where everybody may write.
        let found = std::fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
        if found.uid() != account.uid || !found.is_dir() {
            return Err(Error::ForeignDirectory {
                path,
                found: found.uid(),
                expected: account.uid,
            });
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
            .map_err(Error::io("make private", &path))?;
        Ok(Self {
            path,
            _temporary: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    fn port_file(&self) -> PathBuf {
        self.path.join("port")
    }

    /// The port of the last start.
    pub(crate) fn last_port(&self) -> Option<u16> {
        std::fs::read_to_string(self.port_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Keeps the port for the next start. A failure costs only the preference.
    pub(crate) fn remember_port(&self, port: u16) {
        if let Err(error) = std::fs::write(self.port_file(), format!("{port}\n")) {
            tracing::warn!(%error, "the port will not be remembered");
        }
    }

    /// The major version of the data, when there is any.
    pub(crate) fn data_major(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data().join("PG_VERSION")).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn password(&self) -> Result<String, Error> {
        let path = self.password_file();
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Ok(text.trim().to_owned())
    }

    /// Writes a fresh random password, readable by the server's account and root only.
    pub(crate) fn make_password(&self, account: &Account) -> Result<(), Error> {
        let source = Path::new("/dev/urandom");
        let mut random = [0_u8; 24];
        File::open(source)
            .and_then(|mut file| file.read_exact(&mut random))
            .map_err(Error::io("read", source))?;
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.password_file();
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, password.as_bytes()))
            .map_err(Error::io("write", &path))?;
        give(&path, account)
    }

    /// The last lines of the server's log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(LOG_TAIL_LINES)..)
            .unwrap_or_default();
        if tail.is_empty() {
            "(empty)".to_owned()
        } else {
            tail.join("\n")
        }
    }
}

/// Removes what servers left behind whose parents were killed: a temporary home is locked for as long
/// as it is used. Failing here costs disk space only.
fn sweep(parent: &Path, account: &Account, older_than: Duration) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && is_left_over(&path, account, older_than)
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "cannot remove a left-over server");
        }
    }
}

fn is_left_over(path: &Path, account: &Account, older_than: Duration) -> bool {
    // Not followed: a link is not ours.
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return false;
    };
    let age = found.modified().ok().and_then(|made| made.elapsed().ok());
    let locked = File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
    found.is_dir()
        && found.uid() == account.uid
        && age.is_some_and(|age| age >= older_than)
        && !locked
        && postmaster::living(&path.join(DATA)).is_none()
}

/// Makes the directory, unless there is one. It is the account's from the moment at which it is there: of two that are started at
/// once neither meets what the other has made and not handed over yet.
fn make(path: &Path, account: &Account) -> Result<(), Error> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(Error::io("make a directory in", parent))?;
    give(new.path(), account)?;
    // A plain rename would replace an empty one, under the hands of whoever has just made it.
    let moved = match renameat_with(CWD, new.path(), CWD, path, RenameFlags::NOREPLACE) {
        // A file system that cannot.
        Err(Errno::INVAL | Errno::NOSYS) => rename(new.path(), path),
        moved => moved,
    };
    match moved {
        Ok(()) => {
            // It has gone to its place.
            let _gone = new.keep();
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::io("make", path)(error.into())),
    }
}

fn give(path: &Path, account: &Account) -> Result<(), Error> {
    if !account.step_down {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
        .map_err(Error::io("hand over", path))
}

/// Where everybody can go, one place for every wanted place.
fn detour(wanted: &Path) -> PathBuf {
    let name: String = wanted
        .display()
        .to_string()
        .chars()
        .map(|sign| {
            if sign.is_ascii_alphanumeric() {
                sign
            } else {
                '-'
            }
        })
        .collect();
    // File names end at 255 bytes; the tail of a path tells more than its head.
    let start = name.len().saturating_sub(200);
    Path::new("/var/tmp").join(format!(
        "poolwright{}",
        name.get(start..).unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ourselves() -> Account {
        Account {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            step_down: false,
        }
    }

    #[test]
    fn a_temporary_home_is_private_and_goes_with_its_handle() {
        let home = Home::open(&Location::Temporary, &ourselves()).unwrap();
        let path = home.path().to_owned();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn the_password_is_random_and_in_a_private_file() {
        let home = Home::open(&Location::Temporary, &ourselves()).unwrap();
        home.make_password(&ourselves()).unwrap();
        let first = home.password().unwrap();
        home.make_password(&ourselves()).unwrap();
        assert_ne!(first, home.password().unwrap());
        assert_eq!(first.len(), 48);
        assert_eq!(
            home.password_file().metadata().unwrap().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_home_that_nobody_holds_any_more_is_swept_away() {
        let parent = tempfile::tempdir().unwrap();
        let [held, left, young] = ["held", "left", "young"].map(|name| {
            let home = parent.path().join(format!("{PREFIX}{name}"));
            std::fs::create_dir(&home).unwrap();
            home
        });
        let lock = File::create(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        File::create(left.join(LOCK)).unwrap();
        let long_ago = std::time::SystemTime::now() - LEFT_OVER * 2;
        for old in [&held, &left] {
            File::open(old).unwrap().set_modified(long_ago).unwrap();
        }
        let foreign = parent.path().join("something-else");
        std::fs::create_dir(&foreign).unwrap();

        sweep(parent.path(), &ourselves(), LEFT_OVER);
        assert!(held.exists() && young.exists() && foreign.exists());
        assert!(!left.exists());
    }

    #[test]
    fn a_home_of_somebody_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let stranger = Account {
            uid: 54_321,
            ..ourselves()
        };
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = directory.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let error = Home::open(&Location::Persistent(home), &stranger).unwrap_err();
        assert!(
            matches!(
                error,
                Error::ForeignDirectory {
                    expected: 54_321,
                    ..
                }
            ),
            "{error}"
        );
    }
}
