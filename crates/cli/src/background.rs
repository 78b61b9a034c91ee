//! `up --detach`: the fleet in the background, and a command that stays until it serves.
//!
//! The command starts itself again, with its terminal and with one end of a socket pair as standard input. The second one
//! leaves the session, so that no hangup and no Ctrl-C of the terminal reaches it, and prints to the terminal until all
//! workers serve; then it says so on the socket and turns to a file. Whatever ends it before is printed where somebody looks.

use crate::exit_codes::Exit;
use crate::failure::Failure;
use rustix::process::{Pid, Signal, kill_process, setsid};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// What the second one says on the socket when all workers serve.
const HOLDS: &[u8] = b"h";
/// The same, and that Postgres shows something else than what was declared.
const VIOLATED: &[u8] = b"v";

/// Where the supervisor prints to when nobody looks: in the state folder, beside the workers' log.
const FILE: &str = "up.log";

/// Starts this command line again, with `instead` for `detach`, and stays until the fleet serves or has ended.
/// A signal stops the fleet.
pub(crate) async fn start(detach: &str, instead: &str) -> Result<Exit, Failure> {
    let doing = || "starting the fleet in the background";
    let (ours, theirs) = StdUnixStream::pair().map_err(Failure::source(doing()))?;
    ours.set_nonblocking(true)
        .map_err(Failure::source(doing()))?;
    let mut ours = UnixStream::from_std(ours).map_err(Failure::source(doing()))?;
    let program = std::env::current_exe().map_err(Failure::source(doing()))?;
    let arguments = std::env::args_os().skip(1).map(|argument| match argument {
        found if found == detach => OsString::from(instead),
        other => other,
    });
    let mut fleet = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(Failure::source(doing()))?;
    let listen = |kind| signal(kind).map_err(Failure::source("listening for signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut said = [0];
    let mut open = true;
    loop {
        tokio::select! {
            read = ours.read(&mut said), if open => match read {
                Ok(1..) if said == VIOLATED => return Ok(Exit::Violated),
                Ok(1..) => return Ok(Exit::Success),
                // Its end is what counts.
                Ok(0) | Err(_) => open = false,
            },
            ended = fleet.wait() => {
                let status = ended.map_err(Failure::source("waiting for the fleet"))?;
                // It has printed why.
                return Ok(exit(status));
            }
            _ = terminate.recv() => pass_on(fleet.id()),
            _ = interrupt.recv() => pass_on(fleet.id()),
        }
    }
}

fn pass_on(fleet: Option<u32>) {
    let pid = fleet.and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // Gone already is as wanted.
        kill_process(pid, Signal::TERM).ok();
    }
}

fn exit(status: ExitStatus) -> Exit {
    match status.code() {
        Some(0) => Exit::Success,
        Some(2) => Exit::Declaration,
        Some(3) => Exit::Over,
        _ => Exit::Failure,
    }
}

/// The second one.
#[derive(Debug)]
pub(crate) struct Background {
    file: PathBuf,
}

impl Background {
    /// Leaves the terminal's session.
    pub(crate) fn enter(state_dir: &Path) -> Result<Self, Failure> {
        setsid()
            .map_err(io::Error::from)
            .map_err(Failure::source("leaving the terminal's session"))?;
        let file = state_dir.join(FILE);
        Ok(Self { file })
    }

    /// Turns to the file and lets the command return that was started in the foreground.
    pub(crate) fn serving(&self, holds: bool) -> io::Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.file)?;
        let nothing = OpenOptions::new().read(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
        // Who waits may have been killed; the fleet serves all the same.
        let word = if holds { HOLDS } else { VIOLATED };
        rustix::io::write(rustix::stdio::stdin(), word).ok();
        rustix::stdio::dup2_stdin(&nothing)?;
        Ok(())
    }
}
