//! The DBOS executor of this process: the only place that launches one.
//!
//! Invariant: a process launches at most one executor, however often and from however many tasks
//! [`ensure_dbos_launched`] is reached. The SDK's own launch is idempotent per instance, but a second
//! instance would be a second executor; so the instance lives here, in a static, and is made once.

use crate::abandoned;
use crate::identity::Identity;
use crate::pools::{WHEN_CLIENTS_GO, refusal};
use crate::settings::DatabaseUrl;
use dbos::sysdb::types::{WorkflowFilter, WorkflowStatus};
use dbos::sysdb::{SystemDatabase, postgres};
use dbos::{Config, DBOS};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

static EXECUTOR: OnceLock<Executor> = OnceLock::new();

/// How often a drain looks whether its workflows have finished.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// What the executor is launched with, complete before launch.
#[derive(Debug, Clone)]
pub struct ExecutorSettings {
    /// The application's name in DBOS: the fleet's, not the worker's.
    pub app_name: String,
    /// The version of the code; only workflows of the same version are recovered.
    pub app_version: String,
    /// Who the executor is.
    pub identity: Identity,
    /// The system database.
    pub url: DatabaseUrl,
    /// The size of its pool, in connections; at least 2.
    pub max: u32,
}

/// The executor of this process, launched or not.
#[derive(Debug)]
pub struct Executor {
    dbos: DBOS,
    settings: ExecutorSettings,
    launched: OnceCell<()>,
}

/// Why the executor could not be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Nobody has said yet what to launch.
    #[error("no executor is declared in this process: open the worker before launching")]
    Undeclared,
    /// Another executor was declared before.
    #[error("an executor is declared in this process already, as {executor_id}")]
    Declared {
        /// Its id.
        executor_id: String,
    },
    /// DBOS or its database refuses.
    #[error("executor {executor_id} could not be launched{}", cause.as_deref().map(|c| format!(": {c}")).unwrap_or_default())]
    Launch {
        /// Its id.
        executor_id: String,
        /// What Postgres says to a connection of its own, if it refuses that too.
        cause: Option<String>,
        /// What DBOS says.
        #[source]
        source: Box<dbos::Error>,
    },
}

/// Declares the executor of this process. Opens nothing; workflows are registered on its
/// [`Executor::dbos`] before the launch.
///
/// # Errors
/// [`LaunchError::Declared`] when there is one already.
pub fn declare(settings: ExecutorSettings) -> Result<&'static Executor, LaunchError> {
    let executor = Executor {
        dbos: DBOS::new(settings.config()),
        settings,
        launched: OnceCell::new(),
    };
    let refused = EXECUTOR.set(executor).is_err();
    match EXECUTOR.get() {
        Some(executor) if !refused => Ok(executor),
        Some(executor) => Err(LaunchError::Declared {
            executor_id: executor.settings.identity.executor_id(),
        }),
        None => Err(LaunchError::Undeclared),
    }
}

/// Launches the executor of this process unless it is launched, and fills its pool.
///
/// Any number of concurrent callers make one launch and get the same executor; when it fails,
/// whoever calls next tries again. Cancel safe: a cancelled caller leaves the launch to the next.
///
/// # Errors
/// [`LaunchError`] when none is declared, or DBOS or its database refuses.
pub async fn ensure_dbos_launched() -> Result<&'static Executor, LaunchError> {
    let executor = EXECUTOR.get().ok_or(LaunchError::Undeclared)?;
    executor
        .launched
        .get_or_try_init(|| executor.launch())
        .await?;
    Ok(executor)
}

impl ExecutorSettings {
    fn config(&self) -> Config {
        Config {
            app_version: Some(self.app_version.clone()),
            executor_id: Some(self.identity.executor_id()),
            max_connections: self.max,
            // With `true` every worker would migrate at once, over a connection beyond the pool.
            migrate: false,
            use_listen_notify: true,
            ..Config::new(&self.app_name, self.watched())
        }
    }
}

impl ExecutorSettings {
    /// The URL of the SDK's pool. What else there is to say about its sessions can only be said there.
    fn watched(&self) -> String {
        let mut url = self.url.named(self.identity.dbos_name());
        for (setting, value) in WHEN_CLIENTS_GO {
            url.push_str(&format!("&options[{setting}]={value}"));
        }
        url
    }
}

impl Executor {
    /// The SDK's handle: to register workflows before the launch, to use them after it.
    #[must_use]
    pub const fn dbos(&self) -> &DBOS {
        &self.dbos
    }

    /// What it was declared with.
    #[must_use]
    pub const fn settings(&self) -> &ExecutorSettings {
        &self.settings
    }

    async fn launch(&self) -> Result<(), LaunchError> {
        if let Err(source) = self.dbos.launch().await {
            let name = self.settings.identity.dbos_name();
            return Err(LaunchError::Launch {
                executor_id: self.settings.identity.executor_id(),
                cause: refusal(&self.settings.url, name, self.settings.max).await,
                source: Box::new(source),
            });
        }
        if let Err(source) = self.fill().await {
            self.dbos.shutdown().await;
            return Err(LaunchError::Launch {
                executor_id: self.settings.identity.executor_id(),
                cause: None,
                source: Box::new(source),
            });
        }
        Ok(())
    }

    /// Makes the SDK's pool open all its connections, and keeps them from being closed as idle.
    ///
    /// The SDK makes its pool itself, with sqlx's defaults: connections open when they are needed and
    /// close after 10 minutes unused or 30 minutes of age. As many reads at once as the pool has
    /// places need them all: the reads are polled in turn by one task, so each has taken or opened
    /// a connection before the first is answered. Called again and again, no connection is ever
    /// idle for long, and one that grew old is replaced within the interval.
    ///
    /// What another task has taken a place for counts as taken, although it is still being opened:
    /// [`crate::gauges::Gauges::until_full`] waits for that. Cancel safe.
    ///
    /// # Errors
    /// The first that a read met.
    pub async fn fill(&self) -> dbos::Result<()> {
        let reads = (0..self.settings.max).map(|_| self.answers());
        futures::future::try_join_all(reads).await.map(drop)
    }

    /// Makes one cheap read over the DBOS pool. Cancel safe.
    ///
    /// # Errors
    /// What it met.
    pub async fn answers(&self) -> dbos::Result<()> {
        let none = WorkflowFilter {
            workflow_ids: vec!["poolwright:none"],
            limit: Some(1),
            ..WorkflowFilter::default()
        };
        self.dbos.list_workflows(&none).await.map(drop)
    }

    /// Resumes the workflows whose run has ended here and that are pending nevertheless, and says which.
    ///
    /// Whoever runs a workflow says so by [`crate::workflow`]; of others nothing is known, and nothing is done. Cancel safe: what was not
    /// resumed is due the next time.
    ///
    /// # Errors
    /// What the first call met.
    pub async fn take_up_abandoned(&self) -> dbos::Result<Vec<String>> {
        let due = abandoned::due();
        if due.is_empty() {
            return Ok(due);
        }
        let executor_id = self.settings.identity.executor_id();
        let pending = WorkflowFilter {
            workflow_ids: due.iter().map(String::as_str).collect(),
            status: vec![WorkflowStatus::Pending],
            executor_ids: vec![&executor_id],
            load_input: false,
            load_output: false,
            ..WorkflowFilter::default()
        };
        let pending = self.dbos.list_workflows(&pending).await?;
        let ids: Vec<String> = pending.into_iter().map(|row| row.workflow_id).collect();
        for id in &ids {
            self.dbos.resume::<(), dbos::EngineOnly>(id).await?;
        }
        abandoned::settled(&due);
        Ok(ids)
    }

    /// Waits until no workflow of this executor is running, at most until `deadline`. Says whether
    /// they finished.
    ///
    /// Asks the database instead of counting tasks: the SDK shows no count, and a workflow has ended
    /// when its end is recorded, which is after its last line ran. Cancel safe.
    pub async fn settle(&self, deadline: Instant) -> bool {
        let executor_id = self.settings.identity.executor_id();
        let running = WorkflowFilter {
            status: vec![WorkflowStatus::Pending],
            executor_ids: vec![&executor_id],
            application_versions: vec![&self.settings.app_version],
            limit: Some(1),
            load_input: false,
            load_output: false,
            ..WorkflowFilter::default()
        };
        loop {
            let read = tokio::time::timeout_at(deadline, self.dbos.list_workflows(&running)).await;
            match read {
                Ok(Ok(rows)) if rows.is_empty() => return true,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot see which workflows are running");
                    return false;
                }
                Err(_) => return false,
            }
            if Instant::now() + DRAIN_POLL >= deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Stops what is running and closes the pool. Workflows that had not finished stay pending, and
    /// are recovered by the next launch under this id.
    pub async fn shutdown(&self) {
        self.dbos.shutdown().await;
    }
}

/// Creates or updates the DBOS schema of a system database, as the role of `url`. For a command
/// that runs once before the first worker; workers never migrate.
///
/// # Errors
/// What the SDK says.
pub async fn migrate(url: &DatabaseUrl) -> Result<(), dbos::sysdb::Error> {
    let url = url.named("poolwright");
    let database = postgres::PostgresSystemDatabase::connect(&postgres::Config {
        max_connections: 1,
        migrate: true,
        use_listen_notify: true,
        ..postgres::Config::new(&url)
    })
    .await?;
    database.close().await;
    Ok(())
}
