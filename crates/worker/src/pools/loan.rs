//! A connection of the ORM pool while it is lent out.
//!
//! Invariant: a connection comes back to the pool outside of any transaction, or not at all, and in bounded time. sqlx alone
//! promises neither. A `BEGIN` that is cut off before its answer opens a transaction that sqlx does not count, and so does not roll back; and
//! the test that its pool makes of a connection it gets back has no limit, so that connections which a network has swallowed hold their
//! places for ever.

use super::{BEGIN_TIMEOUT, STATEMENT_TIMEOUT, TEST_TIMEOUT};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Database, Executor, Postgres, SqlStr};
use sqlx_core::transaction::TransactionManager;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

/// What sqlx's own transactions are made of. They cannot be used themselves: they give their connection back on their own.
type Manager = <Postgres as Database>::TransactionManager;

/// A connection that is lent out, until this is dropped; then it is rolled back, tested and back in the pool.
#[derive(Debug)]
pub(crate) struct Loan {
    /// There until the drop.
    connection: Option<PoolConnection<Postgres>>,
    answers: Answers,
}

/// What is known of a connection by what it has answered.
#[derive(Debug)]
pub(crate) struct Answers(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All that was asked was answered.
    Settled,
    /// Something was asked and whoever waited for the answer has gone.
    CutOff,
    /// An answer did not come in time. None will.
    Lost,
}

impl Loan {
    pub(super) const fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection: Some(connection),
            answers: Answers(State::Settled),
        }
    }

    /// The connection, and who has to be told of whatever is asked over it.
    ///
    /// # Errors
    /// Never before the drop.
    pub(crate) fn parts(&mut self) -> Result<(&mut PgConnection, &mut Answers), sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        Ok((&mut *connection, &mut self.answers))
    }

    /// The connection, for what its caller sets a limit to.
    pub(super) fn connection(&mut self) -> Option<&mut PgConnection> {
        self.connection.as_deref_mut()
    }

    /// Whether it answers at once. One that does not is closed when this is dropped.
    pub(super) async fn test(&mut self) -> bool {
        let Ok((connection, answers)) = self.parts() else {
            return false;
        };
        let answered = answers.within(TEST_TIMEOUT, connection.ping()).await;
        if answered.is_err() {
            answers.0 = State::Lost;
        }
        answered.is_ok()
    }

    /// Begins a transaction by `statement`, one message with as many statements as it likes, in one round trip.
    ///
    /// Cancel safe: it is rolled back.
    pub(crate) async fn begin(&mut self, statement: SqlStr) -> Result<(), sqlx::Error> {
        let (connection, answers) = self.parts()?;
        let begun = Manager::begin(connection, Some(statement));
        answers.within(BEGIN_TIMEOUT, begun).await
    }

    /// Commits.
    ///
    /// Cancel safe, but whether it was committed is then unknown.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let (connection, answers) = self.parts()?;
        answers.of(Manager::commit(connection)).await
    }
}

impl Answers {
    /// Waits for the answer to a statement, as long as there may be one.
    ///
    /// Cancel safe: the connection is then not trusted before it has come to rest.
    pub(crate) async fn of<T>(
        &mut self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.within(STATEMENT_TIMEOUT + TEST_TIMEOUT, answer).await
    }

    /// As [`Answers::of`], for what has to be answered within `limit`.
    pub(crate) async fn within<T>(
        &mut self,
        limit: Duration,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.0 = State::CutOff;
        let Ok(answered) = timeout(limit, answer).await else {
            self.0 = State::Lost;
            let kind = std::io::ErrorKind::TimedOut;
            return Err(std::io::Error::new(kind, "Postgres did not answer in time").into());
        };
        self.0 = State::Settled;
        answered
    }
}

/// Whether the connection was lost, and not what was asked refused: broken, silent, or ended by the server (class 57P).
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let state = self.answers.0;
        let (Ok(runtime), State::Settled | State::CutOff) = (Handle::try_current(), state) else {
            // A farewell would not get through; the end of the socket is enough.
            drop(connection.detach());
            return;
        };
        let cut_off = state == State::CutOff;
        // What was cut off may still be at work, for as long as a statement may.
        let limit = if cut_off {
            STATEMENT_TIMEOUT + TEST_TIMEOUT
        } else {
            TEST_TIMEOUT
        };
        let unknown = cut_off && Manager::get_transaction_depth(&connection) == 0;
        // Queued only: it goes out together with the pool's test, in one round trip. Nothing where no transaction is open.
        Manager::start_rollback(&mut connection);
        runtime.spawn(give_back(connection, unknown, limit));
    }
}

/// Gives a connection back within `limit`, or closes it. `unknown`: there may be a transaction that sqlx knows nothing of.
async fn give_back(mut connection: PoolConnection<Postgres>, unknown: bool, limit: Duration) {
    let deadline = Instant::now() + limit;
    if unknown {
        let rolled_back = timeout_at(deadline, connection.execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            tracing::warn!("a connection that was cut off does not come to rest; it is closed");
            drop(connection.detach());
            return;
        }
    }
    // Hidden in sqlx's documentation, and what its own drop spawns; only here can it be given a limit. Where that is reached
    // the connection falls with the future, and its place is free.
    if timeout_at(deadline, connection.return_to_pool())
        .await
        .is_err()
    {
        tracing::warn!("a connection that was given back does not answer; it is closed");
    }
}
