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

mod change;
mod found;
mod mark;
mod planner;

use crate::budget::{BudgetError, role_of, server_of};
use crate::declare::{Pool, Topology};
use crate::units::Connections;
use planner::{Planner, Share};
use std::collections::BTreeMap;

pub use change::{Change, LeftAlone, LeftKind, Preparation};
pub use found::{Attribute, Found, FoundDatabase, FoundRole, Pending};
pub use mark::{is_made, is_ours as limit_is_ours};

/// What the monitor may do: see every session's state, and end it.
///
/// Membership in the pools' roles would confine it to the fleet's sessions, but let it read the fleet's data. To
/// end a superuser's session this is not enough, and the fleet has none.
pub const MONITOR_GROUPS: [&str; 2] = ["pg_read_all_stats", "pg_signal_backend"];

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
    let mut planner = Planner::new(found, topology.enforce.as_ref());
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
