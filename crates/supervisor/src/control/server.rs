//! The supervisor's end: one task per connection, which decides nothing.

use super::Views;
use super::protocol::{self, MAX_LINE, Request, Response, SlotFailure};
use crate::lines::BoundedLines;
use poolwright_topology::status::FleetStatus;
use poolwright_topology::tag::{Name, SlotId};
use rustix::process::geteuid;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
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

/// Asks a running fleet how it is, from within the supervisor's own process.
#[derive(Debug, Clone)]
pub struct Inquirer(pub(crate) mpsc::Sender<Asked>);

impl Inquirer {
    /// How the fleet is; `None` when it has ended. Cancel safe.
    pub async fn status(&self) -> Option<FleetStatus> {
        let (answers, mut queue) = mpsc::unbounded_channel();
        let request = Request::Status;
        self.0.send(Asked { request, answers }).await.ok()?;
        match queue.recv().await? {
            Response::Status { status } => Some(status),
            _ => None,
        }
    }

    /// Stops and starts the worker of a slot, and waits for the end of it: what failed of the new worker, if anything. Cancel
    /// safe in the sense that the restart goes on.
    ///
    /// # Errors
    /// Why it does not happen, in words.
    pub async fn restart(&self, slot: SlotId) -> Result<Option<SlotFailure>, String> {
        let slot = Some(slot);
        self.until_done(Request::Restart { slot }).await
    }

    /// Replaces every worker, one after the other, and waits for the end of it: the slot that failed and stopped it, if one
    /// did. Cancel safe in the sense that the reload goes on.
    ///
    /// # Errors
    /// Why it does not happen, in words.
    pub async fn reload(&self) -> Result<Option<SlotFailure>, String> {
        self.until_done(Request::Reload).await
    }

    /// Gives an app this many workers, and waits until they serve and the others are gone; otherwise like
    /// [`Inquirer::reload`].
    ///
    /// # Errors
    /// Why it does not happen, in words: the budget does not allow it, or something else is under way.
    pub async fn scale(&self, app: Name, instances: u32) -> Result<Option<SlotFailure>, String> {
        self.until_done(Request::Scale { app, instances }).await
    }

    async fn until_done(&self, request: Request) -> Result<Option<SlotFailure>, String> {
        let (answers, mut queue) = mpsc::unbounded_channel();
        let ended = || "the fleet has ended".to_owned();
        let asked = self.0.send(Asked { request, answers }).await;
        asked.map_err(|_| ended())?;
        while let Some(answer) = queue.recv().await {
            match answer {
                Response::Done { failure } => return Ok(failure),
                Response::Refused { reason } | Response::DoesNotFit { reason } => {
                    return Err(reason);
                }
                _ => {}
            }
        }
        Err(ended())
    }
}

/// Serves one connection, until it is closed or, between two requests, `end` is cancelled.
pub(crate) async fn serve(
    stream: UnixStream,
    dispatcher: mpsc::Sender<Asked>,
    views: Views,
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
            Ok(Request::Watch) => return watch(views, &mut write, end).await,
            Ok(Request::Sessions { slot }) => {
                answers.send(sessions(&views, &slot)).ok();
                drop(answers);
            }
            Ok(Request::Findings) => {
                answers.send(findings(&views)).ok();
                drop(answers);
            }
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
            if say(&mut write, answer).await.is_err() {
                return;
            }
        }
    }
}

async fn say(write: &mut OwnedWriteHalf, answer: Response) -> io::Result<()> {
    write.write_all(protocol::write(answer).as_bytes()).await
}

/// Every picture there is, until the connection is closed or nobody makes any more. One that takes them slowly misses
/// some, and holds nobody up.
async fn watch(mut views: Views, write: &mut OwnedWriteHalf, end: CancellationToken) {
    let _watcher = views.watcher();
    views.rewind();
    loop {
        let view = tokio::select! {
            view = views.next() => view,
            () = end.cancelled() => return,
        };
        let Some(view) = view else {
            let reason = "nobody looks at this fleet".to_owned();
            say(write, Response::Refused { reason }).await.ok();
            return;
        };
        let picture = view.picture.clone();
        if say(write, Response::Picture { picture }).await.is_err() {
            return;
        }
    }
}

fn sessions(views: &Views, slot: &SlotId) -> Response {
    let view = views.newest();
    let sessions = view.and_then(|view| view.sessions.get(slot).cloned());
    Response::Sessions {
        sessions: sessions.unwrap_or_default(),
    }
}

fn findings(views: &Views) -> Response {
    let view = views.newest();
    let findings = view.map(|view| view.picture.findings.clone());
    Response::Findings {
        findings: findings.unwrap_or_default(),
    }
}

/// Why whoever connected may not ask, if so. (`SO_PEERCRED` on Linux, `getpeereid` on macOS.)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Showing;
    use poolwright_topology::finding::{Finding, Kind, Severity};
    use poolwright_topology::picture::{Budget, Picture, Reach, View};
    use poolwright_topology::units::Connections;
    use std::collections::BTreeMap;
    use tokio::io::{AsyncBufReadExt, BufReader};

    fn parked() -> Finding {
        Finding {
            kind: Kind::SlotParked,
            severity: Severity::Error,
            slot: Some("web-1".parse().unwrap()),
            pool: None,
            message: "web-1 is parked: it exited with code 3".into(),
            cure: "mend it".into(),
        }
    }

    fn view(findings: Vec<Finding>) -> Option<View> {
        let picture = Picture {
            at_unix_ms: 1,
            pid: 1,
            since_unix_ms: 1,
            usage: None,
            budget: Budget {
                bound: Connections(4),
                overhead: Connections(1),
                usable: Connections(97),
                seen: Connections(0),
            },
            postgres: Reach::Answers,
            apps: Vec::new(),
            findings,
        };
        let sessions = BTreeMap::new();
        Some(View { picture, sessions })
    }

    #[tokio::test]
    async fn findings_are_those_of_the_last_view_and_none_before_there_was_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let showing = Showing::default();
        let views = showing.views();
        let (dispatcher, _asked) = mpsc::channel(1);
        tokio::spawn(serve(theirs, dispatcher, views, CancellationToken::new()));
        let (read, mut write) = ours.into_split();
        let mut lines = BufReader::new(read).lines();
        for (seen, expected) in [
            (None, Vec::new()),
            (view(vec![parked()]), vec![parked()]),
            (view(Vec::new()), Vec::new()),
        ] {
            if let Some(seen) = seen {
                showing.show(seen);
            }
            let request = protocol::write(Request::Findings);
            write.write_all(request.as_bytes()).await.unwrap();
            let line = lines.next_line().await.unwrap().unwrap();
            let answer: Response = protocol::read(&line).unwrap();
            let findings = expected;
            assert_eq!(answer, Response::Findings { findings });
        }
    }
}
