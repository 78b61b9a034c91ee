//! Programs that were not written for Poolwright, each in a folder of its own: see `programs/`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result};
use poolwright_testkit::{TestServer, built, ports};
use tempfile::TempDir;

use crate::Poolwright;
use crate::setup::{DBOS, ORM};

/// A copy of a program's folder, an empty server, and the environment that leads to it.
#[derive(Debug)]
pub struct Project {
    /// Its Postgres.
    pub server: TestServer,
    /// Where it will listen, on 127.0.0.1.
    pub port: u16,
    folder: TempDir,
    environment: BTreeMap<String, String>,
    manifest: &'static str,
}

impl Project {
    /// The program in `programs/<name>`, with a server of its own.
    pub async fn new(name: &str) -> Result<Self> {
        let server = TestServer::start().await?;
        let folder = TempDir::new()?;
        let program = built::repository()
            .join("tests/acceptance/programs")
            .join(name);
        for entry in fs::read_dir(&program)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
            }
        }
        let modules = built::sveltekit()?.join("node_modules");
        symlink(&modules, folder.path().join("node_modules"))?;
        let port = ports::free_port()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::iter::once(modules.join(".bin")).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(places)?.into_string();
        let environment = [
            ("PATH", path.ok().context("PATH is no text")?),
            ("PORT", port.to_string()),
            ("NO_COLOR", "1".to_owned()),
            ("ADMIN_DATABASE_URL", server.admin_url()?),
            ("DATABASE_URL", server.url_as(ORM.0, ORM.1, ORM.2)?),
            ("ORM_URL", server.url_as(ORM.0, ORM.1, ORM.2)?),
            (
                "DBOS_SYSTEM_DATABASE_URL",
                server.url_as(DBOS.0, DBOS.1, DBOS.2)?,
            ),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        Ok(Self {
            server,
            port,
            folder,
            environment: environment.into(),
            manifest: "poolwright.toml",
        })
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the variables by which libpq, and what follows it, finds its way to the ORM's database.
    pub fn with_libpq_variables(self) -> Result<Self> {
        let (role, password, database) = ORM;
        let port = self.server.port()?.to_string();
        let (role, database) = (self.server.name(role), self.server.name(database));
        Ok(self
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", port)
            .env("PGUSER", role)
            .env("PGPASSWORD", password)
            .env("PGDATABASE", database))
    }

    /// Is declared so, in a `poolwright.toml`.
    pub fn declared(self, manifest: &str) -> Result<Self> {
        fs::write(self.folder.path().join("poolwright.toml"), manifest)?;
        Ok(self)
    }

    /// Is declared by PM2's ecosystem file in its folder.
    #[must_use]
    pub fn of_pm2(mut self) -> Self {
        self.manifest = "ecosystem.config.cjs";
        self
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The command line tool, for this program.
    pub fn poolwright(&self) -> Result<Poolwright> {
        let tool = Poolwright::new(self.folder(), self.environment.clone())?;
        Ok(tool.reading(self.manifest))
    }
}
