//! On Linux: a listening socket with an abstract name. See the crate's documentation.

use crate::holder::Holder;
use crate::name::LockName;
use rustix::io::FdFlags;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long a holder may take to say who it is. One that hangs, or that became another program after it took
/// the lock, says nothing; its pid is known from the kernel.
const INTRODUCTION: Duration = Duration::from_millis(500);

/// A name that is bound.
#[derive(Debug)]
pub(crate) struct Taken {
    listener: UnixListener,
}

impl Taken {
    /// `None` when somebody has it.
    pub(crate) fn try_take(name: &LockName) -> io::Result<Option<Self>> {
        match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?) {
            Ok(listener) => Ok(Some(Self { listener })),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// To the end of this process, saying `holder` to whoever asks, on a thread of its own.
    pub(crate) fn hold(self, holder: &Holder) -> io::Result<()> {
        let Self { listener } = self;
        let line = holder.to_line();
        thread::Builder::new()
            .name("executor-lock".to_owned())
            .spawn(move || {
                // Kept: their end is how the others learn of this process's.
                let mut asking: Vec<UnixStream> = Vec::new();
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { break };
                    asking.retain(still_there);
                    if stream.write_all(line.as_bytes()).is_ok()
                        && stream.set_nonblocking(true).is_ok()
                    {
                        asking.push(stream);
                    }
                }
            })?;
        Ok(())
    }

    /// For the program that this process becomes.
    pub(crate) fn inherited(self) -> io::Result<Self> {
        rustix::io::fcntl_setfd(&self.listener, FdFlags::empty())?;
        Ok(self)
    }
}

/// A connection to a holder.
pub(crate) struct Watched {
    stream: BufReader<UnixStream>,
    pub(crate) holder: Option<Holder>,
}

impl Watched {
    /// `None` when the holder has ended meanwhile.
    pub(crate) fn connect(name: &LockName) -> io::Result<Option<Self>> {
        let address = SocketAddr::from_abstract_name(name.as_bytes())?;
        let stream = match UnixStream::connect_addr(&address) {
            Ok(stream) => stream,
            // Gone, or it has bound the name and does not listen yet.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(INTRODUCTION))?;
        let known = rustix::net::sockopt::socket_peercred(&stream).ok();
        let known = known.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok());
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        let said = match (&mut stream).take(4096).read_line(&mut line) {
            Ok(_) => serde_json::from_str(&line).ok(),
            Err(_) => None,
        };
        let holder = said.or_else(|| known.map(Holder::silent));
        Ok(Some(Self { stream, holder }))
    }

    /// Waits until the holder has ended, or until `deadline`.
    pub(crate) fn outlive(mut self, deadline: Instant) {
        let mut byte = [0; 64];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.get_ref().set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.stream.read(&mut byte) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Whether whoever asked still waits; it never says anything.
fn still_there(mut stream: &UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
