//! One connection, named, with errors that say what to do.

use poolwright_topology::budget::BudgetError;
use poolwright_topology::declare::DatabaseUrl;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::str::FromStr;
use std::time::Duration;

/// A server that does not answer for this long is reported instead of waited for.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server could not be asked. Never carries a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("no connection to {url}: {reason}")]
    Connect {
        /// The URL, password hidden.
        url: String,
        /// In words, with what to do where that is known.
        reason: String,
        /// The driver's error.
        #[source]
        source: Option<Box<sqlx::Error>>,
    },
    /// A statement failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: String,
        /// The driver's error.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// A migration failed.
    #[error("migrations of {folder}")]
    Migrate {
        /// Their folder.
        folder: String,
        /// What the migrator says.
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// The pools of a role sum up to more than any server has.
    #[error(transparent)]
    Budget(BudgetError),
    /// A role has no password to be created with.
    #[error("role \"{role}\" does not exist, and {reason}")]
    Role {
        /// The role.
        role: String,
        /// What is missing.
        reason: String,
    },
}

impl Error {
    pub(crate) fn query(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Query {
            doing,
            source: Box::new(source),
        }
    }

    /// Postgres' SQLSTATE, where it was Postgres that refused.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let source = match self {
            Self::Connect { source, .. } => source.as_deref()?,
            Self::Query { source, .. } => source,
            Self::Migrate { .. } | Self::Role { .. } | Self::Budget(_) => return None,
        };
        source.as_database_error()?.code().map(Into::into)
    }
}

/// Connects under `application_name`. Cancel safe: a dropped attempt closes its socket.
///
/// # Errors
/// [`Error::Connect`] with what was tried and why it failed.
pub async fn connect(url: &DatabaseUrl, application_name: &str) -> Result<PgConnection, Error> {
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|source| Error::Connect {
            url: url.to_string(),
            reason: "the driver does not take this URL".into(),
            source: Some(Box::new(source)),
        })?
        .application_name(application_name)
        .disable_statement_logging();
    let attempt = PgConnection::connect_with(&options);
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(source)) => Err(Error::Connect {
            url: url.to_string(),
            reason: explain(&source),
            source: Some(Box::new(source)),
        }),
        Err(_elapsed) => Err(Error::Connect {
            url: url.to_string(),
            reason: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            source: None,
        }),
    }
}

fn explain(error: &sqlx::Error) -> String {
    if let Some(refusal) = error.as_database_error() {
        let said = refusal.message();
        return match refusal.code().as_deref() {
            Some("3D000") => format!("{said}; `poolwright prepare` creates it"),
            Some("28P01") | Some("28000") => {
                format!(
                    "{said}; check user and password, or let `poolwright prepare` create the role"
                )
            }
            Some("53300") => format!(
                "{said}; the server has no connection left, `poolwright plan` shows the sum"
            ),
            _ => said.to_owned(),
        };
    }
    match error {
        sqlx::Error::Io(source) => format!("{source}; is the server running there?"),
        other => other.to_string(),
    }
}
