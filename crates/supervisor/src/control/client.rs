//! The other end: what the commands use.

use super::protocol::{self, End, MAX_LINE, Progress, Request, Response, SlotFailure};
use super::socket::socket_path;
use crate::lines::BoundedLines;
use poolwright_topology::finding::Finding;
use poolwright_topology::picture::{Picture, Session};
use poolwright_topology::status::FleetStatus;
use poolwright_topology::tag::{Name, SlotId};
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A connection to a running fleet's supervisor.
pub struct Client {
    lines: BoundedLines<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// Why a running fleet did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is none.
    #[error("no fleet is running here: nobody answers at {}", path.display())]
    NotRunning {
        /// Where it would answer.
        path: PathBuf,
    },
    /// The socket cannot be used.
    #[error("cannot talk to the supervisor at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the supervisor broke off the conversation")]
    BrokenOff(#[source] Option<io::Error>),
    /// The supervisor said no.
    #[error("the supervisor refused: {reason}")]
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// The servers do not have the connections that were asked for.
    #[error("{reason}")]
    DoesNotFit {
        /// What is missing, and what would fit, in words.
        reason: String,
    },
    /// The supervisor said something else.
    #[error("the supervisor gave an answer that is not understood: {reason}")]
    Unexpected {
        /// What, in words.
        reason: String,
    },
}

impl Client {
    /// Connects to the fleet with this state directory. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when there is none, [`ClientError::Connect`] when it cannot be reached.
    pub async fn connect(state_dir: &Path) -> Result<Self, ClientError> {
        let path = socket_path(state_dir);
        match UnixStream::connect(&path).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                let lines = BoundedLines::new(read, MAX_LINE);
                Ok(Self { lines, write })
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Err(ClientError::NotRunning { path })
            }
            Err(source) => Err(ClientError::Connect { path, source }),
        }
    }

    /// How the fleet is. Not cancel safe: drop the client then.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn status(&mut self) -> Result<FleetStatus, ClientError> {
        self.ask(Request::Status).await?;
        match self.answer().await? {
            Response::Status { status } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Every picture of the fleet from now on, about one a second, until `seen` answers `false` or the fleet ends. Not cancel
    /// safe: drop the client then.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn watch(
        mut self,
        mut seen: impl AsyncFnMut(Picture) -> bool,
    ) -> Result<(), ClientError> {
        self.ask(Request::Watch).await?;
        loop {
            match self.answer().await? {
                Response::Picture { picture } => {
                    if !seen(picture).await {
                        return Ok(());
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What a slot does in Postgres right now. Not cancel safe: drop the client then.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn sessions(&mut self, slot: SlotId) -> Result<Vec<Session>, ClientError> {
        self.ask(Request::Sessions { slot }).await?;
        match self.answer().await? {
            Response::Sessions { sessions } => Ok(sessions),
            other => Err(unexpected(&other)),
        }
    }

    /// What is not as declared right now, worst first; nothing before the fleet was looked at. Not cancel safe: drop the client
    /// then.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn findings(&mut self) -> Result<Vec<Finding>, ClientError> {
        self.ask(Request::Findings).await?;
        match self.answer().await? {
            Response::Findings { findings } => Ok(findings),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops the fleet, with a drain unless `now`, and waits until every process is gone. Not cancel
    /// safe: the fleet stops all the same.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn stop(mut self, now: bool) -> Result<End, ClientError> {
        self.ask(Request::Stop { now }).await?;
        loop {
            match self.answer().await? {
                Response::Stopping => {}
                Response::Stopped { end } => return Ok(end),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Replaces every worker, one after the other, and waits for the end; `progress` hears every step.
    /// `Some` is the slot that failed and stopped it. Not cancel safe: the reload goes on all the same.
    ///
    /// # Errors
    /// [`ClientError::Refused`] while another one is under way, or the fleet starts or stops.
    pub async fn reload(
        &mut self,
        progress: impl FnMut(Progress),
    ) -> Result<Option<SlotFailure>, ClientError> {
        self.until_done(Request::Reload, progress).await
    }

    /// Stops and starts the worker of `slot`, or of every slot, one after the other. Otherwise like
    /// [`Client::reload`].
    ///
    /// # Errors
    /// As [`Client::reload`], and when there is no such slot.
    pub async fn restart(
        &mut self,
        slot: Option<SlotId>,
        progress: impl FnMut(Progress),
    ) -> Result<Option<SlotFailure>, ClientError> {
        self.until_done(Request::Restart { slot }, progress).await
    }

    /// Gives an app this many workers, and waits until they serve and the others are gone. Otherwise like
    /// [`Client::reload`].
    ///
    /// # Errors
    /// As [`Client::reload`], and [`ClientError::DoesNotFit`] when the budget does not allow it.
    pub async fn scale(
        &mut self,
        app: Name,
        instances: u32,
    ) -> Result<Option<SlotFailure>, ClientError> {
        let request = Request::Scale { app, instances };
        self.until_done(request, |_| {}).await
    }

    async fn until_done(
        &mut self,
        request: Request,
        mut progress: impl FnMut(Progress),
    ) -> Result<Option<SlotFailure>, ClientError> {
        self.ask(request).await?;
        loop {
            match self.answer().await? {
                Response::Progress(step) => progress(step),
                Response::Done { failure } => return Ok(failure),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn ask(&mut self, request: Request) -> Result<(), ClientError> {
        let line = protocol::write(request);
        self.write
            .write_all(line.as_bytes())
            .await
            .map_err(|error| ClientError::BrokenOff(Some(error)))
    }

    async fn answer(&mut self) -> Result<Response, ClientError> {
        let line = match self.lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(ClientError::BrokenOff(None)),
            Err(error) => return Err(ClientError::BrokenOff(Some(error))),
        };
        match protocol::read(&line.text) {
            Ok(Response::Refused { reason }) => Err(ClientError::Refused { reason }),
            Ok(Response::DoesNotFit { reason }) => Err(ClientError::DoesNotFit { reason }),
            Ok(response) => Ok(response),
            Err(reason) => Err(ClientError::Unexpected { reason }),
        }
    }
}

fn unexpected(response: &Response) -> ClientError {
    ClientError::Unexpected {
        reason: format!("{response:?}"),
    }
}
