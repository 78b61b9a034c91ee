//! The loop: many sources become one input, the handover decides, the loop enacts.

use crate::attendant::{Ears, Told, Worker};
use crate::control::{
    self, AppStatus, Asked, ControlSocket, End, FleetStatus, Request, Response, SlotStatus,
};
use crate::error::Error;
use crate::event::{Event, Outcome, StopReason};
use crate::listener::Held;
use crate::signals::Signals;
use crate::spawner::Spawner;
use crate::spec::{AppSpec, FleetSpec};
use poolwright_topology::channel::{FromWorker, Gauge, ToWorker};
use poolwright_topology::handover::{
    self, Action, Failure, Fleet, Moment, Readiness, SlotEvent, SlotState,
};
use poolwright_topology::tag::{Name, SlotId};
use rustix::process::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many messages of workers wait for the dispatcher before the workers do.
const WORKERS_QUEUE: usize = 256;

/// How many events of the workers' own making wait for a slow caller before more of them are dropped:
/// a worker cannot make the supervisor hold more. What the supervisor does itself is never dropped.
const BACKLOG: usize = 1024;

/// How long the last answers on the control socket may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// A fleet that is claimed and whose sockets are bound; no worker runs yet.
#[derive(Debug)]
pub struct Supervisor {
    spec: FleetSpec,
    control: ControlSocket,
    held: BTreeMap<Name, Held>,
    signals: Signals,
}

impl Supervisor {
    /// Claims the fleet and binds its sockets: what can fail without a worker, fails here.
    ///
    /// From here on SIGTERM, SIGINT and SIGHUP are the supervisor's. Needs a tokio runtime with time
    /// and I/O.
    ///
    /// # Errors
    /// [`Error`]; nothing is left behind then.
    pub fn bind(spec: FleetSpec) -> Result<Self, Error> {
        for app in &spec.apps {
            readiness_can_be_seen(app)?;
        }
        // First the claim: a fleet that runs already is the better explanation of a taken address.
        let control = ControlSocket::bind(&spec.state_dir)?;
        let mut held = BTreeMap::new();
        for app in &spec.apps {
            if let Some(socket) = Held::bind(app)? {
                held.insert(app.name.clone(), socket);
            }
        }
        Ok(Self {
            spec,
            control,
            held,
            signals: Signals::listen().map_err(Error::Setup)?,
        })
    }

    /// Where each app's socket is held, with the port that the system chose when 0 was asked for.
    pub fn addresses(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.held.iter().map(|(app, held)| (app, held.address()))
    }

    /// Runs the fleet to its end.
    ///
    /// Everything but output waits for room in `events`, without holding the fleet up; output finds
    /// room or is dropped and counted. A receiver that is dropped is no longer told anything.
    ///
    /// Cancel safe in the sense that nothing survives: dropping the future kills every worker.
    ///
    /// # Errors
    /// [`Error::Setup`] when the system refuses the spawning thread. A worker that fails is not an
    /// error but an [`Outcome`].
    pub async fn run(self, events: mpsc::Sender<Event>) -> Result<Outcome, Error> {
        let spawner = Spawner::start(Handle::current()).map_err(Error::Setup)?;
        let (to_dispatcher, mut from_workers) = mpsc::channel(WORKERS_QUEUE);
        let (ask, mut asked) = mpsc::channel(1);
        let ears = Ears {
            dispatcher: to_dispatcher,
            caller: events.clone(),
        };
        let Self {
            spec,
            control,
            held,
            mut signals,
        } = self;
        let mut dispatcher = Dispatcher::new(spec, held, spawner, ears);
        let mut conversations = JoinSet::new();
        let farewell = CancellationToken::new();

        dispatcher.announce_sockets();
        dispatcher.decide(handover::Event::Start).await;
        let outcome = loop {
            if let Some(outcome) = dispatcher.outcome.take() {
                break outcome;
            }
            let deadline = dispatcher.deadline();
            tokio::select! {
                // Room for the caller's events first, then the world's in any order.
                permit = events.reserve(), if !dispatcher.outbox.is_empty() => {
                    dispatcher.post(permit.ok());
                }
                Some((slot, told)) = from_workers.recv() => dispatcher.told(slot, told).await,
                name = signals.next() => dispatcher.signalled(name).await,
                Some(asked) = asked.recv() => dispatcher.asked(asked).await,
                Ok((stream, _)) = control.listener().accept() => {
                    conversations.spawn(control::serve(stream, ask.clone(), farewell.clone()));
                }
                Some(_) = conversations.join_next() => {}
                () = sleep_until(deadline) => dispatcher.decide(handover::Event::Timeout).await,
            }
        };

        dispatcher.answer_the_waiting(&outcome);
        farewell.cancel();
        let said = async { while conversations.join_next().await.is_some() {} };
        // Who does not read the answer does not get it.
        tokio::time::timeout(FAREWELL, said).await.ok();
        for event in dispatcher.outbox {
            if events.send(event).await.is_err() {
                break;
            }
        }
        Ok(outcome)
    }
}

/// What the loop works on.
struct Dispatcher {
    spec: FleetSpec,
    held: BTreeMap<Name, Held>,
    spawner: Spawner,
    ears: Ears,
    epoch: Instant,
    since: SystemTime,
    fleet: Fleet,
    slots: BTreeMap<SlotId, Slot>,
    /// Who waits for the end.
    waiting: Vec<mpsc::Sender<Response>>,
    /// What the caller is to know and has had no room for.
    outbox: VecDeque<Event>,
    signals_seen: u32,
    failure: Option<(Failure, Vec<String>)>,
    outcome: Option<Outcome>,
}

/// What is known of a slot beyond the handover's state.
struct Slot {
    since: SystemTime,
    worker: Option<Worker>,
    executor_id: Option<String>,
    gauges: BTreeMap<String, Gauge>,
}

impl Dispatcher {
    fn new(spec: FleetSpec, held: BTreeMap<Name, Held>, spawner: Spawner, ears: Ears) -> Self {
        let since = SystemTime::now();
        let fleet = Fleet::new(spec.apps.iter().flat_map(|app| app.plans()).collect());
        let slots = spec.apps.iter().flat_map(|app| app.slots());
        let slots = slots.map(|slot| (slot, Slot::vacant(since))).collect();
        Self {
            spec,
            held,
            spawner,
            ears,
            epoch: Instant::now(),
            since,
            fleet,
            slots,
            waiting: Vec::new(),
            outbox: VecDeque::new(),
            signals_seen: 0,
            failure: None,
            outcome: None,
        }
    }

    fn announce_sockets(&mut self) {
        for app in &self.spec.apps {
            if let Some(held) = self.held.get(&app.name) {
                self.outbox.push_back(Event::Holding {
                    app: app.name.clone(),
                    address: held.address(),
                });
            }
        }
    }

    fn now(&self) -> Moment {
        self.epoch.elapsed()
    }

    fn deadline(&self) -> Option<Instant> {
        let due = self.fleet.poll_timeout()?;
        self.epoch.checked_add(due)
    }

    /// Gives the caller the oldest event, or gives up on a caller that is gone.
    fn post(&mut self, permit: Option<mpsc::Permit<'_, Event>>) {
        match permit {
            Some(permit) => {
                if let Some(event) = self.outbox.pop_front() {
                    permit.send(event);
                }
            }
            None => self.outbox.clear(),
        }
    }

    fn outbox_unless_full(&mut self, event: Event) {
        if self.outbox.len() < BACKLOG {
            self.outbox.push_back(event);
        }
    }

    /// Lets the handover decide, and enacts; an action that has its event at once is followed up.
    async fn decide(&mut self, event: handover::Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.fleet.handle(event, self.now()) {
                events.extend(self.enact(action).await);
            }
        }
    }

    async fn enact(&mut self, action: Action) -> Option<handover::Event> {
        match action {
            Action::Spawn(slot) => {
                let event = self.spawn(&slot).await;
                return Some(handover::Event::Slot { slot, event });
            }
            Action::Launch(slot) => {
                if let Some(worker) = self.worker(&slot) {
                    worker.send(ToWorker::Launch);
                }
            }
            Action::Terminate(slot) => {
                if let Some(worker) = self.worker(&slot) {
                    worker.signal(Signal::TERM);
                }
            }
            Action::Kill(slot) => {
                if let Some(worker) = self.worker(&slot) {
                    worker.signal(Signal::KILL);
                }
                self.outbox.push_back(Event::Killing { slot });
            }
            Action::Moved { slot, from, to } => {
                if let Some(known) = self.slots.get_mut(&slot) {
                    known.since = SystemTime::now();
                }
                self.outbox.push_back(Event::Moved { slot, from, to });
            }
            Action::AllServing => self.outbox.push_back(Event::AllServing),
            Action::Failed(failure) => self.failed(failure),
            Action::Ended(outcome) => self.ended(outcome),
        }
        None
    }

    async fn spawn(&mut self, slot: &SlotId) -> SlotEvent {
        let Some(app) = self.spec.apps.iter().find(|app| app.name == *slot.app()) else {
            return SlotEvent::SpawnFailed {
                reason: "its app is not declared".to_owned(),
            };
        };
        let held = self.held.get(&app.name);
        let ears = self.ears.clone();
        match Worker::start(&self.spawner, &self.spec.shim, app, slot, held, ears).await {
            Ok(worker) => {
                self.outbox.push_back(Event::Spawned {
                    slot: slot.clone(),
                    pid: worker.pid,
                });
                if let Some(known) = self.slots.get_mut(slot) {
                    known.worker = Some(worker);
                }
                SlotEvent::Spawned
            }
            Err(error) => SlotEvent::SpawnFailed {
                reason: error.to_string(),
            },
        }
    }

    fn failed(&mut self, failure: Failure) {
        let slot = self.slots.get(&failure.slot);
        let last_words = slot.map(Slot::last_words).unwrap_or_default();
        self.failure = Some((failure.clone(), last_words.clone()));
        self.outbox.push_back(Event::Failed {
            failure,
            last_words,
        });
    }

    fn ended(&mut self, outcome: handover::Outcome) {
        self.outcome = Some(match (outcome, self.failure.take()) {
            (handover::Outcome::Failed(_), Some((failure, last_words))) => Outcome::Failed {
                failure,
                last_words,
            },
            (handover::Outcome::Failed(failure), None) => Outcome::Failed {
                failure,
                last_words: Vec::new(),
            },
            (handover::Outcome::Stopped, _) => Outcome::Stopped,
        });
    }

    /// Something from a worker: what is for the caller and for `status` is kept, the rest decided on.
    async fn told(&mut self, slot: SlotId, told: Told) {
        let event = match told {
            Told::BadLine(error) => {
                let error = error.to_string();
                self.outbox_unless_full(Event::BadLine { slot, error });
                return;
            }
            Told::OutputDropped(lines) => {
                self.outbox.push_back(Event::OutputDropped { slot, lines });
                return;
            }
            Told::Happened(event) => event,
        };
        self.note(&slot, &event);
        let exited = matches!(event, SlotEvent::Exited(_));
        let happened = handover::Event::Slot {
            slot: slot.clone(),
            event,
        };
        self.decide(happened).await;
        if exited && let Some(known) = self.slots.get_mut(&slot) {
            *known = Slot::vacant(known.since);
        }
    }

    fn note(&mut self, slot: &SlotId, event: &SlotEvent) {
        let Some(known) = self.slots.get_mut(slot) else {
            return;
        };
        match event {
            SlotEvent::Said(FromWorker::Started {
                pid,
                executor_id,
                pools,
            }) => {
                known.executor_id = Some(executor_id.clone());
                self.outbox_unless_full(Event::Started {
                    slot: slot.clone(),
                    pid: *pid,
                    executor_id: executor_id.clone(),
                    pools: pools.clone(),
                });
            }
            SlotEvent::Said(FromWorker::Gauges { pools }) => {
                known.gauges.clone_from(pools);
                self.outbox_unless_full(Event::Gauges {
                    slot: slot.clone(),
                    pools: pools.clone(),
                });
            }
            SlotEvent::Exited(exit) => {
                if let Some(worker) = &known.worker {
                    self.outbox.push_back(Event::Exited {
                        slot: slot.clone(),
                        pid: worker.pid,
                        exit: *exit,
                    });
                }
            }
            _ => {}
        }
    }

    /// The first signal drains, the second kills.
    async fn signalled(&mut self, name: &'static str) {
        self.signals_seen += 1;
        let (reason, event) = if self.signals_seen == 1 {
            (StopReason::Signal(name), handover::Event::Stop)
        } else {
            (StopReason::SecondSignal(name), handover::Event::Kill)
        };
        self.outbox.push_back(Event::Stopping(reason));
        self.decide(event).await;
    }

    async fn asked(&mut self, Asked { request, answers }: Asked) {
        match request {
            Request::Status => {
                let status = self.status();
                answers.try_send(Response::Status { status }).ok();
            }
            Request::Stop { now } => {
                answers.try_send(Response::Stopping).ok();
                self.waiting.push(answers);
                let (reason, event) = if now {
                    (StopReason::KillRequest, handover::Event::Kill)
                } else {
                    (StopReason::Request, handover::Event::Stop)
                };
                self.outbox.push_back(Event::Stopping(reason));
                self.decide(event).await;
            }
        }
    }

    fn answer_the_waiting(&mut self, outcome: &Outcome) {
        for answers in self.waiting.drain(..) {
            let end = End::from(outcome);
            answers.try_send(Response::Stopped { end }).ok();
        }
    }

    fn status(&self) -> FleetStatus {
        let states: BTreeMap<_, _> = self.fleet.slots().collect();
        let apps = self.spec.apps.iter().map(|app| AppStatus {
            app: app.name.clone(),
            listen: match self.held.get(&app.name) {
                Some(held) => Some(held.address()),
                None => app.listen,
            },
            slots: app
                .slots()
                .filter_map(|slot| {
                    let state = *states.get(&slot)?;
                    let known = self.slots.get(&slot)?;
                    let mut status = known.status(slot, state, app.pools.clone());
                    status.executor_id = status.executor_id.filter(|_| app.executor);
                    Some(status)
                })
                .collect(),
        });
        FleetStatus {
            pid: std::process::id(),
            since_unix_ms: unix_ms(self.since),
            apps: apps.collect(),
        }
    }

    fn worker(&self, slot: &SlotId) -> Option<&Worker> {
        self.slots.get(slot)?.worker.as_ref()
    }
}

impl Slot {
    const fn vacant(since: SystemTime) -> Self {
        Self {
            since,
            worker: None,
            executor_id: None,
            gauges: BTreeMap::new(),
        }
    }

    fn last_words(&self) -> Vec<String> {
        let words = self.worker.as_ref().map(Worker::last_words);
        words.unwrap_or_default()
    }

    fn status(&self, slot: SlotId, state: SlotState, pools: BTreeMap<String, u32>) -> SlotStatus {
        SlotStatus {
            slot,
            state,
            since_unix_ms: unix_ms(self.since),
            pid: self.worker.as_ref().map(|worker| worker.pid),
            restarts: 0,
            executor_id: self.executor_id.clone(),
            pools,
            gauges: self.gauges.clone(),
        }
    }
}

fn readiness_can_be_seen(app: &AppSpec) -> Result<(), Error> {
    let app_name = || app.name.clone();
    match app.ready {
        Readiness::Notify => Err(Error::NotifyUnsupported { app: app_name() }),
        Readiness::Listening if matches!(app.probed_port(), None | Some(0)) => {
            Err(Error::NothingToSee { app: app_name() })
        }
        Readiness::Channel | Readiness::Listening => Ok(()),
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
