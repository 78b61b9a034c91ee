//! What the caller wants: every number resolved, every variable read.

pub use poolwright_topology::declare::StopSignal;
use poolwright_topology::handover::{Policy, Readiness, SlotPlan};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A fleet to be run by one supervisor.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// The apps, in the order in which they launch. Their names are distinct.
    pub apps: Vec<AppSpec>,
    /// The command line that ends up in [`crate::shim::exec`] with the arguments that follow it; in
    /// practice the caller's own executable and a hidden subcommand. The program is an absolute path.
    pub shim: Vec<OsString>,
    /// Where the control socket goes; see [`crate::control::socket_path`]. It may hold other things.
    pub state_dir: PathBuf,
    /// How patient the handover is. Its seed is drawn by the supervisor.
    pub policy: Policy,
}

/// One app: identical workers behind one listening socket.
#[derive(Debug, Clone)]
pub struct AppSpec {
    /// Its name, the first half of its slots' names.
    pub name: Name,
    /// Program and arguments; a relative program with a `/` in it is relative to `cwd`.
    pub command: Vec<String>,
    /// The workers' working directory.
    pub cwd: PathBuf,
    /// Set for every worker, over the supervisor's own environment and under what a slot gets.
    pub env: Vec<(String, String)>,
    /// Variables of the supervisor's own environment that are none of the workers' business: its page's token.
    pub withheld: Vec<String>,
    /// Set over `env`, different for each slot.
    pub slot_env: SlotVariables,
    /// How many workers.
    pub instances: u32,
    /// The socket to bind, hold and hand down as descriptor 3. With [`Readiness::Listening`] the
    /// workers bind it themselves, with `SO_REUSEPORT` when there are several; they get it as `HOST`
    /// and `PORT`. With [`Readiness::Accepting`] they show by it that they serve.
    pub listen: Option<SocketAddr>,
    /// How a worker shows that it serves.
    pub ready: Readiness,
    /// How long a worker may boot, and again how long it may launch.
    pub ready_timeout: Duration,
    /// How long a worker may drain; it gets the number as `DRAIN_TIMEOUT_MS`.
    pub drain_timeout: Duration,
    /// The signal that asks a worker to leave.
    pub stop_signal: StopSignal,
    /// A variable of the app's own choice that gets the number of the slot.
    pub instance_var: Option<String>,
    /// The declared maximum of each pool, by name.
    pub pools: BTreeMap<String, u32>,
    /// Whether one of the pools belongs to a DBOS executor, so that the slot is an executor id.
    pub executor: bool,
}

/// Variables whose values depend on the slot. They may be passwords: `Debug` shows nothing of them.
#[derive(Clone)]
pub struct SlotVariables(Arc<MakeVariables>);

type MakeVariables = dyn Fn(&SlotId) -> Vec<(String, String)> + Send + Sync;

impl SlotVariables {
    /// The variables that `make` gives a slot. It is called for each process that is started.
    pub fn new(make: impl Fn(&SlotId) -> Vec<(String, String)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The variables of a slot.
    #[must_use]
    pub fn of(&self, slot: &SlotId) -> Vec<(String, String)> {
        (self.0)(slot)
    }
}

impl Default for SlotVariables {
    /// None.
    fn default() -> Self {
        Self::new(|_| Vec::new())
    }
}

impl fmt::Debug for SlotVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotVariables")
    }
}

impl AppSpec {
    /// The slots of this app, lowest first.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        (0..self.instances).map(|index| SlotId::new(self.name.clone(), index))
    }

    /// Whether the supervisor holds the listening socket.
    pub(crate) fn held_address(&self) -> Option<SocketAddr> {
        self.listen.filter(|_| self.ready != Readiness::Listening)
    }

    /// The port on which a worker is to be seen listening.
    pub(crate) fn probed_port(&self) -> Option<u16> {
        let listening = self.ready == Readiness::Listening;
        self.listen
            .filter(|_| listening)
            .map(|address| address.port())
    }

    pub(crate) fn plans(&self) -> impl Iterator<Item = SlotPlan> + '_ {
        self.slots().map(|slot| SlotPlan {
            slot,
            readiness: self.ready,
            ready_timeout: self.ready_timeout,
            drain_timeout: self.drain_timeout,
            pools: self.pools.clone(),
        })
    }
}
