//! What Postgres and a running fleet show → hazards. Pure: who asks them stands elsewhere.

use super::Code;
use crate::budget::{CapOn, Plan, ServerPlan, database_of, role_of, server_of};
use crate::declare::{App, Pool, Topology};
use crate::finding::{Finding, Kind};
use crate::tag::Name;
use crate::units::Connections;

/// The columns that say whose a row is, where the manifest names none.
pub const TENANT_COLUMNS: [&str; 4] = ["tenant_id", "tenant", "organization_id", "organisation_id"];

/// A hazard that shows itself outside the files, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub code: Code,
    /// The app and the pool it concerns; nothing for the server as a whole.
    pub pool: Option<(Name, Name)>,
    /// What was found, in one sentence.
    pub message: String,
}

/// What a server shows of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolFacts {
    /// The app and the pool.
    pub app: String,
    /// The pool.
    pub pool: String,
    /// Whether its role is exempt from every limit and every policy.
    pub superuser: bool,
    /// Whether its role is exempt from row-level security.
    pub bypasses_rls: bool,
    /// What applies to its sessions: as the role has it for this database, as the role, as the database, as the server.
    pub settings: Settings,
    /// The tables of its database that it may read or change.
    pub tables: Vec<Table>,
}

/// Settings of Postgres that apply to a pool's sessions, in milliseconds; 0 is off, `None` a server that has no such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// `idle_session_timeout`, since PostgreSQL 14.
    pub idle_session_ms: Option<u64>,
    /// `client_connection_check_interval`, since PostgreSQL 14.
    pub connection_check_ms: Option<u64>,
}

/// A table, as far as tenants are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Its schema and its name.
    pub name: String,
    /// The column that says whose a row is, if it has one.
    pub tenant_column: Option<String>,
    /// Whether row-level security is enabled.
    pub protected: bool,
    /// Whether it has a policy.
    pub has_policy: bool,
    /// Whether the pool's role owns it, or has the rights of who does.
    pub owned: bool,
}

impl Table {
    fn is_about_tenants(&self) -> bool {
        self.tenant_column.is_some() || self.protected
    }
}

/// What the servers show: their room for the plan, and what the pools' roles are.
#[must_use]
pub fn of_servers(topology: &Topology, plan: &Plan, facts: &[PoolFacts]) -> Vec<Live> {
    let mut found = Vec::new();
    for server in &plan.servers {
        room(server, &mut found);
        limits(topology, server, &mut found);
    }
    for facts in facts {
        let pool = topology
            .pools()
            .find(|(app, pool)| app.name.as_str() == facts.app && pool.name.as_str() == facts.pool);
        if let Some((app, pool)) = pool {
            of_pool(app, pool, facts, &mut found);
        }
    }
    found
}

/// What was found in a running fleet, as far as it is hazardous by itself: the rest is `verify`'s.
#[must_use]
pub fn of_findings(findings: &[Finding]) -> Vec<Live> {
    let hazards = findings.iter().filter_map(|finding| {
        let code = match finding.kind {
            Kind::ForeignRole => Code::ForeignRole,
            Kind::PoolStarved => Code::PoolStarved,
            _ => return None,
        };
        let slot = finding.slot.as_ref();
        let pool = finding
            .pool
            .as_deref()
            .and_then(|pool| Name::new(pool).ok());
        Some(Live {
            code,
            pool: slot
                .zip(pool)
                .map(|(slot, pool)| (slot.app().clone(), pool)),
            message: finding.message.clone(),
        })
    });
    hazards.collect()
}

/// What the server has left for the fleet.
fn room(server: &ServerPlan, found: &mut Vec<Live>) {
    let limits = &server.limits;
    let needs = server.bound.saturating_add(server.overhead);
    let left = server.usable.saturating_sub(limits.others);
    let with_reserved = limits.max_connections.saturating_sub(limits.others);
    let others = match limits.others {
        Connections(0) => String::new(),
        Connections(1) => ", 1 is another's".to_owned(),
        others => format!(", {others} are others'"),
    };
    let mut say = |code, message| {
        found.push(Live {
            code,
            pool: None,
            message,
        });
    };
    if needs > left {
        let reserved = limits.max_connections.saturating_sub(server.usable);
        let sum = format!(
            "{} has max_connections = {}, {reserved} of them reserved{others}; the fleet needs {needs} and has {left}",
            server.server, limits.max_connections
        );
        if needs <= with_reserved {
            say(Code::NeedsReserved, sum);
        } else {
            say(Code::OverServer, sum);
        }
    }
    if limits.superuser_reserved == Connections::ZERO {
        let message = format!("{} has superuser_reserved_connections = 0", server.server);
        say(Code::NothingReserved, message);
    }
}

/// Roles and databases that admit less than the plan needs of them.
fn limits(topology: &Topology, server: &ServerPlan, found: &mut Vec<Live>) {
    let pools = || {
        let pools = topology.pools();
        pools.filter(|(_, pool)| server_of(pool) == server.server)
    };
    for cap in &server.limits.caps {
        // What enforcement sets follows the plan.
        if cap.ours && topology.enforce.is_some() {
            continue;
        }
        let (what, is_its): (_, fn(&Pool) -> String) = match cap.on {
            CapOn::Role => ("role", role_of),
            CapOn::Database => ("database", database_of),
        };
        let its = pools().filter(|(_, pool)| is_its(pool) == cap.name);
        let shares = its.filter_map(|(app, pool)| {
            let share = app.instances.value.checked_times(pool.max.value)?;
            Some((app, pool, share))
        });
        let shares: Vec<_> = shares.collect();
        let needs = shares.iter().fold(Connections::ZERO, |sum, (_, _, share)| {
            sum.saturating_add(*share)
        });
        if let Some((app, pool, _)) = shares.first()
            && needs > cap.limit
        {
            found.push(Live {
                code: Code::LimitBelowPlan,
                pool: Some((app.name.clone(), pool.name.clone())),
                message: format!(
                    "{what} \"{}\" has CONNECTION LIMIT {}, the plan needs {needs}",
                    cap.name, cap.limit
                ),
            });
        }
    }
}

fn of_pool(app: &App, pool: &Pool, facts: &PoolFacts, found: &mut Vec<Live>) {
    let role = role_of(pool);
    let mut say = |code, message: String| {
        found.push(Live {
            code,
            pool: Some((app.name.clone(), pool.name.clone())),
            message,
        });
    };
    if facts.settings.connection_check_ms == Some(0) {
        let message = format!("client_connection_check_interval is 0 for role \"{role}\"");
        say(Code::OrphansUnnoticed, message);
    }
    if pool.executor {
        if let Some(after @ 1..) = facts.settings.idle_session_ms {
            let message = format!("idle_session_timeout is {after} ms for role \"{role}\"");
            say(Code::ListenCut, message);
        }
        // An executor owns its own tables, and has no tenants.
        return;
    }
    let about: Vec<&Table> = facts
        .tables
        .iter()
        .filter(|table| table.is_about_tenants())
        .collect();
    let exempt = match (facts.superuser, facts.bypasses_rls) {
        (true, _) => Some("is a superuser"),
        (false, true) => Some("has BYPASSRLS"),
        (false, false) => None,
    };
    if let Some(exempt) = exempt
        && !about.is_empty()
    {
        say(Code::RoleBypassesRls, format!("role \"{role}\" {exempt}"));
    }
    let owned: Vec<&str> = about
        .iter()
        .filter(|table| table.owned)
        .map(|table| table.name.as_str())
        .collect();
    // A superuser has the rights of every owner.
    if !owned.is_empty() && !facts.superuser {
        let message = format!("role \"{role}\" owns {}", listed(&owned));
        say(Code::RoleOwnsTables, message);
    }
    for table in about {
        let Some(column) = &table.tenant_column else {
            continue;
        };
        let lacks = match (table.protected, table.has_policy) {
            (true, true) => continue,
            (true, false) => "no policy",
            (false, true) => "policies, but row-level security is not enabled",
            (false, false) => "no row-level security",
        };
        let message = format!("{} has a column {column} and {lacks}", table.name);
        say(Code::TenantTableOpen, message);
    }
}

/// The first few of many names.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A time as Postgres writes it in a setting, in milliseconds: `1s`, `5min`, `250`. `None` for what is no time.
#[must_use]
pub fn milliseconds(setting: &str) -> Option<u64> {
    let setting = setting.trim();
    let end = setting.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = setting.split_at(end.unwrap_or(setting.len()));
    let number: u64 = digits.parse().ok()?;
    let of_one = match unit.trim() {
        "us" => return Some(number.div_ceil(1000)),
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(of_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{self, Cap, ServerLimits};
    use crate::declare::declare;
    use crate::hazard::Shown;

    const MANIFEST: &str = r#"
[apps.web]
command = ["true"]
instances = 3
[apps.web.pools.orm]
max = 3
url = "postgres://app:secret@localhost/shop"
[apps.web.pools.dbos]
max = 3
url = "postgres://dbos:secret@localhost/shop_dbos"
executor = true
"#;

    fn topology() -> Topology {
        declare(MANIFEST, &|_| None).unwrap()
    }

    /// The codes that are found, on a server that differs from a good one by `change`.
    fn of_server(change: impl Fn(&mut ServerLimits)) -> Vec<Code> {
        let mut limits = ServerLimits::assumed(Connections(100));
        change(&mut limits);
        let topology = topology();
        let plan = budget::plan(&topology, &|_| Some(limits.clone())).unwrap();
        let found = of_servers(&topology, &plan, &[]);
        found.into_iter().map(|live| live.code).collect()
    }

    /// The same for a pool.
    fn of_one(pool: &str, change: impl Fn(&mut PoolFacts)) -> Vec<Code> {
        let mut facts = PoolFacts {
            app: "web".into(),
            pool: pool.into(),
            settings: Settings {
                idle_session_ms: Some(0),
                connection_check_ms: Some(1000),
            },
            tables: vec![Table {
                name: "public.orders".into(),
                tenant_column: Some("tenant_id".into()),
                protected: true,
                has_policy: true,
                owned: false,
            }],
            ..PoolFacts::default()
        };
        change(&mut facts);
        let topology = topology();
        let limits = ServerLimits::assumed(Connections(100));
        let plan = budget::plan(&topology, &|_| Some(limits.clone())).unwrap();
        let found = of_servers(&topology, &plan, &[facts]);
        found.into_iter().map(|live| live.code).collect()
    }

    #[test]
    fn a_server_with_room_and_roles_as_they_should_be_is_silent() {
        assert_eq!(of_server(|_| {}), []);
        assert_eq!(of_one("orm", |_| {}), []);
        assert_eq!(of_one("dbos", |_| {}), []);
    }

    #[test]
    fn the_fleet_needs_19_of_what_is_left() {
        let max = |max| of_server(|limits| limits.max_connections = Connections(max));
        assert_eq!(max(22), []);
        assert_eq!(max(21), [Code::NeedsReserved]);
        assert_eq!(max(19), [Code::NeedsReserved]);
        assert_eq!(max(18), [Code::OverServer]);
        let others = |others| of_server(|limits| limits.others = Connections(others));
        assert_eq!(others(78), []);
        assert_eq!(others(79), [Code::NeedsReserved]);
        assert_eq!(others(82), [Code::OverServer]);
        let none = of_server(|limits| limits.superuser_reserved = Connections(0));
        assert_eq!(none, [Code::NothingReserved]);
    }

    #[test]
    fn limits_of_roles_and_databases_are_measured_against_their_pools() {
        let cap = |on, name: &str, limit| {
            of_server(|limits| {
                limits.caps = vec![Cap {
                    on,
                    name: name.to_owned(),
                    limit: Connections(limit),
                    ours: false,
                }];
            })
        };
        assert_eq!(cap(CapOn::Role, "app", 9), []);
        assert_eq!(cap(CapOn::Role, "app", 8), [Code::LimitBelowPlan]);
        assert_eq!(cap(CapOn::Role, "another", 1), []);
        assert_eq!(cap(CapOn::Database, "shop_dbos", 8), [Code::LimitBelowPlan]);
    }

    #[test]
    fn a_role_of_the_orm_neither_owns_nor_bypasses() {
        let exempt = |facts: &mut PoolFacts| facts.superuser = true;
        assert_eq!(of_one("orm", exempt), [Code::RoleBypassesRls]);
        assert_eq!(of_one("dbos", exempt), []);
        let bypasses = |facts: &mut PoolFacts| facts.bypasses_rls = true;
        assert_eq!(of_one("orm", bypasses), [Code::RoleBypassesRls]);
        let owns = |facts: &mut PoolFacts| facts.tables[0].owned = true;
        assert_eq!(of_one("orm", owns), [Code::RoleOwnsTables]);
        let without_tenants = |facts: &mut PoolFacts| {
            facts.bypasses_rls = true;
            facts.tables = vec![Table {
                name: "public.settings".into(),
                owned: true,
                ..Table::default()
            }];
        };
        assert_eq!(of_one("orm", without_tenants), []);
    }

    #[test]
    fn a_table_of_tenants_has_a_policy_that_is_enabled() {
        for (protected, has_policy) in [(false, false), (false, true), (true, false)] {
            let open = |facts: &mut PoolFacts| {
                facts.tables[0].protected = protected;
                facts.tables[0].has_policy = has_policy;
            };
            assert_eq!(of_one("orm", open), [Code::TenantTableOpen]);
        }
    }

    #[test]
    fn a_listener_is_not_cut_and_a_lost_client_is_noticed() {
        let cut = |facts: &mut PoolFacts| facts.settings.idle_session_ms = Some(60_000);
        assert_eq!(of_one("dbos", cut), [Code::ListenCut]);
        assert_eq!(
            of_one("orm", cut),
            [],
            "an idle connection of the ORM is opened again"
        );
        let unnoticed = |facts: &mut PoolFacts| facts.settings.connection_check_ms = Some(0);
        assert_eq!(of_one("orm", unnoticed), [Code::OrphansUnnoticed]);
        let too_old = |facts: &mut PoolFacts| facts.settings = Settings::default();
        assert_eq!(of_one("dbos", too_old), []);
    }

    #[test]
    fn of_a_running_fleet_it_is_what_every_hazard_of_a_fleet_stands_for() {
        let finding = |kind| Finding {
            kind,
            severity: crate::finding::Severity::Error,
            slot: Some("web-1".parse().unwrap()),
            pool: Some("orm".into()),
            message: "seen".into(),
            cure: String::new(),
        };
        let kinds = [Kind::OverBound, Kind::ForeignRole, Kind::PoolStarved];
        let found = of_findings(&kinds.map(finding));
        let codes: Vec<Code> = found.iter().map(|live| live.code).collect();
        assert_eq!(codes, [Code::ForeignRole, Code::PoolStarved]);
        let all = Code::ALL.iter().filter(|code| code.shown() == Shown::Fleet);
        assert!(all.clone().all(|code| codes.contains(code)), "{codes:?}");
        let pool = found[0].pool.as_ref().unwrap();
        assert_eq!((pool.0.as_str(), pool.1.as_str()), ("web", "orm"));
    }

    #[test]
    fn times_are_read_as_postgres_writes_them() {
        let table = [
            ("0", Some(0)),
            ("250", Some(250)),
            ("1s", Some(1000)),
            (" 5min ", Some(300_000)),
            ("1 h", Some(3_600_000)),
            ("1500us", Some(2)),
            ("soon", None),
            ("", None),
            ("99999999999999999999", None),
            ("18446744073709551615d", None),
        ];
        for (setting, expected) in table {
            assert_eq!(milliseconds(setting), expected, "{setting:?}");
        }
    }
}
