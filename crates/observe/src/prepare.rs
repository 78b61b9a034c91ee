//! Databases, roles and migrations: once, before the first worker, however many hosts start together.
//!
//! What there is to do is decided by [`poolwright_topology::prepare`] on what is found here, and made here, change by
//! change. An advisory lock in the server's maintenance database lets one host work while the others wait and then
//! find everything done. The lock lives on one session and ends with it, also when the host dies.

mod found;
mod statement;

use crate::connect::{Error, connect};
use poolwright_topology::declare::{DatabaseUrl, Topology};
use poolwright_topology::prepare::{self, Change, Preparation as Planned};
use poolwright_topology::tag::COMMAND;
use postgres_protocol::password::scram_sha_256;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, query};
use statement::identifier;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use statement::shown;

/// `b"poolwrig"` as a number: the key of the lock, the same on every host.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"poolwrig");

/// How often a waiting host asks again. Asking, instead of waiting inside `pg_advisory_lock`, holds no
/// snapshot, which would block the winner's `CREATE INDEX CONCURRENTLY`.
const RETRY: Duration = Duration::from_millis(200);

/// What happens, for whoever shows progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another host is preparing; this one waits.
    Waiting,
    /// A change was made.
    Made(Change),
}

/// The preparation of one server, while its lock is held.
///
/// Dropped, it closes the session and thereby ends the lock; [`Preparation::release`] does so in order.
#[derive(Debug)]
pub struct Preparation {
    admin: DatabaseUrl,
    connection: PgConnection,
}

/// Which of the roles' limits are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// Those that are too low: before a fleet grows.
    Raised,
    /// Those that are higher than need be: after it has shrunk. None below the sessions that there are.
    Lowered,
}

impl Limits {
    /// What is being done, for errors.
    #[must_use]
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Raised => "raising the roles' limits",
            Self::Lowered => "lowering the roles' limits",
        }
    }
}

impl Preparation {
    /// Takes the lock of the server that `admin` reaches, waiting for another host's preparation to end.
    ///
    /// Cancel safe: without an answer nothing was changed.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be reached.
    pub async fn begin(
        admin: &DatabaseUrl,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Self, Error> {
        // Advisory locks are per database: every host has to lock in the same one, and the URL's own may
        // not exist yet.
        let maintenance = connect(&admin.with_database("postgres"), COMMAND).await;
        let mut connection = match maintenance {
            Ok(connection) => connection,
            Err(_) => connect(admin, COMMAND).await?,
        };
        let mut waits = false;
        loop {
            let locked: bool = query("SELECT pg_try_advisory_lock($1) AS locked")
                .bind(LOCK_KEY)
                .fetch_one(&mut connection)
                .await
                .map_err(Error::query("taking the lock of the preparation"))?
                .get("locked");
            if locked {
                break;
            }
            if !std::mem::replace(&mut waits, true) {
                progress(Step::Waiting);
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(Self {
            admin: admin.clone(),
            connection,
        })
    }

    /// What has to be changed for the pools on this server; `base` is where the folders of migrations are. Reads only;
    /// cancel safe.
    ///
    /// # Errors
    /// [`Error`] when the server or a folder of migrations cannot be read.
    pub async fn plan(&mut self, topology: &Topology, base: &Path) -> Result<Planned, Error> {
        let mut found = found::read(&mut self.connection, &self.admin, topology).await?;
        found.pending = found::pending(&self.admin, topology, &found.databases, base).await?;
        prepare::plan(topology, &self.admin.server(), &found).map_err(Error::Budget)
    }

    /// Moves the limits of roles to what this topology needs, in one direction, and changes nothing else. Cancel safe: each
    /// limit is moved or not.
    ///
    /// # Errors
    /// [`Error`], the first; limits that were moved before stay.
    pub async fn set_limits(&mut self, topology: &Topology, limits: Limits) -> Result<(), Error> {
        let found = found::read(&mut self.connection, &self.admin, topology).await?;
        let planned = prepare::plan(topology, &self.admin.server(), &found);
        let planned = planned.map_err(Error::Budget)?;
        let changes = match limits {
            Limits::Raised => planned.raised(),
            Limits::Lowered => planned.lowered(),
        };
        for change in changes {
            for statement in statement::of(&change, "") {
                self.execute(statement, statement::doing(&change)).await?;
            }
        }
        Ok(())
    }

    /// Makes these changes and no others, in their order. `passwords` has one for every role that is to be
    /// created; `base` is where the folders of migrations are.
    ///
    /// Not cancel safe in the middle of a migration, which its transaction then undoes.
    ///
    /// # Errors
    /// [`Error`], the first; what was made before stays and is found by the next plan.
    pub async fn enact(
        &mut self,
        changes: &[Change],
        passwords: &Passwords,
        base: &Path,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        for change in changes {
            match change {
                Change::CreateRole { role, .. } => {
                    let password = passwords.of(role).ok_or_else(|| Error::Role {
                        role: role.clone(),
                        reason: "there is no password to create it with; expected one in its URL, or [enforce] to generate one".into(),
                    })?;
                    // The verifier, not the password, so that no server log can have it.
                    let verifier = scram_sha_256(password.as_bytes());
                    self.together(change, statement::of(change, &verifier))
                        .await?;
                }
                Change::CreateDatabase { owner, .. } => {
                    if let Some(owner) = owner {
                        self.stand_for(owner).await?;
                    }
                    // `CREATE DATABASE` takes part in no transaction.
                    for statement in statement::of(change, "") {
                        self.execute(statement, statement::doing(change)).await?;
                    }
                }
                Change::Migrate {
                    database, folder, ..
                } => {
                    self.migrate(database, &base.join(folder)).await?;
                }
                Change::RevokePublicCreate { database } => {
                    let mut there = connect(&self.admin.with_database(database), COMMAND).await?;
                    for statement in statement::of(change, "") {
                        query(AssertSqlSafe(statement))
                            .execute(&mut there)
                            .await
                            .map_err(Error::query(statement::doing(change)))?;
                    }
                }
                change => self.together(change, statement::of(change, "")).await?,
            }
            progress(Step::Made(change.clone()));
        }
        Ok(())
    }

    /// Plans and enacts, with the passwords of the pools' URLs.
    ///
    /// # Errors
    /// Like [`Preparation::plan`] and [`Preparation::enact`].
    pub async fn apply(
        &mut self,
        topology: &Topology,
        base: &Path,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let planned = self.plan(topology, base).await?;
        let passwords = Passwords::of_urls(topology, &self.admin);
        self.enact(&planned.changes, &passwords, base, progress)
            .await
    }

    /// Ends the lock and the session.
    ///
    /// # Errors
    /// [`Error::Query`] when the server is gone; the lock is then gone as well.
    pub async fn release(self) -> Result<(), Error> {
        self.connection
            .close()
            .await
            .map_err(Error::query("ending the preparation"))
    }

    async fn migrate(&self, database: &str, folder: &Path) -> Result<(), Error> {
        let migrator = found::migrator(folder).await?;
        let mut connection = connect(&self.admin.with_database(database), COMMAND).await?;
        migrator
            .run(&mut connection)
            .await
            .map_err(|source| found::migrating(folder, source))?;
        connection
            .close()
            .await
            .map_err(Error::query(format!("migrating \"{database}\"")))
    }

    /// An administrator who is no superuser has to be a member of the role that he makes the owner of a database.
    async fn stand_for(&mut self, owner: &str) -> Result<(), Error> {
        let doing = || format!("creating a database for the role \"{owner}\"");
        let stands: bool = query("SELECT pg_has_role(current_user, $1::name, 'USAGE')")
            .bind(owner)
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::query(doing()))?
            .get(0);
        if stands {
            return Ok(());
        }
        let statement = format!("GRANT {} TO CURRENT_USER", identifier(owner));
        self.execute(statement, doing()).await
    }

    async fn together(&mut self, change: &Change, statements: Vec<String>) -> Result<(), Error> {
        let doing = || Error::query(statement::doing(change));
        let mut transaction = self.connection.begin().await.map_err(doing())?;
        for statement in statements {
            query(AssertSqlSafe(statement))
                .execute(&mut *transaction)
                .await
                .map_err(doing())?;
        }
        transaction.commit().await.map_err(doing())
    }

    /// For statements that take no parameters; every name in them went through [`identifier`].
    async fn execute(&mut self, statement: String, doing: String) -> Result<(), Error> {
        query(AssertSqlSafe(statement))
            .execute(&mut self.connection)
            .await
            .map_err(Error::query(doing))?;
        Ok(())
    }
}

/// The passwords of roles, by their names. Shown nowhere.
#[derive(Clone, Default)]
pub struct Passwords(BTreeMap<String, String>);

impl Passwords {
    /// Those of the pools' URLs on the server of `admin`, and of the monitor's.
    #[must_use]
    pub fn of_urls(topology: &Topology, admin: &DatabaseUrl) -> Self {
        let monitor = topology
            .enforce
            .as_ref()
            .and_then(|e| e.monitor.url.as_ref());
        let urls = topology.pools().filter_map(|(_, pool)| pool.url.as_ref());
        Self(
            urls.chain(monitor)
                .filter(|url| url.same_server(admin))
                .filter_map(|url| Some((url.user(), url.password()?)))
                .collect(),
        )
    }

    /// Adds one.
    pub fn add(&mut self, role: impl Into<String>, password: impl Into<String>) {
        self.0.insert(role.into(), password.into());
    }

    /// The password of a role.
    #[must_use]
    pub fn of(&self, role: &str) -> Option<&str> {
        self.0.get(role).map(String::as_str)
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
