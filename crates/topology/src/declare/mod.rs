//! `poolwright.toml` and an environment → a validated [`Topology`], or every mistake at once.
//!
//! After this module nothing downstream checks again: names fit into an `application_name`, counts are
//! in range, addresses parse, every URL names a host, a user and a database. A setting is a value, or
//! `{ env = "NAME", default = value }`; the environment is an argument.
//!
//! What a PM2 project declares in its `ecosystem.config.cjs` is read the same way ([`ecosystem()`]).

mod arguments;
mod ecosystem;
mod observe;
mod read;
mod url;

pub use ecosystem::{Ecosystem, Placed, Surroundings, ecosystem};
pub use observe::{MIN_TOKEN, OBSERVE_PORT, Observe, Token};
pub use url::{DatabaseUrl, UrlError, blotted};

use crate::hazard::Code;
use crate::tag::{Name, SlotId, Tag};
use crate::units::{Connections, Workers};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// Most workers of one app. Far above what one host runs; a typed `3000` is a mistake, not a fleet.
pub const MAX_WORKERS: u32 = 512;
/// Most connections of one pool in one worker. `max_connections` beyond a few hundred is rare; a pool
/// larger than this is a port number or a timeout in the wrong place.
pub const MAX_POOL: u32 = 1000;
/// Fewest connections of an executor's pool: both DBOS SDKs pin one for LISTEN, and with a single one
/// the Node SDK hangs for ever.
pub const MIN_EXECUTOR_POOL: u32 = 2;

/// What the manifest declares. Apps and pools stand in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// The apps; at least one.
    pub apps: Vec<App>,
    /// What is done once before the first worker.
    pub prepare: Prepare,
    /// What Postgres itself holds the fleet to; `None` when it is not to.
    pub enforce: Option<Enforce>,
    /// What `doctor` is told.
    pub doctor: Doctor,
    /// Where the running fleet is looked at; `None` when the manifest says nothing of it.
    pub observe: Option<Observe>,
}

/// One application: identical worker processes.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its name, the first part of every slot.
    pub name: Name,
    /// Programme and arguments; a programme with a `/` is relative to the workers' directory.
    pub command: Vec<String>,
    /// Number of workers.
    pub instances: Sourced<Workers>,
    /// The listening socket that the supervisor holds, if there is one.
    pub listen: Option<SocketAddr>,
    /// How a worker says that it serves.
    pub ready: Ready,
    /// How long it may take to say so, from its start.
    pub ready_timeout: Duration,
    /// How long it may finish what it has, before it is killed.
    pub drain_timeout: Duration,
    /// The signal that asks it to leave.
    pub stop_signal: StopSignal,
    /// The workers' working directory, relative to the manifest; its folder when there is none.
    pub cwd: Option<String>,
    /// Variables that every worker gets over what surrounds the supervisor.
    pub env: Variables,
    /// A variable of the app's own choice that gets the number of the slot, like `PM2_INSTANCE_ID`.
    pub instance_var: Option<String>,
    /// Whether it is a Node program that expects Node's cluster around it, as PM2 gives it: what it listens on is
    /// shared by its workers without its doing.
    pub cluster: bool,
    /// Its pools; at least one.
    pub pools: Vec<Pool>,
}

/// The signal that asks a worker to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopSignal {
    /// SIGTERM, which every service manager sends.
    #[default]
    Term,
    /// SIGINT, which PM2 sends.
    Int,
}

/// Variables and their values. Some are passwords: `Debug` shows the names.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One connection pool of every worker of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name, the last part of its connections' `application_name`.
    pub name: Name,
    /// The most connections it opens in one worker.
    pub max: Sourced<Connections>,
    /// Where it connects to; `None` when its variable is not set.
    pub url: Option<DatabaseUrl>,
    /// The variable that holds the URL, where one was named.
    pub url_variable: Option<String>,
    /// Whether a foreign program is given the URL with the name of its sessions in it: most drivers take
    /// `application_name` from there, and nobody's code has to.
    pub name_in_url: bool,
    /// The database that an embedded server is asked for when there is no URL.
    pub database: String,
    /// The role that an embedded server is asked for when there is no URL.
    pub role: String,
    /// A folder of plain SQL migrations for this pool's database, relative to the manifest.
    pub migrations: Option<String>,
    /// Group roles whose member the pool's role becomes.
    pub member_of: Vec<String>,
    /// Whether the pool belongs to a DBOS executor.
    pub executor: bool,
    /// What is done about a worker in which it is starved.
    pub on_starved: OnStarved,
}

/// What is done about a worker whose pool is starved: every connection is lent out, somebody waits, and nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStarved {
    /// It is told.
    #[default]
    Report,
    /// It is told, and the worker is replaced.
    Restart,
}

/// What is done once, under an advisory lock, before the first worker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prepare {
    /// A role that may create databases and roles; the pools' own URLs are used without it.
    pub url: Option<DatabaseUrl>,
    /// The variable that holds it, where one was named.
    pub url_variable: Option<String>,
    /// Commands, run one after the other beside the manifest.
    pub commands: Vec<Vec<String>>,
}

/// What Postgres itself holds the fleet to: the roles' limits and rights.
#[derive(Debug, Clone, PartialEq)]
pub struct Enforce {
    /// Added to the bound of each pool's role, for a second fleet on other hosts or a console.
    pub margin: Connections,
    /// The role of the supervisor's control connection.
    pub monitor: Monitor,
    /// `client_connection_check_interval` of the pools' roles; `None` leaves it alone.
    pub connection_check: Option<Duration>,
    /// Where generated passwords are kept, relative to the manifest; in the state folder without it.
    pub password_file: Option<String>,
}

/// A role that sees every session, ends those of the fleet, and reads no data.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// Its name.
    pub role: String,
    /// How it connects; without it like the first pool on each server, with a generated password.
    pub url: Option<DatabaseUrl>,
    /// The variable that holds the URL, where one was named.
    pub url_variable: Option<String>,
}

/// What `doctor` is told: what this project does on purpose, and what nobody can guess.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doctor {
    /// Hazards that are none here.
    pub allow: Vec<Allowed>,
    /// The module that launches the executor, relative to the manifest.
    pub init: Option<String>,
    /// The columns that say whose a row is; empty for the usual names.
    pub tenant_columns: Vec<String>,
}

/// A hazard that is accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Which.
    pub code: Code,
    /// Why, for whoever reads the manifest next.
    pub reason: String,
    /// The file or folder it is accepted in, relative to the manifest; everywhere without it.
    pub path: Option<String>,
}

/// A value and the variable it may be set by, so that a worker can be given the resolved number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The resolved value.
    pub value: T,
    /// The variable that the manifest names for it.
    pub variable: Option<String>,
}

/// How a worker says that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// By the channel: it says `booted` and waits for its turn, then `started` and `ready`.
    Channel,
    /// By `process.send('ready')`, the one word of programs that were written for PM2.
    Pm2,
    /// By `sd_notify`.
    Notify,
    /// By listening on its address, which it binds by itself; for programs that say nothing.
    Listening,
    /// By waiting for connections on the socket that the supervisor holds; for programs that take `LISTEN_FDS` and say nothing.
    Accepting,
}

/// Something in the manifest or the environment that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the manifest it is about.
    pub span: Range<usize>,
    /// The variable whose value is wrong, where it is not the file's own.
    pub variable: Option<String>,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Reads a manifest. `env` answers for the environment: `.env` and the real one, already merged.
///
/// # Errors
/// Every mistake there is, in the order of the file; never an empty list.
pub fn declare(
    manifest: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Topology, Vec<Mistake>> {
    read::topology(manifest, env)
}

impl Default for Enforce {
    fn default() -> Self {
        Self {
            margin: Connections::ZERO,
            monitor: Monitor::default(),
            // Costs one poll of a socket per second and running query; an orphan lives no longer.
            connection_check: Some(Duration::from_secs(1)),
            password_file: None,
        }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            role: "poolwright_monitor".into(),
            url: None,
            url_variable: None,
        }
    }
}

impl Topology {
    /// The app of that name.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name.as_str() == name)
    }

    /// Every pool with the app it belongs to.
    pub fn pools(&self) -> impl Iterator<Item = (&App, &Pool)> {
        self.apps
            .iter()
            .flat_map(|app| app.pools.iter().map(move |pool| (app, pool)))
    }
}

impl App {
    /// Whether its program was not written for Poolwright: it opens its connections when it likes, and takes no lock
    /// of its executor id.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.ready != Ready::Channel
    }

    /// The slots, from 0.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        (0..self.instances.value.0).map(|index| SlotId::new(self.name.clone(), index))
    }

    /// The tag of the supervisor's control connection for this app.
    #[must_use]
    pub fn control(&self) -> Tag {
        Tag::Control {
            app: self.name.clone(),
        }
    }
}
