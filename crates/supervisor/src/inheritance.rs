//! The descriptors that a worker starts with, on their way to it.
//!
//! A descriptor gets its number in the child. Between `fork` and `exec` that takes a real fork, which copies the page tables of a
//! supervisor that grows with its fleet, and has every page that it writes next copied. So that a worker costs the same under
//! a large supervisor as under a small one, it is started by `posix_spawn`, which shares them until the `exec`; what is handed down
//! waits as `SCM_RIGHTS` on the socket that is the shim's standard input, and the shim gives it the numbers ([`crate::shim`]).

use command_fds::{CommandFdExt, FdMapping};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::environment::{CHANNEL_FD, LISTENER_FD};

/// Room for both.
const MOST: usize = 2;

/// What one worker is handed down.
#[derive(Debug)]
pub struct Inheritance {
    /// The worker's end of its channel.
    pub channel: OwnedFd,
    /// The socket that the fleet listens on, where the application takes one.
    pub listener: Option<OwnedFd>,
}

impl Inheritance {
    /// The standard input of the shim that is to receive it. What is not received is closed with that.
    ///
    /// # Errors
    ///
    /// The system has no socket, or does not take the descriptors.
    pub fn into_stdin(self) -> io::Result<Stdio> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut descriptors = vec![self.channel.as_fd()];
        descriptors.extend(self.listener.as_ref().map(AsFd::as_fd));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for a worker's descriptors"));
        }
        // Rights travel with a byte at least.
        let byte = [IoSlice::new(&[0])];
        sendmsg(&ours, &byte, &mut ancillary, SendFlags::empty())?;
        Ok(OwnedFd::from(theirs).into())
    }

    /// Takes it from standard input.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let byte = &mut [IoSliceMut::new(&mut byte)];
        recvmsg(io::stdin(), byte, &mut ancillary, RecvFlags::empty())?;
        let received: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            })
            .flatten()
            .collect();
        for descriptor in &received {
            // By itself and not on receipt, which macOS cannot; nothing else runs here that would start a program in between.
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        let mut received = received.into_iter();
        let channel = received.next();
        let channel = channel.ok_or_else(|| io::Error::other("no channel was handed down"))?;
        let listener = received.next();
        Ok(Self { channel, listener })
    }

    /// Has the program that `command` executes find it under the numbers that the environment tells it.
    pub(crate) fn give(self, command: &mut Command) -> io::Result<()> {
        let mut handed_down = vec![FdMapping {
            parent_fd: self.channel,
            child_fd: CHANNEL_FD,
        }];
        handed_down.extend(self.listener.map(|parent_fd| FdMapping {
            parent_fd,
            child_fd: LISTENER_FD,
        }));
        command.fd_mappings(handed_down).map_err(io::Error::other)?;
        Ok(())
    }
}
