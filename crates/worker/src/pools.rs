//! The ORM pool: the only place of a worker that makes one.
//!
//! Invariant: the pool holds exactly its maximum, from start to end. A fixed size makes the steady
//! state the declared number instead of "up to" it, and moves the cost of connecting, and every
//! refusal, to the start of the process.

mod limit;
pub(crate) mod loan;

pub(crate) use loan::Loan;

use crate::settings::DatabaseUrl;
use futures::future::{join_all, try_join_all};
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

/// How long one connection may take to be let in or refused, where somebody wants to know why.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a statement may take before Postgres ends it. Who asked has given up long before; and what is not answered in this
/// time and [`TEST_TIMEOUT`] more never will be.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How Postgres finds out that a client has gone without a word: after 90 seconds, and not after the two hours of its system's own
/// settings. Until then the client's session is one more than the fleet has. A transaction in which nobody asks anything ends sooner,
/// when a statement would: whoever asks for the same again over another connection waits for its locks.
pub(crate) const WHEN_CLIENTS_GO: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("idle_in_transaction_session_timeout", "30s"),
];

/// How long the beginning of a transaction may take before its connection counts as lost. It does nothing that takes time; a
/// server that is too busy for it is still told from one that is gone.
pub(crate) const BEGIN_TIMEOUT: Duration = Duration::from_secs(2);

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
        let pool = PgPoolOptions::new()
            // No `min_connections`: the pool would fill itself in the background, count connections
            // that are still being opened as open, and keep a refusal to itself.
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
            })
            .connect_lazy_with(options);
        let pool = Self {
            orm: SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone()),
            pool,
            opened,
        };
        // All at once, and none given back before the last has come: so each is a connection of its
        // own, and the pool is full when this is done.
        if let Err(source) = try_join_all((0..max).map(|_| pool.lend())).await {
            pool.close().await;
            let cause = match source {
                sqlx::Error::PoolTimedOut => refusal(url, application_name, max).await,
                _ => None,
            };
            let cause = match cause {
                Some(cause) => cause,
                None => explain(&source, None).await,
            };
            return Err(PoolError::Open {
                pool: POOL,
                max,
                cause,
                source,
            });
        }
        Ok(pool)
    }

    /// Lends a connection. Cancel safe.
    pub(crate) async fn lend(&self) -> Result<Loan, sqlx::Error> {
        Ok(Loan::new(self.pool.acquire().await?))
    }

    /// SeaORM's handle to the pool; clones share the connections. Without a tenant, and with none of the limits of
    /// [`crate::Tenants`]' transactions.
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

    /// Finds out what was lost since and opens it again, so that a pool without traffic is full too.
    ///
    /// Holds what is idle meanwhile: for a round trip, or up to [`TEST_TIMEOUT`] when one of them
    /// does not answer. Let go before, an idle connection would be lent out again where another
    /// is to be opened. Cancel safe.
    ///
    /// # Errors
    /// Why the pool is not full, in words: what Postgres says, and who holds the connections where it refused one for a
    /// limit.
    pub async fn refill(&self) -> Result<(), String> {
        let mut idle = Vec::new();
        while let Some(connection) = self.pool.try_acquire() {
            idle.push(Loan::new(connection));
        }
        let tested = idle.into_iter().map(async |mut connection| {
            let answers = connection.test().await;
            answers.then_some(connection)
        });
        let held = join_all(tested).await;
        let missing = self.max().saturating_sub(self.pool.size());
        let opened = join_all((0..missing).map(|_| self.lend())).await;
        match opened.iter().find_map(|opened| opened.as_ref().err()) {
            Some(error) => {
                let asked = held.into_iter().flatten().next();
                Err(self.not_filled(error, asked).await)
            }
            None => Ok(()),
        }
    }

    /// Why the pool could not be filled, by one attempt without it: see [`refusal`]. `asked` is a connection of the pool
    /// over which Postgres says who is in the way.
    async fn not_filled(&self, error: &sqlx::Error, asked: Option<Loan>) -> String {
        let options = self.pool.connect_options();
        let attempt = PgConnection::connect_with(&options);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Err(refused)) => match asked {
                Some(mut asked) => explain(&refused, asked.connection()).await,
                None => explain(&refused, None).await,
            },
            Ok(Ok(late)) => {
                late.close().await.ok();
                explain(error, None).await
            }
            Err(_) => explain(error, None).await,
        }
    }

    /// Waits for every connection to come back and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Says why Postgres does not let `max` connections in, by opening them once more without a pool.
///
/// A pool retries a refusal for want of room (53300) until its timeout and then says only that
/// time ran out. To be called when that pool has given up: these connections stand in the place of
/// its own.
pub async fn refusal(url: &DatabaseUrl, application_name: &str, max: u32) -> Option<String> {
    let options = options(url, application_name).ok()?;
    let mut opened = Vec::new();
    let mut refused = None;
    for _ in 0..max {
        let attempt = PgConnection::connect_with(&options);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => opened.push(connection),
            Ok(Err(error)) => refused = Some(explain(&error, opened.last_mut()).await),
            Err(_) => refused = Some("no answer from the server".to_owned()),
        }
        if refused.is_some() {
            break;
        }
    }
    join_all(opened.into_iter().map(Connection::close)).await;
    refused
}

fn options(url: &DatabaseUrl, application_name: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.named(application_name).parse()?;
    let statement_timeout = STATEMENT_TIMEOUT.as_millis().to_string();
    Ok(options
        .disable_statement_logging()
        .options([("statement_timeout", statement_timeout.as_str())])
        .options(WHEN_CLIENTS_GO))
}

async fn answers(connection: &mut PgConnection) -> bool {
    let test = connection.ping();
    matches!(tokio::time::timeout(TEST_TIMEOUT, test).await, Ok(Ok(())))
}

/// What Postgres says, and where that is known what to do. A refusal for a limit goes on with who holds the connections, if
/// there is one to ask over.
async fn explain(error: &sqlx::Error, asked: Option<&mut PgConnection>) -> String {
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()));
    let Some(code) = code else {
        return error.to_string();
    };
    if !limit::is_reached(error) {
        return format!("{error} ({code})");
    }
    let held = match asked {
        Some(asked) => tokio::time::timeout(TEST_TIMEOUT, limit::holders(asked, error))
            .await
            .ok()
            .flatten(),
        None => None,
    };
    let held = held.unwrap_or_else(|| "no connection is left to ask who holds them".to_owned());
    format!(
        "{error} ({code}): {held}. What the fleet's pools sum up to has to fit into the role's CONNECTION LIMIT and the \
         server's max_connections; `poolwright plan` shows the sum"
    )
}
