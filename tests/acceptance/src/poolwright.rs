//! The command line tool as a user runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::process::{self, shown};
use poolwright_testkit::{Process, built};
use serde_json::Value;
use tokio::process::Command;

use crate::Terminal;
use crate::setup::SECRETS;

/// No command of the tool takes as long, `prepare` of the Node stack on a busy machine included.
const LIMIT: Duration = Duration::from_secs(90);

/// `poolwright` for one application and environment.
#[derive(Debug, Clone)]
pub struct Poolwright {
    program: PathBuf,
    directory: PathBuf,
    manifest: PathBuf,
    environment: BTreeMap<String, String>,
}

/// What a command of the tool came to.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }

    /// Fails unless the exit code is this one.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "expected exit code {code}: {self:#?}");
        Ok(self)
    }
}

impl Poolwright {
    /// The tool for the `poolwright.toml` in this directory, with nothing but this environment.
    pub fn new(directory: PathBuf, environment: BTreeMap<String, String>) -> Result<Self> {
        Ok(Self {
            program: built::program("poolwright")?,
            directory,
            manifest: "poolwright.toml".into(),
            environment,
        })
    }

    /// The tool for another manifest, in the directory or with its whole path.
    #[must_use]
    pub fn reading(mut self, manifest: impl Into<PathBuf>) -> Self {
        self.manifest = manifest.into();
        self
    }

    /// The tool with this variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs a command to its end. Fails when a password stands in what it printed.
    ///
    /// Cancel safety: when dropped, the command is killed.
    pub async fn run(&self, arguments: &[&str]) -> Result<Answer> {
        let output = process::run(self.command(arguments), LIMIT).await?;
        let printed = shown(&output);
        for secret in SECRETS {
            ensure!(
                !printed.contains(secret),
                "poolwright {arguments:?} printed a password"
            );
        }
        let code = output
            .status
            .code()
            .with_context(|| format!("killed: {printed}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Answer {
            code,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Runs a reading command that has to end with 0, with `--json`.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        self.run(&arguments).await?.expect(0)?.json()
    }

    /// Starts a command that stays.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        Process::spawn(self.command(arguments))
    }

    /// Starts a command that stays as process 1 of a world of its own, as in a container: the process that this gives back is
    /// its parent outside. Its own `/proc` takes root, or a system whose users may be root of a world of their own.
    pub fn start_as_first(&self, arguments: &[&str]) -> Result<Process> {
        let unshare = Path::new("unshare");
        let mut command = process::command(unshare, &self.directory, self.environment.iter());
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child=KILL"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg(&self.program);
        Process::spawn(self.with(command, arguments))
    }

    /// Starts a command on a terminal of so many rows and columns.
    pub fn on_terminal(&self, arguments: &[&str], size: (u16, u16)) -> Result<Terminal> {
        let manifest = self.directory.join(&self.manifest);
        let manifest = manifest.to_str().context("a path that is no text")?;
        let arguments = ["--file", manifest]
            .into_iter()
            .chain(arguments.iter().copied());
        let environment = self.environment.clone();
        Terminal::open(&self.program, arguments, &self.directory, environment, size)
    }

    /// Starts a shell on a terminal of so many rows and columns, with the command's environment.
    pub fn shell_on_terminal(&self, size: (u16, u16)) -> Result<Terminal> {
        let arguments = ["--norc", "--noprofile", "--noediting", "-i"];
        let environment = self.environment.clone();
        let shell = Path::new("bash");
        Terminal::open(shell, arguments, &self.directory, environment, size)
    }

    /// The command as a line of a shell's.
    #[must_use]
    pub fn line(&self, arguments: &[&str]) -> String {
        let manifest = self.directory.join(&self.manifest);
        let (program, manifest) = (self.program.display(), manifest.display());
        format!("'{program}' --file '{manifest}' {}", arguments.join(" "))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let command = process::command(&self.program, &self.directory, self.environment.iter());
        self.with(command, arguments)
    }

    fn with(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .arg("--file")
            .arg(self.directory.join(&self.manifest))
            .args(arguments);
        command
    }
}
