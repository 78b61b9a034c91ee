//! Topology × server limits → [`Plan`]: a sum with named lines, and a verdict.
//!
//! The bound of a fleet is `Σ workers × max` over its pools. Beside it stands the overhead: one control
//! connection of the supervisor per server. Pools whose URLs reach the same server share one budget.
//!
//! What a server has for ordinary roles is `max_connections − superuser_reserved_connections −
//! reserved_connections` (the last since PostgreSQL 16):
//! <https://www.postgresql.org/docs/current/runtime-config-connection.html>.

use crate::declare::{App, Pool, Topology};
use crate::tag::Name;
use crate::units::{Connections, Workers};
use serde::Serialize;

/// The control connections that a supervisor holds per server.
pub const CONTROL_CONNECTIONS: Connections = Connections(1);

/// What stands for the server of pools without a URL.
pub const EMBEDDED: &str = "embedded";

/// What one server allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerLimits {
    /// `max_connections`.
    pub max_connections: Connections,
    /// `superuser_reserved_connections`.
    pub superuser_reserved: Connections,
    /// `reserved_connections`, 0 before PostgreSQL 16.
    pub reserved: Connections,
    /// Client sessions of others, now. Advice, not part of the verdict: they come and go.
    pub others: Connections,
    /// Roles and databases with a `CONNECTION LIMIT` of their own.
    pub caps: Vec<Cap>,
}

/// A `CONNECTION LIMIT` of a role or a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cap {
    /// What carries it.
    pub on: CapOn,
    /// Its name.
    pub name: String,
    /// The limit.
    pub limit: Connections,
    /// Whether Poolwright set it, and so raises it before a larger fleet starts.
    pub ours: bool,
}

/// What a `CONNECTION LIMIT` is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapOn {
    /// A role.
    Role,
    /// A database.
    Database,
}

/// The budget of a topology: what it opens at most, and whether its servers have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The most connections that the workers open, over all servers.
    pub bound: Connections,
    /// The connections beside them, over all servers.
    pub overhead: Connections,
    /// What the servers have for ordinary roles, over all servers.
    pub usable: Connections,
    /// Whether every server has what its part needs.
    pub fits: bool,
    /// One line per pool; their sum is the bound.
    pub lines: Vec<Line>,
    /// The same by server.
    pub servers: Vec<ServerPlan>,
}

/// The part of a plan that one server carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerPlan {
    /// `host:port`, or `embedded` for pools without a URL.
    pub server: String,
    /// The sum of its lines.
    pub bound: Connections,
    /// The supervisor's control connections.
    pub overhead: Connections,
    /// What it has for ordinary roles.
    pub usable: Connections,
    /// Whether every constraint holds.
    pub fits: bool,
    /// What it allows, as read.
    pub limits: ServerLimits,
    /// One line per pool.
    pub lines: Vec<Line>,
    /// Everything that must hold, with its figures.
    pub constraints: Vec<Constraint>,
    /// What would make it fit; empty when it does.
    pub cures: Vec<String>,
}

/// One pool's share: `workers × max = connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The app.
    pub app: Name,
    /// The pool.
    pub pool: Name,
    /// Its workers.
    pub workers: Workers,
    /// The pool's maximum in one worker.
    pub max: Connections,
    /// The product.
    pub connections: Connections,
}

/// `needs ≤ allows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Constraint {
    /// What constrains, in words.
    pub name: String,
    /// What the plan needs of it.
    pub needs: Connections,
    /// What it allows.
    pub allows: Connections,
}

/// Why a topology has no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The sum does not fit into a number of connections.
    #[error("the sum of the pools is larger than any server has: {0}")]
    Overflow(String),
    /// No limits for a server of the topology.
    #[error("no limits known for the server {0}")]
    UnknownServer(String),
}

impl ServerLimits {
    /// PostgreSQL's defaults around a given `max_connections`.
    #[must_use]
    pub const fn assumed(max_connections: Connections) -> Self {
        Self {
            max_connections,
            superuser_reserved: Connections(3),
            reserved: Connections::ZERO,
            others: Connections::ZERO,
            caps: Vec::new(),
        }
    }

    /// What ordinary roles may use.
    #[must_use]
    pub const fn usable(&self) -> Connections {
        self.max_connections
            .saturating_sub(self.superuser_reserved)
            .saturating_sub(self.reserved)
    }
}

impl Constraint {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.needs <= self.allows
    }
}

/// Where a pool's connections go: `host:port`, or `embedded` without a URL.
#[must_use]
pub fn server_of(pool: &Pool) -> String {
    pool.url
        .as_ref()
        .map_or_else(|| EMBEDDED.into(), crate::declare::DatabaseUrl::server)
}

/// The servers of a topology, in the order in which pools name them.
#[must_use]
pub fn servers(topology: &Topology) -> Vec<String> {
    let mut servers: Vec<String> = Vec::new();
    for (_, pool) in topology.pools() {
        let server = server_of(pool);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// The budget of a topology against the limits of each of its servers.
///
/// # Errors
/// [`BudgetError`] when a sum overflows or `limits` does not answer for a server.
pub fn plan(
    topology: &Topology,
    limits: &dyn Fn(&str) -> Option<ServerLimits>,
) -> Result<Plan, BudgetError> {
    let servers = servers(topology)
        .into_iter()
        .map(|server| {
            let limits =
                limits(&server).ok_or_else(|| BudgetError::UnknownServer(server.clone()))?;
            server_plan(topology, server, limits)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let sum = |part: fn(&ServerPlan) -> Connections| {
        Connections::checked_sum(servers.iter().map(part))
            .ok_or_else(|| BudgetError::Overflow("over all servers".into()))
    };
    Ok(Plan {
        bound: sum(|server| server.bound)?,
        overhead: sum(|server| server.overhead)?,
        usable: servers.iter().fold(Connections::ZERO, |sum, server| {
            sum.saturating_add(server.usable)
        }),
        fits: servers.iter().all(|server| server.fits),
        lines: topology
            .pools()
            .map(|(app, pool)| line(app, pool))
            .collect::<Result<_, _>>()?,
        servers,
    })
}

fn line(app: &App, pool: &Pool) -> Result<Line, BudgetError> {
    let (workers, max) = (app.instances.value, pool.max.value);
    Ok(Line {
        app: app.name.clone(),
        pool: pool.name.clone(),
        workers,
        max,
        connections: workers
            .checked_times(max)
            .ok_or_else(|| BudgetError::Overflow(format!("{workers} × {max}")))?,
    })
}

fn server_plan(
    topology: &Topology,
    server: String,
    limits: ServerLimits,
) -> Result<ServerPlan, BudgetError> {
    let pools: Vec<(&App, &Pool)> = topology
        .pools()
        .filter(|(_, pool)| server_of(pool) == server)
        .collect();
    let lines = pools
        .iter()
        .map(|(app, pool)| line(app, pool))
        .collect::<Result<Vec<_>, _>>()?;
    let overflow = || BudgetError::Overflow(format!("on {server}"));
    let bound =
        Connections::checked_sum(lines.iter().map(|l| l.connections)).ok_or_else(overflow)?;
    let overhead = CONTROL_CONNECTIONS;
    let needs = bound.checked_add(overhead).ok_or_else(overflow)?;
    let usable = limits.usable();

    let mut constraints = vec![Constraint {
        name: "usable connections".into(),
        needs,
        allows: usable,
    }];
    for cap in &limits.caps {
        // What enforcement sets follows the plan, and does not constrain it.
        if cap.ours && topology.enforce.is_some() {
            continue;
        }
        let share = |of: &dyn Fn(&Pool) -> bool| {
            Connections::checked_sum(
                pools
                    .iter()
                    .zip(&lines)
                    .filter(|((_, pool), _)| of(pool))
                    .map(|(_, line)| line.connections),
            )
            .ok_or_else(overflow)
        };
        let (needs, what) = match cap.on {
            CapOn::Role => (share(&|pool| role_of(pool) == cap.name)?, "role"),
            CapOn::Database => (share(&|pool| database_of(pool) == cap.name)?, "database"),
        };
        if needs > Connections::ZERO {
            constraints.push(Constraint {
                name: format!("CONNECTION LIMIT of {what} \"{}\"", cap.name),
                needs,
                allows: cap.limit,
            });
        }
    }
    let fits = constraints.iter().all(Constraint::holds);
    let cures = if fits {
        Vec::new()
    } else {
        cures(&pools, &constraints, &limits, needs, overhead)
    };
    Ok(ServerPlan {
        server,
        bound,
        overhead,
        usable,
        fits,
        limits,
        lines,
        constraints,
        cures,
    })
}

/// The role a pool connects as.
#[must_use]
pub fn role_of(pool: &Pool) -> String {
    pool.url
        .as_ref()
        .map_or_else(|| pool.role.clone(), crate::declare::DatabaseUrl::user)
}

/// The database a pool connects to.
#[must_use]
pub fn database_of(pool: &Pool) -> String {
    pool.url.as_ref().map_or_else(
        || pool.database.clone(),
        crate::declare::DatabaseUrl::database,
    )
}

/// What would make it fit, most direct first.
fn cures(
    pools: &[(&App, &Pool)],
    constraints: &[Constraint],
    limits: &ServerLimits,
    needs: Connections,
    overhead: Connections,
) -> Vec<String> {
    let mut cures = Vec::new();
    let usable = limits.usable();
    if needs > usable {
        let taken = limits.max_connections.saturating_sub(usable);
        // `needs` was summed without overflow; a server that needs more cannot be had anyway.
        let wanted = needs.checked_add(taken).unwrap_or(needs);
        cures.push(format!("max_connections = {wanted} on the server"));
        if let Some((app, _)) = pools.first()
            && pools.iter().all(|(other, _)| other.name == app.name)
        {
            let each: u32 = pools.iter().map(|(_, pool)| pool.max.value.0).sum();
            let workers = usable
                .saturating_sub(overhead)
                .0
                .checked_div(each)
                .unwrap_or(0);
            if workers > 0 {
                let setting = match &app.instances.variable {
                    Some(variable) => format!("{variable}={workers}"),
                    None => format!("instances = {workers}"),
                };
                cures.push(format!(
                    "{setting}: {workers} × {each} + {overhead} = {}",
                    workers * each + overhead.0
                ));
            }
            let per_worker = usable
                .saturating_sub(overhead)
                .0
                .checked_div(app.instances.value.0)
                .unwrap_or(0);
            let least: u32 = pools
                .iter()
                .map(|(_, pool)| {
                    if pool.executor {
                        crate::declare::MIN_EXECUTOR_POOL
                    } else {
                        1
                    }
                })
                .sum();
            if per_worker >= least {
                cures.push(format!(
                    "pools that sum up to at most {per_worker} in a worker, instead of {each}"
                ));
            }
        }
    }
    for constraint in constraints.iter().skip(1).filter(|c| !c.holds()) {
        cures.push(format!(
            "a {} of at least {}",
            constraint.name, constraint.needs
        ));
    }
    cures
}
