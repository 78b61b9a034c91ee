//! The socket that a program tells by `sd_notify` that it serves, as systemd's `NOTIFY_SOCKET`.
//!
//! Each process has a socket of its own, so that nobody has to be told which slot a datagram is about. It stands in a
//! directory of mode 0700, and the kernel says who sent each datagram (`SO_PASSCRED`): one of the worker's process
//! group, or it does not count. So a script beside the worker, another worker that was handed the variable, or a process that
//! the worker moved into a session of its own cannot make a slot look ready.
//!
//! An abstract name would need no file, but every user of the host could fill its queue, and it would not reach a
//! worker in another network namespace.
//!
//! `READY=1`, `STOPPING=1` and `STATUS=` are heard, everything else of the protocol is passed over: no watchdog, no stored
//! descriptors. Who waits for a `BARRIER=1` (`systemd-notify` does) is let go when it is read: the descriptor that comes with it is
//! not taken, which closes it.
//!
//! macOS has no `SO_PASSCRED` for datagrams: there the directory's mode alone keeps strangers out, those of other users, and whoever
//! of the same user has found the socket is taken for the worker.

use crate::private;
use poolwright_topology::handover::{Seat, WorkerId};
use rustix::process::{Pid, getpgid};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest datagram that is read, as systemd's own limit (`PIPE_BUF`); a longer one is passed over.
const MAX_DATAGRAM: usize = 4096;

/// The longest status that is kept, in characters.
const MAX_STATUS: usize = 200;

/// The socket of one process. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    path: PathBuf,
    socket: UnixDatagram,
}

/// A datagram, and what it says if it counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Of a process of the worker's.
    Own(Notice),
    /// Of another process.
    Stranger(i32),
}

/// What a program says of itself.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Notice {
    /// It serves.
    pub(crate) ready: bool,
    /// It has begun to leave.
    pub(crate) stopping: bool,
    /// What it is doing, in its own words.
    pub(crate) status: Option<String>,
}

impl NotifySocket {
    /// Binds the socket of a process that is about to be started.
    pub(crate) fn bind(state_dir: &Path, worker: &WorkerId) -> io::Result<Self> {
        let seat = match worker.seat {
            Seat::A => "a",
            Seat::B => "b",
        };
        // What is handed to a program has to be absolute.
        let run = state_dir.canonicalize()?.join("run");
        let path = private::socket(run.join(format!("{}-{seat}.notify", worker.slot)));
        if let Some(directory) = path.parent() {
            private::directory(directory).map_err(io::Error::other)?;
        }
        // One that a supervisor left behind when it was killed: the fleet is ours now.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self { path, socket })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next datagram of anybody, judged for the process group `group`. Cancel safe.
    pub(crate) async fn heard(&self, group: Pid) -> io::Result<Heard> {
        loop {
            let received = || receive(&self.socket);
            let datagram = self.socket.async_io(Interest::READABLE, received).await?;
            // Asked for at once: a helper that only says this word may be about to end.
            let of_the_worker = |sender| getpgid(Some(sender)).is_ok_and(|found| found == group);
            match datagram {
                Some((Some(sender), _)) if !of_the_worker(sender) => {
                    return Ok(Heard::Stranger(sender.as_raw_nonzero().get()));
                }
                Some((_, words)) => return Ok(Heard::Own(Notice::read(&words))),
                None => {}
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // One that is left behind is replaced by the slot's next process.
        fs::remove_file(&self.path).ok();
    }
}

/// A datagram and its sender; `None` of one that is cut or comes without a sender.
#[cfg(target_os = "linux")]
fn receive(socket: &UnixDatagram) -> io::Result<Option<(Option<Pid>, String)>> {
    use rustix::cmsg_space;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;

    let mut bytes = [0; MAX_DATAGRAM];
    // Room for the sender and for no descriptor: the kernel closes what does not fit.
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut parts, &mut control, flags)?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(None);
    }
    let words = bytes.get(..received.bytes).unwrap_or_default();
    let words = String::from_utf8_lossy(words).into_owned();
    Ok(sender.map(|sender| (Some(sender), words)))
}

/// A datagram of nobody knows whom; `None` of one that may be cut.
#[cfg(not(target_os = "linux"))]
fn receive(socket: &UnixDatagram) -> io::Result<Option<(Option<Pid>, String)>> {
    let mut bytes = [0; MAX_DATAGRAM];
    let length = socket.try_recv(&mut bytes)?;
    let words = bytes.get(..length).filter(|_| length < MAX_DATAGRAM);
    Ok(words.map(|words| (None, String::from_utf8_lossy(words).into_owned())))
}

impl Notice {
    /// Reads the lines of one datagram (`sd_notify(3)`).
    fn read(words: &str) -> Self {
        let mut notice = Self::default();
        for line in words.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => notice.ready = true,
                Some(("STOPPING", "1")) => notice.stopping = true,
                Some(("STATUS", status)) => notice.status = Some(printable(status)),
                _ => {}
            }
        }
        notice
    }
}

/// It goes to a terminal: without what would steer that.
fn printable(status: &str) -> String {
    let plain = status.chars().filter(|c| !c.is_control());
    plain.take(MAX_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_line_by_line_and_what_is_not_promised_is_passed_over() {
        let notice = Notice::read("MAINPID=7\nREADY=1\nSTATUS=half \u{1b}[31mfull\nWATCHDOG=1\n");
        assert!(notice.ready && !notice.stopping);
        assert_eq!(notice.status.as_deref(), Some("half [31mfull"));
        assert_eq!(Notice::read("READY=0\nREADY\nxREADY=1"), Notice::default());
        assert!(Notice::read("STOPPING=1").stopping);
        let long = Notice::read(&format!("STATUS={}", "x".repeat(4000)));
        assert_eq!(long.status.unwrap().len(), MAX_STATUS);
    }
}
