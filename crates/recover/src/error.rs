//! Why work could not be recovered. Nothing was changed then.

use poolwright_observe::connect;
use std::io;

/// Why a system database could not be looked at or written to. Never carries a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached or refuses a question.
    #[error(transparent)]
    Server(#[from] connect::Error),
    /// No URL leads to a role that may write there.
    #[error(
        "the role \"{role}\" may not update dbos.workflow_status in {store}, expected the executor's own role or an administrator"
    )]
    Forbidden {
        /// Where the work is kept, `host:port/database`.
        store: String,
        /// Who tried last.
        role: String,
    },
    /// A statement failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// DBOS' own statement failed.
    #[error("re-enqueueing")]
    Reenqueue(#[source] Box<dbos::sysdb::Error>),
    /// The lock of an executor id cannot be asked for.
    #[error("looking whether a process of this host holds the executor id {executor_id}")]
    Lock {
        /// The id.
        executor_id: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Somebody else is at it, for longer than anybody should be.
    #[error("another recovery is working on {store}, and has not ended within {after} s")]
    Busy {
        /// Where the work is kept.
        store: String,
        /// How long it was waited, in seconds.
        after: u64,
    },
    /// Executors came and went under every attempt.
    #[error("the workflows in {store} changed under every one of {attempts} attempts")]
    Restless {
        /// Where the work is kept.
        store: String,
        /// How many.
        attempts: u32,
    },
    /// No answer.
    #[error("no answer from {store} within {after} s")]
    Silent {
        /// Where the work is kept.
        store: String,
        /// How long it was waited, in seconds.
        after: u64,
    },
}

impl Error {
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query {
            doing,
            source: Box::new(source),
        }
    }

    /// Whether somebody else changed a row that this transaction wanted to change: `serialization_failure`, or
    /// `in_failed_sql_transaction` where DBOS tried again after one.
    pub(crate) fn changed_meanwhile(&self) -> bool {
        let code = match self {
            Self::Query { source, .. } => source
                .as_database_error()
                .and_then(|error| error.code().map(Into::into)),
            Self::Reenqueue(error) => match error.as_ref() {
                dbos::sysdb::Error::Backend(error) => error.sqlstate.clone(),
                _ => None,
            },
            _ => None,
        };
        matches!(code.as_deref(), Some("40001" | "25P02"))
    }
}
