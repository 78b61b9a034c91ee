//! One system database, seen through one session.
//!
//! DBOS' layer takes a pool and no transaction. So the pool has one connection and never another: what runs on it between `BEGIN`
//! and `COMMIT` is one transaction, DBOS' own statement included. If the connection broke and the pool made a second one, that
//! statement would stand alone, without the snapshot; so a second one is refused.

use crate::error::Error;
use dbos::sysdb::postgres::{PostgresSystemDatabase, Settings};
use dbos::sysdb::retry::RetryPolicy;
use poolwright_observe::connect::connect;
use poolwright_topology::declare::DatabaseUrl;
use poolwright_topology::tag::COMMAND;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row, query};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long one statement may take on the server. A worker that starts waits 10 s for its id
/// (`POOLWRIGHT_LOCK_TIMEOUT_MS`), and the locks of ids are held over a few statements of milliseconds.
const STATEMENT_TIMEOUT_MS: &str = "5000";

/// How long the connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A system database of DBOS, with its tables there.
pub struct Store {
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) pool: PgPool,
    pub(crate) system: PostgresSystemDatabase,
}

impl Store {
    /// Opens the system database by the first of these URLs, all of the same one, whose role may write to it. `None` when there is no
    /// such database or DBOS has no tables in it: nobody has left anything there.
    ///
    /// Takes one connection, called `poolwright`, for as long as this lives. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Server`] when it cannot be reached, [`Error::Forbidden`] when no role may write.
    pub async fn open(urls: &[DatabaseUrl]) -> Result<Option<Self>, Error> {
        let mut refusal = None;
        for url in urls {
            match look(url).await {
                Ok(Found::Nothing) => return Ok(None),
                Ok(Found::Writable) => return Self::connect(url).await.map(Some),
                Ok(Found::ReadOnly) => {
                    refusal = Some(Error::Forbidden {
                        store: url.store(),
                        role: url.user(),
                    });
                }
                Err(error) => refusal = Some(error),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    async fn connect(url: &DatabaseUrl) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url.expose())
            .map_err(Error::query("reading the system database's URL"))?
            .application_name(COMMAND)
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT_MS),
                ("lock_timeout", STATEMENT_TIMEOUT_MS),
                // Where the network is lost in between, the locks of ids are not.
                ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT_MS),
            ])
            .disable_statement_logging();
        let opened = Arc::new(AtomicBool::new(false));
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |_, _| {
                let second = opened.swap(true, Ordering::Relaxed);
                Box::pin(async move {
                    match second {
                        false => Ok(()),
                        true => Err(sqlx::Error::Configuration("a second connection".into())),
                    }
                })
            })
            .connect_with(options)
            .await
            .map_err(Error::query("connecting to the system database"))?;
        let settings = Settings {
            retry: RetryPolicy {
                // In an aborted transaction the next attempt fails for good, and that at once.
                initial_backoff: Duration::from_millis(1),
                max_backoff: Duration::from_millis(1),
                retry_connection_errors: false,
            },
            ..Settings::default()
        };
        Ok(Self {
            name: url.store(),
            database: url.database(),
            system: PostgresSystemDatabase::from_pool(pool.clone(), &settings),
            pool,
        })
    }

    /// Ends the session in order. Dropping it ends it as well, a little later.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

enum Found {
    /// No database, or no tables of DBOS'.
    Nothing,
    /// Tables, and no right to write.
    ReadOnly,
    /// Tables, and the right to write.
    Writable,
}

/// What is there, over a connection of its own: the pool would hide why it gets none.
async fn look(url: &DatabaseUrl) -> Result<Found, Error> {
    let mut connection = match connect(url, COMMAND).await {
        Ok(connection) => connection,
        Err(error) if error.code().as_deref() == Some("3D000") => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    let doing = || Error::query("looking for DBOS' tables");
    let table = query(
        "SELECT has_table_privilege(c.oid, 'UPDATE') AND has_schema_privilege(n.oid, 'USAGE') AS writable
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'dbos' AND c.relname = 'workflow_status'",
    )
    .fetch_optional(&mut connection)
    .await
    .map_err(doing())?;
    connection.close().await.map_err(doing())?;
    Ok(match table.map(|row| row.get("writable")) {
        None => Found::Nothing,
        Some(false) => Found::ReadOnly,
        Some(true) => Found::Writable,
    })
}

impl std::fmt::Debug for Store {
    /// Without the pool, whose options carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.name).finish()
    }
}
