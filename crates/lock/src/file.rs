//! Where there are no abstract names (macOS): a locked file for each name, in one place for every user of the host.
//!
//! The kernel takes such a lock away with the last descriptor, `kill -9` included. What it does not do is tell whoever waits:
//! they look again. And a file can be removed while it is locked, which lets a second process in: so they stand where
//! nothing is swept (`/var/tmp`), and belong to whoever made them (the directory is sticky).

use crate::holder::Holder;
use crate::name::LockName;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, mkdir, open};
use rustix::io::{Errno, FdFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const DIRECTORY: &str = "/var/tmp/poolwright-locks";

/// Between two looks at a lock that somebody has.
const PAUSE: Duration = Duration::from_millis(50);

/// What is kept to the end of the process.
static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A file that is locked.
#[derive(Debug)]
pub(crate) struct Taken {
    file: File,
}

impl Taken {
    /// `None` when somebody has it.
    pub(crate) fn try_take(name: &LockName) -> io::Result<Option<Self>> {
        let file = open_at(&path(name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let taken = Self { file };
                taken.say(&Holder::silent(std::process::id()));
                Ok(Some(taken))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// To the end of this process, with `holder` in it for whoever looks.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "a socket's thread may not be had; a file needs none"
    )]
    pub(crate) fn hold(self, holder: &Holder) -> io::Result<()> {
        self.say(holder);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(self.file);
        Ok(())
    }

    /// For the program that this process becomes.
    pub(crate) fn inherited(self) -> io::Result<Self> {
        rustix::io::fcntl_setfd(&self.file, FdFlags::empty())?;
        Ok(self)
    }

    /// Another user's file can be locked and not written: whoever looks learns nothing then but that it is locked.
    fn say(&self, holder: &Holder) {
        if self.file.set_len(0).is_ok() {
            self.file.write_all_at(holder.to_line().as_bytes(), 0).ok();
        }
    }
}

/// A lock that somebody has.
pub(crate) struct Watched {
    file: File,
    pub(crate) holder: Option<Holder>,
}

impl Watched {
    /// `None` when the holder has ended meanwhile.
    pub(crate) fn connect(name: &LockName) -> io::Result<Option<Self>> {
        let mut file = open_at(&path(name))?;
        if is_free(&file) {
            return Ok(None);
        }
        let mut line = String::new();
        file.read_to_string(&mut line).ok();
        let holder = serde_json::from_str(&line).ok();
        Ok(Some(Self { file, holder }))
    }

    /// Waits until the holder has ended, or until `deadline`.
    pub(crate) fn outlive(self, deadline: Instant) {
        while !is_free(&self.file) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody tells when a file's lock is given up within a time"
            )]
            thread::sleep(PAUSE.min(left));
        }
    }
}

/// Whether nobody has the lock; for a moment this process shares it then.
fn is_free(file: &File) -> bool {
    let free = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    if free {
        flock(file, FlockOperation::Unlock).ok();
    }
    free
}

/// The file of a name, made if need be. It is not followed: in a place for everybody a link could stand there.
fn open_at(path: &Path) -> io::Result<File> {
    let everybody = Mode::RWXU | Mode::RWXG | Mode::RWXO | Mode::SVTX;
    if mkdir(DIRECTORY, everybody).is_ok() {
        // Past the umask.
        rustix::fs::chmod(DIRECTORY, everybody)?;
    }
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = match open(path, flags | OFlags::RDWR | OFlags::CREATE, mode) {
        // Another user's.
        Err(Errno::ACCESS) => open(path, flags | OFlags::RDONLY, mode)?,
        file => file?,
    };
    Ok(file.into())
}

fn path(name: &LockName) -> PathBuf {
    let name = name.to_string().replace('/', "-");
    Path::new(DIRECTORY).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Under;
    use std::process::{Command, Stdio};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A lock that no other test has, and its file, which goes with it.
    struct Place(LockName);

    impl Place {
        fn new() -> Self {
            let namespace = uuid::Uuid::new_v4().to_string();
            Self(LockName::of("web-0", "db:5432/dbos", &namespace))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_file(path(&self.0)).unwrap();
        }
    }

    fn holder(name: &LockName) -> Option<Holder> {
        Watched::connect(name).unwrap()?.holder
    }

    #[test]
    fn a_file_is_one_processs_and_says_whose() {
        let place = Place::new();
        let name = &place.0;
        assert!(Watched::connect(name).unwrap().is_none());
        let taken = Taken::try_take(name).unwrap().unwrap();
        assert!(Taken::try_take(name).unwrap().is_none());
        assert_eq!(holder(name), Some(Holder::silent(std::process::id())));
        let us = Holder::this_process(Under::Poolwright);
        taken.hold(&us).unwrap();
        assert_eq!(holder(name), Some(us));
        assert!(Taken::try_take(name).unwrap().is_none());
    }

    #[test]
    fn a_file_is_free_when_its_heir_has_ended_and_who_waits_sees_it() {
        let place = Place::new();
        let name = &place.0;
        let taken = Taken::try_take(name).unwrap().unwrap();
        let taken = taken.inherited().unwrap();
        let mut sleep = Command::new("sleep");
        let mut heir = sleep.arg("600").stdout(Stdio::null()).spawn().unwrap();
        drop(taken);
        let watched = Watched::connect(name).unwrap().unwrap();
        let waiting = thread::spawn(move || watched.outlive(Instant::now() + PATIENCE));
        assert!(Taken::try_take(name).unwrap().is_none());
        heir.kill().unwrap();
        heir.wait().unwrap();
        waiting.join().unwrap();
        assert!(Taken::try_take(name).unwrap().is_some());
    }
}
