//! A fleet under test: its scripts, its specification, what was heard of it.

use poolwright_supervisor::{
    AppSpec, Backends, Error, Event, FleetSpec, NoBackends, Outcome, Policy, Readiness,
    SlotVariables, StopSignal, Supervisor,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits for anything longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Says everything as the contract wants it, and serves until SIGTERM or until its channel closes.
pub(crate) const POLITE: &str = r#"
trap 'echo "{\"type\":\"draining\"}" >&4; exit 0' TERM
echo '{"type":"booted"}' >&4
read -r launch <&4
echo "told $launch"
echo "{\"type\":\"started\",\"pid\":$$,\"executor_id\":\"$DBOS__VMID\",\"pools\":{\"db\":2}}" >&4
echo '{"type":"ready"}' >&4
read -r more <&4
"#;

/// The same, but neither SIGTERM nor the end of its channel moves it.
pub(crate) fn stubborn() -> String {
    POLITE.replace("trap '", "trap '' TERM; : '").replace(
        "read -r more <&4",
        "mkfifo never-$$; read -r more <>never-$$",
    )
}

/// Pauses that tests need not sit through, and a slot that is parked at its third failure.
pub(crate) fn quick() -> Policy {
    Policy {
        settle: Duration::from_millis(100),
        backoff_first: Duration::from_millis(10),
        confirm_every: Duration::from_millis(10),
        unreachable_every: Duration::from_millis(10),
        terminate_after: Duration::from_millis(100),
        park_after: 3,
        ..Policy::default()
    }
}

pub(crate) fn actor() -> &'static str {
    env!("CARGO_BIN_EXE_supervisor-test-actor")
}

/// One app `web` of `instances` workers that run `script`.
pub(crate) fn spec(state_dir: &Path, instances: u32, script: &str) -> FleetSpec {
    let app = AppSpec {
        name: "web".parse().unwrap(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        cwd: state_dir.to_owned(),
        env: Vec::new(),
        withheld: Vec::new(),
        slot_env: SlotVariables::default(),
        instances,
        listen: Some(([127, 0, 0, 1], 0).into()),
        ready: Readiness::Channel,
        ready_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(10),
        stop_signal: StopSignal::Term,
        instance_var: None,
        pools: [("db".to_owned(), 2)].into(),
        executor: true,
    };
    FleetSpec {
        apps: vec![app],
        shim: vec![actor().into(), "shim".into()],
        state_dir: state_dir.to_owned(),
        policy: quick(),
    }
}

/// A running fleet. Dropping it kills it.
pub(crate) struct Running {
    pub(crate) state_dir: TempDir,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) heard: Vec<Event>,
    run: JoinHandle<Result<Outcome, Error>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// Runs `instances` workers of `script`, after `change` has had its way with the specification.
pub(crate) fn run(instances: u32, script: &str, change: impl FnOnce(&mut FleetSpec)) -> Running {
    run_with_room(1024, instances, script, change)
}

/// The same with `room` for events that nobody has taken yet.
pub(crate) fn run_with_room(
    room: usize,
    instances: u32,
    script: &str,
    change: impl FnOnce(&mut FleetSpec),
) -> Running {
    run_over(Arc::new(NoBackends), room, instances, script, change)
}

/// The same over what `backends` says of Postgres.
pub(crate) fn run_over(
    backends: Arc<dyn Backends>,
    room: usize,
    instances: u32,
    script: &str,
    change: impl FnOnce(&mut FleetSpec),
) -> Running {
    let state_dir = TempDir::new().unwrap();
    let mut spec = spec(state_dir.path(), instances, script);
    change(&mut spec);
    let supervisor = Supervisor::bind(spec).unwrap();
    let (sender, events) = mpsc::channel(room);
    Running {
        state_dir,
        events,
        heard: Vec::new(),
        run: tokio::spawn(supervisor.run(backends, sender)),
    }
}

impl Running {
    /// Takes events until one is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await;
            let Ok(Some(event)) = event else {
                panic!("not heard in time; heard {:#?}", self.heard);
            };
            self.heard.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    pub(crate) async fn all_serving(&mut self) {
        self.until(|event| *event == Event::AllServing).await;
    }

    /// Takes events to the end.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let end = async {
            while let Some(event) = self.events.recv().await {
                self.heard.push(event);
            }
            (&mut self.run).await.unwrap().unwrap()
        };
        let outcome = timeout(PATIENCE, end).await;
        outcome.unwrap_or_else(|_| panic!("no end in time; heard {:#?}", self.heard))
    }

    /// The lines that workers wrote so far, with their slots.
    pub(crate) fn lines(&self) -> Vec<(String, String)> {
        let lines = self.heard.iter().filter_map(|event| match event {
            Event::Output { slot, line, .. } => Some((slot.to_string(), line.clone())),
            _ => None,
        });
        lines.collect()
    }
}
