//! Decides, role by role and database by database.

use super::MONITOR_GROUPS;
use super::change::{Change, LeftAlone, LeftKind, Preparation};
use super::found::{Attribute, Found, FoundRole};
use super::mark::Mark;
use crate::budget::{BudgetError, database_of, role_of};
use crate::declare::{Enforce, Pool};
use crate::units::Connections;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The share of one role: what its pools open together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) bound: Connections,
    pub(super) pools: Vec<String>,
    /// Whether an ORM's pool is among them, whose role must own nothing.
    pub(super) orm: bool,
}

pub(super) struct Planner<'a> {
    found: &'a Found,
    enforce: Option<&'a Enforce>,
    pub(super) plan: Preparation,
}

impl<'a> Planner<'a> {
    pub(super) fn new(found: &'a Found, enforce: Option<&'a Enforce>) -> Self {
        Self {
            found,
            enforce,
            plan: Preparation::default(),
        }
    }

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

    pub(super) fn role(&mut self, role: &str, share: &Share) -> Result<(), BudgetError> {
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

    pub(super) fn monitor(&mut self) {
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

    pub(super) fn database(&mut self, pool: &Pool) {
        let database = database_of(pool);
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

    pub(super) fn migrations(&mut self, pool: &Pool) {
        let database = database_of(pool);
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

    pub(super) fn member(&mut self, role: &str, group: &str) {
        let membership = (role.to_owned(), group.to_owned());
        if !self.found.memberships.contains(&membership) {
            let (role, group) = membership;
            self.change(Change::Grant { group, role });
        }
    }

    /// Who may connect to which database. Grants come first: between the two nobody is locked out.
    pub(super) fn rights(&mut self, pools: &[&Pool]) {
        let Some(enforce) = self.enforce else { return };
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pool in pools {
            let database = database_of(pool);
            users.entry(database).or_default().insert(role_of(pool));
        }
        // The monitor connects where the first pool of the server does.
        if let Some(first) = pools.first()
            && let Some(roles) = users.get_mut(&database_of(first))
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
