//! The messages, shared by both ends.

use crate::event::Outcome;
use poolwright_topology::channel::Gauge;
use poolwright_topology::handover::SlotState;
use poolwright_topology::tag::{Name, SlotId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Answered by [`Response::Status`].
    Status,
    /// Answered by [`Response::Stopping`] at once and by [`Response::Stopped`] when all is over.
    Stop {
        /// Without a drain.
        #[serde(default)]
        now: bool,
    },
}

/// What a running fleet answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// How the fleet is.
    Status {
        /// The fleet.
        status: FleetStatus,
    },
    /// The fleet drains.
    Stopping,
    /// Every process is gone.
    Stopped {
        /// How it ended.
        end: End,
    },
    /// The request was not understood or not allowed.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// A running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The supervisor's process.
    pub pid: u32,
    /// Since when it runs, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Its apps, in the order in which they launch.
    pub apps: Vec<AppStatus>,
}

/// An app of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub app: Name,
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// Its slots, lowest first.
    pub slots: Vec<SlotStatus>,
}

/// A slot of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: SlotId,
    /// What it is doing.
    pub state: SlotState,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// How often its process was started again.
    pub restarts: u32,
    /// The executor id that its worker reported; none where no pool belongs to an executor.
    pub executor_id: Option<String>,
    /// The declared maximum of each pool, by name.
    pub pools: BTreeMap<String, u32>,
    /// The state of each pool as its worker last reported it, by name.
    pub gauges: BTreeMap<String, Gauge>,
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
        ];
        for (request, line) in table {
            assert_eq!(write(request).trim_end(), line);
            assert_eq!(read::<Request>(line), Ok(request));
        }
        let short = r#"{"v":1,"request":"stop"}"#;
        assert_eq!(read::<Request>(short), Ok(Request::Stop { now: false }));
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let refused = read::<Request>(r#"{"v":2,"request":"teleport"}"#);
        assert!(refused.unwrap_err().contains("version 2"));
    }
}
