//! The messages between supervisor and worker: JSON lines over a socket pair, in the framing of
//! Node's own IPC, so that `process.send` and `process.on('message')` are the whole client in Node.
//!
//! `fixtures/channel` has one example of every message; the TypeScript tests read the same files.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest line either side accepts, in bytes. The largest message there is, `gauges` of a
/// worker with dozens of pools, stays far below; a worker cannot make its supervisor hold more.
pub const MAX_LINE: usize = 64 * 1024;

/// What a worker says to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// The code is loaded; nothing is opened. The worker waits for [`ToWorker::Launch`].
    Booted,
    /// The executor is launched and the pools are open: the start-up line as data.
    Started {
        /// The worker's process id.
        pid: u32,
        /// Its executor id, the same text as its slot.
        executor_id: String,
        /// The maximum of each pool, by name.
        pools: BTreeMap<String, u32>,
    },
    /// The worker answers requests.
    Ready,
    /// The state of each pool, by name.
    Gauges {
        /// By the pool's name.
        pools: BTreeMap<String, Gauge>,
    },
    /// The worker has stopped accepting and finishes what it has.
    Draining,
}

/// What the supervisor says to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Open the pools, launch the executor, serve.
    Launch,
}

/// One pool as its owner counts it, in connections; `waiting` in callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gauge {
    /// The most it may hold.
    pub max: u32,
    /// Open now, busy or idle.
    pub open: u32,
    /// Lent out.
    pub busy: u32,
    /// Open and not lent out.
    pub idle: u32,
    /// Callers that wait for a connection.
    pub waiting: u32,
}

/// Why a line was not understood.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Longer than [`MAX_LINE`].
    #[error("line of {bytes} bytes, at most {MAX_LINE} are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Not one of the messages.
    #[error("no message of the channel: {line}")]
    Unknown {
        /// The line, cut to its first 200 characters.
        line: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
}

impl FromWorker {
    /// Reads one line, with or without its line feed.
    ///
    /// The bare string `"ready"`, which programs written for PM2 send, is [`FromWorker::Ready`].
    ///
    /// # Errors
    /// [`ChannelError`] when the line is too long or no message.
    pub fn from_line(line: &str) -> Result<Self, ChannelError> {
        if line.len() <= MAX_LINE && line.trim() == "\"ready\"" {
            return Ok(Self::Ready);
        }
        read(line)
    }
}

impl ToWorker {
    /// Reads one line, with or without its line feed.
    ///
    /// # Errors
    /// [`ChannelError`] when the line is too long or no message.
    pub fn from_line(line: &str) -> Result<Self, ChannelError> {
        read(line)
    }
}

/// A message as one line with its line feed.
#[must_use]
pub fn to_line(message: &impl Serialize) -> String {
    // The message types hold strings and numbers only; serialising them cannot fail.
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    line
}

fn read<T: for<'de> Deserialize<'de>>(line: &str) -> Result<T, ChannelError> {
    if line.len() > MAX_LINE {
        return Err(ChannelError::TooLong { bytes: line.len() });
    }
    serde_json::from_str(line).map_err(|source| ChannelError::Unknown {
        line: line.trim_end().chars().take(200).collect(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        let path = format!(
            "{}/../../fixtures/channel/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read_to_string(path).unwrap()
    }

    fn gauge(busy: u32) -> Gauge {
        Gauge {
            max: 3,
            open: 3,
            busy,
            idle: 3 - busy,
            waiting: 0,
        }
    }

    #[test]
    fn every_fixture_of_a_worker_is_read_and_written_back_as_it_stands() {
        let expected = [
            ("booted", FromWorker::Booted),
            (
                "started",
                FromWorker::Started {
                    pid: 4711,
                    executor_id: "web-0".into(),
                    pools: [("dbos".into(), 3), ("prisma".into(), 3)].into(),
                },
            ),
            ("ready", FromWorker::Ready),
            (
                "gauges",
                FromWorker::Gauges {
                    pools: [("dbos".into(), gauge(1)), ("prisma".into(), gauge(0))].into(),
                },
            ),
            ("draining", FromWorker::Draining),
        ];
        for (name, message) in expected {
            let line = fixture(name);
            assert_eq!(FromWorker::from_line(&line).unwrap(), message, "{name}");
            assert_eq!(to_line(&message), line, "{name}");
        }
    }

    #[test]
    fn the_ready_of_a_program_written_for_pm2_is_understood() {
        assert_eq!(
            FromWorker::from_line(&fixture("pm2-ready")).unwrap(),
            FromWorker::Ready
        );
    }

    #[test]
    fn launch_is_read_and_written_back_as_it_stands() {
        let line = fixture("launch");
        assert_eq!(ToWorker::from_line(&line).unwrap(), ToWorker::Launch);
        assert_eq!(to_line(&ToWorker::Launch), line);
    }

    #[test]
    fn a_line_that_is_no_message_is_refused_and_quoted() {
        let error = FromWorker::from_line("{\"type\":\"dance\"}\n").unwrap_err();
        assert!(error.to_string().contains("dance"), "{error}");
    }

    #[test]
    fn a_line_over_the_limit_is_refused_without_being_parsed() {
        let line = format!("{{\"type\":\"{}\"}}", "x".repeat(MAX_LINE));
        assert!(matches!(
            FromWorker::from_line(&line),
            Err(ChannelError::TooLong { .. })
        ));
    }
}
