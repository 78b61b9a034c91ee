//! The worker's end of the channel to whoever supervises it: JSON lines over a socket pair.
//!
//! Under Poolwright every message goes through; under PM2 only `ready`, in PM2's words; without a
//! channel sending does nothing. The rest of the worker does not know which of the three it is.

use poolwright_topology::channel::{FromWorker, MAX_LINE, ToWorker, to_line};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// How long a message may take to leave. A supervisor that reads nothing for this long must not
/// hold up the worker's drain.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// An inherited socket, not yet used: it can be made before there is a runtime.
#[derive(Debug)]
pub enum Inherited {
    /// No channel.
    None,
    /// PM2's.
    Pm2(StdUnixStream),
    /// Poolwright's.
    Poolwright(StdUnixStream),
}

/// The worker's end of the channel.
#[derive(Debug)]
pub struct Channel {
    peer: Peer,
    launch: watch::Receiver<bool>,
    closed: CancellationToken,
}

#[derive(Debug)]
enum Peer {
    None,
    Pm2(Mutex<OwnedWriteHalf>),
    Poolwright(Mutex<OwnedWriteHalf>),
}

impl Channel {
    /// Starts to read the inherited socket. To be called within a runtime.
    ///
    /// # Errors
    /// When the socket cannot be used asynchronously.
    pub fn start(inherited: Inherited) -> std::io::Result<Self> {
        let (told, launch) = watch::channel(false);
        let closed = CancellationToken::new();
        let peer = match inherited {
            Inherited::None => Peer::None,
            // A daemon of PM2 that dies leaves its processes running, and so do we: they are what
            // still answers requests. PM2 says nothing on this channel that a worker must obey.
            Inherited::Pm2(socket) => Peer::Pm2(Mutex::new(split(socket)?.1)),
            Inherited::Poolwright(socket) => {
                let (read, write) = split(socket)?;
                tokio::spawn(listen(read, told, closed.clone()));
                Peer::Poolwright(Mutex::new(write))
            }
        };
        Ok(Self {
            peer,
            launch,
            closed,
        })
    }

    /// Sends a message. A supervisor that is gone is noticed by [`Channel::closed`], not here.
    ///
    /// Not cancel safe: a line may be cut short.
    pub async fn send(&self, message: &FromWorker) {
        let (writer, line) = match (&self.peer, message) {
            (Peer::Poolwright(writer), message) => (writer, to_line(message)),
            (Peer::Pm2(writer), FromWorker::Ready) => (writer, to_line(&"ready")),
            _ => return,
        };
        let write = async { writer.lock().await.write_all(line.as_bytes()).await };
        match tokio::time::timeout(SEND_TIMEOUT, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the channel took no message"),
            Err(_) => tracing::warn!("the supervisor does not read the channel"),
        }
    }

    /// Whether a supervisor decides when this worker launches.
    #[must_use]
    pub const fn is_supervised(&self) -> bool {
        matches!(self.peer, Peer::Poolwright(_))
    }

    /// Waits until the worker may launch: at once without a supervisor. `false` when the
    /// channel closed first.
    ///
    /// Cancel safe.
    pub async fn launch(&self) -> bool {
        if !self.is_supervised() {
            return true;
        }
        let mut launch = self.launch.clone();
        launch.wait_for(|told| *told).await.is_ok()
    }

    /// Ends when a supervisor's end of the channel is closed; never without a supervisor.
    ///
    /// Cancel safe.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

fn split(socket: StdUnixStream) -> std::io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    socket.set_nonblocking(true)?;
    Ok(UnixStream::from_std(socket)?.into_split())
}

/// Reads lines until the channel closes, never holding more than one line of the legal length.
async fn listen(read: OwnedReadHalf, told: watch::Sender<bool>, closed: CancellationToken) {
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE + 1).unwrap_or(u64::MAX);
    loop {
        line.clear();
        match (&mut reader).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) => break,
            Ok(_) => match ToWorker::from_line(&String::from_utf8_lossy(&line)) {
                Ok(ToWorker::Launch) => {
                    told.send_replace(true);
                }
                Err(error) => tracing::warn!(%error, "not understood"),
            },
            Err(error) => {
                tracing::debug!(%error, "the channel broke");
                break;
            }
        }
    }
    closed.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader as StdBufReader, Write};

    fn lines(socket: StdUnixStream) -> impl Iterator<Item = String> {
        StdBufReader::new(socket).lines().map(Result::unwrap)
    }

    #[tokio::test]
    async fn launch_is_waited_for_and_the_end_of_the_channel_is_noticed() {
        let (ours, mut theirs) = StdUnixStream::pair().unwrap();
        let channel = Channel::start(Inherited::Poolwright(ours)).unwrap();
        channel.send(&FromWorker::Booted).await;
        let mut heard = lines(theirs.try_clone().unwrap());
        assert_eq!(heard.next().unwrap(), r#"{"type":"booted"}"#);
        drop(heard);

        theirs.write_all(b"{\"type\":\"dance\"}\n").unwrap();
        theirs
            .write_all(to_line(&ToWorker::Launch).as_bytes())
            .unwrap();
        assert!(channel.launch().await);

        drop(theirs);
        channel.closed().await;
    }

    #[tokio::test]
    async fn a_channel_that_closes_before_launch_says_so() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let channel = Channel::start(Inherited::Poolwright(ours)).unwrap();
        drop(theirs);
        assert!(!channel.launch().await);
    }

    #[tokio::test]
    async fn pm2_hears_its_own_ready_and_nothing_else() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let channel = Channel::start(Inherited::Pm2(ours)).unwrap();
        channel.send(&FromWorker::Booted).await;
        channel.send(&FromWorker::Ready).await;
        channel.send(&FromWorker::Draining).await;
        assert!(channel.launch().await);
        drop(channel);
        assert_eq!(lines(theirs).collect::<Vec<_>>(), ["\"ready\""]);
    }
}
