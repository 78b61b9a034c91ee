//! What the two pools hold at this moment.
//!
//! The ORM pool counts itself. The DBOS pool is hidden in the SDK, which shows neither its size nor
//! who waits for it; so Postgres is asked, over a connection of the ORM pool:
//!
//! - *open*: the sessions called `web-0:dbos`. A session that merely borrows the name is counted too,
//!   and shown as what it is: one more than declared.
//! - *busy*: those within a transaction, and the one that LISTEN pins. The state of another role's
//!   session is hidden from a role without `pg_read_all_stats`, but the lock that every transaction
//!   holds on its own virtual id is not: so the locks are read, not `state`. A connection lent out
//!   between two transactions is seen as idle.
//! - *waiting*: always 0. Nothing outside the SDK can know it.
//!
//! Where the two URLs lead to different servers, Postgres cannot be asked, and what is known is told:
//! the pool was filled at launch, and LISTEN holds one.

use crate::identity::{DBOS_POOL, ORM_POOL};
use crate::lending::Lending;
use crate::pools::OrmPool;
use poolwright_topology::channel::Gauge;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a look at the DBOS pool may take. It borrows a connection of the ORM pool, and where
/// that pool is starved the last look is worth more than another caller who waits.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long Postgres may take of it. Less: a connection that does not answer by then is closed instead of looked over again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

/// How often to look whether the DBOS pool is full.
const FULL_POLL: Duration = Duration::from_millis(5);

const DBOS_SESSIONS: &str = "\
    SELECT count(*)::int4, count(*) FILTER (WHERE EXISTS ( \
        SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid' \
        AND l.mode = 'ExclusiveLock' AND l.granted))::int4 \
    FROM pg_stat_activity a WHERE a.application_name = $1 AND a.leader_pid IS NULL";

/// What this worker has been waiting for so long and Postgres still works at. Of another role's sessions Postgres tells nothing.
const LONG_STATEMENTS: &str = "\
    SELECT count(*)::int4 FROM pg_stat_activity a \
    WHERE a.application_name IN (current_setting('application_name'), $1) AND a.leader_pid IS NULL AND a.state = 'active' \
    AND a.pid <> pg_backend_pid() AND clock_timestamp() - a.query_start > make_interval(secs => $2)";

/// Reads both pools.
#[derive(Debug, Clone)]
pub struct Gauges {
    orm: OrmPool,
    lending: Arc<Lending>,
    dbos_name: Arc<str>,
    same_server: bool,
    last_dbos: Arc<Mutex<Gauge>>,
}

/// Both pools at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The ORM pool.
    pub orm: Gauge,
    /// The DBOS pool.
    pub dbos: Gauge,
    /// Whether the ORM pool answered the question about the other one.
    pub answered: bool,
}

impl Gauges {
    /// Gauges of `orm` and of the DBOS pool of `dbos_max` connections called `dbos_name`.
    #[must_use]
    pub fn new(orm: OrmPool, dbos_name: &str, dbos_max: u32, same_server: bool) -> Self {
        let launched = Gauge {
            max: dbos_max,
            open: dbos_max,
            busy: 1,
            idle: dbos_max.saturating_sub(1),
            waiting: 0,
        };
        Self {
            orm,
            lending: Arc::default(),
            dbos_name: dbos_name.into(),
            same_server,
            last_dbos: Arc::new(Mutex::new(launched)),
        }
    }

    /// Where callers of the ORM pool come in.
    #[must_use]
    pub fn lending(&self) -> Arc<Lending> {
        Arc::clone(&self.lending)
    }

    /// The ORM pool now.
    #[must_use]
    pub fn orm(&self) -> Gauge {
        let pool = self.orm.connections();
        let open = pool.size();
        // The two are read one after the other; in between a connection may have come back.
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX).min(open);
        Gauge {
            max: self.orm.max(),
            open,
            busy: open - idle,
            idle,
            // Whoever is about to take a connection that is there does not wait for one.
            waiting: self.lending.waiting().saturating_sub(idle),
        }
    }

    /// How many connections the ORM pool has opened since its start.
    #[must_use]
    pub fn orm_opened_total(&self) -> u64 {
        self.orm.opened_total()
    }

    /// Both pools now. Cancel safe.
    pub async fn read(&self) -> Reading {
        // First: the look below takes a connection itself.
        let orm = self.orm();
        let look = tokio::time::timeout(LOOK_TIMEOUT, self.look());
        let answered = match look.await {
            Ok(Ok(seen)) => {
                *self
                    .last_dbos
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = seen;
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot look at the DBOS pool");
                false
            }
            Err(_) => false,
        };
        Reading {
            orm,
            dbos: *self
                .last_dbos
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            answered,
        }
    }

    /// Waits until Postgres shows the whole DBOS pool, at most for `limit`; says whether it did.
    ///
    /// Filling the pool returns while the SDK's listener may still be opening the last connection:
    /// counted by the pool, not yet there. Cancel safe.
    pub async fn until_full(&self, limit: Duration) -> bool {
        let full = async {
            while self.read().await.dbos.open < self.dbos_max() {
                tokio::time::sleep(FULL_POLL).await;
            }
        };
        tokio::time::timeout(limit, full).await.is_ok()
    }

    /// Whether both pools are on one server.
    pub(crate) const fn same_server(&self) -> bool {
        self.same_server
    }

    /// How many statements of both pools have run for longer than that and go on. Cancel safe.
    pub(crate) async fn long_statements(&self, than: Duration) -> Result<usize, sqlx::Error> {
        let mut loan = self.orm.lend().await?;
        let (connection, answers) = loan.parts()?;
        let asked = sqlx::query_scalar(LONG_STATEMENTS)
            .bind(&*self.dbos_name)
            .bind(than.as_secs_f64())
            .fetch_one(connection);
        let running: i32 = answers.within(ANSWER_TIMEOUT, asked).await?;
        Ok(usize::try_from(running).unwrap_or(0))
    }

    fn dbos_max(&self) -> u32 {
        let last = self.last_dbos.lock();
        last.unwrap_or_else(PoisonError::into_inner).max
    }

    async fn look(&self) -> Result<Gauge, sqlx::Error> {
        let last = *self
            .last_dbos
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut loan = self.orm.lend().await?;
        let (connection, answers) = loan.parts()?;
        let asked = sqlx::query_as(DBOS_SESSIONS)
            .bind(&*self.dbos_name)
            .fetch_one(connection);
        let (open, within): (i32, i32) = answers.within(ANSWER_TIMEOUT, asked).await?;
        drop(loan);
        if !self.same_server {
            return Ok(last);
        }
        let open = u32::try_from(open).unwrap_or(0);
        let busy = u32::try_from(within)
            .unwrap_or(0)
            .saturating_add(1)
            .min(open);
        Ok(Gauge {
            open,
            busy,
            idle: open - busy,
            ..last
        })
    }
}

impl Reading {
    /// By the pool's name, as the channel and the routes say it.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, Gauge> {
        [
            (DBOS_POOL.to_owned(), self.dbos),
            (ORM_POOL.to_owned(), self.orm),
        ]
        .into()
    }
}
