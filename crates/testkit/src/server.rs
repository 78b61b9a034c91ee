//! A Postgres with nothing in it.

use anyhow::{Context, Result, bail, ensure};
use poolwright_embedded::{Options, Server};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tempfile::TempDir;
use url::Url;

/// The variable that names a server to use instead of an embedded one.
pub const GIVEN: &str = "POOLWRIGHT_TEST_DATABASE_URL";

/// A server that starts empty: a fresh embedded one, or a fresh set of names on a server that is
/// given.
///
/// Databases and roles are called what [`TestServer::name`] says, so that tests on a shared server
/// do not meet. None of them exists at first. [`TestServer::stop`] removes them; a test that fails
/// leaves them on a given server, for a look. Tests that count the whole server's sessions run one at
/// a time there (`cargo nextest run -j 1`): all fleets have the same names for them.
#[derive(Debug)]
pub struct TestServer {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Embedded(Server),
    /// With data that outlive it. The folder is removed after the server, which is dropped first.
    Lasting {
        server: Server,
        options: Options,
        _folder: TempDir,
    },
    Given {
        url: Url,
        suffix: String,
    },
}

impl TestServer {
    /// A server with `max_connections = 100`.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::test()).await
    }

    /// A server with settings of its own. A given server keeps its settings: tests that depend on
    /// theirs use [`TestServer::embedded`].
    pub async fn start_with(options: Options) -> Result<Self> {
        let Ok(given) = std::env::var(GIVEN) else {
            return Self::embedded(options).await;
        };
        // The parser's error quotes nothing of the URL.
        let url = Url::parse(&given).with_context(|| format!("{GIVEN} is not a URL"))?;
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        let suffix = suffix.get(..8).unwrap_or_default().to_owned();
        Ok(Self {
            place: Place::Given { url, suffix },
        })
    }

    /// An embedded server, also where another one is given.
    pub async fn embedded(options: Options) -> Result<Self> {
        Ok(Self {
            place: Place::Embedded(Server::start(options).await?),
        })
    }

    /// An embedded server that can be away for a while: see [`TestServer::down`].
    pub async fn lasting() -> Result<Self> {
        let folder = TempDir::new()?;
        let options = Options::development(folder.path().join("postgres"));
        Ok(Self {
            place: Place::Lasting {
                server: Server::start(options.clone()).await?,
                options,
                _folder: folder,
            },
        })
    }

    /// Stops a [`TestServer::lasting`] server as an operator does: every session ends at once.
    pub async fn down(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Lasting { server, .. } => Ok(server.halt().await?),
            _ => bail!("only a lasting server can be away"),
        }
    }

    /// Starts it again, with its data and on its port.
    pub async fn up(&mut self) -> Result<()> {
        let Place::Lasting {
            server, options, ..
        } = &mut self.place
        else {
            bail!("only a lasting server can come back");
        };
        let port = server.port();
        *server = Server::start(options.clone()).await?;
        ensure!(server.port() == port, "somebody took the port {port}");
        Ok(())
    }

    /// What the database or role `wanted` is called on this server.
    #[must_use]
    pub fn name(&self, wanted: &str) -> String {
        match &self.place {
            Place::Embedded(_) | Place::Lasting { .. } => wanted.to_owned(),
            Place::Given { suffix, .. } => format!("{wanted}_{suffix}"),
        }
    }

    /// The superuser's URL of the database that is there from the start.
    pub fn admin_url(&self) -> Result<String> {
        match &self.place {
            Place::Embedded(server) | Place::Lasting { server, .. } => Ok(server.url("postgres")),
            Place::Given { url, .. } => Ok(url.to_string()),
        }
    }

    /// The superuser's URL of the database `database` (before [`TestServer::name`]).
    pub fn superuser_url(&self, database: &str) -> Result<String> {
        let mut url = Url::parse(&self.admin_url()?)?;
        url.set_path(&self.name(database));
        Ok(url.into())
    }

    /// The URL of `database` for `role` (both before [`TestServer::name`]).
    pub fn url_as(&self, role: &str, password: &str, database: &str) -> Result<String> {
        let mut url = Url::parse(&self.superuser_url(database)?)?;
        let set = url
            .set_username(&self.name(role))
            .and_then(|()| url.set_password(Some(password)));
        ensure!(set.is_ok(), "the server's URL takes no user");
        Ok(url.into())
    }

    /// The port, as the superuser's URL says it.
    pub fn port(&self) -> Result<u16> {
        Ok(Url::parse(&self.admin_url()?)?.port().unwrap_or(5432))
    }

    /// The superuser's connection to the database that is there from the start, under the name
    /// `testkit`.
    pub async fn admin(&self) -> Result<PgConnection> {
        connect(&self.admin_url()?).await
    }

    /// The superuser's connection to `database` (before [`TestServer::name`]), under the name
    /// `testkit`.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        connect(&self.superuser_url(database)?).await
    }

    /// Makes an empty database; answers with the superuser's URL of it.
    pub async fn create_database(&self, database: &str) -> Result<String> {
        let statement = format!("CREATE DATABASE \"{}\"", self.name(database));
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut self.admin().await?)
            .await?;
        self.superuser_url(database)
    }

    /// Stops an embedded server; on a given one, drops the databases and roles of this test.
    pub async fn stop(self) -> Result<()> {
        match self.place {
            Place::Embedded(server) | Place::Lasting { server, .. } => Ok(server.stop().await?),
            Place::Given { url, suffix } => clean(url.as_str(), &suffix).await,
        }
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = url
        .parse::<sqlx::postgres::PgConnectOptions>()?
        .application_name("testkit");
    Ok(PgConnection::connect_with(&options).await?)
}

async fn clean(url: &str, suffix: &str) -> Result<()> {
    let mut admin = connect(url).await?;
    let statements = sqlx::query(
        r"SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
          WHERE right(datname, length($1) + 1) = '_' || $1
          UNION ALL
          SELECT format('DROP ROLE %I', rolname) FROM pg_roles
          WHERE right(rolname, length($1) + 1) = '_' || $1",
    )
    .bind(suffix)
    .fetch_all(&mut admin)
    .await?;
    for statement in statements {
        let statement: String = statement.try_get(0)?;
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut admin)
            .await?;
    }
    Ok(admin.close().await?)
}
