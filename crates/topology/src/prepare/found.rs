//! What one server has of what a topology needs.

use crate::units::Connections;
use serde::Serialize;
use std::collections::BTreeSet;

/// What one server has of what a topology needs. Names that are missing do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Whether the server takes `client_connection_check_interval`: since PostgreSQL 14, where the system can tell.
    pub checks_connections: bool,
    /// The roles, of those that the topology names.
    pub roles: Vec<FoundRole>,
    /// The databases, of those that the topology names.
    pub databases: Vec<FoundDatabase>,
    /// Who has which group: member, group.
    pub memberships: BTreeSet<(String, String)>,
    /// Migrations that are not applied.
    pub pending: Vec<Pending>,
}

/// A role as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundRole {
    /// Its name.
    pub name: String,
    /// The mighty attributes it has.
    pub attributes: BTreeSet<Attribute>,
    /// Its `CONNECTION LIMIT`.
    pub limit: Option<Connections>,
    /// Its own `client_connection_check_interval`, as it was set.
    pub connection_check: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// How many objects it owns, in all databases, the databases among them.
    pub owns: u64,
    /// How many sessions it has now.
    pub sessions: Connections,
}

/// A database as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundDatabase {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether everybody may connect.
    pub public_connects: bool,
    /// Whether everybody may create in the schema `public`, as by default before PostgreSQL 15.
    pub public_creates: bool,
    /// Who may connect in his own right, of the roles that the topology names.
    pub connects: BTreeSet<String>,
}

/// Migrations of one folder that a database does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The database.
    pub database: String,
    /// The folder, as the manifest names it.
    pub folder: String,
    /// How many.
    pub count: usize,
}

/// What a role of a pool must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Attribute {
    /// Exempt from every limit and every policy.
    Superuser,
    /// May create databases.
    CreateDb,
    /// May create and change roles.
    CreateRole,
    /// May read the write-ahead log, and with it everything.
    Replication,
    /// Exempt from row-level security.
    BypassRls,
}

impl Attribute {
    /// Its keyword.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Superuser => "SUPERUSER",
            Self::CreateDb => "CREATEDB",
            Self::CreateRole => "CREATEROLE",
            Self::Replication => "REPLICATION",
            Self::BypassRls => "BYPASSRLS",
        }
    }
}

impl Found {
    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&FoundRole> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// The database of that name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&FoundDatabase> {
        self.databases.iter().find(|database| database.name == name)
    }
}
