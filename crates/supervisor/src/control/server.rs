//! The supervisor's end: one task per connection, which decides nothing.

use super::protocol::{self, MAX_LINE, Request, Response};
use crate::lines::BoundedLines;
use rustix::process::geteuid;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A request on its way to the dispatcher. It is answered until `answers` is dropped.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answers: Answers,
}

/// Unbounded: a reload has three steps a slot, and nobody waits for who reads them.
pub(crate) type Answers = mpsc::UnboundedSender<Response>;

/// Serves one connection, until it is closed or, between two requests, `end` is cancelled.
pub(crate) async fn serve(
    stream: UnixStream,
    dispatcher: mpsc::Sender<Asked>,
    end: CancellationToken,
) {
    let stranger = stranger(&stream);
    let (read, mut write) = stream.into_split();
    let mut lines = BoundedLines::new(read, MAX_LINE);
    loop {
        let line = tokio::select! {
            biased;
            line = lines.next() => line,
            () = end.cancelled() => return,
        };
        let Ok(Some(line)) = line else { return };
        let request = match &stranger {
            Some(reason) => Err(reason.clone()),
            None => protocol::read(&line.text),
        };
        let (answers, mut queue) = mpsc::unbounded_channel();
        match request {
            Ok(request) => {
                if dispatcher.send(Asked { request, answers }).await.is_err() {
                    return;
                }
            }
            Err(reason) => {
                answers.send(Response::Refused { reason }).ok();
                drop(answers);
            }
        }
        while let Some(answer) = queue.recv().await {
            if write
                .write_all(protocol::write(answer).as_bytes())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// Why whoever connected may not ask, if so.
fn stranger(stream: &UnixStream) -> Option<String> {
    let ours = geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == ours || peer.uid() == 0 => None,
        Ok(peer) => Some(format!(
            "asked by the user id {}, expected {ours} or root",
            peer.uid()
        )),
        Err(error) => Some(format!("cannot tell who asks: {error}")),
    }
}
