//! The walk over the parsed manifest. Nothing returns early: a part that is wrong is noted and stands
//! as `None` until the end, where a single mistake anywhere refuses the whole.

mod doctor;
mod enforce;

use super::{
    App, DatabaseUrl, MAX_POOL, MAX_WORKERS, MIN_EXECUTOR_POOL, Mistake, OnStarved, Pool, Prepare,
    Ready, Sourced, StopSignal, Topology, Variables,
};
use crate::tag::{CONTROL, Name, SlotId, Tag};
use crate::units::{Connections, Workers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Value<'a> = Spanned<DeValue<'a>>;

/// Where a value came from, for the message when it is wrong.
struct Given<'v> {
    /// The text to parse, for a value of the environment; the TOML value otherwise.
    value: Content<'v>,
    variable: Option<String>,
    span: Range<usize>,
}

enum Content<'v> {
    Environment(String),
    Literal(&'v DeValue<'v>),
}

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
        self.only(table, &["apps", "prepare", "enforce", "doctor"]);
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
        let apps: Option<Vec<App>> = apps.into_iter().collect();
        let (apps, prepare, enforce, doctor) = (apps?, prepare?, enforce?, doctor?);
        if let Some(enforce) = &enforce {
            self.enforceable(table, enforce, &apps, &prepare);
        }
        Some(Topology {
            apps,
            prepare,
            enforce,
            doctor,
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

    /// `None` after a mistake; `Some((None, …))` where no URL is given.
    fn url(&mut self, table: &DeTable<'_>) -> Option<(Option<DatabaseUrl>, Option<String>)> {
        let Some(value) = table.get("url") else {
            return Some((None, None));
        };
        let variable = variable_of(value.get_ref());
        if let Some(name) = &variable
            && self.look_up(name).is_none()
            && value.get_ref().get("default").is_none()
        {
            self.only_setting_keys(value);
            return Some((None, variable));
        }
        let given = self.given(value)?;
        let Some(text) = given.text() else {
            self.refuse(&given, DatabaseUrl::EXPECTED);
            return None;
        };
        match DatabaseUrl::parse(&text) {
            Ok(url) => Some((Some(url), variable)),
            Err(error) => {
                self.mistakes.push(Mistake {
                    span: given.span,
                    variable: given.variable,
                    found: error.to_string(),
                    expected: DatabaseUrl::EXPECTED.into(),
                });
                None
            }
        }
    }

    fn command(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        let expected = "a list of a programme and its arguments, as in [\"node\", \"server.js\"]";
        let words = self.texts(value, expected)?;
        if words.first().is_none_or(String::is_empty) {
            self.mistake(value.span(), "an empty command", expected);
            return None;
        }
        Some(words)
    }

    fn texts(&mut self, value: &Value<'_>, expected: &str) -> Option<Vec<String>> {
        let Some(items) = value.get_ref().as_array() else {
            self.mistake(value.span(), shown(value.get_ref()), expected);
            return None;
        };
        let texts: Vec<Option<String>> = items
            .iter()
            .map(|item| self.parsed(item, "text", |text| Some(text.to_owned())))
            .collect();
        texts.into_iter().collect()
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<Option<String>> {
        match table.get(key) {
            None => Some(None),
            Some(value) => self
                .parsed(value, "text that is not empty", |text| {
                    (!text.is_empty()).then(|| text.to_owned())
                })
                .map(Some),
        }
    }

    fn flag(&mut self, table: &DeTable<'_>, key: &str) -> Option<bool> {
        let Some(value) = table.get(key) else {
            return Some(false);
        };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistake(value.span(), shown(value.get_ref()), "true or false");
        }
        flag
    }

    /// The variables of an app. No value is repeated: it may be a password.
    fn variables(&mut self, table: &DeTable<'_>) -> Option<Variables> {
        let Some(value) = table.get("env") else {
            return Some(Variables::default());
        };
        let entries = self.table(value, "of variables, as in { NODE_ENV = \"production\" }")?;
        let mut variables = Some(BTreeMap::new());
        for (name, value) in entries {
            let text = value.get_ref().as_str();
            match text.filter(|text| is_variable(name.get_ref()) && !text.contains('\0')) {
                Some(text) => {
                    if let Some(variables) = &mut variables {
                        variables.insert(name.get_ref().to_string(), text.to_owned());
                    }
                }
                None => {
                    self.mistake(
                        name.span(),
                        format!("the variable {:?}", name.get_ref()),
                        "NAME = \"value\", the name without \"=\", neither with a NUL",
                    );
                    variables = None;
                }
            }
        }
        variables.map(Variables)
    }

    fn duration(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        const DEFAULT: Duration = Duration::from_secs(30);
        const RANGE: RangeInclusive<Duration> =
            Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
        let Some(value) = table.get(key) else {
            return Some(DEFAULT);
        };
        self.parsed(
            value,
            "a time between \"1ms\" and \"24h\", as in \"30s\"",
            |text| {
                humantime::parse_duration(text)
                    .ok()
                    .filter(|duration| RANGE.contains(duration))
            },
        )
    }

    fn count(
        &mut self,
        value: &Value<'_>,
        range: RangeInclusive<u32>,
        why: &str,
    ) -> Option<Sourced<u32>> {
        let given = self.given(value)?;
        let number: Option<u32> = match &given.value {
            Content::Environment(text) => whole_number(text),
            Content::Literal(DeValue::Integer(integer)) => {
                u32::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Content::Literal(_) => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(value) => Some(Sourced {
                value,
                variable: given.variable,
            }),
            None => {
                self.refuse(
                    &given,
                    format!(
                        "a whole number from {} to {}{why}",
                        range.start(),
                        range.end()
                    ),
                );
                None
            }
        }
    }

    fn parsed<T>(
        &mut self,
        value: &Value<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let given = self.given(value)?;
        let parsed = given.text().and_then(|text| parse(&text));
        if parsed.is_none() {
            self.refuse(&given, expected);
        }
        parsed
    }

    /// A value, or what `{ env, default }` resolves to.
    fn given<'v>(&mut self, value: &'v Value<'v>) -> Option<Given<'v>> {
        let span = value.span();
        let Some(table) = value.get_ref().as_table() else {
            return Some(Given {
                value: Content::Literal(value.get_ref()),
                variable: None,
                span,
            });
        };
        self.only_setting_keys(value);
        let Some(variable) = variable_of(value.get_ref()) else {
            self.mistake(
                span,
                "a table without env",
                "a value, or { env = \"VARIABLE\", default = value }",
            );
            return None;
        };
        let value = match (self.look_up(&variable), table.get("default")) {
            (Some(text), _) => Content::Environment(text),
            (None, Some(default)) => Content::Literal(default.get_ref()),
            (None, None) => {
                self.mistakes.push(Mistake {
                    span,
                    variable: Some(variable),
                    found: "nothing, it is not set".into(),
                    expected: "the variable to be set, or a default beside it".into(),
                });
                return None;
            }
        };
        Some(Given {
            value,
            variable: Some(variable),
            span,
        })
    }

    fn only_setting_keys(&mut self, value: &Value<'_>) {
        if let Some(table) = value.get_ref().as_table() {
            self.only(table, &["env", "default"]);
        }
    }

    fn table<'v>(&mut self, value: &'v Value<'v>, place: &str) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistake(
                value.span(),
                shown(value.get_ref()),
                format!("a table {place}"),
            );
        }
        table
    }

    /// The entries of a table of named things, in the order of the file.
    fn named<T>(
        &mut self,
        value: &Value<'_>,
        place: &str,
        mut read: impl FnMut(&mut Self, Name, &Value<'_>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let Some(table) = self.table(value, &format!("[{place}.NAME]")) else {
            return vec![None];
        };
        table
            .iter()
            .map(|(key, value)| match Name::new(key.get_ref().as_ref()) {
                Ok(name) => read(self, name, value),
                Err(_) => {
                    self.mistake(
                        key.span(),
                        format!("the name {:?}", key.get_ref()),
                        "a lowercase letter, then lowercase letters, digits, \"_\" or \"-\", not ending in \"-\" and digits",
                    );
                    // What stands below a wrong name has its own mistakes to report.
                    if let Ok(stand_in) = Name::new("unnamed") {
                        read(self, stand_in, value);
                    }
                    None
                }
            })
            .collect()
    }

    fn only(&mut self, table: &DeTable<'_>, keys: &[&str]) {
        for key in table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                self.mistake(
                    key.span(),
                    format!("the key {:?}", key.get_ref()),
                    format!("one of {}", keys.join(", ")),
                );
            }
        }
    }
}

impl Given<'_> {
    fn text(&self) -> Option<String> {
        match &self.value {
            Content::Environment(text) => Some(text.clone()),
            Content::Literal(DeValue::String(text)) => Some(text.clone().into_owned()),
            Content::Literal(_) => None,
        }
    }

    fn shown(&self) -> String {
        match &self.value {
            // A database URL in the wrong variable would show its password.
            Content::Environment(text) if text.contains("://") => "a URL".into(),
            Content::Environment(text) => format!("{text:?}"),
            Content::Literal(value) => shown(value),
        }
    }
}

impl<T> Sourced<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced {
            value: convert(self.value),
            variable: self.variable,
        }
    }
}

fn variable_of(value: &DeValue<'_>) -> Option<String> {
    value
        .get("env")
        .and_then(|name| name.get_ref().as_str())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// What the system takes for a variable's name.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Digits only: `str::parse` would take `+3` too, which no other reader of the variable does.
fn whole_number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A value as a person would name it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.contains("://") => "a URL".into(),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
