//! The loop: many sources become one input, the handover decides, the loop enacts.

mod asked;
mod enacted;
mod heard;

use crate::attendant::Ears;
use crate::backends::{Backends, Inquiries};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::control::{self, Asked, ControlSocket, Inquirer, Views};
use crate::error::Error;
use crate::event::{Event, Outcome, StopReason};
use crate::listener::Held;
use crate::requests::Requests;
use crate::roster::Roster;
use crate::signals::Signals;
use crate::spawner::Spawner;
use crate::spec::{AppSpec, FleetSpec};
use asked::Scaling;
use poolwright_topology::handover::{
    self, Action, Failure, Fleet, Moment, Policy, Readiness, Refusal,
};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
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
    ask: mpsc::Sender<Asked>,
    asked: mpsc::Receiver<Asked>,
    views: Views,
    clock: Option<watch::Receiver<Moment>>,
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
        let (ask, asked) = mpsc::channel(1);
        Ok(Self {
            spec,
            control,
            held,
            signals: Signals::listen().map_err(Error::Setup)?,
            ask,
            asked,
            // Nobody makes any until [`Supervisor::showing`].
            views: Views::none(),
            clock: None,
        })
    }

    /// Has the time from here instead of from the machine, as time since an epoch, never less than before: nothing falls due but when
    /// whoever gives it says so. For comparing it with its model.
    #[must_use]
    pub fn at(mut self, time: watch::Receiver<Moment>) -> Self {
        self.clock = Some(time);
        self
    }

    /// From now on these views are shown to whoever watches over the control socket.
    #[must_use]
    pub fn showing(mut self, views: Views) -> Self {
        self.views = views;
        self
    }

    /// For whoever makes views: asks how the fleet is, once it runs.
    #[must_use]
    pub fn inquirer(&self) -> Inquirer {
        Inquirer(self.ask.clone())
    }

    /// Where each app's socket is held, with the port that the system chose when 0 was asked for.
    pub fn addresses(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.held.iter().map(|(app, held)| (app, held.address()))
    }

    /// Runs the fleet to its end. Nothing is launched in a slot before `backends` shows that Postgres has
    /// nothing left of whoever was there before.
    ///
    /// Everything but output waits for room in `events`, without holding the fleet up; output finds
    /// room or is dropped and counted. A receiver that is dropped is no longer told anything.
    ///
    /// Cancel safe in the sense that nothing survives: dropping the future kills every worker.
    ///
    /// # Errors
    /// [`Error::Setup`] when the system refuses the spawning thread. A worker that fails is not an
    /// error but an [`Outcome`].
    pub async fn run(
        self,
        backends: Arc<dyn Backends>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, Error> {
        let spawner = Spawner::start(Handle::current()).map_err(Error::Setup)?;
        let (to_dispatcher, mut from_workers) = mpsc::channel(WORKERS_QUEUE);
        let ears = Ears {
            dispatcher: to_dispatcher,
            caller: events.clone(),
        };
        let Self {
            spec,
            control,
            held,
            mut signals,
            ask,
            mut asked,
            views,
            clock,
        } = self;
        let clock = clock.map_or_else(Clock::machine, Clock::Given);
        let mut dispatcher = Dispatcher::new(spec, held, spawner, ears, backends, clock);
        let mut conversations = JoinSet::new();
        let farewell = CancellationToken::new();

        dispatcher.announce_sockets();
        dispatcher.decide(handover::Event::Start).await;
        let outcome = loop {
            if let Some(outcome) = dispatcher.outcome.take() {
                break outcome;
            }
            tokio::select! {
                // Room for the caller's events first, then the world's in any order.
                permit = events.reserve(), if !dispatcher.outbox.is_empty() => {
                    dispatcher.post(permit.ok());
                }
                Some((worker, told)) = from_workers.recv() => dispatcher.told(worker, told).await,
                Some(answered) = dispatcher.inquiries.next() => dispatcher.answered(answered).await,
                Some(said) = dispatcher.budget.next() => dispatcher.budgeted(said).await,
                name = signals.next() => dispatcher.signalled(name).await,
                Some(asked) = asked.recv() => dispatcher.asked(asked).await,
                Ok((stream, _)) = control.listener().accept() => {
                    let (ask, views) = (ask.clone(), views.clone());
                    conversations.spawn(control::serve(stream, ask, views, farewell.clone()));
                }
                Some(_) = conversations.join_next() => {}
                () = dispatcher.clock.reaches(dispatcher.due) => {
                    dispatcher.decide(handover::Event::Timeout).await;
                }
            }
        };

        dispatcher.requests.ended(&outcome);
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
    clock: Clock,
    since: SystemTime,
    fleet: Fleet,
    /// When time is the handover's next event, as of its last decision.
    due: Option<Moment>,
    roster: Roster,
    requests: Requests,
    inquiries: Inquiries,
    budget: Budget<Scaling>,
    /// What the caller is to know and has had no room for.
    outbox: VecDeque<Event>,
    signals_seen: u32,
    /// Which reload or restart new processes come from.
    generation: u32,
    reachable: bool,
    /// The apps whose declaration was seen to be another program's.
    undeclared: BTreeSet<Name>,
    /// How many backends Postgres showed last of a slot without a process.
    remaining: BTreeMap<SlotId, u32>,
    failure: Option<(Failure, Vec<String>)>,
    outcome: Option<Outcome>,
}

impl Dispatcher {
    fn new(
        spec: FleetSpec,
        held: BTreeMap<Name, Held>,
        spawner: Spawner,
        ears: Ears,
        backends: Arc<dyn Backends>,
        clock: Clock,
    ) -> Self {
        let policy = Policy {
            seed: RandomState::new().build_hasher().finish(),
            ..spec.policy.clone()
        };
        let plans = spec.apps.iter().flat_map(AppSpec::plans).collect();
        let fleet = Fleet::new(plans, policy);
        let mut roster = Roster::default();
        roster.add(spec.apps.iter().flat_map(AppSpec::slots));
        Self {
            spec,
            held,
            spawner,
            ears,
            clock,
            since: SystemTime::now(),
            fleet,
            due: None,
            roster,
            requests: Requests::default(),
            budget: Budget::new(Arc::clone(&backends)),
            inquiries: Inquiries::new(backends),
            outbox: VecDeque::new(),
            signals_seen: 0,
            generation: 1,
            reachable: true,
            undeclared: BTreeSet::new(),
            remaining: BTreeMap::new(),
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

    /// Lets the handover decide, and enacts; an action that has its event at once is followed up. What
    /// was asked for and is refused comes back.
    async fn decide(&mut self, event: handover::Event) -> Option<Refusal> {
        let mut refused = None;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.fleet.handle(event, self.clock.now()) {
                if let Action::Refused(refusal) = action {
                    refused = Some(refusal);
                } else {
                    events.extend(self.enact(action).await);
                }
            }
        }
        self.due = self.fleet.poll_timeout();
        self.requests.look_at(&self.fleet);
        refused
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
}

fn readiness_can_be_seen(app: &AppSpec) -> Result<(), Error> {
    let unseen = match app.ready {
        Readiness::Listening => matches!(app.probed_port(), None | Some(0)).then_some("listening"),
        Readiness::Accepting => app.held_address().is_none().then_some("accepting"),
        Readiness::Channel | Readiness::Pm2 | Readiness::Notify => None,
    };
    match unseen {
        Some(ready) => Err(Error::NothingToSee {
            app: app.name.clone(),
            ready,
        }),
        None => Ok(()),
    }
}
