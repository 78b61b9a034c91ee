//! The last steps before a worker's own code, inside the worker's process.
//!
//! Between `fork` and `exec` only async-signal-safe code may run, which takes `unsafe`. So the
//! supervisor starts its own executable again ([`crate::FleetSpec::shim`]), which calls [`exec`]: an
//! ordinary program that prepares itself and becomes the worker, with the same pid.
//!
//! **The worker dies with its supervisor, by SIGKILL.** A worker that outlives its supervisor holds
//! its connections, its executor id and the listening socket against the next supervisor. SIGTERM
//! would let it finish its requests first, but leaves a hung or stubborn worker for ever, and makes the next
//! `up` find its address in use until the last one is gone. A supervisor is killed by accident only;
//! durable work is recovered, and the requests in flight are the price of a certain end.
//! (The signal follows the *thread* that forked: see `spawner`.)
//!
//! It reaches the worker, not what the worker started: a command such as `npm start` is better declared as the
//! program that it ends in. Whenever the supervisor lives to see a worker's end, it ends the whole process
//! group with it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{fmt, io};

/// Why a process did not become a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The arguments are not those of the supervisor: this is no command for people.
    Usage,
    /// The supervisor was gone before the worker could be tied to it.
    SupervisorGone,
    /// The worker cannot be tied to its supervisor.
    Tie(io::Error),
    /// The program cannot be executed.
    Exec {
        /// The program.
        program: OsString,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// The code to exit with: the shell's 127 for a program that is not there, 126 for one that cannot be
    /// executed, 1 otherwise. The supervisor says them in words.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            Self::Usage | Self::SupervisorGone | Self::Tie(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str("started by hand, expected to be started by the supervisor"),
            Self::SupervisorGone => f.write_str("the supervisor is gone"),
            Self::Tie(source) => write!(f, "cannot tie the worker to its supervisor: {source}"),
            Self::Exec { program, source } => {
                let cwd = std::env::current_dir().unwrap_or_default();
                let program = program.display();
                write!(f, "cannot run {program} in {}: {source}", cwd.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// Becomes the worker: ties the process to its supervisor, sets `LISTEN_PID`, executes the command.
///
/// `args` are those after [`crate::FleetSpec::shim`] on the command line. Returns only when it failed;
/// the caller prints the error to standard error and exits with [`Error::exit_code`].
#[must_use]
pub fn exec(args: impl IntoIterator<Item = OsString>) -> Error {
    let mut args = args.into_iter();
    let supervisor = args.next().as_deref().and_then(read_pid);
    let (Some(supervisor), Some(program)) = (supervisor, args.next()) else {
        return Error::Usage;
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Error::Tie(error.into());
    }
    // Only now: a supervisor that died before the line above took no signal with it.
    if getppid() != Some(supervisor) {
        return Error::SupervisorGone;
    }
    let mut command = Command::new(&program);
    command.args(args);
    if std::env::var_os("LISTEN_FDS").is_some() {
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    let source = command.exec();
    Error::Exec { program, source }
}

/// The arguments that [`exec`] reads, in front of the worker's command.
pub(crate) fn leading_args() -> [OsString; 1] {
    [std::process::id().to_string().into()]
}

fn read_pid(text: &OsStr) -> Option<Pid> {
    Pid::from_raw(text.to_str()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_started_by_hand_runs_nothing() {
        assert!(matches!(exec([]), Error::Usage));
        assert!(matches!(exec(["true".into()]), Error::Usage));
        assert!(matches!(exec(["0".into(), "true".into()]), Error::Usage));
    }
}
