//! Topology × what a server has → [`Preparation`]: the changes that `prepare` makes, in their order.
//!
//! Everything is decided here, before anything is written: what `--dry-run` shows is what is enacted. A second
//! plan on the result is empty.
//!
//! Without `[enforce]` only what is missing is made: roles, databases, migrations, memberships. With it, Postgres is
//! made to hold the fleet to its plan: each pool's role gets the pool's bound as its `CONNECTION LIMIT`, and
//! no right that it does not need.
//!
//! Nothing is undone that Poolwright did not make. What it made carries a mark in its comment
//! (`COMMENT ON ROLE`), because a name says nothing about who chose it, and a table of our own would be one more thing to
//! keep beside the truth. A role that somebody else made gets a limit where it has none; that limit is marked,
//! and from then on ours. Everything else that stands in the way is named, with its cure, and left alone.

mod mark;

use crate::budget::{BudgetError, role_of, server_of};
use crate::declare::{Enforce, Pool, Topology};
use crate::units::Connections;
use mark::Mark;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use mark::{is_made, is_ours as limit_is_ours};

/// What the monitor may do: see every session's state, and end it.
///
/// Membership in the pools' roles would confine it to the fleet's sessions, but let it read the fleet's data. To
/// end a superuser's session this is not enough, and the fleet has none.
pub const MONITOR_GROUPS: [&str; 2] = ["pg_read_all_stats", "pg_signal_backend"];

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

/// The share of one role: what its pools open together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    bound: Connections,
    pools: Vec<String>,
    /// Whether an ORM's pool is among them, whose role must own nothing.
    orm: bool,
}

/// What has to be changed on `server` (as [`server_of`] says it).
///
/// # Errors
/// [`BudgetError::Overflow`] when a role's pools sum up to more than any server has.
pub fn plan(topology: &Topology, server: &str, found: &Found) -> Result<Preparation, BudgetError> {
    let pools: Vec<&Pool> = topology
        .pools()
        .map(|(_, pool)| pool)
        .filter(|pool| server_of(pool) == server)
        .collect();
    let mut planner = Planner {
        found,
        enforce: topology.enforce.as_ref(),
        plan: Preparation::default(),
    };
    let shares = shares(topology, server)?;
    for (role, share) in &shares {
        planner.role(role, share)?;
    }
    planner.monitor();
    for pool in &pools {
        planner.database(pool);
    }
    for pool in &pools {
        planner.migrations(pool);
    }
    for pool in &pools {
        for group in &pool.member_of {
            planner.member(&role_of(pool), group);
        }
    }
    planner.rights(&pools);
    Ok(planner.plan)
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

/// The roles of a server with what their pools open together: two pools on one role share its limit.
fn shares(topology: &Topology, server: &str) -> Result<BTreeMap<String, Share>, BudgetError> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for (app, pool) in topology.pools() {
        if server_of(pool) != server {
            continue;
        }
        let role = role_of(pool);
        let overflow = || BudgetError::Overflow(format!("of the role \"{role}\""));
        let bound = app
            .instances
            .value
            .checked_times(pool.max.value)
            .ok_or_else(overflow)?;
        let share = shares.entry(role.clone()).or_insert(Share {
            bound: Connections::ZERO,
            pools: Vec::new(),
            orm: false,
        });
        share.bound = share.bound.checked_add(bound).ok_or_else(overflow)?;
        share.pools.push(format!("{}:{}", app.name, pool.name));
        share.orm |= !pool.executor;
    }
    Ok(shares)
}

struct Planner<'a> {
    found: &'a Found,
    enforce: Option<&'a Enforce>,
    plan: Preparation,
}

impl Planner<'_> {
    fn change(&mut self, change: Change) {
        if !self.plan.changes.contains(&change) {
            self.plan.changes.push(change);
        }
    }

    fn leave(&mut self, kind: LeftKind, role: &str, found: String, cure: String) {
        self.plan.left_alone.push(LeftAlone {
            kind,
            role: role.to_owned(),
            found,
            cure,
        });
    }

    fn role(&mut self, role: &str, share: &Share) -> Result<(), BudgetError> {
        let limit = match self.enforce {
            None => None,
            Some(enforce) => Some(
                share
                    .bound
                    .checked_add(enforce.margin)
                    .ok_or_else(|| BudgetError::Overflow(format!("of the role \"{role}\"")))?,
            ),
        };
        let Some(found) = self.found.role(role) else {
            self.change(Change::CreateRole {
                role: role.to_owned(),
                limit,
                comment: Mark::MADE.on(Some(&format!("Of the pool {}.", share.pools.join(", ")))),
            });
            self.connection_check(role, None, Mark::MADE);
            return Ok(());
        };
        let mark = Mark::of(found.comment.as_deref());
        if let Some(limit) = limit {
            self.attributes(found, mark);
            if share.orm && found.owns > 0 {
                self.leave(
                    LeftKind::Owner,
                    role,
                    format!(
                        "owns {} objects: policies that are not forced do not hold it",
                        found.owns
                    ),
                    format!("REASSIGN OWNED BY \"{role}\" TO another role, in each database"),
                );
            }
            self.limit(found, mark, limit);
        }
        self.connection_check(role, Some(found), mark);
        Ok(())
    }

    fn attributes(&mut self, found: &FoundRole, mark: Mark) {
        let attributes: Vec<Attribute> = found.attributes.iter().copied().collect();
        if attributes.is_empty() {
            return;
        }
        let role = found.name.clone();
        if mark.made {
            self.change(Change::TakeAttributes { role, attributes });
        } else if attributes.contains(&Attribute::Superuser) {
            self.leave(
                LeftKind::Superuser,
                &role,
                "is a superuser: neither a limit nor a policy holds it".into(),
                "name another role in the pool's URL".into(),
            );
        } else {
            let keywords: Vec<_> = attributes.iter().map(|one| one.keyword()).collect();
            let without: Vec<_> = keywords.iter().map(|word| format!("NO{word}")).collect();
            self.leave(
                LeftKind::Attributes,
                &role,
                format!("has {}", keywords.join(", ")),
                format!("ALTER ROLE \"{role}\" {}", without.join(" ")),
            );
        }
    }

    fn limit(&mut self, found: &FoundRole, mark: Mark, to: Connections) {
        let from = found.limit;
        if from == Some(to) {
            return;
        }
        let role = found.name.clone();
        if let (Some(from), false) = (from, mark.limit) {
            self.leave(
                LeftKind::Limit,
                &role,
                format!("has a CONNECTION LIMIT of {from} that somebody else set; the plan's bound is {to}"),
                format!("ALTER ROLE \"{role}\" CONNECTION LIMIT {to}, or -1 to leave it to Poolwright"),
            );
            return;
        }
        if found.sessions > to && from.is_none_or(|from| to < from) {
            // A limit evicts nobody, but the next connection that breaks could not be opened again.
            self.leave(
                LeftKind::Sessions,
                &role,
                format!(
                    "has {} sessions now, the plan's bound is {to}",
                    found.sessions
                ),
                "prepare again when those beyond the plan are gone".into(),
            );
            return;
        }
        if !mark.limit {
            self.mark(found, |mark| mark.limit = true);
        }
        self.change(Change::Limit { role, from, to });
    }

    fn connection_check(&mut self, role: &str, found: Option<&FoundRole>, mark: Mark) {
        if !self.found.checks_connections {
            return;
        }
        let set = found.and_then(|found| found.connection_check.clone());
        let Some(enforce) = self.enforce else {
            if set.is_none() {
                self.leave(
                    LeftKind::ConnectionCheck,
                    role,
                    "sets no client_connection_check_interval: the query of a killed worker runs to its end".into(),
                    format!("ALTER ROLE \"{role}\" SET client_connection_check_interval = '1s', or [enforce]"),
                );
            }
            return;
        };
        let Some(to) = enforce.connection_check else {
            return;
        };
        if set.as_deref().and_then(interval) == Some(to) {
            return;
        }
        if let (Some(set), false) = (&set, mark.check) {
            self.leave(
                LeftKind::ConnectionCheck,
                role,
                format!("sets client_connection_check_interval to {set}, which somebody else chose"),
                format!("ALTER ROLE \"{role}\" RESET client_connection_check_interval leaves it to Poolwright"),
            );
            return;
        }
        if let (Some(found), false) = (found, mark.check) {
            self.mark(found, |mark| mark.check = true);
        }
        self.change(Change::ConnectionCheck {
            role: role.to_owned(),
            from: set,
            to,
        });
    }

    /// Says in a role's comment what of it is ours from now on; one comment for all of it.
    fn mark(&mut self, found: &FoundRole, add: impl Fn(&mut Mark)) {
        let earlier = self
            .plan
            .changes
            .iter_mut()
            .find_map(|change| match change {
                Change::Mark { role, comment } if *role == found.name => Some(comment),
                _ => None,
            });
        match earlier {
            Some(comment) => {
                let mut mark = Mark::of(Some(comment));
                add(&mut mark);
                *comment = mark.on(Some(comment));
            }
            None => {
                let mut mark = Mark::of(found.comment.as_deref());
                add(&mut mark);
                self.plan.changes.push(Change::Mark {
                    role: found.name.clone(),
                    comment: mark.on(found.comment.as_deref()),
                });
            }
        }
    }

    fn monitor(&mut self) {
        let Some(enforce) = self.enforce else { return };
        let role = &enforce.monitor.role;
        match self.found.role(role) {
            None => self.change(Change::CreateRole {
                role: role.clone(),
                limit: None,
                comment: Mark::MADE.on(Some("Of Poolwright's control connections.")),
            }),
            Some(found) => self.attributes(found, Mark::of(found.comment.as_deref())),
        }
        for group in MONITOR_GROUPS {
            self.member(role, group);
        }
    }

    fn database(&mut self, pool: &Pool) {
        let database = crate::budget::database_of(pool);
        let planned = self.plan.changes.iter().any(
            |change| matches!(change, Change::CreateDatabase { database: other, .. } if *other == database),
        );
        if planned || self.found.database(&database).is_some() {
            return;
        }
        self.change(Change::CreateDatabase {
            database,
            // The executor keeps its own schema up to date; the ORM's role must not own what it reads.
            owner: pool.executor.then(|| role_of(pool)),
            comment: Mark::MADE.on(None),
        });
    }

    fn migrations(&mut self, pool: &Pool) {
        let database = crate::budget::database_of(pool);
        let Some(folder) = &pool.migrations else {
            return;
        };
        let pending = self
            .found
            .pending
            .iter()
            .find(|pending| pending.database == database && pending.folder == *folder);
        if let Some(pending) = pending.filter(|pending| pending.count > 0) {
            self.change(Change::Migrate {
                database,
                folder: folder.clone(),
                pending: pending.count,
            });
        }
    }

    fn member(&mut self, role: &str, group: &str) {
        let membership = (role.to_owned(), group.to_owned());
        if !self.found.memberships.contains(&membership) {
            let (role, group) = membership;
            self.change(Change::Grant { group, role });
        }
    }

    /// Who may connect to which database. Grants come first: between the two nobody is locked out.
    fn rights(&mut self, pools: &[&Pool]) {
        let Some(enforce) = self.enforce else { return };
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pool in pools {
            let database = crate::budget::database_of(pool);
            users.entry(database).or_default().insert(role_of(pool));
        }
        // The monitor connects where the first pool of the server does.
        if let Some(first) = pools.first()
            && let Some(roles) = users.get_mut(&crate::budget::database_of(first))
        {
            roles.insert(enforce.monitor.role.clone());
        }
        for (database, roles) in users {
            let found = self.found.database(&database).cloned();
            let owner = self.owner(&database);
            let made = found
                .as_ref()
                .is_none_or(|found| Mark::of(found.comment.as_deref()).made);
            if !made {
                continue;
            }
            for role in roles {
                let has = owner.as_deref() == Some(&role)
                    || found
                        .as_ref()
                        .is_some_and(|found| found.connects.contains(&role));
                if !has {
                    let database = database.clone();
                    self.change(Change::GrantConnect { database, role });
                }
            }
            if found.as_ref().is_none_or(|found| found.public_connects) {
                let database = database.clone();
                self.change(Change::RevokePublicConnect { database });
            }
            if found.is_some_and(|found| found.public_creates) {
                self.change(Change::RevokePublicCreate { database });
            }
        }
    }

    /// The owner of a database that is there or planned.
    fn owner(&self, database: &str) -> Option<String> {
        if let Some(found) = self.found.database(database) {
            return Some(found.owner.clone());
        }
        self.plan.changes.iter().find_map(|change| match change {
            Change::CreateDatabase {
                database: planned,
                owner,
                ..
            } if planned == database => owner.clone(),
            _ => None,
        })
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

/// A setting of milliseconds as Postgres takes it: a number, or one with its unit.
fn interval(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_millis)
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
