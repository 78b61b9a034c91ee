//! What the workflows did, from the tables that they write: every step leaves one row with the executor
//! id and the process that ran it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use sqlx::PgConnection;

use crate::Setup;

/// Id, status, executor, how often it was taken up, error.
type Unfinished = (
    String,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<String>,
);

/// The order desk's tables and the SDK's, as the superuser sees them: of every tenant.
#[derive(Debug)]
pub struct Ledger {
    desk: PgConnection,
    dbos: PgConnection,
}

impl Ledger {
    /// Opens the books of a prepared database.
    pub async fn open(setup: &Setup) -> Result<Self> {
        let desk = setup.server.connect("order_desk").await?;
        let dbos = setup.server.connect("order_desk_dbos").await?;
        Ok(Self { desk, dbos })
    }

    /// Waits until every order is shipped, then fails if a step ran twice or not at all. Answers with the number
    /// of orders.
    pub async fn settled(&mut self, limit: Duration) -> Result<i64> {
        self.shipped(limit).await?;
        let uneven: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT orders.id::text, steps.step, count(effects.id)
             FROM orders CROSS JOIN (VALUES ('reserve'), ('charge'), ('ship')) AS steps (step)
             LEFT JOIN effects ON effects.order_id = orders.id AND effects.step = steps.step
             GROUP BY 1, 2 HAVING count(effects.id) <> 1",
        )
        .fetch_all(&mut self.desk)
        .await?;
        ensure!(uneven.is_empty(), "steps that did not run once: {uneven:?}");
        self.count("SELECT count(*) FROM orders").await
    }

    /// Waits until every order is shipped, then fails unless every step ran, and again at most as often as another process
    /// had to take the order over. Answers with how many steps ran twice.
    pub async fn settled_after_interruptions(&mut self, limit: Duration) -> Result<i64> {
        self.shipped(limit).await?;
        let uneven: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "SELECT order_id::text, count(DISTINCT step), count(*) - count(DISTINCT step), count(DISTINCT pid)
             FROM effects GROUP BY 1
             HAVING count(DISTINCT step) <> 3 OR count(*) - 3 > count(DISTINCT pid) - 1",
        )
        .fetch_all(&mut self.desk)
        .await?;
        ensure!(
            uneven.is_empty(),
            "orders with (steps, repeats, processes): {uneven:?}"
        );
        let without = "SELECT count(*) FROM orders WHERE id NOT IN (SELECT order_id FROM effects)";
        ensure!(self.count(without).await? == 0, "an order without a step");
        let repeats = "SELECT count(*) - count(DISTINCT (order_id, step)) FROM effects";
        self.count(repeats).await
    }

    /// Every process that ran a step.
    pub async fn processes(&mut self) -> Result<Vec<i32>> {
        let pids = sqlx::query_scalar("SELECT DISTINCT pid FROM effects");
        Ok(pids.fetch_all(&mut self.desk).await?)
    }

    async fn shipped(&mut self, limit: Duration) -> Result<()> {
        wait_until("every order is shipped", limit, async || {
            match self
                .count("SELECT count(*) FROM orders WHERE status <> 'shipped'")
                .await
            {
                Ok(0) => Seen::Yes(()),
                open => Seen::NotYet(open),
            }
        })
        .await
    }

    /// Waits until every one of these orders is shipped, then fails unless every step of theirs ran, and again at most as often as
    /// another process had to take the order over or a session was cut beneath it, which happened `cuts` times. Answers with how
    /// many orders there are and how many steps ran twice.
    pub async fn accepted_once(
        &mut self,
        accepted: &[String],
        cuts: i64,
        limit: Duration,
    ) -> Result<(i64, i64)> {
        let shipped = wait_until("every accepted order is shipped", limit, async || {
            let left: Result<Vec<(String, String)>, _> = sqlx::query_as(
                "SELECT accepted.id, coalesce(orders.status::text, 'lost')
                 FROM unnest($1::text[]) AS accepted (id)
                 LEFT JOIN orders ON orders.id = accepted.id::uuid
                 WHERE orders.status IS DISTINCT FROM 'shipped'",
            )
            .bind(accepted)
            .fetch_all(&mut self.desk)
            .await;
            match left {
                Ok(left) if left.is_empty() => Seen::Yes(()),
                other => Seen::NotYet(other),
            }
        })
        .await;
        if let Err(stranded) = shipped {
            let unfinished = self.unfinished().await;
            return Err(
                stranded.context(format!("workflows that did not succeed: {unfinished:#?}"))
            );
        }
        let (orders, repeats, uneven): (i64, i64, i64) = sqlx::query_as(
            "WITH done AS (
                 SELECT order_id, count(*) AS steps, count(DISTINCT step) AS kinds,
                        count(DISTINCT pid) AS processes
                 FROM effects WHERE order_id::text = ANY ($1) GROUP BY 1)
             SELECT count(*), coalesce(sum(steps - kinds), 0)::bigint,
                    count(*) FILTER (WHERE kinds <> 3 OR steps - 3 > processes - 1 + $2)
             FROM done",
        )
        .bind(accepted)
        .bind(cuts)
        .fetch_one(&mut self.desk)
        .await?;
        let accepted = i64::try_from(accepted.len())?;
        ensure!(
            orders == accepted && uneven == 0,
            "{accepted} orders accepted, {orders} of them with steps, {uneven} with too few or too many"
        );
        Ok((orders, repeats))
    }

    /// What DBOS knows of workflows that have not succeeded.
    async fn unfinished(&mut self) -> Result<Vec<Unfinished>> {
        let unfinished = sqlx::query_as(
            "SELECT workflow_uuid, status, executor_id, recovery_attempts::bigint, error
             FROM dbos.workflow_status WHERE status <> 'SUCCESS' ORDER BY created_at LIMIT 20",
        );
        Ok(unfinished.fetch_all(&mut self.dbos).await?)
    }

    /// Fails if two processes worked under one executor id at the same time: if, between the first and the last step of
    /// one process, another one ran a step.
    pub async fn no_executor_was_doubled(&mut self) -> Result<()> {
        self.no_executor_was_doubled_but(|_, _, _| false).await
    }

    /// The same over a time in which process numbers are used again: whether one may have been given out anew between two
    /// moments, in microseconds of Unix time, `reused` says. Then what it did before was another process.
    pub async fn no_executor_was_doubled_but(
        &mut self,
        reused: impl Fn(i32, i64, i64) -> bool,
    ) -> Result<()> {
        let steps: Vec<Step> = sqlx::query_as(
            "SELECT executor_id, pid, (extract(epoch FROM at) * 1000000)::bigint
             FROM effects ORDER BY 1, 2, 3",
        )
        .fetch_all(&mut self.desk)
        .await?;
        let lives = lives(&steps, reused);
        let doubled = doubled(&lives);
        ensure!(
            doubled.is_empty(),
            "executor ids of two processes at once: {doubled:?}"
        );
        Ok(())
    }

    /// Makes placing an order of this item take as long as a query can: `pg_sleep` in the worker's own session.
    pub async fn slow_item(&mut self, item: &str, seconds: u32) -> Result<()> {
        // The names are the tests' own.
        let statement = format!(
            "CREATE FUNCTION slow_item() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END$$;
             CREATE TRIGGER slow_item BEFORE INSERT ON orders FOR EACH ROW
             WHEN (NEW.item = '{item}') EXECUTE FUNCTION slow_item()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut self.desk)
            .await?;
        Ok(())
    }

    async fn count(&mut self, query: &'static str) -> Result<i64> {
        sqlx::query_scalar(query)
            .fetch_one(&mut self.desk)
            .await
            .with_context(|| query)
    }
}

/// Whose step, by which process, and when, in microseconds of Unix time.
type Step = (String, i32, i64);

/// One process' work under one executor id, from its first step to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    executor: String,
    pid: i32,
    first: i64,
    last: i64,
}

/// Of steps in order of executor, process and time.
fn lives(steps: &[Step], reused: impl Fn(i32, i64, i64) -> bool) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for (executor, pid, at) in steps {
        match lives.last_mut() {
            Some(life)
                if life.executor == *executor
                    && life.pid == *pid
                    && !reused(*pid, life.last, *at) =>
            {
                life.last = *at;
            }
            _ => lives.push(Life {
                executor: executor.clone(),
                pid: *pid,
                first: *at,
                last: *at,
            }),
        }
    }
    lives
}

/// Every two that overlap under one executor id.
fn doubled(lives: &[Life]) -> Vec<(&Life, &Life)> {
    let pairs = lives
        .iter()
        .enumerate()
        .flat_map(|(place, one)| lives.iter().skip(place + 1).map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| {
            one.executor == other.executor && one.first <= other.last && other.first <= one.last
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(of: &[(i32, i64)]) -> Vec<Step> {
        of.iter()
            .map(|(pid, at)| ("web-0".to_owned(), *pid, *at))
            .collect()
    }

    #[test]
    fn two_processes_of_one_executor_overlap_unless_a_number_was_given_out_anew() {
        // Process 7 before and after process 8.
        let steps = steps(&[(7, 10), (7, 20), (7, 60), (8, 30), (8, 40)]);
        let never = lives(&steps, |_, _, _| false);
        assert_eq!(doubled(&never).len(), 1, "{never:?}");
        let anew = lives(&steps, |pid, from, to| pid == 7 && from <= 50 && 50 <= to);
        assert_eq!(anew.len(), 3, "{anew:?}");
        assert!(doubled(&anew).is_empty(), "{anew:?}");
        // That excuses nobody who works in between.
        let within = lives(&steps, |pid, from, to| pid == 7 && from <= 15 && 15 <= to);
        assert_eq!(doubled(&within).len(), 1, "{within:?}");
    }
}
