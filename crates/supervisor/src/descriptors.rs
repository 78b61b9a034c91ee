//! How many descriptors there may be, and which numbers are kept.
//!
//! A worker takes four of the supervisor's: its channel, its two outputs, its process. The soft limit that programs are
//! commonly started with, 1024, is there for programs that use `select`; it would be used up by 250 workers, in
//! the middle of a start. So the supervisor, which does not use it, goes up to its hard limit, which is the one that
//! somebody chose. (On macOS that says "unlimited" and means `OPEN_MAX`: more is refused.) Workers do not inherit that: what they do with descriptors is not known here, and they get what
//! the supervisor was given ([`crate::shim`]).

use crate::environment::CHANNEL_FD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// As an argument: no limit.
const UNLIMITED: &str = "unlimited";

/// A soft limit on descriptors; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SoftLimit(Option<u64>);

impl SoftLimit {
    /// Raises this process's to its hard limit; answers with what it was.
    pub(crate) fn raise() -> io::Result<Self> {
        let given = getrlimit(Resource::Nofile);
        Self(highest(given.maximum)).apply()?;
        Ok(Self(given.current))
    }

    /// Makes it this process's.
    pub(crate) fn apply(self) -> io::Result<()> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != self.0 {
            let current = self.0;
            setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
        }
        Ok(())
    }

    pub(crate) fn to_arg(self) -> OsString {
        match self.0 {
            Some(limit) => limit.to_string().into(),
            None => UNLIMITED.into(),
        }
    }

    pub(crate) fn read(arg: &OsStr) -> Option<Self> {
        match arg.to_str()? {
            UNLIMITED => Some(Self(None)),
            number => Some(Self(Some(number.parse().ok()?))),
        }
    }
}

/// Occupies every free number up to the highest that a worker gets something under, so that nothing else is opened there that
/// would be lost when that is put in its place.
pub(crate) fn occupy_low() -> io::Result<Vec<File>> {
    let mut occupied = Vec::new();
    loop {
        let file = File::open("/dev/null")?;
        if file.as_raw_fd() > CHANNEL_FD {
            return Ok(occupied);
        }
        occupied.push(file);
    }
}

#[cfg(not(target_os = "macos"))]
const fn highest(maximum: Option<u64>) -> Option<u64> {
    maximum
}

#[cfg(target_os = "macos")]
fn highest(maximum: Option<u64>) -> Option<u64> {
    /// `OPEN_MAX` of `<sys/syslimits.h>`.
    const OPEN_MAX: u64 = 10_240;
    Some(maximum.map_or(OPEN_MAX, |maximum| maximum.min(OPEN_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_survives_the_command_line() {
        for limit in [Some(1024), Some(u64::MAX), None].map(SoftLimit) {
            assert_eq!(SoftLimit::read(&limit.to_arg()), Some(limit));
        }
        assert_eq!(SoftLimit::read(OsStr::new("many")), None);
    }
}
