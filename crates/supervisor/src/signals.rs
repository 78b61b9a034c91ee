//! The signals that stop a fleet, and one that must not.

use rustix::process::Signal;
use std::io;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// Every way in which people and systems ask a program to end.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: SignalStream,
    interrupt: SignalStream,
    hangup: SignalStream,
    /// A file has reached its largest size (`ulimit -f`). Left alone it would end the supervisor, for a line of a log; taken, the
    /// write fails, as on a full disk. Workers have it as it was: what is taken is not inherited.
    _file_size: SignalStream,
}

impl Signals {
    /// From here on they no longer end the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?,
        })
    }

    /// The next one, by its name. Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
