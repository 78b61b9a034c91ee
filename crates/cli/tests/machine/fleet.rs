//! A real fleet: the supervisor as `up` puts it together, with fake workers that have real sessions, and what was seen of it.

use crate::place::Place;
use crate::reference::Reference;
use crate::run::{Came, POOLS, Refused, app, slot};
use crate::step::{Answer, Asked, Booted, Release, SlotSeen, Step, TICK, policy};
use futures::poll;
use poolwright::assembled::assemble;
use poolwright_supervisor::control::{
    Client, ClientError, End, FleetStatus, Inquirer, SlotFailure,
};
use poolwright_supervisor::{Error, Event, Outcome, SlotVariables, Supervisor};
use poolwright_topology::handover::{self, Moment};
use poolwright_topology::tag::SlotId;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing takes this long between two things that are heard of, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than a fleet of the test tells between two steps.
const ROOM: usize = 1 << 14;

type Reply = Result<Option<SlotFailure>, String>;

/// A fleet that runs. Dropping it kills it.
pub(crate) struct Running {
    time: watch::Sender<Moment>,
    inquirer: Inquirer,
    events: mpsc::Receiver<Event>,
    run: JoinHandle<Result<Outcome, Error>>,
    asked: BTreeMap<Asked, JoinHandle<Reply>>,
    /// What the last step asked for.
    asks: Option<(Asked, JoinHandle<Reply>)>,
    stops: Vec<JoinHandle<Result<End, ClientError>>>,
    seen: Heard,
}

/// What was heard of the processes.
#[derive(Debug, Default)]
struct Heard {
    spawned: BTreeMap<SlotId, u32>,
    living: BTreeSet<u32>,
    booted: BTreeSet<u32>,
    /// Those of each slot that live and have opened what they open.
    launched: BTreeMap<SlotId, BTreeSet<u32>>,
}

impl Running {
    /// `release` is looked at for each process that is started, and not by the process, which may take its time.
    pub(crate) async fn start(manifest: &Path, release: Arc<Mutex<Release>>) -> Self {
        let (mut spec, backends) = assemble(manifest).await.unwrap();
        let [(_, dbos), (_, prisma)] = POOLS;
        spec.apps[0].slot_env = SlotVariables::new(move |_| {
            let behaviour = release.lock().unwrap().behaviour();
            let variables = [
                ("FAKE_WORKER", behaviour.to_owned()),
                ("FAKE_WORKER_SIGNS", "1".to_owned()),
                ("FAKE_WORKER_DATABASE_URL", Place::get().url().to_owned()),
                ("DBOS_POOL_MAX", dbos.to_string()),
                ("PRISMA_POOL_MAX", prisma.to_string()),
            ];
            let named = variables.map(|(name, value)| (name.to_owned(), value));
            named.into()
        });
        spec.policy = policy();
        spec.shim[0] = env!("CARGO_BIN_EXE_poolwright").into();
        let (time, given) = watch::channel(Moment::ZERO);
        let supervisor = Supervisor::bind(spec).unwrap().at(given);
        let inquirer = supervisor.inquirer();
        let (sender, events) = mpsc::channel(ROOM);
        Self {
            time,
            inquirer,
            events,
            run: tokio::spawn(supervisor.run(backends, sender)),
            asked: BTreeMap::new(),
            asks: None,
            stops: Vec::new(),
            seen: Heard::default(),
        }
    }

    /// Does what a step says, as far as it is done to a running fleet.
    pub(crate) async fn take(&mut self, step: &Step, state_dir: &Path) {
        let inquirer = self.inquirer.clone();
        match *step {
            Step::Wait => self.time.send_modify(|now| *now += TICK),
            Step::Reload => {
                let reload = async move { inquirer.reload().await };
                self.ask(Asked::Roll, Box::pin(reload)).await;
            }
            Step::Restart(index) => {
                let restart = async move { inquirer.restart(slot(index)).await };
                self.ask(Asked::Roll, Box::pin(restart)).await;
            }
            Step::Scale(instances) => {
                let scale = async move { inquirer.scale(app(), instances).await };
                self.ask(Asked::Scaling, Box::pin(scale)).await;
            }
            Step::Kill(index) => signal(self.processes(index).await.0, Signal::KILL),
            Step::KillSuccessor(index) => signal(self.processes(index).await.1, Signal::KILL),
            Step::Query(index) => {
                signal(self.processes(index).await.0, Signal::USR1);
                let name = format!("{}:prisma", slot(index));
                Place::get().until_busy(&name).await;
            }
            Step::Stop | Step::StopNow => {
                let now = *step == Step::StopNow;
                let client = Client::connect(state_dir).await.unwrap();
                self.stops.push(tokio::spawn(client.stop(now)));
            }
            Step::Start | Step::Release(_) | Step::Away | Step::Back => {}
        }
    }

    /// Asks, and has it on its way when this returns: whoever asks for the status afterwards is answered afterwards.
    async fn ask(&mut self, what: Asked, mut reply: Pin<Box<dyn Future<Output = Reply> + Send>>) {
        assert!(poll!(&mut reply).is_pending(), "nobody was asked");
        self.asks = Some((what, tokio::spawn(reply)));
    }

    /// The processes of a slot: the one that its state is about, and the one beside it.
    async fn processes(&self, index: u32) -> (Option<u32>, Option<u32>) {
        let status = self.inquirer.status().await.unwrap();
        let mut slots = status.apps.into_iter().flat_map(|app| app.slots);
        let slot = slots.find(|found| found.slot == slot(index)).unwrap();
        (slot.pid, slot.successor_pid)
    }

    /// Waits until everything is as in the reference, also what was asked for; whether the fleet has ended with that.
    pub(crate) async fn arrives(&mut self, reference: &Reference) -> bool {
        match &reference.came.outcome {
            Some(outcome) => self.ends(outcome).await,
            None => self.shows(&reference.seen()).await,
        }
        self.replies(&reference.came).await;
        reference.came.outcome.is_some()
    }

    async fn shows(&mut self, expected: &[SlotSeen]) {
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.seen.hear(event);
            }
            let Some(status) = self.inquirer.status().await else {
                let outcome = (&mut self.run).await.unwrap();
                panic!("it has ended with {outcome:?}, expected {expected:#?}");
            };
            let seen = self.seen.slots(status, expected);
            if seen == expected {
                return;
            }
            match timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(event)) => self.seen.hear(event),
                _ => panic!("in time there was\n{seen:#?}\nexpected\n{expected:#?}"),
            }
        }
    }

    async fn ends(&mut self, expected: &handover::Outcome) {
        while let Some(event) = soon(self.events.recv()).await {
            self.seen.hear(event);
        }
        let outcome = soon(&mut self.run).await.unwrap().unwrap();
        // Which of several that fail is first, is theirs.
        let failure = match outcome {
            Outcome::Stopped => None,
            Outcome::Failed { failure, .. } => Some(failure.cause),
        };
        let expected = match expected {
            handover::Outcome::Stopped => None,
            handover::Outcome::Failed(failure) => Some(failure.cause.clone()),
        };
        assert_eq!(failure, expected);
        assert_eq!(
            self.seen.living,
            BTreeSet::new(),
            "a worker outlives its fleet"
        );
        for stop in self.stops.drain(..) {
            soon(stop).await.unwrap().unwrap();
        }
    }

    /// What was asked for is answered as in the reference, and what is not answered there is not answered here.
    async fn replies(&mut self, came: &Came) {
        if let Some((what, reply)) = self.asks.take() {
            match &came.refused {
                None => _ = self.asked.insert(what, reply),
                Some(refused) => {
                    let reply = soon(reply).await.unwrap();
                    let reason = reply.expect_err("it was not refused");
                    if let Refused::Because(expected) = refused {
                        assert_eq!(reason, *expected);
                    }
                }
            }
        }
        for (what, expected) in &came.ended {
            let reply = self.asked.remove(what).expect("it was asked for");
            let reply = soon(reply).await.unwrap();
            let answer = reply.map(|failure| failure.map(|failure| failure.reason));
            assert_eq!(
                comparable(*what, answer),
                comparable(*what, expected.clone())
            );
        }
        for (what, reply) in &self.asked {
            assert!(!reply.is_finished(), "{what:?} is answered");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.run.abort();
    }
}

impl Heard {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Spawned { slot, pid } => {
                *self.spawned.entry(slot).or_default() += 1;
                self.living.insert(pid);
            }
            // See `FAKE_WORKER_SIGNS`.
            Event::Gauges { pools, .. } => {
                self.booted
                    .extend(pools.keys().filter_map(|name| name.parse::<u32>().ok()));
            }
            Event::Started { slot, pid, .. } => {
                let launched = self.launched.entry(slot).or_default();
                launched.insert(pid);
                assert_eq!(launched.len(), 1, "two launched processes of a slot live");
            }
            Event::Exited { slot, pid, .. } => {
                self.living.remove(&pid);
                self.booted.remove(&pid);
                if let Some(launched) = self.launched.get_mut(&slot) {
                    launched.remove(&pid);
                }
            }
            _ => {}
        }
    }

    fn slots(&self, status: FleetStatus, expected: &[SlotSeen]) -> Vec<SlotSeen> {
        let counted = expected.iter().any(|slot| slot.spawned.is_some());
        let slots = status.apps.into_iter().flat_map(|app| app.slots);
        let seen = slots.map(|slot| SlotSeen {
            state: slot.state,
            failures: slot.failures,
            successor: slot
                .successor_pid
                .map(|pid| Booted(self.booted.contains(&pid))),
            spawned: counted.then(|| self.spawned.get(&slot.slot).copied().unwrap_or(0)),
            slot: slot.slot.to_string(),
        });
        seen.collect()
    }
}

/// Of several new workers that fail, whoever scaled is told of the first, and who is first is theirs.
fn comparable(what: Asked, answer: Answer) -> Answer {
    let nobody = |reason: String| match (what, reason.split_once(' ')) {
        (Asked::Scaling, Some((_slot, reason))) => reason.to_owned(),
        _ => reason,
    };
    answer.map(|failure| failure.map(nobody))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it does not come")
}

fn signal(pid: Option<u32>, signal: Signal) {
    let pid = pid.expect("it has a process");
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
