//! The transaction in which is judged and written.

use crate::error::Error;
use crate::living::Connected;
use crate::report::{Left, Outcome, Report, Sign};
use crate::store::Store;
use crate::versions;
use dbos::sysdb::{INTERNAL_QUEUE, SystemDatabase};
use poolwright_lock::{Lock, LockName};
use poolwright_observe::census;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Row, query};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// `b"poolwrec"` as a number: the key of the advisory lock, the same on every host.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"poolwrec");

/// How long another recovery is waited for. One takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked whether the other one has ended. Waiting inside `pg_advisory_xact_lock` would hold a snapshot from
/// before the other one's end.
const RETRY: Duration = Duration::from_millis(20);

/// How often everything is judged anew because rows changed meanwhile. They change by launches, of which there are few.
const ATTEMPTS: u32 = 10;

/// How long one attempt may take: shorter than a worker waits for its id (10 s), which may be locked meanwhile.
const ATTEMPT: Duration = Duration::from_secs(8);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To say what would be re-enqueued.
    Look,
    /// To re-enqueue it.
    Recover,
}

/// Whose an executor id is, by what was declared. Whether its executor lives is seen to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The fleet has it: its next process takes up by itself what the last one left.
    Expected,
    /// Nobody is going to come back under it.
    GivenUp,
    /// It is none of this fleet's.
    Foreign,
}

/// What is `PENDING` under one id: how many workflows of each version.
type Pending = BTreeMap<String, BTreeMap<String, u64>>;

/// Why an attempt came to nothing.
enum Setback {
    /// Another recovery has the lock.
    Busy,
    Failed(Error),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Re-enqueues the workflows of every executor that was given up and does not live, all in one transaction, or only looks.
    ///
    /// Not cancel safe: what was under way is undone by the server, and the store is of no use any more.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed then. After [`Error::Silent`] the store is of no use any more.
    pub async fn recover(
        &mut self,
        intent: Intent,
        standing: &(dyn Fn(&str) -> Standing + Sync),
    ) -> Result<Report, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut attempts = 0;
        loop {
            let attempt = timeout(ATTEMPT, self.attempt(intent, standing));
            let Ok(outcome) = attempt.await else {
                return Err(Error::Silent {
                    store: self.name.clone(),
                    after: ATTEMPT.as_secs(),
                });
            };
            match outcome {
                Ok(report) => return Ok(report),
                Err(Setback::Busy) if Instant::now() < deadline => {}
                Err(Setback::Busy) => {
                    return Err(Error::Busy {
                        store: self.name.clone(),
                        after: PATIENCE.as_secs(),
                    });
                }
                Err(Setback::Failed(error)) if error.changed_meanwhile() => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Err(Error::Restless {
                            store: self.name.clone(),
                            attempts,
                        });
                    }
                }
                Err(Setback::Failed(error)) => return Err(error),
            }
            sleep(RETRY).await;
        }
    }

    async fn attempt(
        &self,
        intent: Intent,
        standing: &(dyn Fn(&str) -> Standing + Sync),
    ) -> Result<Report, Setback> {
        // The locks of the ids outlive the commit.
        let mut locks = Vec::new();
        let done = self.judge_and_write(intent, standing, &mut locks).await;
        let end = match done {
            Ok(_) => "COMMIT",
            Err(_) => "ROLLBACK",
        };
        let ended = execute(&mut *self.session().await?, end).await;
        let report = done?;
        ended?;
        drop(locks);
        Ok(report)
    }

    async fn judge_and_write(
        &self,
        intent: Intent,
        standing: &(dyn Fn(&str) -> Standing + Sync),
        locks: &mut Vec<Lock>,
    ) -> Result<Report, Setback> {
        let mut session = self.session().await?;
        execute(&mut session, "BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        // The first statement takes the snapshot. From here on what others commit is not seen, and cannot be written to.
        if !take_turn(&mut session).await? {
            return Err(Setback::Busy);
        }
        let pending = pending(&mut session).await?;
        let mut held = BTreeMap::new();
        for executor_id in pending.keys() {
            if standing(executor_id) == Standing::GivenUp {
                let lock = self.lock(executor_id)?;
                held.insert(executor_id.as_str(), lock.is_none());
                locks.extend(lock);
            }
        }
        let rows = census::sample(&mut session).await.map_err(Error::from)?;
        let connected = Connected::to(&self.database, &rows);
        let mut report = Report::empty(self.name.clone());
        for (executor_id, versions) in &pending {
            let sign = match (held.get(executor_id.as_str()), connected.has(executor_id)) {
                (Some(true), _) => Some(Sign::Held),
                (_, true) => Some(Sign::Connected),
                _ => None,
            };
            let outcome = match (standing(executor_id), sign, intent) {
                // At its work.
                (Standing::Expected, Some(_), _) => continue,
                (Standing::Expected, None, _) => Outcome::Expected,
                (Standing::Foreign, _, _) => Outcome::Foreign,
                (Standing::GivenUp, Some(sign), _) => Outcome::Living { sign },
                (Standing::GivenUp, None, Intent::Look) => Outcome::Abandoned,
                (Standing::GivenUp, None, Intent::Recover) => Outcome::Reenqueued,
            };
            report.executors.push(Left {
                executor_id: executor_id.clone(),
                workflows: versions.values().sum(),
                versions: versions.keys().cloned().collect(),
                outcome,
            });
        }
        // DBOS takes it from the pool.
        drop(session);
        self.reenqueue(&pending, &report).await?;
        let mut session = self.session().await?;
        report.versions = versions::running(&mut session, &connected).await?;
        report.stuck = versions::stuck(&mut session, &report.versions).await?;
        Ok(report)
    }

    async fn session(&self) -> Result<PoolConnection<Postgres>, Error> {
        let session = self.pool.acquire().await;
        session.map_err(Error::query("using the connection"))
    }

    /// The lock of an id on this host; `None` when a process has it.
    fn lock(&self, executor_id: &str) -> Result<Option<Lock>, Error> {
        let name = LockName::here(executor_id, &self.name);
        Lock::try_take(&name).map_err(|source| Error::Lock {
            executor_id: executor_id.to_owned(),
            source,
        })
    }

    /// Has DBOS re-enqueue what the report says, version by version, as its launch would.
    async fn reenqueue(&self, pending: &Pending, report: &Report) -> Result<(), Error> {
        let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for left in &report.executors {
            if left.outcome != Outcome::Reenqueued {
                continue;
            }
            for version in pending
                .get(&left.executor_id)
                .into_iter()
                .flat_map(BTreeMap::keys)
            {
                by_version
                    .entry(version)
                    .or_default()
                    .push(&left.executor_id);
            }
        }
        for (version, executor_ids) in by_version {
            self.system
                .reenqueue_for_recovery(&executor_ids, version, INTERNAL_QUEUE)
                .await
                .map_err(|error| Error::Reenqueue(Box::new(error)))?;
        }
        Ok(())
    }
}

/// Whether no other recovery is under way. Ends with the transaction.
async fn take_turn(session: &mut PgConnection) -> Result<bool, Error> {
    let row = query("SELECT pg_try_advisory_xact_lock($1) AS locked")
        .bind(LOCK_KEY)
        .fetch_one(session)
        .await
        .map_err(Error::query("taking the lock of the recovery"))?;
    Ok(row.get("locked"))
}

/// What is `PENDING`, as the snapshot has it. Without a version nothing can be re-enqueued: see `versions::stuck`.
async fn pending(session: &mut PgConnection) -> Result<Pending, Error> {
    let rows = query(
        "SELECT executor_id, application_version, count(*) AS workflows
         FROM dbos.workflow_status
         WHERE status = 'PENDING' AND executor_id IS NOT NULL AND application_version IS NOT NULL
         GROUP BY 1, 2",
    )
    .fetch_all(session)
    .await
    .map_err(Error::query("reading which workflows are pending"))?;
    let mut pending = Pending::new();
    for row in &rows {
        let versions = pending.entry(row.get("executor_id")).or_default();
        versions.insert(row.get("application_version"), count(row.get("workflows")));
    }
    Ok(pending)
}

async fn execute(session: &mut PgConnection, statement: &'static str) -> Result<(), Error> {
    query(statement)
        .execute(session)
        .await
        .map_err(Error::query(statement))?;
    Ok(())
}

pub(crate) fn count(found: i64) -> u64 {
    u64::try_from(found).unwrap_or(0)
}
