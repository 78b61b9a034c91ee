//! Everything a fleet needs before it runs: a server, a port, an environment, directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use poolwright_testkit::{TestServer, built, ports};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::directory::Copy;
use crate::{Poolwright, Stack};

/// The role, password and database of the ORM's pool. Poolwright makes them from the URL.
pub(crate) const ORM: (&str, &str, &str) = ("order_desk_app", "orm-secret", "order_desk");
/// The same of the DBOS pool.
pub(crate) const DBOS: (&str, &str, &str) = ("order_desk_dbos", "dbos-secret", "order_desk_dbos");

/// The passwords that must appear in no output.
pub const SECRETS: [&str; 2] = [ORM.1, DBOS.1];

/// An empty server, and the environment of a fleet that is going to use it.
#[derive(Debug)]
pub struct Setup {
    /// Which application.
    pub stack: Stack,
    /// Its Postgres.
    pub server: TestServer,
    /// Where it will listen, on 127.0.0.1.
    pub port: u16,
    environment: BTreeMap<String, String>,
    state: TempDir,
    copy: Option<Copy>,
    ecosystem: PathBuf,
    prepared: bool,
    clock: Option<Clock>,
}

impl Setup {
    /// A fresh, empty server, and the environment that leads to it.
    pub async fn new(stack: Stack) -> Result<Self> {
        Self::on(stack, TestServer::start().await?)
    }

    /// The same on a server that runs.
    pub fn on(stack: Stack, server: TestServer) -> Result<Self> {
        let port = ports::free_port()?;
        let state = TempDir::new()?;
        let mut environment: BTreeMap<String, String> = [
            ("DATABASE_URL", server.url_as(ORM.0, ORM.1, ORM.2)?),
            (
                "DBOS_SYSTEM_DATABASE_URL",
                server.url_as(DBOS.0, DBOS.1, DBOS.2)?,
            ),
            ("ADMIN_DATABASE_URL", server.admin_url()?),
            ("ORDER_DESK_LISTEN", format!("127.0.0.1:{port}")),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("ORIGIN", format!("http://127.0.0.1:{port}")),
            // Long enough to be seen between two steps, short enough to wait for.
            ("FULFIL_SLEEP_MS", "200".to_owned()),
            (
                "POOLWRIGHT_STATE_DIR",
                path(&state.path().join("poolwright")),
            ),
            ("PM2_HOME", path(&state.path().join("pm2"))),
            ("NO_COLOR", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if stack == Stack::Axum {
            let program = built::program("order-desk-axum")?;
            environment.insert("ORDER_DESK_BIN".to_owned(), path(&program));
        }
        Ok(Self {
            stack,
            server,
            port,
            environment,
            state,
            copy: None,
            ecosystem: "ecosystem.config.cjs".into(),
            prepared: false,
            clock: None,
        })
    }

    /// Gives everything of the fleet a wall clock of its own, which is right at first. The server keeps the machine's.
    pub fn clocked(mut self) -> Result<Self> {
        let clock = Clock::right(self.state.path())?;
        for (name, value) in clock.environment() {
            self.environment.insert(name.to_owned(), value);
        }
        self.clock = Some(clock);
        Ok(self)
    }

    /// The wall clock of [`Setup::clocked`].
    pub fn clock(&self) -> Result<&Clock> {
        self.clock.as_ref().context("it has the machine's clock")
    }

    /// Where the supervisor keeps the fleet's log.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.path().join("poolwright/logs")
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Has everything of the fleet connect to this port instead of the server's.
    pub fn through(mut self, port: u16) -> Result<Self> {
        let server = format!(":{}/", self.server.port()?);
        for variable in [
            "DATABASE_URL",
            "DBOS_SYSTEM_DATABASE_URL",
            "ADMIN_DATABASE_URL",
        ] {
            let url = self.environment.get_mut(variable);
            let url = url.with_context(|| format!("no {variable}"))?;
            *url = url.replace(&server, &format!(":{port}/"));
        }
        Ok(self)
    }

    /// The supervisor's control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.state.path().join("poolwright/run/control.sock")
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Has PM2 start another ecosystem file than the application's.
    #[must_use]
    pub fn ecosystem(mut self, file: impl Into<PathBuf>) -> Self {
        self.ecosystem = file.into();
        self
    }

    /// Has PM2 start the application's ecosystem file with its pools declared in it, as a project without a `poolwright.toml`
    /// has them.
    pub fn with_pools_in_the_ecosystem_file(self) -> Result<Self> {
        let application = self.directory()?.join("ecosystem.config.cjs");
        let file = self.state.path().join("pools.config.cjs");
        let text = format!(
            "const ecosystem = require({application:?});
const pool = (max, url) => ({{ max: {{ env: max, default: 3 }}, url: {{ env: url }} }});
ecosystem.apps[0].poolwright = {{
\tpools: {{
\t\tprisma: pool('PRISMA_POOL_MAX', 'DATABASE_URL'),
\t\tdbos: {{ ...pool('DBOS_POOL_MAX', 'DBOS_SYSTEM_DATABASE_URL'), executor: true }}
\t}}
}};
module.exports = ecosystem;
"
        );
        fs::write(&file, text)?;
        Ok(self.ecosystem(file))
    }

    /// The command line tool, by the ecosystem file that PM2 starts. Node has to be on its `PATH`.
    pub fn poolwright_by_the_ecosystem_file(&self) -> Result<Poolwright> {
        let mut environment = self.environment.clone();
        environment.insert("PATH".to_owned(), path_with_node()?);
        let poolwright = Poolwright::new(self.directory()?, environment)?;
        Ok(poolwright.reading(self.ecosystem.clone()))
    }

    /// Makes databases and roles now, so that the start of the fleet does not.
    pub async fn prepared(mut self) -> Result<Self> {
        self.poolwright()?.run(&["prepare"]).await?.expect(0)?;
        self.prepared = true;
        Ok(self)
    }

    /// Runs in a copy of the application's directory, with this `.env`.
    pub fn dotenv(mut self, text: &str) -> Result<Self> {
        self.copy = Some(Copy::with_dotenv(self.stack, text)?);
        Ok(self)
    }

    /// Runs in a copy of the application's directory, whose manifest says `key = value` (in TOML) of the app where it said
    /// something else.
    pub fn declaring(self, key: &str, value: &str) -> Result<Self> {
        let setup = match self.copy {
            Some(_) => self,
            None => self.dotenv("")?,
        };
        let file = setup.directory()?.join("poolwright.toml");
        let manifest = fs::read_to_string(&file)?;
        let said = format!("{key} = ");
        ensure!(
            manifest.contains(&format!("\n{said}")),
            "no {key} in {manifest}"
        );
        let lines = manifest.lines().map(|line| match line.starts_with(&said) {
            true => format!("{said}{value}"),
            false => line.to_owned(),
        });
        fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
        Ok(setup)
    }

    /// Runs in a copy of the application's directory, whose manifest goes on with this.
    pub fn adding(self, more: &str) -> Result<Self> {
        let setup = match self.copy {
            Some(_) => self,
            None => self.dotenv("")?,
        };
        let file = setup.directory()?.join("poolwright.toml");
        let manifest = fs::read_to_string(&file)?;
        fs::write(&file, manifest + more)?;
        Ok(setup)
    }

    /// The application's directory.
    pub fn directory(&self) -> Result<PathBuf> {
        match &self.copy {
            Some(copy) => Ok(copy.directory()),
            None => self.stack.directory(),
        }
    }

    pub(crate) fn ecosystem_file(&self) -> &Path {
        &self.ecosystem
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// The environment of everything that belongs to the fleet.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Where PM2 keeps its state.
    #[must_use]
    pub fn pm2_home(&self) -> PathBuf {
        self.state.path().join("pm2")
    }

    /// The command line tool, for this fleet.
    pub fn poolwright(&self) -> Result<Poolwright> {
        Poolwright::new(self.directory()?, self.environment.clone())
    }

    /// A bare worker, as nobody's child: no manager, its own port and slot.
    pub fn bare_worker(
        &self,
        changes: &[(&str, Option<&str>)],
    ) -> Result<poolwright_testkit::Process> {
        let mut environment = self.environment.clone();
        environment.insert("PORT".to_owned(), ports::free_port()?.to_string());
        for (name, value) in changes {
            match value {
                Some(value) => environment.insert((*name).to_owned(), (*value).to_owned()),
                None => environment.remove(*name),
            };
        }
        let (program, arguments) = self.stack.worker()?;
        let mut command =
            poolwright_testkit::process::command(&program, &self.directory()?, environment);
        command.args(arguments);
        poolwright_testkit::Process::spawn(command)
    }
}

/// The `PATH` of a user of the application's Node.
pub(crate) fn path_with_node() -> Result<String> {
    let node = built::node()?;
    let bin = node.parent().context("node has no directory")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    let joined = std::env::join_paths(places)?.into_string();
    joined.map_err(|path| anyhow!("PATH is no text: {}", path.display()))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
