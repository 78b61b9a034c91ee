//! The environment of a fleet: the real one, over `.env` beside the manifest, over what an embedded
//! server that runs now was started with.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Where `up` leaves the URLs of an embedded server for `verify` and `plan`, in the state folder. Private: the URLs
/// have passwords.
pub(crate) const EMBEDDED_FILE: &str = "embedded.env";

/// Looks names up, the real environment first.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// What the files say, for names that the real environment does not have.
    files: BTreeMap<String, String>,
}

impl Environment {
    /// Reads `.env` in `folder`, if there is one.
    pub(crate) fn beside(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            files: read(&folder.join(".env"))?,
        })
    }

    /// What a text says that might stand in that file.
    pub(crate) fn in_text(file: &Path, text: &str) -> Result<Self, Failure> {
        Ok(Self {
            files: entries(file, text.as_bytes())?,
        })
    }

    /// Adds the URLs of an embedded server that runs for this fleet.
    pub(crate) fn with_embedded(mut self, state_dir: &Path) -> Result<Self, Failure> {
        for (name, value) in read(&state_dir.join(EMBEDDED_FILE))? {
            self.files.entry(name).or_insert(value);
        }
        Ok(self)
    }

    /// The value of a variable. One that is no UTF-8 counts as not set, like in `std::env::var`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        std::env::var(name)
            .ok()
            .or_else(|| self.files.get(name).cloned())
    }

    /// What has to be added to the real environment of a child, so that it sees the same.
    pub(crate) fn additions(&self) -> BTreeMap<String, String> {
        self.files
            .iter()
            .filter(|(name, _)| std::env::var_os(name).is_none())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    match File::open(file) {
        Ok(text) => entries(file, text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(unreadable(file, &dotenvy::Error::Io(error))),
    }
}

/// The variables of a text that stands, or might stand, in that file.
fn entries(file: &Path, text: impl Read) -> Result<BTreeMap<String, String>, Failure> {
    dotenvy::from_read_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(file, &error))
}

/// The line that cannot be parsed may be a URL with a password: its text is not repeated.
fn unreadable(file: &Path, error: &dotenvy::Error) -> Failure {
    let what = match error {
        dotenvy::Error::LineParse(_, at) => {
            format!(
                "found a line that is no NAME=value (at its character {})",
                at + 1
            )
        }
        other => other.to_string(),
    };
    Failure::declaration(format!(
        "{}: {what}, expected lines of NAME=value, values with spaces or # in quotes",
        file.display()
    ))
}
