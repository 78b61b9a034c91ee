//! Databases, roles and migrations: once, before the first worker, however many hosts start together.
//!
//! An advisory lock in the server's maintenance database lets one host work while the others wait and then
//! find everything done. Each step looks first and writes only what is missing, so that a second run changes
//! nothing. The lock lives on one session and ends with it, also when the host dies.

use crate::connect::{Error, connect};
use poolwright_topology::declare::{DatabaseUrl, Pool, Topology};
use poolwright_topology::tag::COMMAND;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, query};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `b"poolwrig"` as a number: the key of the lock, the same on every host.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"poolwrig");

/// How often a waiting host asks again. Asking, instead of waiting inside `pg_advisory_lock`, holds no
/// snapshot, which would block the winner's `CREATE INDEX CONCURRENTLY`.
const RETRY: Duration = Duration::from_millis(200);

/// What was done, for whoever shows progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another host is preparing; this one waits.
    Waiting,
    /// A login role was made.
    Role {
        /// Its name.
        name: String,
    },
    /// A database was made.
    Database {
        /// Its name.
        name: String,
        /// Its owner, where it is not the administrator.
        owner: Option<String>,
    },
    /// Migrations were applied.
    Migrated {
        /// The database.
        database: String,
        /// How many were new.
        applied: usize,
    },
    /// A role became member of a group.
    Member {
        /// The role.
        role: String,
        /// The group.
        group: String,
    },
}

/// The preparation of one server, while its lock is held.
///
/// Dropped, it closes the session and thereby ends the lock; [`Preparation::release`] does so in order.
#[derive(Debug)]
pub struct Preparation {
    admin: DatabaseUrl,
    connection: PgConnection,
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

    /// Makes what is missing of roles, databases, migrations and memberships for the pools on this server.
    ///
    /// Not cancel safe in the middle of a migration, which its transaction then undoes.
    ///
    /// # Errors
    /// [`Error`], the first; what was made before stays and is found by the next run.
    pub async fn apply(
        &mut self,
        topology: &Topology,
        base: &Path,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let pools: Vec<(&Pool, &DatabaseUrl)> = topology
            .pools()
            .filter_map(|(_, pool)| pool.url.as_ref().map(|url| (pool, url)))
            .filter(|(_, url)| url.same_server(&self.admin))
            .collect();
        for (_, url) in &pools {
            self.role(url, progress).await?;
        }
        for (pool, url) in &pools {
            self.database(pool, url, progress).await?;
        }
        let mut migrated = BTreeSet::new();
        for (pool, url) in &pools {
            if let Some(folder) = &pool.migrations
                && migrated.insert((url.database(), folder))
            {
                self.migrate(url, &base.join(folder), progress).await?;
            }
        }
        for (pool, url) in &pools {
            for group in &pool.member_of {
                self.member(&url.user(), group, progress).await?;
            }
        }
        Ok(())
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

    async fn role(
        &mut self,
        url: &DatabaseUrl,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let name = url.user();
        if self
            .exists("SELECT FROM pg_roles WHERE rolname = $1", &name)
            .await?
        {
            return Ok(());
        }
        let password = url.password().ok_or_else(|| Error::Role {
            role: name.clone(),
            reason: format!("{url} has no password to create it with"),
        })?;
        // The verifier, not the password, so that no server log can have it.
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let statement = format!(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}",
            identifier(&name),
            literal(&verifier)
        );
        self.execute(statement, format!("creating the role \"{name}\""))
            .await?;
        progress(Step::Role { name });
        Ok(())
    }

    async fn database(
        &mut self,
        pool: &Pool,
        url: &DatabaseUrl,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let name = url.database();
        if self
            .exists("SELECT FROM pg_database WHERE datname = $1", &name)
            .await?
        {
            return Ok(());
        }
        // The executor keeps its own schema up to date; the ORM's role must not own what it reads (S9).
        let owner = pool.executor.then(|| url.user());
        let mut statement = format!("CREATE DATABASE {}", identifier(&name));
        if let Some(owner) = &owner {
            statement += &format!(" OWNER {}", identifier(owner));
        }
        self.execute(statement, format!("creating the database \"{name}\""))
            .await?;
        progress(Step::Database { name, owner });
        Ok(())
    }

    async fn migrate(
        &mut self,
        url: &DatabaseUrl,
        folder: &Path,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let failed = |source| Error::Migrate {
            folder: folder.display().to_string(),
            source: Box::new(source),
        };
        let migrator = sqlx::migrate::Migrator::new(PathBuf::from(folder))
            .await
            .map_err(failed)?;
        let database = url.database();
        let mut connection = connect(&self.admin.with_database(&database), COMMAND).await?;
        let before = applied(&mut connection).await?;
        migrator.run(&mut connection).await.map_err(failed)?;
        let after = applied(&mut connection).await?;
        connection
            .close()
            .await
            .map_err(Error::query(format!("migrating \"{database}\"")))?;
        if after > before {
            progress(Step::Migrated {
                database,
                applied: after - before,
            });
        }
        Ok(())
    }

    async fn member(
        &mut self,
        role: &str,
        group: &str,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), Error> {
        let doing = format!("making \"{role}\" a member of \"{group}\"");
        let member: bool = query("SELECT pg_has_role($1::name, $2::name, 'MEMBER') AS member")
            .bind(role)
            .bind(group)
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::query(doing.clone()))?
            .get("member");
        if member {
            return Ok(());
        }
        let statement = format!("GRANT {} TO {}", identifier(group), identifier(role));
        self.execute(statement, doing).await?;
        progress(Step::Member {
            role: role.to_owned(),
            group: group.to_owned(),
        });
        Ok(())
    }

    async fn exists(&mut self, statement: &'static str, name: &str) -> Result<bool, Error> {
        let row = query(statement)
            .bind(name)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(Error::query(format!("looking for \"{name}\"")))?;
        Ok(row.is_some())
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

/// How many migrations the database has; 0 where none was ever applied.
async fn applied(connection: &mut PgConnection) -> Result<usize, Error> {
    let doing = || Error::query("counting the applied migrations");
    let there: bool = query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS there")
        .fetch_one(&mut *connection)
        .await
        .map_err(doing())?
        .get("there");
    if !there {
        return Ok(0);
    }
    let count: i64 = query("SELECT count(*) AS n FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .map_err(doing())?
        .get("n");
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A name as an SQL identifier.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as an SQL literal, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("a'\\b"), "E'a''\\\\b'");
    }
}
