//! What the supervisor gets to know of Postgres: the sessions of each slot, over the fleet's one control
//! connection to each server.

use crate::commands::up::control_name;
use crate::failure::Failure;
use crate::servers::{self, Control};
use async_trait::async_trait;
use poolwright_guard::Guard;
use poolwright_observe::prepare::{Limits, Preparation};
use poolwright_supervisor::{Backends, NotAdmitted, Unreachable};
use poolwright_topology::budget::{Plan, database_of, role_of};
use poolwright_topology::census::Backend;
use poolwright_topology::declare::Topology;
use poolwright_topology::tag::{Name, SlotId, slot_of};
use poolwright_topology::units::Workers;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tokio::sync::{Mutex, MutexGuard};

/// Answers from `pg_stat_activity`.
pub(crate) struct FromPostgres {
    topology: Topology,
    fleet: Sessions,
    /// Empty when the connection broke or is being used: see [`FromPostgres::lent`].
    control: Mutex<Option<Control>>,
}

/// How the fleet's sessions are told from others'.
#[derive(Debug)]
struct Sessions {
    roles: BTreeSet<String>,
    databases: BTreeSet<String>,
}

/// Whose a session is, as far as a slot is concerned that must be empty.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// The slot's, by its name: `web-0:prisma`, or `web-0` for a program that names no pool.
    Slot(SlotId),
    /// A client that has not said yet who it is (PostgreSQL 18); it may be anybody's.
    NotYetKnown,
    /// The fleet's, and this role may not see whose.
    Hidden,
    /// Not a slot's.
    Other,
}

impl FromPostgres {
    pub(crate) fn new(topology: Topology, control: Control) -> Self {
        let pools = || topology.pools().map(|(_, pool)| pool);
        Self {
            fleet: Sessions {
                roles: pools().map(role_of).collect(),
                databases: pools().map(database_of).collect(),
            },
            control: Mutex::new(Some(control)),
            topology,
        }
    }

    /// The control connections, made anew when they broke. They are taken out of their place while they are
    /// used and put back by whoever had no trouble with them: a query that is dropped half way takes
    /// its connection with it, instead of leaving one that answers the next question with its own rows.
    pub(crate) async fn lent(&self) -> Result<Lent<'_>, Failure> {
        let mut place = self.control.lock().await;
        let control = match place.take() {
            Some(control) => control,
            None => Control::connect(&self.topology, |s| control_name(&self.topology, s)).await?,
        };
        Ok(Lent { place, control })
    }

    /// Every session there is, or why it could not be seen, in words. Cancel safe: a query that is dropped takes its
    /// connection with it.
    pub(crate) async fn seen(&self) -> Result<Vec<Backend>, String> {
        self.sample().await.map_err(|failure| failure.in_words())
    }

    /// The topology with as many workers.
    fn with(&self, workers: &BTreeMap<Name, u32>) -> Topology {
        let mut topology = self.topology.clone();
        for (name, count) in workers {
            if let Some(app) = topology.apps.iter_mut().find(|app| app.name == *name) {
                app.instances.value = Workers(*count);
            }
        }
        topology
    }

    async fn sample(&self) -> Result<Vec<Backend>, Failure> {
        let mut lent = self.lent().await?;
        let rows = lent.control.sample().await?;
        lent.give_back();
        Ok(rows)
    }
}

/// Control connections in use.
pub(crate) struct Lent<'a> {
    place: MutexGuard<'a, Option<Control>>,
    pub(crate) control: Control,
}

impl Lent<'_> {
    pub(crate) fn give_back(mut self) {
        *self.place = Some(self.control);
    }
}

impl Sessions {
    fn whose(&self, row: &Backend) -> Whose {
        if !matches!(
            row.backend_type.as_deref(),
            None | Some("client backend") | Some("parallel worker")
        ) {
            return Whose::Other;
        }
        let (Some(role), Some(database)) = (&row.role, &row.database) else {
            // Without a type it is one of the server's own processes, hidden from this role.
            return match row.backend_type {
                Some(_) => Whose::NotYetKnown,
                None => Whose::Other,
            };
        };
        if !self.roles.contains(role) || !self.databases.contains(database) {
            return Whose::Other;
        }
        if row.backend_type.is_none() {
            return Whose::Hidden;
        }
        slot_of(&row.application_name).map_or(Whose::Other, Whose::Slot)
    }

    fn remaining(
        &self,
        rows: &[Backend],
        slots: &BTreeSet<SlotId>,
    ) -> Result<BTreeMap<SlotId, u32>, Unreachable> {
        let mut found = BTreeMap::new();
        for row in rows {
            match self.whose(row) {
                Whose::Slot(slot) if slots.contains(&slot) => *found.entry(slot).or_insert(0) += 1,
                Whose::Slot(_) | Whose::Other => {}
                Whose::NotYetKnown => {
                    for slot in slots {
                        *found.entry(slot.clone()).or_insert(0) += 1;
                    }
                }
                Whose::Hidden => {
                    let role = row.role.as_deref().unwrap_or_default();
                    return Err(Unreachable(format!(
                        "the control connection's role may not see whose the sessions of the role \"{role}\" are; GRANT pg_read_all_stats to it"
                    )));
                }
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Backends for FromPostgres {
    async fn remaining(
        &self,
        slots: &BTreeSet<SlotId>,
    ) -> Result<BTreeMap<SlotId, u32>, Unreachable> {
        if Guard::Confirmation.is_left_out() {
            return Ok(BTreeMap::new());
        }
        let rows = self.sample().await.map_err(unreachable)?;
        self.fleet.remaining(&rows, slots)
    }

    async fn terminate(&self, slot: &SlotId) -> Result<(), Unreachable> {
        let doomed = |row: &Backend| self.fleet.whose(row) == Whose::Slot(slot.clone());
        let mut lent = self.lent().await.map_err(unreachable)?;
        lent.control.terminate(doomed).await.map_err(unreachable)?;
        lent.give_back();
        Ok(())
    }

    async fn admit(&self, workers: &BTreeMap<Name, u32>) -> Result<(), NotAdmitted> {
        let topology = self.with(workers);
        let mut lent = self.lent().await.map_err(unreachable)?;
        let plan = lent.control.plan(&topology).await.map_err(unreachable)?;
        lent.give_back();
        if !plan.fits {
            return Err(NotAdmitted::DoesNotFit(does_not_fit(workers, &plan)));
        }
        // Before the new workers start: a limit that came late would refuse their connections.
        Ok(set_limits(&topology, Limits::Raised)
            .await
            .map_err(unreachable)?)
    }

    async fn relinquish(&self, workers: &BTreeMap<Name, u32>) -> Result<(), Unreachable> {
        // Lowering evicts nobody, so it comes when those that were to leave have left.
        let lowered = set_limits(&self.with(workers), Limits::Lowered).await;
        lowered.map_err(unreachable)
    }
}

/// Moves the roles' limits to what the fleet has become, in one direction. Over a connection of the administrator's that ends
/// with it; the control connection's role may change no other.
async fn set_limits(topology: &Topology, limits: Limits) -> Result<(), Failure> {
    if topology.enforce.is_none() {
        return Ok(());
    }
    for (server, admin) in servers::administrators(topology) {
        let failed = || Failure::source(format!("{} on {server}", limits.doing()));
        let mut preparation = Preparation::begin(&admin, &mut |_| {})
            .await
            .map_err(failed())?;
        preparation
            .set_limits(topology, limits)
            .await
            .map_err(failed())?;
        preparation.release().await.map_err(failed())?;
    }
    Ok(())
}

/// For one line: which workers, what each server that is too small would have to have, and what would fit.
fn does_not_fit(workers: &BTreeMap<Name, u32>, plan: &Plan) -> String {
    let workers: Vec<_> = workers
        .iter()
        .map(|(app, n)| format!("{app}={n}"))
        .collect();
    let mut words = format!("{} does not fit", workers.join(", "));
    for server in plan.servers.iter().filter(|server| !server.fits) {
        let needed = server.bound.0.saturating_add(server.overhead.0);
        let (name, usable) = (&server.server, server.usable);
        words += &format!(": {needed} connections needed on {name}, {usable} usable");
        for cure in &server.cures {
            words += &format!("\n  - {cure}");
        }
    }
    words
}

fn unreachable(failure: Failure) -> Unreachable {
    Unreachable(failure.in_words())
}

impl fmt::Debug for FromPostgres {
    /// Without the topology: its URLs carry passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromPostgres")
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(application_name: &str, backend_type: Option<&str>) -> Backend {
        Backend {
            application_name: application_name.into(),
            role: Some("app".into()),
            database: Some("shop".into()),
            backend_type: backend_type.map(Into::into),
            ..Backend::default()
        }
    }

    fn fleet() -> Sessions {
        Sessions {
            roles: ["app".to_owned()].into(),
            databases: ["shop".to_owned()].into(),
        }
    }

    #[test]
    fn a_session_belongs_to_the_slot_whose_name_it_carries_with_or_without_a_pool() {
        let client = Some("client backend");
        let slot: SlotId = "web-1".parse().unwrap();
        let foreign = Backend {
            role: Some("somebody".into()),
            ..row("web-1:db", client)
        };
        let starting = Backend {
            role: None,
            database: None,
            ..row("", client)
        };
        let table = [
            (row("web-1:db", client), Whose::Slot(slot.clone())),
            (row("web-1", client), Whose::Slot(slot.clone())),
            (
                row("dbos_transact_web-1_5f2a", client),
                Whose::Slot(slot.clone()),
            ),
            (row("web-1:db", Some("parallel worker")), Whose::Slot(slot)),
            (row("web:poolwright", client), Whose::Other),
            (row("psql", client), Whose::Other),
            (row("", Some("checkpointer")), Whose::Other),
            (foreign, Whose::Other),
            (starting, Whose::NotYetKnown),
            (row("", None), Whose::Hidden),
        ];
        for (row, whose) in table {
            assert_eq!(fleet().whose(&row), whose, "{row:?}");
        }
    }

    #[test]
    fn a_role_that_cannot_see_whose_sessions_there_are_confirms_nothing() {
        let slots = ["web-0".parse().unwrap()].into();
        let refused = fleet().remaining(&[row("", None)], &slots).unwrap_err();
        assert!(
            refused.to_string().contains("pg_read_all_stats"),
            "{refused}"
        );
    }
}
