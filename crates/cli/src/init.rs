//! As process 1 of a container: everything that an init has to do, and nothing else.
//!
//! The kernel gives process 1 every orphan to be reaped, and ignores signals that it does not handle. The supervisor waits for
//! its own workers by their ids; a loop that waits for any process would take their exits away from it. So process 1 starts the
//! command as its child, passes signals on, reaps whatever ends and ends with its child.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Whether this process is the first one.
pub(crate) fn is_needed() -> bool {
    std::process::id() == 1
}

/// Runs this command line in a child, to its end.
pub(crate) fn run() -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listen = |kind| signal(kind);
        let mut ended = listen(SignalKind::child())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let mut quit = listen(SignalKind::quit())?;
        let child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            // Of a terminal's Ctrl-C it gets the one that is passed on, and not a second one.
            .process_group(0)
            .spawn()?;
        let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        loop {
            if let Some(code) = reap(child)? {
                return Ok(code);
            }
            let pass_on = tokio::select! {
                _ = ended.recv() => None,
                _ = terminate.recv() => Some(Signal::TERM),
                _ = interrupt.recv() => Some(Signal::INT),
                _ = hangup.recv() => Some(Signal::HUP),
                _ = quit.recv() => Some(Signal::TERM),
            };
            if let (Some(signal), Some(child)) = (pass_on, child) {
                // Gone already: its exit is on its way.
                kill_process(child, signal).ok();
            }
        }
    })
}

/// Takes every exit there is; the child's is the end.
fn reap(child: Option<Pid>) -> io::Result<Option<ExitCode>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == child => return Ok(Some(code(status))),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// As a shell says it: a signal is 128 and its number.
fn code(status: WaitStatus) -> ExitCode {
    let number = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}
