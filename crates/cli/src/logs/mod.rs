//! The fleet's log: what every worker wrote and what the supervisor did with it, one file per slot.
//!
//! `<state dir>/logs/web-0.log` is being written; `web-0.log.<milliseconds since 1970>` was, until then. Each line is a
//! [`Record`] as JSON, which tools read as it is and `poolwright logs` shows as text. Folder and files are private.
//!
//! No crate for the rotation: those there are rotate by size or by age, not by both, rename every old file each time,
//! which a reader that follows cannot tell from loss, and take a full disk for a reason to panic.

mod read;
mod write;

pub(crate) use read::Reader;
pub(crate) use write::Writer;

use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder in a state directory.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("logs")
}

/// In the place of a slot, for what is no slot's. No slot is called so: a slot's name ends in a number.
const FLEET: &str = "fleet";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When the supervisor took it, RFC 3339 in UTC.
    #[serde(with = "rfc3339")]
    pub(crate) at: SystemTime,
    /// The slot, or [`FLEET`].
    pub(crate) slot: String,
    /// Who wrote it.
    pub(crate) stream: Source,
    /// The line, without its end.
    pub(crate) line: String,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The worker, to standard output.
    Stdout,
    /// The worker, to standard error.
    Stderr,
    /// The supervisor, about the slot.
    Supervisor,
}

/// Milliseconds: more than the order of two workers' lines is worth.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::SystemTime;

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_millis(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

/// The files of one slot, oldest first, the one that is being written last (if it is there).
fn generations(folder: &Path, slot: &str) -> io::Result<Vec<PathBuf>> {
    let old = put_away(folder, slot)?;
    let mut all: Vec<PathBuf> = old.into_iter().map(|(_, path)| path).collect();
    let current = current(folder, slot);
    if current.exists() {
        all.push(current);
    }
    Ok(all)
}

/// The number in the name of the youngest file that is not written any more.
fn put_away_last(folder: &Path, slot: &str) -> io::Result<Option<u128>> {
    Ok(put_away(folder, slot)?.last().map(|(until, _)| *until))
}

fn put_away(folder: &Path, slot: &str) -> io::Result<Vec<(u128, PathBuf)>> {
    let mut old: Vec<(u128, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((of, Some(until))) = name.to_str().and_then(parse_name)
            && of == slot
        {
            old.push((until, entry.path()));
        }
    }
    old.sort();
    Ok(old)
}

/// The slots that have a file, in their order.
fn slots(folder: &Path) -> io::Result<Vec<String>> {
    let mut slots = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        if let Some((slot, _)) = entry?.file_name().to_str().and_then(parse_name) {
            slots.insert(slot.to_owned());
        }
    }
    Ok(slots.into_iter().collect())
}

fn current(folder: &Path, slot: &str) -> PathBuf {
    folder.join(format!("{slot}.log"))
}

/// `web-0.log` or `web-0.log.1795253580123`.
fn parse_name(name: &str) -> Option<(&str, Option<u128>)> {
    match name.strip_suffix(".log") {
        Some(slot) => Some((slot, None)),
        None => {
            let (slot, until) = name.rsplit_once(".log.")?;
            Some((slot, Some(until.parse().ok()?)))
        }
    }
}
