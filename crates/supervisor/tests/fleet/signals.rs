//! Signals, and that nothing outlives its supervisor: most of it on one in a process of its own.

use crate::run::{PATIENCE, POLITE, actor, run, stubborn};
use poolwright_supervisor::Outcome;
use poolwright_supervisor::control::Client;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A supervisor as `actor supervise` runs it.
struct Supervisor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Supervisor {
    fn start(state_dir: &Path, script: &str) -> Self {
        let mut child = Command::new(actor())
            .arg("supervise")
            .arg(state_dir)
            .arg(script)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn until(&mut self, wanted: &str) {
        let mut heard = Vec::new();
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                panic!("{wanted} not heard in time; heard {heard:#?}");
            };
            let found = line.contains(wanted);
            heard.push(line);
            if found {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

/// A pipe that every worker holds open: its end is the end of the last worker.
struct Lifeline {
    receiver: pipe::Receiver,
    script: String,
}

impl Lifeline {
    fn new(directory: &Path, script: &str) -> Self {
        let path = directory.join("lifeline");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let receiver = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        let script = format!("exec 5>'{}'\necho alive >&5\n{script}", path.display());
        Self { receiver, script }
    }

    async fn ends(mut self) {
        let mut all = String::new();
        timeout(PATIENCE, self.receiver.read_to_string(&mut all))
            .await
            .expect("a worker outlived its supervisor")
            .unwrap();
        assert_eq!(all, "alive\nalive\n");
    }
}

#[tokio::test]
async fn sigterm_drains() {
    let directory = TempDir::new().unwrap();
    let mut supervisor = Supervisor::start(directory.path(), POLITE);
    supervisor.until("AllServing").await;
    supervisor.signal(Signal::TERM);
    supervisor.until(r#"Stopping(Signal("SIGTERM"))"#).await;
    supervisor.until("exit: Code(0)").await;
    supervisor.until("exit: Code(0)").await;
    supervisor.until("Ok(Stopped)").await;
}

#[tokio::test]
async fn a_second_signal_kills_at_once() {
    let directory = TempDir::new().unwrap();
    let mut supervisor = Supervisor::start(directory.path(), &stubborn());
    supervisor.until("AllServing").await;
    supervisor.signal(Signal::INT);
    supervisor.until("Stopping").await;
    supervisor.signal(Signal::TERM);
    supervisor.until(r#"SecondSignal("SIGTERM")"#).await;
    supervisor.until("Ok(Stopped)").await;
}

#[tokio::test]
async fn no_worker_survives_a_supervisor_that_is_killed_and_the_next_one_starts() {
    let directory = TempDir::new().unwrap();
    let lifeline = Lifeline::new(directory.path(), &stubborn());
    let mut supervisor = Supervisor::start(directory.path(), &lifeline.script);
    supervisor.until("AllServing").await;
    supervisor.signal(Signal::KILL);
    lifeline.ends().await;
    let mut next = Supervisor::start(directory.path(), POLITE);
    next.until("AllServing").await;
}

/// A worker with a process of its own beside it.
fn with_a_child(script: &str) -> String {
    format!("sleep 1000 &\n{script}")
}

#[tokio::test]
async fn nothing_survives_a_run_that_is_dropped() {
    let directory = TempDir::new().unwrap();
    let lifeline = Lifeline::new(directory.path(), &with_a_child(&stubborn()));
    let mut fleet = run(2, &lifeline.script, |_| {});
    fleet.all_serving().await;
    drop(fleet);
    lifeline.ends().await;
}

#[tokio::test]
async fn what_a_worker_leaves_behind_is_ended_with_it() {
    let directory = TempDir::new().unwrap();
    // Deaf to the SIGTERM that the whole group gets.
    let script = format!("trap '' TERM\n{}", with_a_child(POLITE));
    let lifeline = Lifeline::new(directory.path(), &script);
    let mut fleet = run(2, &lifeline.script, |_| {});
    fleet.all_serving().await;
    let client = Client::connect(fleet.state_dir.path()).await.unwrap();
    client.stop(false).await.unwrap();
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    lifeline.ends().await;
}
