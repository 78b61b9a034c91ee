//! What is to be done, and what is left alone.

use super::found::Attribute;
use crate::units::Connections;
use serde::Serialize;
use std::time::Duration;

/// One thing to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A login role without any of [`Attribute`], and with our mark.
    CreateRole {
        /// Its name.
        role: String,
        /// Its `CONNECTION LIMIT`, where it is enforced.
        limit: Option<Connections>,
        /// Its comment.
        comment: String,
    },
    /// A database, with our mark.
    CreateDatabase {
        /// Its name.
        database: String,
        /// Its owner, where it is not the administrator.
        owner: Option<String>,
        /// Its comment.
        comment: String,
    },
    /// Migrations.
    Migrate {
        /// The database.
        database: String,
        /// The folder, as the manifest names it.
        folder: String,
        /// How many are new.
        pending: usize,
    },
    /// Attributes taken from a role that Poolwright made.
    TakeAttributes {
        /// The role.
        role: String,
        /// Which.
        attributes: Vec<Attribute>,
    },
    /// A comment that says what of a role is ours.
    Mark {
        /// The role.
        role: String,
        /// The whole comment, with whatever stood there before.
        comment: String,
    },
    /// Another `CONNECTION LIMIT`.
    Limit {
        /// The role.
        role: String,
        /// The one it has.
        from: Option<Connections>,
        /// The one it gets.
        to: Connections,
    },
    /// Another `client_connection_check_interval`.
    ConnectionCheck {
        /// The role.
        role: String,
        /// The one it has.
        from: Option<String>,
        /// The one it gets.
        #[serde(rename = "to_ms", serialize_with = "milliseconds")]
        to: Duration,
    },
    /// Membership in a group.
    Grant {
        /// The group.
        group: String,
        /// Who becomes its member.
        role: String,
    },
    /// `CONNECT` on a database, for one role.
    GrantConnect {
        /// The database.
        database: String,
        /// The role.
        role: String,
    },
    /// No `CONNECT` on a database that Poolwright made for everybody else.
    RevokePublicConnect {
        /// The database.
        database: String,
    },
    /// No `CREATE` in the schema `public` of a database that Poolwright made.
    RevokePublicCreate {
        /// The database.
        database: String,
    },
}

/// Something that is not as enforcement wants it, and that Poolwright did not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// What kind; stable.
    pub kind: LeftKind,
    /// The role.
    pub role: String,
    /// What was found.
    pub found: String,
    /// What its owner can do about it.
    pub cure: String,
}

/// The kinds of what is left alone. The names in JSON are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftKind {
    /// A superuser: no limit holds it.
    Superuser,
    /// Attributes that a pool's role does not need.
    Attributes,
    /// The ORM's role owns something, and so is exempt from policies that are not forced.
    Owner,
    /// A limit that somebody else set.
    Limit,
    /// More sessions than the limit that is due.
    Sessions,
    /// `client_connection_check_interval` is not set, or set by somebody else.
    ConnectionCheck,
}

/// What is to be done on one server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Preparation {
    /// In the order in which they are made.
    pub changes: Vec<Change>,
    /// What is not as it should be and stays as it is.
    pub left_alone: Vec<LeftAlone>,
}

impl Preparation {
    /// What a growing fleet needs before its new workers start: limits that are raised.
    #[must_use]
    pub fn raised(&self) -> Vec<Change> {
        self.limits(|from, to| from.is_some_and(|from| to > from))
    }

    /// What a fleet that has shrunk no longer needs: limits that are lowered.
    #[must_use]
    pub fn lowered(&self) -> Vec<Change> {
        self.limits(|from, to| from.is_some_and(|from| to < from))
    }

    fn limits(&self, wanted: impl Fn(Option<Connections>, Connections) -> bool) -> Vec<Change> {
        self.changes
            .iter()
            .filter(|change| matches!(change, Change::Limit { from, to, .. } if wanted(*from, *to)))
            .cloned()
            .collect()
    }
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
