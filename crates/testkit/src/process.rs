//! Programs under test.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How many lines go into an error.
const SHOWN: usize = 60;

/// A program that runs while a test does: in a process group of its own, which is killed when this
/// is dropped, with every line of its output kept.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

/// A command with a clean slate: only `PATH`, `HOME` and what is given reach the program, so that no
/// `DATABASE_URL` or `PM2_INSTANCE_ID` of the surrounding shell decides a test.
pub fn command<K: AsRef<OsStr>, V: AsRef<OsStr>>(
    program: &Path,
    directory: &Path,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .envs(environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    command
}

/// Runs a command to its end, at most for `limit`; then it is killed.
pub async fn run(mut command: Command, limit: Duration) -> Result<Output> {
    let shown = format!("{:?}", command.as_std().get_program());
    let output = timeout(limit, command.output())
        .await
        .with_context(|| format!("{shown} still runs after {limit:?}"))?;
    output.with_context(|| format!("cannot run {shown}"))
}

/// What a finished command printed, for errors.
#[must_use]
pub fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

impl Process {
    /// Starts a command (see [`command`]), with standard output and error captured.
    ///
    /// Has to be called in a tokio runtime.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let (sender, lines) = watch::channel(Vec::new());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(collect(stdout, sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(collect(stderr, sender));
        }
        Ok(Self { name, child, lines })
    }

    /// Its process id, as long as it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Every line so far, of both outputs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Every line so far that is a JSON object, parsed.
    #[must_use]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let lines = self.lines.borrow();
        let parsed = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        parsed.filter(serde_json::Value::is_object).collect()
    }

    /// Waits for a line; fails when the program ends or the time is over before it comes.
    ///
    /// Cancel safe: lines are kept, a line that came is found again.
    pub async fn line(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let mut lines = self.lines.clone();
        // Those before it were looked at already.
        let mut next = 0;
        let mut find = |lines: &Vec<String>| {
            let fresh = lines.get(next..).unwrap_or_default();
            next = lines.len();
            fresh.iter().find(|line| wanted(line)).cloned()
        };
        let found = timeout(limit, async {
            loop {
                if let Some(line) = find(&lines.borrow_and_update()) {
                    return Some(line);
                }
                if lines.changed().await.is_err() {
                    return find(&lines.borrow());
                }
            }
        })
        .await;
        match found {
            Ok(Some(line)) => Ok(line),
            Ok(None) => bail!("{} ended without {what}; {}", self.name, self.tail()),
            Err(_) => bail!(
                "{} did not say {what} in {limit:?}; {}",
                self.name,
                self.tail()
            ),
        }
    }

    /// Sends a signal to the program alone; none when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(pid) = self.raw_pid() {
            kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))?;
        }
        Ok(())
    }

    /// Waits for the program's end, at most for `limit`.
    ///
    /// Cancel safe.
    pub async fn exited(&mut self, limit: Duration) -> Result<ExitStatus> {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} still runs after {limit:?}; {}", self.name, self.tail()),
        }
    }

    /// Whether the program has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last lines, for errors.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines.borrow();
        let shown = lines
            .get(lines.len().saturating_sub(SHOWN)..)
            .unwrap_or_default();
        format!("its last {} lines:\n{}", shown.len(), shown.join("\n"))
    }

    /// `None` once the end was noticed: then the number may be somebody else's.
    fn raw_pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.raw_pid() {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn collect(output: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes).await, Ok(1..)) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        lines.send_modify(|lines| lines.push(line));
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = command(
            Path::new("/bin/sh"),
            Path::new("/"),
            [("GREETING", "hello")],
        );
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_line_is_awaited_and_kept() {
        let process = Process::spawn(shell("echo one; echo $GREETING >&2; exec sleep 60")).unwrap();
        let hello = process
            .line("hello", SOON, |line| line == "hello")
            .await
            .unwrap();
        assert_eq!(hello, "hello");
        process
            .line("one", SOON, |line| line == "one")
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_without_the_line_is_reported_with_what_it_said() {
        let process = Process::spawn(shell("echo goodbye")).unwrap();
        let error = process
            .line("hello", SOON, |line| line == "hello")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("goodbye"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_program_takes_its_children_along() {
        let process = Process::spawn(shell("sleep 60 & echo child=$!; wait")).unwrap();
        let line = process
            .line("its child", SOON, |line| line.starts_with("child="))
            .await
            .unwrap();
        let child = line.trim_start_matches("child=").to_owned();
        drop(process);
        let stat = Path::new("/proc").join(child).join("stat");
        crate::wait_until("the child is gone", SOON, || async {
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => crate::wait::Seen::NotYet(text),
                _ => crate::wait::Seen::Yes(()),
            }
        })
        .await
        .unwrap();
    }
}
