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
//! (The signal follows the *thread* that forked: see `spawner`.) On macOS there is no such signal; a process beside the worker that
//! watches the supervisor (`kqueue`, `NOTE_EXIT`) would have to take its place. Until then a worker that speaks the channel ends
//! there when that closes, and any other one is left: it holds its address, which the next `up` says is in use.
//!
//! **A program that does not speak the channel gets its executor id here.** A worker that does takes the lock of
//! its id itself, after `launch`; for any other the shim takes it, before there is a program that could open
//! anything, and the program inherits it without knowing. So do the program's children: the id is free
//! when the last of them has ended.
//!
//! The death signal reaches the worker, not what the worker started: a command such as `npm start` is better declared as the
//! program that it ends in. Whenever the supervisor lives to see a worker's end, it ends the whole process
//! group with it.

use crate::descriptors::{self, SoftLimit};
pub use crate::inheritance::Inheritance;
use poolwright_lock::{Lock, LockError, LockName};
use rustix::process::{Pid, getppid};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, io};

/// Where the work of a program's executor lives, `host:port/database`: set for a program that does not take the
/// lock of its executor id itself.
pub const EXECUTOR_STORE: &str = "POOLWRIGHT_EXECUTOR_STORE";

/// How long a program waits for the id, in milliseconds, unless `POOLWRIGHT_LOCK_TIMEOUT_MS` says otherwise: its
/// predecessor under this supervisor is gone already.
const LOCK_TIMEOUT_MS: u64 = 10_000;

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
    /// The worker cannot be given the limit on descriptors that it is to have.
    Limit(io::Error),
    /// The descriptors that the worker is to start with did not arrive.
    Inheritance(io::Error),
    /// The program's executor id is another living process's, or cannot be held.
    Lock(LockError),
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
            Self::Usage
            | Self::SupervisorGone
            | Self::Tie(_)
            | Self::Limit(_)
            | Self::Inheritance(_)
            | Self::Lock(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str("started by hand, expected to be started by the supervisor"),
            Self::SupervisorGone => f.write_str("the supervisor is gone"),
            Self::Tie(source) => write!(f, "cannot tie the worker to its supervisor: {source}"),
            Self::Limit(source) => write!(f, "cannot limit the worker's descriptors: {source}"),
            Self::Inheritance(source) => {
                write!(
                    f,
                    "the worker's descriptors did not arrive on standard input: {source}"
                )
            }
            Self::Lock(LockError::Io { name, source }) => {
                write!(f, "the lock {name} cannot be taken: {source}")
            }
            Self::Lock(held) => held.fmt(f),
            Self::Exec { program, source } => {
                let cwd = std::env::current_dir().unwrap_or_default();
                let program = program.display();
                write!(f, "cannot run {program} in {}: {source}", cwd.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// Becomes the worker: ties the process to its supervisor, gives what is handed down its numbers, sets `LISTEN_PID`, executes the
/// command.
///
/// Standard input is that of [`Inheritance::into_stdin`]; `args` are those after [`crate::FleetSpec::shim`] on the command line. Returns only when it failed;
/// the caller prints the error to standard error and exits with [`Error::exit_code`].
#[must_use]
pub fn exec(args: impl IntoIterator<Item = OsString>) -> Error {
    let mut args = args.into_iter();
    let supervisor = args.next().as_deref().and_then(read_pid);
    let limit = args.next().as_deref().and_then(SoftLimit::read);
    let (Some(supervisor), Some(limit), Some(program)) = (supervisor, limit, args.next()) else {
        return Error::Usage;
    };
    if let Err(error) = tie() {
        return Error::Tie(error);
    }
    // Only now: a supervisor that died before the line above took no signal with it.
    if getppid() != Some(supervisor) {
        return Error::SupervisorGone;
    }
    if let Err(error) = limit.apply() {
        return Error::Limit(error);
    }
    // Before anything that is to stay open is opened.
    let inheritance =
        descriptors::occupy_low().and_then(|low| Ok((Inheritance::from_stdin()?, low)));
    let (inheritance, _low) = match inheritance {
        Ok(taken) => taken,
        Err(error) => return Error::Inheritance(error),
    };
    let lock = match take_executor_id() {
        Ok(lock) => lock,
        Err(error) => return Error::Lock(error),
    };
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::null());
    if let Err(error) = inheritance.give(&mut command) {
        return Error::Inheritance(error);
    }
    if std::env::var_os("LISTEN_FDS").is_some() {
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    command.env_remove(EXECUTOR_STORE);
    let source = command.exec();
    drop(lock);
    Error::Exec { program, source }
}

/// Has this process die with its parent, by SIGKILL.
#[cfg(target_os = "linux")]
fn tie() -> io::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Nothing does that here.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it may fail")]
const fn tie() -> io::Result<()> {
    Ok(())
}

/// Takes the lock of the slot's executor id, to be inherited, where [`EXECUTOR_STORE`] asks for it.
fn take_executor_id() -> Result<Option<Lock>, LockError> {
    let variables = (std::env::var(EXECUTOR_STORE), std::env::var("DBOS__VMID"));
    let (Ok(store), Ok(executor_id)) = variables else {
        return Ok(None);
    };
    let name = LockName::here(&executor_id, &store);
    let patience = std::env::var("POOLWRIGHT_LOCK_TIMEOUT_MS").ok();
    let patience = patience.and_then(|text| text.parse().ok());
    let patience = Duration::from_millis(patience.unwrap_or(LOCK_TIMEOUT_MS));
    let lock = Lock::take(&executor_id, &name, patience, |_| {})?;
    let inherited = lock.inherited();
    inherited
        .map(Some)
        .map_err(|source| LockError::Io { name, source })
}

/// The arguments that [`exec`] reads, in front of the worker's command.
pub(crate) fn leading_args(limit: SoftLimit) -> [OsString; 2] {
    [std::process::id().to_string().into(), limit.to_arg()]
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
        let arguments = ["1", "many", "true"].map(OsString::from);
        assert!(matches!(exec(arguments), Error::Usage));
    }
}
