//! PM2 as a user runs it, with a home of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::built;
use poolwright_testkit::process::{self, shown};

use crate::Setup;
use crate::setup::path_with_node;

/// `pm2 start` returns after its `listen_timeout` at the latest.
const LIMIT: Duration = Duration::from_secs(90);

/// A PM2 daemon and its processes; both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Pm2 {
    home: PathBuf,
    directory: PathBuf,
    ecosystem: String,
    environment: Vec<(OsString, OsString)>,
}

impl Pm2 {
    /// `pm2 start ecosystem.config.cjs --env production`, or another file that is set up.
    pub(crate) async fn start(setup: &Setup) -> Result<Self> {
        let mut environment: Vec<(OsString, OsString)> = setup
            .environment()
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // PM2 is a script that runs on the Node it finds; it has to be the application's.
        environment.push(("PATH".into(), path_with_node()?.into()));
        let pm2 = Self {
            home: setup.pm2_home(),
            directory: setup.directory()?,
            ecosystem: setup.ecosystem_file().display().to_string(),
            environment,
        };
        pm2.run(&["start", &pm2.ecosystem, "--env", "production"])
            .await?;
        Ok(pm2)
    }

    /// `pm2 reload`, of the same file.
    pub(crate) async fn reload(&self) -> Result<()> {
        self.run(&["reload", &self.ecosystem, "--env", "production"])
            .await
    }

    /// `pm2 scale`, to its end.
    pub(crate) async fn scale(&self, workers: usize) -> Result<()> {
        self.run(&["scale", "web", &workers.to_string()]).await
    }

    /// The daemon, which is the primary of a cluster.
    pub(crate) fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.home.join("pm2.pid"))?;
        text.trim().parse().context("no pid in pm2.pid")
    }

    /// Every line that its processes printed on standard output.
    pub(crate) fn lines(&self) -> Result<Vec<String>> {
        self.logs("-out")
    }

    /// Every line that its processes printed on standard error.
    pub(crate) fn errors(&self) -> Result<Vec<String>> {
        self.logs("-error")
    }

    fn logs(&self, kind: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(self.home.join("logs"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(kind) {
                let text = std::fs::read_to_string(entry.path())?;
                lines.extend(text.lines().map(str::to_owned));
            }
        }
        Ok(lines)
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut command = process::command(&built::pm2()?, &self.directory, environment);
        // The daemon outlives this command, in a group of its own.
        command.args(arguments);
        let output = process::run(command, LIMIT).await?;
        ensure!(
            output.status.success(),
            "pm2 {arguments:?}: {}",
            shown(&output)
        );
        Ok(())
    }

    /// `pm2 kill`: everything ends.
    pub(crate) fn kill(&self) -> Result<()> {
        if !Path::new(&self.home).join("pm2.pid").exists() {
            return Ok(());
        }
        let output = std::process::Command::new("timeout")
            .arg("60")
            .arg(built::pm2()?)
            .arg("kill")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()?;
        ensure!(output.status.success(), "pm2 kill: {}", shown(&output));
        Ok(())
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        // The test has failed already, or has killed it and found no fault.
        drop(self.kill());
    }
}
