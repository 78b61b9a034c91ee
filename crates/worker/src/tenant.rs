//! Transactions under row-level security.
//!
//! Invariant: a connection carries the tenant for one transaction and nothing else, and goes back
//! to the pool only after that transaction's end. `SET` would stay on the connection for its next
//! borrower; `set_config(…, true)` ends with the transaction.
//!
//! A read holds its connection for three round trips, and its caller waits for two: `BEGIN` and the tenant in one message, the
//! query, and `ROLLBACK` together with the pool's test. SeaORM's own transaction begins with `BEGIN` alone and cannot be made of one
//! that has begun; so this is one of its connections ([`ConnectionTrait`]) by itself.

use crate::lending::{Lending, Lent};
use crate::pools::{Loan, OrmPool, loan};
use sea_orm::sea_query::Values;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::Postgres;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, SqlStr};
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::field::Empty;
use tracing::{Instrument, info_span};
use uuid::Uuid;

/// Whose rows a transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenant(pub Uuid);

/// Opens the transactions of tenants.
#[derive(Debug, Clone)]
pub struct Tenants {
    pool: OrmPool,
    lending: Arc<Lending>,
}

/// A transaction that sees one tenant's rows, or no tenant's. Dropped without a commit, it
/// is rolled back before its connection is lent out again.
#[derive(Debug)]
pub struct TenantTransaction {
    // SeaORM's calls share their connection; they take turns.
    loan: Mutex<Loan>,
    // After the connection, so that its end is part of the use.
    _lent: Lent,
}

/// Makes a call in the span that SeaORM would make of it: traces look alike whoever made the transaction.
macro_rules! in_span {
    ($name:literal, $statement:expr, $call:expr) => {{
        let span = info_span!(
            target: "sea_orm::database",
            $name,
            otel.kind = "client",
            db.system = "postgresql",
            db.statement = $statement,
            otel.status_code = Empty,
        );
        let done = $call.instrument(span.clone()).await;
        span.record("otel.status_code", if done.is_ok() { "OK" } else { "ERROR" });
        done
    }};
}

impl Tenants {
    /// Transactions on `pool`; `lending` counts who waits for a connection, see [`crate::gauges`].
    #[must_use]
    pub const fn new(pool: OrmPool, lending: Arc<Lending>) -> Self {
        Self { pool, lending }
    }

    /// Begins a transaction of `tenant`; of nobody when there is none, who sees no rows.
    ///
    /// Cancel safe: what was begun is rolled back.
    ///
    /// # Errors
    /// When no connection comes free in time, or the database refuses.
    pub async fn begin(&self, tenant: Option<Tenant>) -> Result<TenantTransaction, DbErr> {
        let begin = begin(tenant);
        // One that turns out to be lost was asked for nothing yet: another one is, up to one more than all that can be lost.
        let mut others = self.pool.max();
        loop {
            let lent = self.lending.lend(self.pool.lend()).await;
            let (mut loan, lent) = lent.map_err(not_lent)?;
            let begun = loan.begin(begin.clone());
            match in_span!("sea_orm.begin", None::<&str>, begun) {
                Ok(()) => {
                    return Ok(TenantTransaction {
                        loan: Mutex::new(loan),
                        _lent: lent,
                    });
                }
                Err(error) if others > 0 && loan::is_lost(&error) => others -= 1,
                Err(error) => return Err(query_failed(error)),
            }
        }
    }
}

impl TenantTransaction {
    /// Ends a transaction that only read.
    ///
    /// It is rolled back together with the test that the pool makes of a connection it gets back: one
    /// round trip less than a commit, and none that the request waits for.
    pub fn end_read(self) {
        drop(self);
    }

    /// Commits.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn commit(self) -> Result<(), DbErr> {
        let loan = self.loan.into_inner();
        in_span!("sea_orm.commit", None::<&str>, loan.commit()).map_err(query_failed)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for TenantTransaction {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut loan = self.loan.lock().await;
        let (connection, answers) = loan.parts().map_err(execution_failed)?;
        let done = in_span!(
            "sea_orm.execute",
            statement.sql.as_str(),
            answers.of(prepared(statement).execute(connection))
        );
        done.map(ExecResult::from).map_err(execution_failed)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut loan = self.loan.lock().await;
        let (connection, answers) = loan.parts().map_err(execution_failed)?;
        let statement = AssertSqlSafe(sql.to_owned());
        let answer = answers.of(connection.execute(statement));
        let done = in_span!("sea_orm.execute_unprepared", None::<&str>, answer);
        done.map(ExecResult::from).map_err(execution_failed)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut loan = self.loan.lock().await;
        let (connection, answers) = loan.parts().map_err(query_failed)?;
        let row = in_span!(
            "sea_orm.query_one",
            statement.sql.as_str(),
            answers.of(prepared(statement).fetch_optional(connection))
        );
        Ok(row.map_err(query_failed)?.map(QueryResult::from))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut loan = self.loan.lock().await;
        let (connection, answers) = loan.parts().map_err(query_failed)?;
        let rows = in_span!(
            "sea_orm.query_all",
            statement.sql.as_str(),
            answers.of(prepared(statement).fetch_all(connection))
        );
        let rows = rows.map_err(query_failed)?;
        Ok(rows.into_iter().map(QueryResult::from).collect())
    }
}

/// The one message that begins a transaction of `tenant`.
///
/// A message of several statements takes no parameters. An id written by [`Uuid`] consists of hexadecimal digits and hyphens, so that nothing
/// can end the literal it stands in. Nobody is written too: whatever a connection carried, a transaction of nobody has no tenant.
fn begin(tenant: Option<Tenant>) -> SqlStr {
    let id = tenant.map_or_else(String::new, |Tenant(id)| id.hyphenated().to_string());
    AssertSqlSafe(format!(
        "BEGIN; SELECT set_config('app.tenant_id', '{id}', true)"
    ))
    .into_sql_str()
}

/// A statement of SeaORM's as sqlx runs it: prepared once on each connection.
fn prepared(Statement { sql, values, .. }: Statement) -> Query<'static, Postgres, SqlxValues> {
    let values = values.unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values))
}

// SeaORM keeps its own translation to itself; this is the same.

fn not_lent(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        other => DbErr::Conn(RuntimeErr::SqlxError(other.into())),
    }
}

fn execution_failed(error: sqlx::Error) -> DbErr {
    failed(error, DbErr::Exec)
}

fn query_failed(error: sqlx::Error) -> DbErr {
    failed(error, DbErr::Query)
}

/// But for this: a connection that is lost is not the statement's fault, and trying again may help.
fn failed(error: sqlx::Error, kind: fn(RuntimeErr) -> DbErr) -> DbErr {
    let kind = if loan::is_lost(&error) {
        DbErr::Conn
    } else {
        kind
    };
    kind(RuntimeErr::SqlxError(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_end_the_literal_it_stands_in() {
        for id in [Uuid::nil(), Uuid::max(), Uuid::new_v4()] {
            let message = begin(Some(Tenant(id)));
            let literal = message.as_str().split('\'').nth(3).unwrap_or_default();
            assert_eq!(message.as_str().matches('\'').count(), 4, "{message:?}");
            assert_eq!(Uuid::parse_str(literal), Ok(id));
            assert!(literal.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-'));
        }
    }
}
