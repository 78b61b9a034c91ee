//! The walk over the parsed manifest. Nothing returns early: a part that is wrong is noted and stands
//! as `None` until the end, where a single mistake anywhere refuses the whole.

mod doctor;
mod enforce;
mod observe;
mod value;

use super::{
    App, MAX_POOL, MAX_WORKERS, MIN_EXECUTOR_POOL, Mistake, OnStarved, Pool, Prepare, Ready,
    Sourced, StopSignal, Topology, Variables,
};
use crate::tag::{CONTROL, Name, SlotId, Tag};
use crate::units::{Connections, Workers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use value::{Given, is_variable, shown};

type Value<'a> = Spanned<DeValue<'a>>;

struct Reader<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    /// The variables that the app which is being read declares for its workers: they win, as they do in the worker.
    own: Variables,
    mistakes: Vec<Mistake>,
}

pub(super) fn topology(
    manifest: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Topology, Vec<Mistake>> {
    let (root, errors) = DeTable::parse_recoverable(manifest);
    let mut reader = Reader {
        env,
        own: Variables::default(),
        mistakes: errors
            .into_iter()
            .map(|error| Mistake {
                span: error.span().unwrap_or(0..0),
                variable: None,
                found: format!("text that is no TOML ({})", error.message()),
                expected: "a TOML document".into(),
            })
            .collect(),
    };
    let topology = reader.root(&root);
    match topology {
        Some(topology) if reader.mistakes.is_empty() => Ok(topology),
        _ => {
            // Whatever stands in the file may be repeated, a password not.
            for mistake in &mut reader.mistakes {
                mistake.found = super::blotted(&mistake.found);
                // Somebody may have written the URL where its variable's name belongs.
                mistake.variable = mistake.variable.as_deref().map(super::blotted);
            }
            reader.mistakes.sort_by_key(|mistake| mistake.span.start);
            reader.mistakes.dedup();
            Err(reader.mistakes)
        }
    }
}

impl Reader<'_> {
    fn look_up(&self, name: &str) -> Option<String> {
        let own = self.own.0.get(name).cloned();
        own.or_else(|| (self.env)(name))
    }

    fn mistake(
        &mut self,
        span: Range<usize>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.mistakes.push(Mistake {
            span,
            variable: None,
            found: found.into(),
            expected: expected.into(),
        });
    }

    fn refuse(&mut self, given: &Given<'_>, expected: impl Into<String>) {
        self.mistakes.push(Mistake {
            span: given.span.clone(),
            variable: given.variable.clone(),
            found: given.shown(),
            expected: expected.into(),
        });
    }

    fn root(&mut self, root: &Spanned<DeTable<'_>>) -> Option<Topology> {
        let table = root.get_ref();
        self.only(table, &["apps", "prepare", "enforce", "doctor", "observe"]);
        let apps = match table.get("apps") {
            None => {
                self.mistake(0..0, "no [apps]", "at least one app, as in [apps.web]");
                Vec::new()
            }
            Some(value) => self.named(value, "apps", Self::app),
        };
        if let Some(value) = table.get("apps")
            && value.get_ref().as_table().is_some_and(DeTable::is_empty)
        {
            self.mistake(value.span(), "no app", "at least one app, as in [apps.web]");
        }
        let prepare = match table.get("prepare") {
            None => Some(Prepare::default()),
            Some(value) => self.prepare(value),
        };
        self.distinct_listeners(&apps, table);
        let enforce = self.enforce(table);
        let doctor = self.doctor(table);
        let observe = self.observe(table, &apps);
        let apps: Option<Vec<App>> = apps.into_iter().collect();
        let (apps, prepare, enforce, doctor) = (apps?, prepare?, enforce?, doctor?);
        let observe = observe?;
        if let Some(enforce) = &enforce {
            self.enforceable(table, enforce, &apps, &prepare);
        }
        Some(Topology {
            apps,
            prepare,
            enforce,
            doctor,
            observe,
        })
    }

    fn distinct_listeners(&mut self, apps: &[Option<App>], table: &DeTable<'_>) {
        let mut taken: BTreeMap<SocketAddr, &Name> = BTreeMap::new();
        for app in apps.iter().flatten() {
            let Some(listen) = app.listen.filter(|address| address.port() != 0) else {
                continue;
            };
            if let Some(other) = taken.insert(listen, &app.name) {
                let span = table
                    .get("apps")
                    .and_then(|apps| apps.get_ref().get(app.name.as_str()))
                    .and_then(|app| app.get_ref().get("listen"))
                    .map_or(0..0, Spanned::span);
                self.mistake(
                    span,
                    format!("{listen}, which [apps.{other}] listens on"),
                    "an address of its own for every app",
                );
            }
        }
    }

    fn app(&mut self, name: Name, value: &Value<'_>) -> Option<App> {
        let table = self.table(value, &format!("[apps.{name}]"))?;
        self.only(
            table,
            &[
                "command",
                "instances",
                "listen",
                "ready",
                "ready_timeout",
                "drain_timeout",
                "stop_signal",
                "cwd",
                "env",
                "instance_var",
                "cluster",
                "on_starved",
                "pools",
            ],
        );
        let env = self.variables(table);
        self.own = env.clone().unwrap_or_default();
        let command = match table.get("command") {
            None => {
                self.mistake(
                    value.span(),
                    format!("[apps.{name}] without a command"),
                    "command = [\"programme\", \"argument\", …]",
                );
                None
            }
            Some(command) => self.command(command),
        };
        let instances = match table.get("instances") {
            None => Some(Sourced {
                value: Workers(1),
                variable: None,
            }),
            Some(value) => self
                .count(value, 1..=MAX_WORKERS, "")
                .map(|count| count.map(Workers)),
        };
        let listen = match table.get("listen") {
            None => Some(None),
            Some(value) => self
                .parsed(
                    value,
                    "an address and a port, as in \"0.0.0.0:3000\"",
                    |text| text.parse::<SocketAddr>().ok(),
                )
                .map(Some),
        };
        let ready = match table.get("ready") {
            None => Some(Ready::Channel),
            Some(value) => self.parsed(
                value,
                "\"channel\", \"pm2\", \"notify\", \"listening\" or \"accepting\"",
                |text| match text {
                    "channel" => Some(Ready::Channel),
                    "pm2" => Some(Ready::Pm2),
                    "notify" => Some(Ready::Notify),
                    "listening" => Some(Ready::Listening),
                    "accepting" => Some(Ready::Accepting),
                    _ => None,
                },
            ),
        };
        let seen_by = match ready {
            Some(Ready::Listening) => Some("listening"),
            Some(Ready::Accepting) => Some("accepting"),
            _ => None,
        };
        if let (Some(word), Some(None), Some(span)) =
            (seen_by, &listen, table.get("ready").map(Spanned::span))
        {
            self.mistake(
                span,
                format!("ready = \"{word}\" without listen"),
                "listen = \"address:port\" to wait for",
            );
        }
        let ready_timeout = self.duration(table, "ready_timeout");
        let drain_timeout = self.duration(table, "drain_timeout");
        let stop_signal = match table.get("stop_signal") {
            None => Some(StopSignal::default()),
            Some(value) => self.parsed(value, "\"SIGTERM\" or \"SIGINT\"", |text| match text {
                "SIGTERM" => Some(StopSignal::Term),
                "SIGINT" => Some(StopSignal::Int),
                _ => None,
            }),
        };
        let cwd = self.text(table, "cwd");
        let instance_var = match table.get("instance_var") {
            None => Some(None),
            Some(value) => self
                .parsed(value, "a variable's name", |text| {
                    is_variable(text).then(|| text.to_owned())
                })
                .map(Some),
        };
        let cluster = self.flag(table, "cluster");
        if cluster == Some(true)
            && let (Some(None), Some(span)) = (&listen, table.get("cluster").map(Spanned::span))
        {
            self.mistake(
                span,
                "cluster = true without listen",
                "listen = \"address:port\", the one that the program listens on",
            );
        }
        let on_starved = self.on_starved(table);
        let of_pools = on_starved.flatten().unwrap_or_default();
        let pools = match table.get("pools") {
            Some(pools) if pools.get_ref().as_table().is_none_or(|t| !t.is_empty()) => {
                let app = name.clone();
                let read = self.named(pools, "pools", |reader, pool, value| {
                    reader.pool(&app, of_pools, pool, value)
                });
                self.one_executor(&name, &read, pools);
                if let Some(instances) = &instances {
                    self.tags_fit(&name, instances.value, &read, pools);
                }
                read.into_iter().collect::<Option<Vec<Pool>>>()
            }
            _ => {
                self.mistake(
                    value.span(),
                    format!("[apps.{name}] without a pool"),
                    format!("at least one, as in [apps.{name}.pools.orm]"),
                );
                None
            }
        };
        self.own = Variables::default();
        on_starved?;
        Some(App {
            command: command?,
            instances: instances?,
            listen: listen?,
            ready: ready?,
            ready_timeout: ready_timeout?,
            drain_timeout: drain_timeout?,
            stop_signal: stop_signal?,
            cwd: cwd?,
            env: env?,
            instance_var: instance_var?,
            cluster: cluster?,
            pools: pools?,
            name,
        })
    }

    fn one_executor(&mut self, app: &Name, pools: &[Option<Pool>], value: &Value<'_>) {
        let executors: Vec<&Pool> = pools.iter().flatten().filter(|p| p.executor).collect();
        for extra in executors.iter().skip(1) {
            let span = value
                .get_ref()
                .get(extra.name.as_str())
                .map_or_else(|| value.span(), Spanned::span);
            self.mistake(
                span,
                format!(
                    "a second executor pool in [apps.{app}], {:?}",
                    extra.name.as_str()
                ),
                "one executor in a process, so one pool with executor = true",
            );
        }
    }

    /// Refuses a name that Postgres would cut, at the slot with the longest one.
    fn tags_fit(
        &mut self,
        app: &Name,
        instances: Workers,
        pools: &[Option<Pool>],
        value: &Value<'_>,
    ) {
        for pool in pools.iter().flatten() {
            let tag = Tag::Pool {
                slot: SlotId::new(app.clone(), instances.0.saturating_sub(1)),
                pool: pool.name.clone(),
            };
            if let Err(error) = tag.application_name() {
                self.mistake(
                    value.span(),
                    format!("a name that would be cut: {error}"),
                    "a shorter name for the app or the pool",
                );
            }
        }
    }

    /// `None` after a mistake; `Some(None)` where it is not said.
    fn on_starved(&mut self, table: &DeTable<'_>) -> Option<Option<OnStarved>> {
        let Some(value) = table.get("on_starved") else {
            return Some(None);
        };
        let read = self.parsed(value, "\"report\" or \"restart\"", |text| match text {
            "report" => Some(OnStarved::Report),
            "restart" => Some(OnStarved::Restart),
            _ => None,
        });
        read.map(Some)
    }

    /// `of_app` is what the app says of all its pools.
    fn pool(
        &mut self,
        app: &Name,
        of_app: OnStarved,
        name: Name,
        value: &Value<'_>,
    ) -> Option<Pool> {
        let place = format!("[apps.{app}.pools.{name}]");
        let table = self.table(value, &place)?;
        self.only(
            table,
            &[
                "max",
                "url",
                "name_in_url",
                "database",
                "role",
                "migrations",
                "member_of",
                "executor",
                "on_starved",
            ],
        );
        if name.as_str() == CONTROL {
            self.mistake(
                value.span(),
                format!("a pool called {CONTROL:?}"),
                "another name: this one marks the supervisor's own connection",
            );
        }
        let executor = self.flag(table, "executor");
        let (least, why) = if executor == Some(true) {
            (
                MIN_EXECUTOR_POOL,
                " (DBOS pins one connection for LISTEN; with a single one it hangs)",
            )
        } else {
            (1, "")
        };
        let max = match table.get("max") {
            None => {
                self.mistake(
                    value.span(),
                    format!("{place} without max"),
                    "the most connections it opens in one worker, as in max = 3",
                );
                None
            }
            Some(value) => self
                .count(value, least..=MAX_POOL, why)
                .map(|count| count.map(Connections)),
        };
        let url = self.url(table);
        let name_in_url = match table.get("name_in_url") {
            None => Some(true),
            Some(_) => self.flag(table, "name_in_url"),
        };
        let database = self.text(table, "database");
        let role = self.text(table, "role");
        let migrations = self.text(table, "migrations");
        let member_of = match table.get("member_of") {
            None => Some(Vec::new()),
            Some(value) => self.texts(value, "a list of roles, as in [\"order_desk\"]"),
        };
        let on_starved = self.on_starved(table);
        let (url, url_variable) = url?;
        let default_database = if executor == Some(true) {
            format!("{app}_dbos_sys")
        } else {
            app.to_string()
        };
        Some(Pool {
            max: max?,
            url,
            url_variable,
            name_in_url: name_in_url?,
            database: database?.unwrap_or(default_database),
            role: role?.unwrap_or_else(|| format!("{app}_{name}")),
            migrations: migrations?,
            member_of: member_of?,
            executor: executor?,
            on_starved: on_starved?.unwrap_or(of_app),
            name,
        })
    }

    fn prepare(&mut self, value: &Value<'_>) -> Option<Prepare> {
        let table = self.table(value, "[prepare]")?;
        self.only(table, &["url", "commands"]);
        let url = self.url(table);
        let commands = match table.get("commands") {
            None => Some(Vec::new()),
            Some(value) => match value.get_ref().as_array() {
                Some(commands) => {
                    let commands: Vec<_> = commands
                        .iter()
                        .map(|command| self.command(command))
                        .collect();
                    commands.into_iter().collect()
                }
                None => {
                    self.mistake(
                        value.span(),
                        shown(value.get_ref()),
                        "a list of commands, as in [[\"npm\", \"run\", \"migrate\"]]",
                    );
                    None
                }
            },
        };
        let (url, url_variable) = url?;
        Some(Prepare {
            url,
            url_variable,
            commands: commands?,
        })
    }
}
