//! (slot, pool) ⇄ `application_name`.
//!
//! The name is how Postgres itself says whose a backend is: `web-0:prisma`, `web-0:dbos`, `web-0` of a program that takes
//! its name from `PGAPPNAME` and names no pool, and
//! `web:poolwright` for the supervisor's control connection. Postgres cuts `application_name` at
//! [`MAX_BYTES`] without an error (`NAMEDATALEN - 1`), so a name that would be cut is refused here:
//! two slots whose names were cut to the same prefix could not be told apart.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest `application_name` that Postgres keeps: `NAMEDATALEN` (64) less the terminator.
pub const MAX_BYTES: usize = 63;

/// The pool name of the supervisor's own connection; no declared pool may have it.
pub const CONTROL: &str = "poolwright";

/// Name that Poolwright's short-lived commands (`plan`, `verify`, …) connect under. Not of the
/// fleet: it is shown apart, and no slot can be called so because it has no `:`.
pub const COMMAND: &str = "poolwright";

/// The name of an app or a pool: a lowercase letter, then lowercase letters, digits, `_` or `-`.
///
/// An app's name does not end in `-` and digits, or `web-1` would be the app `web-1` as well as the
/// slot 1 of the app `web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// One place of an app that a worker process fills: `web-0`.
///
/// It is also the executor id and the default `application_name` of whatever runs in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotId {
    app: Name,
    index: u32,
}

/// Whose a backend is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// A connection of a worker's pool.
    Pool {
        /// The worker's slot.
        slot: SlotId,
        /// The pool's name.
        pool: Name,
    },
    /// A connection of a worker that does not say of which pool.
    Slot {
        /// The worker's slot.
        slot: SlotId,
    },
    /// The control connection of the supervisor of an app.
    Control {
        /// The app.
        app: Name,
    },
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Not of the form that [`Name`] describes.
    #[error(
        "{found:?} is no name: a lowercase letter, then lowercase letters, digits, \"_\" or \"-\", not ending in \"-\" and digits"
    )]
    Name {
        /// What was found.
        found: String,
    },
    /// Not `<app>-<index>`.
    #[error("{found:?} is no slot: expected <app>-<number>, as in \"web-0\"")]
    Slot {
        /// What was found.
        found: String,
    },
    /// Not an `application_name` of Poolwright's.
    #[error(
        "{found:?} is no tag: expected <app>-<number>:<pool>, <app>-<number> or <app>:poolwright"
    )]
    Tag {
        /// What was found.
        found: String,
    },
    /// Postgres would cut it.
    #[error("\"{name}\" has {} bytes, Postgres keeps {MAX_BYTES} of an application_name", name.len())]
    TooLong {
        /// The whole name.
        name: String,
    },
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`TagError::Name`] when it is not of the form above.
    pub fn new(name: impl Into<String>) -> Result<Self, TagError> {
        let name = name.into();
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let continues =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        let ends_like_a_slot = name.rsplit_once('-').is_some_and(|(_, end)| {
            // An empty end is a trailing dash, which a slot's index would follow.
            end.bytes().all(|b| b.is_ascii_digit())
        });
        if starts && continues && !ends_like_a_slot {
            Ok(Self(name))
        } else {
            Err(TagError::Name { found: name })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SlotId {
    /// The slot `index` of `app`.
    #[must_use]
    pub const fn new(app: Name, index: u32) -> Self {
        Self { app, index }
    }

    /// The app whose slot this is.
    #[must_use]
    pub const fn app(&self) -> &Name {
        &self.app
    }

    /// The slot's number, from 0.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }
}

/// What the DBOS SDK of Node begins the name of its own pool's sessions with, unless the URL says another:
/// `dbos_transact_<executor id>_<application version>`.
const DBOS: &str = "dbos_transact_";

/// The slot that a session's `application_name` says it is of, whatever it says of pools: `web-0:prisma`, `web-0`, and
/// `dbos_transact_web-0_…`, which the DBOS SDK makes of its executor id by itself.
#[must_use]
pub fn slot_of(application_name: &str) -> Option<SlotId> {
    let owner = application_name.split(':').next()?;
    let of_dbos = owner.strip_prefix(DBOS).and_then(|rest| {
        // An executor id and a version may both hold a `_`: the longest beginning that is a slot.
        let mut ends = rest.rmatch_indices('_').map(|(end, _)| end);
        ends.find_map(|end| rest.get(..end)?.parse().ok())
    });
    of_dbos.or_else(|| owner.parse().ok())
}

impl Tag {
    /// The `application_name` of this tag, at most [`MAX_BYTES`] long.
    ///
    /// # Errors
    /// [`TagError::TooLong`] when Postgres would cut it.
    pub fn application_name(&self) -> Result<String, TagError> {
        let name = match self {
            Self::Pool { slot, pool } => format!("{slot}:{pool}"),
            Self::Slot { slot } => slot.to_string(),
            Self::Control { app } => format!("{app}:{CONTROL}"),
        };
        if name.len() <= MAX_BYTES {
            Ok(name)
        } else {
            Err(TagError::TooLong { name })
        }
    }
}

impl FromStr for Tag {
    type Err = TagError;

    /// Reads an `application_name`; the inverse of [`Tag::application_name`].
    fn from_str(name: &str) -> Result<Self, TagError> {
        let refuse = || TagError::Tag {
            found: name.to_owned(),
        };
        if name.len() > MAX_BYTES {
            return Err(TagError::TooLong {
                name: name.to_owned(),
            });
        }
        let Some((owner, pool)) = name.split_once(':') else {
            let slot = name.parse().map_err(|_| refuse())?;
            return Ok(Self::Slot { slot });
        };
        if pool == CONTROL {
            let app = Name::new(owner).map_err(|_| refuse())?;
            return Ok(Self::Control { app });
        }
        Ok(Self::Pool {
            slot: owner.parse().map_err(|_| refuse())?,
            pool: Name::new(pool).map_err(|_| refuse())?,
        })
    }
}

impl FromStr for SlotId {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let refuse = || TagError::Slot {
            found: text.to_owned(),
        };
        let (app, index) = text.rsplit_once('-').ok_or_else(refuse)?;
        // "web-01" and "web-+1" parse as numbers too; only one spelling may name a slot.
        let number: u32 = index.parse().map_err(|_| refuse())?;
        if number.to_string() != index {
            return Err(refuse());
        }
        Ok(Self::new(Name::new(app).map_err(|_| refuse())?, number))
    }
}

impl FromStr for Name {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.app, self.index)
    }
}

impl TryFrom<String> for Name {
    type Error = TagError;

    fn try_from(name: String) -> Result<Self, TagError> {
        Self::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl TryFrom<String> for SlotId {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<SlotId> for String {
    fn from(slot: SlotId) -> Self {
        slot.to_string()
    }
}
