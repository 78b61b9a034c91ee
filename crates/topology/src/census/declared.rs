//! What was declared, as far as sessions are told apart by it, and whose a session is by that.

use super::{Backend, Key, Owner};
use crate::budget::{database_of, role_of};
use crate::declare::{self, Topology};
use crate::tag::{COMMAND, Name, SlotId, Tag, slot_of};
use crate::units::Connections;
use std::collections::{BTreeMap, BTreeSet};

/// The fleet's apps.
pub(super) struct Declared {
    apps: BTreeMap<Name, App>,
    slots: BTreeSet<SlotId>,
    roles: BTreeSet<String>,
    databases: BTreeSet<String>,
}

struct App {
    instances: u32,
    pools: Vec<Pool>,
}

/// A pool, and how its sessions connect.
pub(super) struct Pool {
    pub(super) name: Name,
    max: Connections,
    role: String,
    database: String,
}

impl Declared {
    pub(super) fn of(topology: &Topology) -> Self {
        let pool = |pool: &declare::Pool| Pool {
            name: pool.name.clone(),
            max: pool.max.value,
            role: role_of(pool),
            database: database_of(pool),
        };
        let app = |app: &declare::App| App {
            instances: app.instances.value.0,
            pools: app.pools.iter().map(pool).collect(),
        };
        let apps = topology.apps.iter();
        Self {
            apps: apps.clone().map(|a| (a.name.clone(), app(a))).collect(),
            slots: apps.flat_map(|app| app.slots()).collect(),
            roles: topology.pools().map(|(_, pool)| role_of(pool)).collect(),
            databases: topology.pools().map(|(_, p)| database_of(p)).collect(),
        }
    }

    /// Whose a row is.
    pub(super) fn attribute(&self, row: &Backend) -> Owner {
        match row.backend_type.as_deref() {
            Some("parallel worker") => return Owner::Parallel,
            // NULL for a reader without pg_read_all_stats: taken for a client's, so that nothing is
            // missed.
            None | Some("client backend") => {}
            Some(_) => return Owner::Server,
        }
        if row.role.is_none() && row.database.is_none() {
            return match row.backend_type {
                // PostgreSQL 18 shows a session before it has authenticated.
                Some(_) => Owner::Starting,
                // A process of the server's own whose type is hidden from us.
                None => Owner::Server,
            };
        }
        if row.application_name == COMMAND {
            return Owner::Command;
        }
        match row.application_name.parse::<Tag>() {
            Ok(Tag::Pool { slot, pool }) if self.apps.contains_key(slot.app()) => {
                return Owner::Pool { slot, pool };
            }
            Ok(Tag::Control { app }) if self.apps.contains_key(&app) => return Owner::Control,
            _ => {}
        }
        let slot = slot_of(&row.application_name);
        if let Some((slot, app)) = slot.and_then(|s| Some((s.clone(), self.apps.get(s.app())?))) {
            return app.unnamed(slot, row);
        }
        match self.is_of_the_fleet(row) {
            true => Owner::Unattributed,
            false => Owner::Foreign,
        }
    }

    fn is_of_the_fleet(&self, row: &Backend) -> bool {
        let of = |name: &Option<String>, ours: &BTreeSet<String>| {
            name.as_ref().is_some_and(|name| ours.contains(name))
        };
        of(&row.role, &self.roles) && of(&row.database, &self.databases)
    }

    /// The slots, in order.
    pub(super) const fn slots(&self) -> &BTreeSet<SlotId> {
        &self.slots
    }

    /// The pools of a slot; none of a slot that is not declared.
    pub(super) fn pools_of(&self, slot: &SlotId) -> impl Iterator<Item = &Pool> {
        let app = self.apps.get(slot.app());
        let app = app.filter(|app| slot.index() < app.instances);
        app.into_iter().flat_map(|app| &app.pools)
    }

    fn pool(&self, (slot, name): &Key) -> Option<&Pool> {
        self.pools_of(slot).find(|pool| pool.name == *name)
    }

    /// The maximum of a pool; 0 where the plan does not have it.
    pub(super) fn max(&self, key: &Key) -> u32 {
        self.pool(key).map_or(0, |pool| pool.max.0)
    }

    /// Whether the plan has a pool.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.pool(key).is_some()
    }

    /// The role that a pool connects as.
    pub(super) fn role(&self, key: &Key) -> Option<&str> {
        self.pool(key).map(|pool| pool.role.as_str())
    }

    /// What these pools of a slot may have together; without any named, all of it.
    pub(super) fn together(&self, slot: &SlotId, among: &[Name]) -> Connections {
        let counts = |pool: &&Pool| among.is_empty() || among.contains(&pool.name);
        let maxima = self.pools_of(slot).filter(counts).map(|pool| pool.max.0);
        Connections(maxima.fold(0, u32::saturating_add))
    }

    /// The roles that an app's pools connect as, each once.
    pub(super) fn roles(&self, app: &Name) -> Vec<&str> {
        let pools = self.apps.get(app).into_iter().flat_map(|app| &app.pools);
        let roles: BTreeSet<&str> = pools.map(|pool| pool.role.as_str()).collect();
        roles.into_iter().collect()
    }
}

impl App {
    /// A session that names its slot and no pool.
    fn unnamed(&self, slot: SlotId, row: &Backend) -> Owner {
        let connects_so = |pool: &&Pool| {
            row.role.as_ref() == Some(&pool.role) && row.database.as_ref() == Some(&pool.database)
        };
        let alike = self.pools.iter().filter(connects_so);
        let among: Vec<Name> = alike.map(|pool| pool.name.clone()).collect();
        match <[Name; 1]>::try_from(among) {
            Ok([pool]) => Owner::Pool { slot, pool },
            Err(among) => Owner::Slot { slot, among },
        }
    }
}
