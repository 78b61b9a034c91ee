//! The server's process, and the thread that it hangs on.

use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::{oneshot, watch};

/// A running child.
///
/// The parent-death signal follows the thread that spawned, not the process: so each child has a
/// thread of its own, which spawns it, waits for it and ends with it. Signals go through a pidfd
/// that is opened before anybody waits, so that they can never hit a stranger who got the pid. (macOS has neither: there
/// a server outlives a killed parent, and a signal goes to the pid unless its end is known.)
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    #[cfg(target_os = "linux")]
    handle: std::os::fd::OwnedFd,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// For those who cannot await: closes with the child's end.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Process {
    /// Spawns the command on its own thread.
    ///
    /// Cancel safety: when dropped, the child may or may not have been started; if it was, it is
    /// interrupted.
    pub(crate) async fn spawn(command: Command) -> std::io::Result<Self> {
        let (report, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || live(command, report))?;
        started
            .await
            .map_err(|_| std::io::Error::other("the spawning thread ended"))?
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal; a process that has ended already is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = self.send(signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = %self.pid, %error, "cannot signal postgres");
        }
    }

    #[cfg(target_os = "linux")]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        rustix::process::pidfd_send_signal(&self.handle, signal)
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        match self.exit_status() {
            None => rustix::process::kill_process(self.pid, signal),
            Some(_) => Ok(()),
        }
    }

    /// How it ended, once it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end. Cancel safe.
    pub(crate) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        // An error means that the waiting thread is gone, and the child with it.
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// Blocks until its end, at most for `limit`; says whether it ended.
    pub(crate) fn wait_blocking(&self, limit: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

fn live(mut command: Command, report: oneshot::Sender<std::io::Result<Process>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // Nobody is left to be told when the receiver is gone.
            drop(report.send(Err(error)));
            return;
        }
    };
    let pid = Pid::from_child(&child);
    #[cfg(target_os = "linux")]
    let handle = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(error) => {
            // Unreaped so far, so the pid is still this child's.
            drop(child.kill());
            drop(child.wait());
            drop(report.send(Err(error.into())));
            return;
        }
    };
    let (exited, exit) = watch::channel(None);
    let (ending, ended) = mpsc::channel();
    let process = Process {
        pid,
        #[cfg(target_os = "linux")]
        handle,
        exit,
        ended: Mutex::new(ended),
    };
    if let Err(Ok(unwanted)) = report.send(Ok(process)) {
        unwanted.signal(Signal::INT);
    }
    match child.wait() {
        Ok(status) => drop(exited.send(Some(status))),
        Err(error) => tracing::warn!(%pid, %error, "cannot wait for postgres"),
    }
    drop(ending);
}
