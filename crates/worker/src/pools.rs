//! The ORM pool: the only place of a worker that makes one.
//!
//! Invariant: the pool holds exactly its maximum, from start to end. A fixed size makes the steady
//! state the declared number instead of "up to" it, and moves the cost of connecting, and every
//! refusal, to the start of the process.

use crate::settings::DatabaseUrl;
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a request may wait for a connection, and the start for all of them. Long enough to ride
/// out a burst, short enough that a starved pool is an answer of 503 and not a hung client.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was used within this time is lent out untested. Testing costs a round trip on
/// every loan; a connection breaks when something between here and Postgres forgets it, which takes
/// minutes of silence.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

/// How long the test of an idle connection may take before the connection counts as lost.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The ORM's connections, and the one handle to them.
#[derive(Debug, Clone)]
pub struct OrmPool {
    pool: PgPool,
    orm: DatabaseConnection,
    opened: Arc<AtomicU64>,
}

/// Why the connections could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The URL says something the driver does not understand.
    #[error("the URL of pool {pool} is not understood")]
    Url {
        /// The pool's name.
        pool: &'static str,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// Postgres did not let every connection in.
    #[error("pool {pool} could not open its {max} connections: {cause}")]
    Open {
        /// The pool's name.
        pool: &'static str,
        /// How many it was to open.
        max: u32,
        /// What Postgres says, with what to do where that is known.
        cause: String,
        /// What the pool says.
        #[source]
        source: sqlx::Error,
    },
}

impl OrmPool {
    /// Opens all `max` connections under `application_name`.
    ///
    /// Cancel safe: connections opened so far are closed.
    ///
    /// # Errors
    /// [`PoolError`] when the URL is wrong or Postgres does not let every connection in.
    pub async fn open(
        url: &DatabaseUrl,
        application_name: &str,
        max: u32,
    ) -> Result<Self, PoolError> {
        const POOL: &str = crate::identity::ORM_POOL;
        let options = options(url, application_name)
            .map_err(|source| PoolError::Url { pool: POOL, source })?;
        let opened = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&opened);
        let builder = PgPoolOptions::new()
            .min_connections(max)
            .max_connections(max)
            // Either would close connections that nobody asked to close.
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(
                    async move { Ok(meta.idle_for < TRUSTED_FOR || answers(connection).await) },
                )
            })
            .after_connect(move |_, _| {
                counter.fetch_add(1, Ordering::Relaxed);
                Box::pin(async { Ok(()) })
            });
        let pool = match builder.clone().connect_with(options.clone()).await {
            Ok(pool) => pool,
            Err(source) => {
                return Err(PoolError::Open {
                    pool: POOL,
                    max,
                    cause: cause(&options, &source).await,
                    source,
                });
            }
        };
        Ok(Self {
            orm: SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone()),
            pool,
            opened,
        })
    }

    /// SeaORM's handle to the pool; clones share the connections.
    #[must_use]
    pub const fn orm(&self) -> &DatabaseConnection {
        &self.orm
    }

    /// The connections themselves.
    #[must_use]
    pub const fn connections(&self) -> &PgPool {
        &self.pool
    }

    /// How many connections were opened since the start.
    #[must_use]
    pub fn opened_total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The pool's maximum, in connections.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Opens what was lost since, so that a pool without traffic is full again too.
    ///
    /// Holds what is idle meanwhile, or the pool would lend that out again instead of opening
    /// another. Cancel safe.
    pub async fn refill(&self) {
        if self.pool.size() >= self.max() {
            return;
        }
        let mut held = Vec::new();
        while let Some(idle) = self.pool.try_acquire() {
            held.push(idle);
        }
        let missing = self.max().saturating_sub(self.pool.size());
        let opening = (0..missing).map(|_| self.pool.acquire());
        for failed in futures::future::join_all(opening)
            .await
            .iter()
            .filter_map(|r| r.as_ref().err())
        {
            tracing::warn!(error = %failed, "the ORM pool could not be filled again");
        }
    }

    /// Waits for every connection to come back and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Says why `url` lets no connection in, by asking once more without a pool in between.
///
/// A pool retries a refusal for want of room (53300) until its timeout and then says only that
/// time ran out. To be called when that pool has given up: this connection stands in its place.
pub async fn refusal(url: &DatabaseUrl, application_name: &str) -> Option<String> {
    let options = options(url, application_name).ok()?;
    match tokio::time::timeout(TEST_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => {
            connection.close().await.ok();
            None
        }
        Ok(Err(error)) => Some(explain(&error)),
        Err(_) => Some("no answer from the server".to_owned()),
    }
}

fn options(url: &DatabaseUrl, application_name: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.named(application_name).parse()?;
    Ok(options.disable_statement_logging())
}

async fn answers(connection: &mut PgConnection) -> bool {
    let test = connection.ping();
    matches!(tokio::time::timeout(TEST_TIMEOUT, test).await, Ok(Ok(())))
}

async fn cause(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    if matches!(error, sqlx::Error::PoolTimedOut)
        && let Ok(Err(error)) =
            tokio::time::timeout(TEST_TIMEOUT, PgConnection::connect_with(options)).await
    {
        return explain(&error);
    }
    explain(error)
}

fn explain(error: &sqlx::Error) -> String {
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()));
    match code.as_deref() {
        Some("53300") => format!(
            "{error} (53300: the role's CONNECTION LIMIT or the server's max_connections is below \
             what the fleet's pools sum up to; `poolwright plan` shows the sum)"
        ),
        Some(code) => format!("{error} ({code})"),
        None => error.to_string(),
    }
}
