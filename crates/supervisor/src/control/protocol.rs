//! The messages, shared by both ends.

use crate::event::Outcome;
use poolwright_topology::finding::Finding;
use poolwright_topology::picture::{Picture, Session};
use poolwright_topology::status::{FleetStatus, Step};
use poolwright_topology::tag::{Name, SlotId};
use serde::{Deserialize, Serialize};

/// The version of the protocol: raised when a message of an older one would be misunderstood.
pub const VERSION: u32 = 1;

/// The longest line either side reads, in bytes: the status of several hundred workers.
pub(crate) const MAX_LINE: usize = 1024 * 1024;

/// A message with the version it is written in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) v: u32,
    #[serde(flatten)]
    pub(crate) body: T,
}

/// What can be asked of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Answered by [`Response::Status`].
    Status,
    /// Answered by a [`Response::Picture`] now and with every new one, until the connection is closed.
    Watch,
    /// What a slot does in Postgres right now. Answered by [`Response::Sessions`].
    Sessions {
        /// The slot.
        slot: SlotId,
    },
    /// What is not as declared right now. Answered by [`Response::Findings`].
    Findings,
    /// Answered by [`Response::Stopping`] at once and by [`Response::Stopped`] when all is over.
    Stop {
        /// Without a drain.
        #[serde(default)]
        now: bool,
    },
    /// Replaces every worker, one slot after the other, each booted before its predecessor leaves.
    /// Answered by [`Response::Progress`] as it goes and by [`Response::Done`] at its end.
    Reload,
    /// Stops and starts the worker of a slot, or of every slot, one after the other. Answered likewise.
    Restart {
        /// The slot; every slot when there is none.
        #[serde(default)]
        slot: Option<SlotId>,
    },
    /// From now on an app has this many workers. Answered by [`Response::Done`] when they serve and the
    /// others are gone.
    Scale {
        /// The app.
        app: Name,
        /// How many.
        instances: u32,
    },
}

/// What a running fleet answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// How the fleet is.
    Status {
        /// The fleet.
        status: FleetStatus,
    },
    /// How the fleet is, from both sides.
    Picture {
        /// The fleet.
        picture: Picture,
    },
    /// The sessions of a slot, as they were last seen.
    Sessions {
        /// By pool and age of their transaction, oldest first.
        sessions: Vec<Session>,
    },
    /// What is not as declared, as it was last seen.
    Findings {
        /// Worst first.
        findings: Vec<Finding>,
    },
    /// The fleet drains.
    Stopping,
    /// Every process is gone.
    Stopped {
        /// How it ended.
        end: End,
    },
    /// A step of a reload or restart.
    Progress(Progress),
    /// A reload, restart or scaling is over.
    Done {
        /// The slot that failed, if one did. The fleet goes on: see [`SlotFailure`].
        failure: Option<SlotFailure>,
    },
    /// A scaling was refused: the servers do not have the connections for it. Nothing has changed.
    DoesNotFit {
        /// What is missing, and what would fit, in words.
        reason: String,
    },
    /// The request was not understood or not allowed; nothing has changed.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// A step of a reload or restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The slot.
    pub slot: SlotId,
    /// What it does now.
    pub step: Step,
    /// How many slots serve again.
    pub done: u32,
    /// Of how many.
    pub of: u32,
}

/// Why a reload, restart or scaling stopped. The slots whose turn had not come run what they ran before; the
/// one that failed keeps its old worker, or is restarted with pauses when that had left already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFailure {
    /// The slot.
    pub slot: SlotId,
    /// Why, in words, the slot's name first.
    pub reason: String,
    /// The last lines its worker wrote to standard error.
    pub last_words: Vec<String>,
}

/// How a fleet ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The failure that ended it, in words; none when it was asked to stop.
    pub failure: Option<String>,
    /// The failed worker's last lines on standard error.
    pub last_words: Vec<String>,
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Stopped => Self {
                failure: None,
                last_words: Vec::new(),
            },
            Outcome::Failed {
                failure,
                last_words,
            } => Self {
                failure: Some(failure.to_string()),
                last_words: last_words.clone(),
            },
        }
    }
}

/// Reads one line, refusing a message of another version before its body is looked at.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(line: &str) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let Versioned { v } = parse(line)?;
    if v != VERSION {
        return Err(format!(
            "a message of version {v}, expected version {VERSION}: supervisor and command line are of different releases"
        ));
    }
    parse::<Envelope<T>>(line).map(|envelope| envelope.body)
}

/// Writes one line, with its line feed.
pub(crate) fn write(body: impl Serialize) -> String {
    poolwright_topology::channel::to_line(&Envelope { v: VERSION, body })
}

fn parse<T: for<'de> Deserialize<'de>>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| format!("not a message of the protocol: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_documented_and_are_read_back() {
        let table = [
            (Request::Status, r#"{"v":1,"request":"status"}"#),
            (
                Request::Stop { now: true },
                r#"{"v":1,"request":"stop","now":true}"#,
            ),
            (Request::Reload, r#"{"v":1,"request":"reload"}"#),
            (
                Request::Scale {
                    app: Name::new("web").unwrap(),
                    instances: 5,
                },
                r#"{"v":1,"request":"scale","app":"web","instances":5}"#,
            ),
        ];
        for (request, line) in table {
            assert_eq!(write(&request).trim_end(), line);
            assert_eq!(read::<Request>(line), Ok(request));
        }
        let all = r#"{"v":1,"request":"restart"}"#;
        assert_eq!(read::<Request>(all), Ok(Request::Restart { slot: None }));
        let short = r#"{"v":1,"request":"stop"}"#;
        assert_eq!(read::<Request>(short), Ok(Request::Stop { now: false }));
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let refused = read::<Request>(r#"{"v":2,"request":"teleport"}"#);
        assert!(refused.unwrap_err().contains("version 2"));
    }
}
