//! Who is alive, as far as the sessions of a system database show it.

use poolwright_lock::{Holder, Lock, LockName};
use poolwright_topology::census::Backend;
use poolwright_topology::tag::{COMMAND, SlotId, Tag, slot_of};
use std::collections::BTreeMap;

/// The process of this host that holds an executor id whose work is in `store` (`host:port/database`), for whoever wants to
/// know. Blocks the thread for half a second at most.
#[must_use]
pub fn holder(executor_id: &str, store: &str) -> Option<Holder> {
    Lock::holder(&LockName::here(executor_id, store)).ok()?
}

/// The executors that have a session.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    /// Since when, in microseconds since 1970: the oldest session of each. A worker opens its pool as it launches.
    since: BTreeMap<String, i64>,
    /// Whether there are sessions that say nothing of whose they are.
    strangers: bool,
}

impl Connected {
    /// From the rows of `pg_stat_activity` in this database. Names are shown to every role; whatever else is hidden
    /// decides nothing here.
    pub(crate) fn to(database: &str, rows: &[Backend]) -> Self {
        let mut connected = Self::default();
        for row in rows.iter().filter(|row| is_client_of(database, row)) {
            match owner(&row.application_name) {
                Owner::Slot(slot) => connected.add(&slot.to_string(), row),
                Owner::Poolwright => {}
                Owner::Other(name) => {
                    connected.strangers = true;
                    connected.add(name, row);
                }
            }
        }
        connected
    }

    fn add(&mut self, executor_id: &str, row: &Backend) {
        let started = row.started.unwrap_or(i64::MAX);
        let since = self.since.entry(executor_id.to_owned()).or_insert(started);
        *since = started.min(*since);
    }

    /// Whether this executor lives, as far as can be seen. One whose id is no slot's does not name its sessions by it: it
    /// may be behind any session that says nothing.
    pub(crate) fn has(&self, executor_id: &str) -> bool {
        self.since.contains_key(executor_id)
            || (self.strangers && executor_id.parse::<SlotId>().is_err())
    }

    /// Every executor there is, with the moment of its oldest session in milliseconds since 1970.
    pub(crate) fn executors(&self) -> impl Iterator<Item = (&str, i64)> {
        let milliseconds = |micros: i64| micros / 1000;
        self.since
            .iter()
            .map(move |(id, since)| (id.as_str(), milliseconds(*since)))
    }
}

fn is_client_of(database: &str, row: &Backend) -> bool {
    row.database.as_deref() == Some(database)
        && matches!(
            row.backend_type.as_deref(),
            None | Some("client backend" | "parallel worker")
        )
}

enum Owner<'a> {
    /// A slot's, and thereby an executor's: `web-0:dbos`, `web-0:prisma`, `web-0`, or what the DBOS SDK of Node makes of it.
    Slot(SlotId),
    /// Of Poolwright itself.
    Poolwright,
    /// Anybody's; it may be called like an executor.
    Other(&'a str),
}

fn owner(application_name: &str) -> Owner<'_> {
    if application_name == COMMAND {
        return Owner::Poolwright;
    }
    if let Some(slot) = slot_of(application_name) {
        return Owner::Slot(slot);
    }
    match application_name.parse::<Tag>() {
        Ok(Tag::Control { .. }) => Owner::Poolwright,
        _ => Owner::Other(application_name.split(':').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(application_name: &str) -> Backend {
        Backend {
            started: Some(5_000),
            application_name: application_name.into(),
            role: Some("desk_dbos".into()),
            database: Some("desk".into()),
            backend_type: Some("client backend".into()),
            ..Backend::default()
        }
    }

    #[test]
    fn an_executor_lives_that_has_a_session_under_its_name_in_this_database() {
        let elsewhere = Backend {
            database: Some("other".into()),
            ..row("web-3:dbos")
        };
        let hidden = Backend {
            backend_type: None,
            ..row("web-4:dbos")
        };
        let walsender = Backend {
            backend_type: Some("walsender".into()),
            ..row("web-5")
        };
        let rows = [
            row("web-0:dbos"),
            row("web-1"),
            row("dbos_transact_web-6_5f2a"),
            elsewhere,
            hidden,
            walsender,
        ];
        let connected = Connected::to("desk", &rows);
        for (id, lives) in [
            ("web-0", true),
            ("web-1", true),
            ("web-2", false),
            ("web-3", false),
            ("web-4", true),
            ("web-5", false),
            ("web-6", true),
        ] {
            assert_eq!(connected.has(id), lives, "{id}");
        }
    }

    #[test]
    fn behind_a_session_that_says_nothing_may_be_any_executor_whose_id_is_no_slots() {
        let ours = [row("poolwright"), row("web:poolwright"), row("web-0:dbos")];
        assert!(!Connected::to("desk", &ours).has("local"));
        let connected = Connected::to("desk", &[row("psql")]);
        assert!(connected.has("local") && !connected.has("web-0"));
    }

    #[test]
    fn an_executor_is_there_since_its_oldest_session() {
        let older = Backend {
            started: Some(2_000),
            ..row("web-0:prisma")
        };
        let connected = Connected::to("desk", &[row("web-0:dbos"), older]);
        assert_eq!(connected.executors().collect::<Vec<_>>(), [("web-0", 2)]);
    }
}
