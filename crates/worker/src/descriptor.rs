//! Takes over the descriptor that the environment names. The only unsafe code of the workspace's
//! workers.
//!
//! Why there is no safe way: `listenfd` takes descriptors only from 3 on in a row, and the channel
//! stands where its parent put it; `/proc/self/fd/N` cannot be opened when N is a socket;
//! `pidfd_getfd` on oneself would do, but container runtimes refuse it by default.

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::FdFlags;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the descriptor was taken already.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Why a descriptor could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// It was taken before; it has one owner.
    #[error("descriptor {descriptor} was taken already")]
    Taken {
        /// Its number.
        descriptor: i32,
    },
    /// It is none of the inherited ones.
    #[error("descriptor {descriptor} is not an open socket")]
    NotASocket {
        /// Its number.
        descriptor: i32,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the inherited descriptor an owned socket that no child inherits.
///
/// Works once in a process. To be called before the process opens anything of its own, as
/// [`crate::worker::run`] does: only then is a descriptor of this number the inherited one.
///
/// # Errors
/// [`DescriptorError`] when it was taken before, or is not an open socket.
pub fn take(descriptor: i32) -> Result<UnixStream, DescriptorError> {
    let refuse = |source: std::io::Error| DescriptorError::NotASocket { descriptor, source };
    if descriptor < 3 {
        return Err(refuse(std::io::ErrorKind::InvalidInput.into()));
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(DescriptorError::Taken { descriptor });
    }
    #[expect(
        unsafe_code,
        reason = "the number is borrowed for two system calls that fail on a closed descriptor"
    )]
    // SAFETY: not -1 (checked above), and closed by nobody meanwhile: the process has not started
    // its runtime, so this is its only thread. A number that is not open makes the calls below fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::net::sockopt::socket_type(borrowed).map_err(|errno| refuse(errno.into()))?;
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|errno| refuse(errno.into()))?;
    #[expect(
        unsafe_code,
        reason = "no safe way exists to own an inherited descriptor, see the module"
    )]
    // SAFETY: open, as the calls above showed; owned by nobody else, because the parent handed it to
    // this process under this number for this purpose, nothing of the process's own is opened yet,
    // and `TAKEN` lets one caller in.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(UnixStream::from(owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let number = ours.into_raw_fd();
        let mut taken = take(number).unwrap();
        assert!(matches!(take(number), Err(DescriptorError::Taken { .. })));

        taken.write_all(b"x").unwrap();
        let mut byte = [0];
        theirs.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_standard_stream_is_never_taken() {
        assert!(matches!(take(1), Err(DescriptorError::NotASocket { .. })));
    }
}
