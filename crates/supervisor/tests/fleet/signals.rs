//! A supervisor in a process of its own, signalled and killed.

use crate::run::{PATIENCE, POLITE, actor, run};
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
    let stubborn = POLITE.replace("trap '", "trap '' TERM; : '");
    let mut supervisor = Supervisor::start(directory.path(), &stubborn);
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
    let stubborn = POLITE.replace("trap '", "trap '' TERM; : '");
    let stubborn = stubborn.replace("sleep 1000 &", "sleep 1000 5>&- &");
    let lifeline = Lifeline::new(directory.path(), &stubborn);
    let mut supervisor = Supervisor::start(directory.path(), &lifeline.script);
    supervisor.until("AllServing").await;
    supervisor.signal(Signal::KILL);
    lifeline.ends().await;
    let mut next = Supervisor::start(directory.path(), POLITE);
    next.until("AllServing").await;
}

#[tokio::test]
async fn no_worker_survives_a_run_that_is_dropped() {
    let directory = TempDir::new().unwrap();
    let stubborn = POLITE.replace("trap '", "trap '' TERM; : '");
    let stubborn = stubborn.replace("sleep 1000 &", "sleep 1000 5>&- &");
    let lifeline = Lifeline::new(directory.path(), &stubborn);
    let mut fleet = run(2, &lifeline.script, |_| {});
    fleet.all_serving().await;
    drop(fleet);
    lifeline.ends().await;
}
