//! Who holds a lock: one line of JSON, said to whoever connects to it.

use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// When it took the lock, RFC 3339 in UTC; not known of a program that does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who started it; not known of a program that does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Under>,
    /// Under PM2, the daemon's pid and the process's `pm_id`: a successor in a reload finds its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pm2_process: Option<String>,
}

/// Who started a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Under {
    /// Poolwright.
    Poolwright,
    /// PM2.
    Pm2,
    /// Nobody in particular.
    Nobody,
}

impl Holder {
    /// This process, holding from now on.
    #[must_use]
    pub fn this_process(under: Under) -> Self {
        let now = OffsetDateTime::now_utc();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        Self {
            pid: std::process::id(),
            since: now.format(&Rfc3339).ok(),
            under: Some(under),
            pm2_process: None,
        }
    }

    /// A process of which only its pid is known.
    pub(crate) const fn silent(pid: u32) -> Self {
        Self {
            pid,
            since: None,
            under: None,
            pm2_process: None,
        }
    }

    pub(crate) fn to_line(&self) -> String {
        // Strings and numbers only; serialising them cannot fail.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        let under = self.under.and_then(Under::words);
        let since = self.since.as_ref().map(|since| format!("since {since}"));
        let said: Vec<String> = under.map(str::to_owned).into_iter().chain(since).collect();
        if said.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", said.join(", "))
    }
}

impl Under {
    const fn words(self) -> Option<&'static str> {
        match self {
            Self::Poolwright => Some("under Poolwright"),
            Self::Pm2 => Some("under PM2"),
            Self::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = include_str!("../../../fixtures/lock/holder.json");

    #[test]
    fn the_line_of_the_node_stack_is_read_and_written_back_as_it_stands() {
        let holder: Holder = serde_json::from_str(FIXTURE).unwrap();
        assert_eq!(holder.to_line(), FIXTURE);
        assert_eq!(
            holder.to_string(),
            "process 4711 (under PM2, since 2026-11-23T09:30:00Z)"
        );
    }

    #[test]
    fn a_holder_that_says_nothing_is_still_a_process() {
        assert_eq!(Holder::silent(7).to_string(), "process 7");
    }
}
