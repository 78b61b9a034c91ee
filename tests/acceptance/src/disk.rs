//! A disk that takes no more of the log, for one supervisor and for nobody else.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// As long as there is no [`FullDisk::room`].
///
/// It is the largest size that a file of the process' may have. For whoever writes it is a full disk: a line is cut somewhere, and the next
/// one is refused. It needs no rights, and no disk of its own. And it asks for more than a disk does: who has not expected
/// it is ended by a signal.
#[derive(Debug)]
#[must_use = "it stays full"]
pub struct FullDisk {
    process: Pid,
    before: Rlimit,
}

impl FullDisk {
    /// The smallest file of the log grows by so many bytes, and then none does.
    pub fn of(process: Pid, logs: &Path, bytes: u64) -> Result<Self> {
        let mut sizes = Vec::new();
        for file in fs::read_dir(logs)? {
            sizes.push(file?.metadata()?.len());
        }
        let full = Rlimit {
            current: Some(sizes.into_iter().min().unwrap_or(0) + bytes),
            maximum: getrlimit(Resource::Fsize).maximum,
        };
        let before = prlimit(Some(process), Resource::Fsize, full)?;
        Ok(Self { process, before })
    }

    /// There is room again. A process that has ended needs none.
    pub fn room(self) -> Result<()> {
        match prlimit(Some(self.process), Resource::Fsize, self.before) {
            Ok(_) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
