//! The kinds of hazard, in one table.

use crate::finding::Severity;
use std::fmt;

/// What is the same wherever a hazard is found.
struct Facts {
    id: &'static str,
    name: &'static str,
    severity: Severity,
    why: &'static str,
    cure: &'static str,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $id:literal $name:literal $severity:ident { why: $why:literal, cure: $cure:literal $(,)? })*) => {
        /// A kind of hazard. Codes and names are stable: manifests and code reviews keep them.
        ///
        /// The first digit says what it is about: 1 executors, 2 pools, 3 process managers, 4 installed packages,
        /// 5 tenants, 6 the server, 7 the running fleet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$meta])* $variant,)*
        }

        impl Code {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$variant => Facts {
                        id: $id,
                        name: $name,
                        severity: Severity::$severity,
                        why: $why,
                        cure: $cure,
                    },)*
                }
            }
        }
    };
}

codes! {
    /// The executor is launched in more than one place.
    SecondLaunch = "PW101" "second-launch" Error {
        why: "every launch is an executor of its own with its own pool and its own LISTEN, and the SDK's launch guards against none of them",
        cure: "launch in one module, and have everybody else await the promise that it keeps",
    }
    /// The executor is launched by a module that serves requests, or by another one than the manifest names.
    LaunchOutsideInit = "PW102" "launch-outside-init" Error {
        why: "a module that a bundler splits, a hot reload evaluates again or a request reaches launches as often as that happens",
        cure: "move the launch into the module that owns initialisation, and call that module's ensureDbosLaunched() here",
    }
    /// A boolean is to keep the executor from being launched twice.
    BooleanGuard = "PW103" "boolean-guard" Error {
        why: "between the test and the end of the awaited launch a second caller passes the test too, or goes on before the executor is there",
        cure: "keep the promise instead of a boolean (in Rust a OnceCell, whose get_or_try_init awaits), so that every caller awaits the same launch",
    }
    /// Workers migrate the executor's schema when they launch.
    MigratingWorkers = "PW104" "migrating-workers" Error {
        why: "workers that start together on an empty database deadlock each other in the migrations, and those that lose do not launch",
        cure: "migrate once before the first worker ([prepare] commands), and launch with runMigrations: false (Rust: migrate: false)",
    }
    /// The executor id is written down.
    FixedExecutorId = "PW105" "fixed-executor-id" Error {
        why: "all workers of the fleet have the same id then, and each takes the others' running workflows for abandoned ones",
        cure: "make it of the instance's number, as in `web-${process.env.PM2_INSTANCE_ID ?? 0}`",
    }

    /// A request, a step or a workflow opens a pool or a client of its own.
    PoolPerRequest = "PW201" "pool-per-request" Error {
        why: "the number of connections follows the traffic instead of the declaration, up to the server's last one",
        cure: "open it once per process in a module of its own, and use it here",
    }
    /// A pool, a client or a launch is kept where a hot reload loses it.
    LostOnReload = "PW202" "lost-on-reload" Warning {
        why: "hot reload evaluates the module again, and every save of a file leaves the old connections open beside the new ones",
        cure: "keep it on globalThis under a Symbol.for(…), as in globals[KEY] ??= open()",
    }
    /// A URL limits a pool by `connection_limit`.
    ConnectionLimitInUrl = "PW203" "connection-limit-in-url" Error {
        why: "Prisma 7, pg and sqlx ignore it, so the pool has the driver's default size, whatever stands there",
        cure: "set the pool's own maximum (max, max_connections) and remove connection_limit from the URL",
    }
    /// A pool lets its callers wait for ever.
    EndlessAcquire = "PW204" "endless-acquire" Warning {
        why: "pg's default is to wait for ever, so that a starved pool hangs every request instead of failing one",
        cure: "set connectionTimeoutMillis (sqlx: acquire_timeout) to what a caller may wait",
    }
    /// The executor's pool has fewer connections than the SDK needs.
    ExecutorPoolTooSmall = "PW205" "executor-pool-too-small" Error {
        why: "DBOS pins one connection for LISTEN: with a single one Node hangs for ever and Rust needs a minute",
        cure: "give the executor's pool 2 connections at least; DBOS's own checklist says 5",
    }
    /// Workflows read a workflow's status, and the executor's pool is small.
    ExecutorPoolStarves = "PW206" "executor-pool-starves" Warning {
        why: "reading a status inside a workflow takes a second connection while holding one, so as many at once as the pool has connections deadlock",
        cure: "read it outside the workflow, or give the pool more connections than workflows that do so at once (10 at least)",
    }
    /// Nobody listens to the errors of a pool's idle connections.
    NoErrorListener = "PW207" "no-error-listener" Error {
        why: "an idle connection that breaks is an 'error' event, and one without a listener ends the process",
        cure: "pool.on('error', …) right where the pool is made",
    }

    /// PM2 is not told to name the instances.
    InstanceVarMissing = "PW301" "instance-var-missing" Error {
        why: "PM2 sets NODE_APP_INSTANCE unless it is told otherwise, so PM2_INSTANCE_ID is not there and every worker is instance 0",
        cure: "instance_var: 'PM2_INSTANCE_ID' in the app",
    }
    /// The number of the instance is set from outside.
    InstanceIdSet = "PW302" "instance-id-set" Error {
        why: "the surrounding environment wins over what PM2 gives an instance, so every worker gets this one",
        cure: "remove it: the process manager sets it for each worker",
    }
    /// Ecosystem file and manifest say different things.
    Disagreement = "PW303" "two-declarations" Error {
        why: "the fleet that PM2 starts is another than the one that was planned, limited and verified",
        cure: "read both from the same variable, or remove one of the two files",
    }
    /// PM2 kills before the drain is over.
    KillBeforeDrained = "PW304" "kill-before-drained" Error {
        why: "PM2 sends SIGKILL after kill_timeout (1.6 s when it is not set), and what was in flight is lost",
        cure: "kill_timeout above the drain's, with room for closing the pools after it",
    }

    /// Two copies of `pg` are installed.
    TwoCopiesOfPg = "PW401" "two-copies-of-pg" Error {
        why: "PrismaPg recognises a pool by instanceof, and a pool of the other copy is none to it",
        cure: "one version for all (npm dedupe, or overrides in package.json)",
    }
    /// Two copies of the DBOS SDK are installed.
    TwoCopiesOfDbos = "PW402" "two-copies-of-dbos" Error {
        why: "each copy has its own registry and its own executor: workflows that one registers are unknown to the other",
        cure: "one version for all (npm dedupe, overrides in package.json; cargo update --precise)",
    }
    /// Two copies of sqlx are built in.
    TwoCopiesOfSqlx = "PW403" "two-copies-of-sqlx" Warning {
        why: "each copy has its own Pool type, so that one of them cannot be handed on and a second pool is opened instead",
        cure: "the version of sqlx that dbos and sea-orm resolve to (cargo tree --duplicates)",
    }

    /// The tenant is set for the session.
    TenantForSession = "PW501" "tenant-for-session" Error {
        why: "a plain SET stays on the connection, and the next borrower runs as the last one's tenant",
        cure: "set_config('…', $1, true) or SET LOCAL, within the transaction",
    }
    /// The ORM's role is exempt from row-level security.
    RoleBypassesRls = "PW502" "role-bypasses-rls" Error {
        why: "policies do not apply to superusers and roles with BYPASSRLS: every tenant sees every row",
        cure: "connect as a role with NOSUPERUSER NOBYPASSRLS (`poolwright prepare --enforce` makes one)",
    }
    /// The ORM's role owns the tables that it reads tenants' rows from.
    RoleOwnsTables = "PW503" "role-owns-tables" Error {
        why: "an owner is exempt from policies unless they are forced, and may switch them off even then",
        cure: "have migrations run as another role, and grant the pool's role what it needs",
    }
    /// A table with a tenant's column is open to every tenant.
    TenantTableOpen = "PW504" "tenant-table-open" Error {
        why: "without a policy every query sees the rows of all tenants, however carefully the tenant was set",
        cure: "ALTER TABLE … ENABLE ROW LEVEL SECURITY, and CREATE POLICY … USING (…) WITH CHECK (…)",
    }

    /// The fleet needs more connections than the server has left.
    OverServer = "PW601" "over-server" Error {
        why: "the workers that come last are refused (53300), in mid-traffic where pools open lazily",
        cure: "`poolwright plan` shows the sum and what would fit",
    }
    /// The fleet fits only with what is reserved.
    NeedsReserved = "PW602" "needs-reserved" Error {
        why: "slots that superuser_reserved_connections and reserved_connections keep are refused to ordinary roles",
        cure: "plan with max_connections less what is reserved; `poolwright plan` does",
    }
    /// The server keeps no slot for its administrator.
    NothingReserved = "PW603" "nothing-reserved" Warning {
        why: "once all slots are taken nobody gets in any more to see by whom, or to end a session",
        cure: "superuser_reserved_connections = 3, the default",
    }
    /// A role or a database admits fewer connections than the plan needs of it.
    LimitBelowPlan = "PW604" "limit-below-plan" Error {
        why: "pg fails at once with 53300, sqlx retries in silence until its timeout and then says something else",
        cure: "a CONNECTION LIMIT at or above the pools' sum (`poolwright prepare --enforce` sets it)",
    }
    /// The server ends idle sessions, among them the one that listens.
    ListenCut = "PW605" "listen-cut" Error {
        why: "DBOS's LISTEN session is idle by nature; once it is ended, workflows wait for polls instead of notifications",
        cure: "ALTER ROLE … SET idle_session_timeout = 0 for the executor's role",
    }
    /// The server does not notice that a client is gone while it works for it.
    OrphansUnnoticed = "PW606" "orphans-unnoticed" Warning {
        why: "after a kill the sessions of a worker live on until their queries end, and hold the slots of its successor",
        cure: "ALTER ROLE … SET client_connection_check_interval = '1s' (`poolwright prepare --enforce` does it)",
    }

    /// Every connection of a pool is taken by somebody who waits.
    PoolStarved = "PW701" "pool-starved" Error {
        why: "all sessions sit idle in a transaction while callers wait for one: whoever holds a connection waits for another",
        cure: "restart the slot, then take no second connection while holding one, or make the pool larger than the callers that do",
    }
    /// A session has a pool's name and another role than the pool's.
    ForeignRole = "PW702" "foreign-role" Error {
        why: "what its role may do and how many connections it may open is not what was declared for the pool",
        cure: "give the worker the pool's own URL, and SET ROLE only LOCAL to a transaction",
    }
}

/// Where a kind of hazard shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// In the project's files.
    Files,
    /// In Postgres.
    Server,
    /// In a running fleet.
    Fleet,
}

impl Code {
    /// Where it shows itself.
    #[must_use]
    pub const fn shown(self) -> Shown {
        match self {
            Self::RoleBypassesRls
            | Self::RoleOwnsTables
            | Self::TenantTableOpen
            | Self::OverServer
            | Self::NeedsReserved
            | Self::NothingReserved
            | Self::LimitBelowPlan
            | Self::ListenCut
            | Self::OrphansUnnoticed => Shown::Server,
            Self::PoolStarved | Self::ForeignRole => Shown::Fleet,
            _ => Shown::Files,
        }
    }

    /// As in `PW101`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.facts().id
    }

    /// As in `second-launch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// How bad.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.facts().severity
    }

    /// Why it matters, in one sentence without its full stop.
    #[must_use]
    pub const fn why(self) -> &'static str {
        self.facts().why
    }

    /// What to do about it.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        self.facts().cure
    }

    /// The code that is written like this.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id() == id)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_and_names_are_unique_and_in_order() {
        let ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!((names.len(), unique.len()), (ids.len(), ids.len()));
    }

    #[test]
    fn a_code_is_read_as_it_is_written() {
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
        }
        assert_eq!(Code::parse("PW000"), None);
    }

    #[test]
    fn every_code_says_why_and_what_to_do_in_one_sentence() {
        for code in Code::ALL {
            for text in [code.why(), code.cure()] {
                assert!(text.len() > 20 && !text.ends_with('.'), "{code}: {text}");
            }
        }
    }
}
