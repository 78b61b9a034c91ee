//! A wall clock of a fleet's own, which can be set: the machine's stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};

/// Where Debian's package `libfaketime` has it: in a folder here that is called by the machine's architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// Where it keeps what its processes share, and under which names.
const SHARED: &str = "/dev/shm";
const PREFIXES: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

/// The wall clock of every process that is started with [`Clock::environment`]. The monotonic clock is the machine's.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
    ahead: AtomicI64,
}

impl Clock {
    /// One that is right, kept in this folder.
    ///
    /// # Errors
    /// When the library is not installed.
    pub fn right(folder: &Path) -> Result<Self> {
        let clock = Self {
            file: folder.join("clock"),
            library: library()?,
            ahead: AtomicI64::new(0),
        };
        clock.step(0)?;
        Ok(clock)
    }

    /// Sets it by so many seconds, for processes that run and those to come. They see it at once.
    pub fn step(&self, seconds: i64) -> Result<()> {
        let ahead = self.ahead.fetch_add(seconds, Ordering::Relaxed) + seconds;
        // Nobody reads half of it.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{ahead:+}\n"))?;
        Ok(fs::rename(&next, &self.file)?)
    }

    /// How many seconds it is ahead of the machine's.
    pub fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// What a process is started with.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

impl Drop for Clock {
    /// The library leaves something in memory of each process that was killed, by its number.
    fn drop(&mut self) {
        let Ok(left) = fs::read_dir(SHARED) else {
            return;
        };
        for left in left.filter_map(Result::ok) {
            let name = left.file_name();
            let of = PREFIXES
                .iter()
                .find_map(|prefix| name.to_str()?.strip_prefix(prefix));
            // Another test's clock may be in use.
            if of.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Somebody else's stay.
                fs::remove_file(left.path()).ok();
            }
        }
    }
}

fn library() -> Result<PathBuf> {
    let folders = fs::read_dir(LIBRARIES)?.filter_map(Result::ok);
    let mut there = folders
        .map(|folder| folder.path().join(LIBRARY))
        .filter(|library| library.is_file());
    there
        .next()
        .context("no libfaketime; run `make setup` first")
}
