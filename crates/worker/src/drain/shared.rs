//! A client's socket that can still be asked about while somebody else reads from it.
//!
//! Whoever serves a connection owns its socket and says nothing about what has arrived there and was not read. The
//! runtime knows no more: it learns of arrivals in turns. The kernel is asked here.

use rustix::net::{RecvFlags, recv};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One socket; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<TcpStream>);

impl Shared {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Whether something has arrived that nobody has read. A client that has closed the connection has sent nothing.
    pub(super) fn has_unread(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peeked = recv(&*self.0, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_ok_and(|(read, _)| read > 0)
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write);
        Poll::Ready(shut.map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Shared) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, Shared::new(server))
    }

    #[tokio::test]
    async fn what_has_arrived_is_known_before_the_runtime_knows_of_it() {
        let (client, mut server) = pair().await;
        assert!(!server.has_unread());
        // No point of waiting in between: no turn of the runtime has passed.
        assert_eq!(client.try_write(b"hello").unwrap(), 5);
        assert!(server.has_unread());
        let mut read = [0; 5];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        assert!(!server.has_unread());
    }

    #[tokio::test]
    async fn both_directions_carry_everything_and_end() {
        let (mut client, mut server) = pair().await;
        let sent = vec![7; 3_000_000];
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            server.write_all(&sent).await.unwrap();
            server.shutdown().await.unwrap();
            server
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        let server = writing.await.unwrap();
        drop(client);
        assert!(!server.has_unread(), "an end is nothing to be read");
    }
}
