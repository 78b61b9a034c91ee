//! Who this process is: its slot, from which its executor id and its names in Postgres follow.
//!
//! Invariant: everything that names the process is derived from one [`Identity`], so that the
//! executor id, the start-up line and `application_name` cannot disagree.

use poolwright_topology::tag::{Name, SlotId, Tag, TagError};

/// The name of the ORM's pool, in the manifest and in `application_name`. Named after the variable
/// that sizes it on both stacks, `PRISMA_POOL_MAX`.
pub const ORM_POOL: &str = "prisma";

/// The name of the DBOS pool.
pub const DBOS_POOL: &str = "dbos";

/// The slot that this process fills, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    slot: SlotId,
    pid: u32,
    orm_name: String,
    dbos_name: String,
}

impl Identity {
    /// The process `pid` in the slot `index` of `app`.
    ///
    /// # Errors
    /// [`TagError`] when the app has no legal name, or so long a one that Postgres would cut the
    /// names of its pools.
    pub fn new(app: &str, index: u32, pid: u32) -> Result<Self, TagError> {
        let slot = SlotId::new(Name::new(app)?, index);
        let name = |pool: &str| {
            Tag::Pool {
                slot: slot.clone(),
                pool: Name::new(pool)?,
            }
            .application_name()
        };
        Ok(Self {
            orm_name: name(ORM_POOL)?,
            dbos_name: name(DBOS_POOL)?,
            slot,
            pid,
        })
    }

    /// The slot.
    #[must_use]
    pub const fn slot(&self) -> &SlotId {
        &self.slot
    }

    /// The executor id, the same text as the slot: `web-0`.
    #[must_use]
    pub fn executor_id(&self) -> String {
        self.slot.to_string()
    }

    /// The process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// `application_name` of the ORM pool's sessions: `web-0:prisma`.
    #[must_use]
    pub fn orm_name(&self) -> &str {
        &self.orm_name
    }

    /// `application_name` of the DBOS pool's sessions: `web-0:dbos`.
    #[must_use]
    pub fn dbos_name(&self) -> &str {
        &self.dbos_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_names_the_process_follows_from_its_slot() {
        let identity = Identity::new("web", 2, 4711).unwrap();
        assert_eq!(identity.executor_id(), "web-2");
        assert_eq!(identity.orm_name(), "web-2:prisma");
        assert_eq!(identity.dbos_name(), "web-2:dbos");
        assert_eq!(identity.pid(), 4711);
    }

    #[test]
    fn an_app_whose_names_postgres_would_cut_is_refused() {
        assert!(Identity::new(&"a".repeat(60), 0, 1).is_err());
    }
}
