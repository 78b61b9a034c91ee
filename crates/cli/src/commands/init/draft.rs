//! What a project shows → the text of a manifest, and what it leaves open.

use super::started::Started;
use poolwright_doctor::{Survey, Surveyed};
use poolwright_topology::declare::{MAX_POOL, MIN_EXECUTOR_POOL};
use poolwright_topology::tag::Name;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A manifest in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// Its text.
    pub(super) text: String,
    /// What was not found, and what stands instead.
    pub(super) missing: Vec<String>,
}

/// What makes a project have an ORM's pool, with the name that the pool then gets.
const ORMS: [(&str, &str); 14] = [
    ("@prisma/client", "prisma"),
    ("@prisma/adapter-pg", "prisma"),
    ("poolwright-worker", "prisma"),
    ("drizzle-orm", "orm"),
    ("typeorm", "orm"),
    ("sequelize", "orm"),
    ("knex", "orm"),
    ("kysely", "orm"),
    ("pg", "orm"),
    ("postgres", "orm"),
    ("sea-orm", "orm"),
    ("sqlx", "orm"),
    ("diesel", "orm"),
    ("tokio-postgres", "orm"),
];

/// What makes it have an executor's.
const EXECUTORS: [&str; 3] = ["@dbos-inc/dbos-sdk", "dbos", "poolwright-worker"];

/// The names that projects have for how many workers there are.
const INSTANCES: [&str; 3] = ["PM2_INSTANCES", "WEB_CONCURRENCY", "INSTANCES"];

/// Scripts of npm that migrate, by their usual names.
const MIGRATES: [&str; 6] = [
    "migrate",
    "db:migrate",
    "migrate:deploy",
    "prisma:migrate",
    "db:deploy",
    "migrate:up",
];

/// What both SDKs and the drivers open where nobody says anything.
const DRIVERS_MAX: u32 = 10;

/// What a worker of Poolwright's own library reads, wherever its sources are.
const WORKERS: [(&str, Option<&str>); 6] = [
    ("PORT", Some("3000")),
    ("PM2_INSTANCES", Some("3")),
    ("PRISMA_POOL_MAX", Some("3")),
    ("DBOS_POOL_MAX", Some("3")),
    ("DATABASE_URL", None),
    ("DBOS_SYSTEM_DATABASE_URL", None),
];

/// Writes the manifest of a project. It has a package.
pub(super) fn draft(folder: &Path, survey: &Survey, started: Option<&Started>) -> Draft {
    let mut survey = survey.clone();
    let has_worker = survey
        .rust
        .as_ref()
        .is_some_and(|package| package.has(&["poolwright-worker"]));
    if has_worker {
        survey.says_ready = true;
        for (name, default) in WORKERS {
            let known = survey.variables.entry(name.to_owned()).or_default();
            if known.is_none() {
                *known = default.map(str::to_owned);
            }
        }
    }
    let writer = Writer {
        folder,
        survey: &survey,
        started,
        text: String::new(),
        missing: Vec::new(),
    };
    writer.manifest()
}

struct Writer<'d> {
    folder: &'d Path,
    survey: &'d Survey,
    started: Option<&'d Started>,
    text: String,
    missing: Vec<String>,
}

/// A setting that was found, or what stands for it.
enum Found {
    Known(String),
    /// With what to say of it.
    Assumed(String, String),
}

impl Writer<'_> {
    fn manifest(mut self) -> Draft {
        let app = self.name();
        self.line("# The topology of this project, declared once. `poolwright plan` shows what it sums up to.");
        self.line("");
        self.line(&format!("[apps.{app}]"));
        let command = self.command();
        self.setting("command", command);
        let instances = self.instances();
        self.setting("instances", instances);
        let listen = self.listen();
        self.setting("listen", listen);
        self.readiness();
        if let Some(drain) = self.started.and_then(|started| started.drain_ms) {
            let drain = humantime::format_duration(Duration::from_millis(drain)).to_string();
            self.line(&format!("drain_timeout = {drain:?}"));
        }
        let orm = self.dependency_of(&ORMS.map(|(name, _)| name));
        let orm = orm.and_then(|found| ORMS.iter().find(|(name, _)| *name == found));
        let has_executor = self.dependency_of(&EXECUTORS).is_some();
        if let Some((_, pool)) = orm {
            self.pool(&app, pool, false);
        }
        if has_executor {
            self.pool(&app, "dbos", true);
        }
        if orm.is_none() && !has_executor {
            self.pool(&app, "orm", false);
            self.missing.push(
                "a driver of Postgres among the dependencies; [pools.orm] stands for it".into(),
            );
        }
        self.prepare();
        Draft {
            text: self.text,
            missing: self.missing,
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn setting(&mut self, key: &str, found: Found) {
        match found {
            Found::Known(value) => self.line(&format!("{key} = {value}")),
            Found::Assumed(value, why) => {
                self.line(&format!("{key} = {value}  # not found: {why}"));
                self.missing
                    .push(format!("{why}; {key} = {value} stands for it"));
            }
        }
    }

    /// PM2's name for it, where that is one.
    fn name(&self) -> String {
        let named = self.started.and_then(|started| started.name.clone());
        let valid = named.filter(|name| Name::new(name.as_str()).is_ok());
        valid.unwrap_or_else(|| "web".to_owned())
    }

    fn command(&self) -> Found {
        if let Some(words) = self.started.and_then(|started| started.command.as_ref()) {
            return Found::Known(list(words));
        }
        let words = |words: &[&str]| Found::Known(list(words));
        if let Some(node) = &self.survey.node {
            if let Some(start) = node.scripts.get("start") {
                return match plain(start) {
                    Some(plain) => words(&plain),
                    // What a shell is for is left to one; it hands signals on when it is replaced.
                    None => words(&["sh", "-c", &format!("exec {start}")]),
                };
            }
            if node.has(&["@sveltejs/adapter-node"]) {
                return words(&["node", "build"]);
            }
            for file in ["server.js", "index.js", "src/server.js", "dist/index.js"] {
                if self.folder.join(file).is_file() {
                    return words(&["node", file]);
                }
            }
            let why = "how the project is started (no `start` in package.json)";
            return Found::Assumed(list(&["node", "server.js"]), why.into());
        }
        match self.binary() {
            Some(binary) => words(&[&binary]),
            None => Found::Assumed(
                list(&["target/release/web"]),
                "the name of the binary".into(),
            ),
        }
    }

    /// The binary of the Rust package, from its folder on.
    fn binary(&self) -> Option<String> {
        let name = self.survey.rust.as_ref()?.name.as_ref()?;
        // The target is the workspace's, which has the lock file.
        let mut above = self.folder.ancestors().enumerate();
        let workspace = above.find(|(_, folder)| folder.join("Cargo.lock").is_file());
        let up = workspace.map_or(0, |(levels, _)| levels);
        Some(format!("{}target/release/{name}", "../".repeat(up)))
    }

    fn instances(&self) -> Found {
        let by_pm2 = self.started.and_then(|started| started.instances);
        let variable = INSTANCES
            .iter()
            .find(|name| self.survey.variables.contains_key(**name));
        if let Some(variable) = variable {
            let default = self.number(variable).or(by_pm2).unwrap_or(3);
            return Found::Known(format!("{{ env = \"{variable}\", default = {default} }}"));
        }
        match by_pm2 {
            Some(count) => Found::Known(count.to_string()),
            None => Found::Assumed(
                "{ env = \"PM2_INSTANCES\", default = 3 }".into(),
                "how many workers there are".into(),
            ),
        }
    }

    fn listen(&self) -> Found {
        let quoted = |address: &str| format!("{address:?}");
        for (name, value) in &self.survey.variables {
            let address = value
                .as_ref()
                .and_then(|value| value.parse::<SocketAddr>().ok());
            if let Some(address) = address {
                return Found::Known(format!("{{ env = \"{name}\", default = \"{address}\" }}"));
            }
        }
        let port = self.started.and_then(|started| started.port.clone());
        let port = port.or_else(|| self.survey.variables.get("PORT").cloned().flatten());
        if let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) {
            return Found::Known(quoted(&format!("0.0.0.0:{port}")));
        }
        if let Some(address) = self.survey.addresses.first() {
            return Found::Known(quoted(address));
        }
        let has_adapter = self
            .survey
            .node
            .as_ref()
            .is_some_and(|node| node.has(&["@sveltejs/adapter-node"]));
        match has_adapter {
            // What adapter-node listens on where PORT is not set.
            true => Found::Known(quoted("0.0.0.0:3000")),
            false => Found::Assumed(quoted("0.0.0.0:3000"), "the port that it listens on".into()),
        }
    }

    fn readiness(&mut self) {
        let waits = self.started.is_some_and(|started| started.waits_for_ready);
        if self.survey.says_ready || waits {
            return self.line("ready = \"channel\"");
        }
        let notifies = self
            .survey
            .rust
            .as_ref()
            .is_some_and(|rust| rust.has(&["sd-notify", "libsystemd"]));
        if notifies {
            return self.line("ready = \"notify\"");
        }
        self.line("ready = \"listening\"  # seen from outside: it says nothing of its own");
        let node = self.survey.node.as_ref();
        let takes_sockets = node.is_some_and(|node| node.has(&["@sveltejs/adapter-node"]))
            || self
                .survey
                .rust
                .as_ref()
                .is_some_and(|rust| rust.has(&["listenfd", "sd-notify"]));
        let is_cluster = self.started.is_some_and(|started| started.is_cluster);
        if node.is_some() && (is_cluster || !takes_sockets) {
            self.line("cluster = true  # its workers share the port as under Node's cluster");
        } else if !takes_sockets {
            self.missing.push(
                "whether the program takes the socket that is handed down (LISTEN_FDS, as the crate listenfd does); \
                 one that binds by itself needs SO_REUSEPORT"
                    .into(),
            );
        }
    }

    fn pool(&mut self, app: &str, pool: &str, executor: bool) {
        self.line("");
        self.line(&format!("[apps.{app}.pools.{pool}]"));
        let max = self.max(pool, executor);
        self.setting("max", max);
        let url = self.url(executor);
        self.setting("url", url);
        if executor {
            self.line("executor = true");
        } else if let Some(folder) = self.sql_migrations() {
            self.line(&format!("migrations = {folder:?}"));
        }
    }

    /// The largest size of a pool.
    fn max(&self, pool: &str, executor: bool) -> Found {
        let mut named = self.survey.variables.keys().filter(|name| {
            let is_max = name.contains("POOL") && (name.contains("MAX") || name.contains("SIZE"))
                || name.ends_with("MAX_CONNECTIONS");
            is_max && name.contains("DBOS") == executor && !name.starts_with("PRINT_")
        });
        let least = if executor { MIN_EXECUTOR_POOL } else { 1 };
        let range = u64::from(least)..=u64::from(MAX_POOL);
        let written = match executor {
            true => self.survey.executor_pools.iter().max(),
            false => self.survey.pools.iter().max(),
        };
        let written = written
            .map(|max| u64::from(*max))
            .filter(|max| range.contains(max));
        if let Some(variable) = named.next() {
            let default = self.number(variable).filter(|max| range.contains(max));
            let default = default.or(written).unwrap_or(u64::from(DRIVERS_MAX));
            return Found::Known(format!("{{ env = \"{variable}\", default = {default} }}"));
        }
        match written {
            Some(max) => Found::Known(max.to_string()),
            None => {
                let whose = if executor { "DBOS's" } else { "the driver's" };
                let why =
                    format!("the most connections of {pool}; {DRIVERS_MAX} is {whose} default");
                Found::Assumed(DRIVERS_MAX.to_string(), why)
            }
        }
    }

    /// The variable that holds a pool's URL.
    fn url(&self, executor: bool) -> Found {
        let names = self.survey.variables.keys();
        let mut named: Vec<&String> = names
            .filter(|name| {
                let is_url = name.ends_with("_URL") || name.ends_with("_URI");
                let is_of_postgres = ["DATABASE", "POSTGRES", "PG_", "DB_", "DBOS"]
                    .iter()
                    .any(|part| name.contains(part));
                let is_admins = name.contains("ADMIN");
                is_url && is_of_postgres && !is_admins && name.contains("DBOS") == executor
            })
            .collect();
        named.sort_by_key(|name| name.as_str() != "DATABASE_URL");
        let quoted = |name: &str| format!("{{ env = \"{name}\" }}");
        match (named.first(), executor) {
            (Some(name), _) => Found::Known(quoted(name)),
            (None, true) => Found::Assumed(
                quoted("DBOS_SYSTEM_DATABASE_URL"),
                "the variable with the URL of DBOS's database".into(),
            ),
            (None, false) => Found::Assumed(
                quoted("DATABASE_URL"),
                "the variable with the URL of the database".into(),
            ),
        }
    }

    /// A folder of plain SQL files, as `sqlx migrate` has them.
    fn sql_migrations(&self) -> Option<&'static str> {
        self.survey.rust.as_ref()?;
        let entries = std::fs::read_dir(self.folder.join("migrations")).ok()?;
        let mut files = entries.flatten().map(|entry| entry.path());
        files
            .any(|file| file.extension().is_some_and(|end| end == "sql"))
            .then_some("migrations")
    }

    fn prepare(&mut self) {
        let commands = self.migrating();
        let admin = "ADMIN_DATABASE_URL";
        let has_admin = self.survey.variables.contains_key(admin);
        self.line("");
        self.line("[prepare]");
        match has_admin {
            true => self.line(&format!("url = {{ env = \"{admin}\" }}")),
            false => self.line(&format!(
                "# url = {{ env = \"{admin}\" }}  # a role that may create databases and roles, if they are to be made"
            )),
        }
        if commands.is_empty() {
            let example = match self.survey.node {
                Some(_) => list(&["npm", "run", "migrate"]),
                None => list(&[&self.binary().unwrap_or_default(), "migrate"]),
            };
            self.line(&format!(
                "# commands = [{example}]  # not found: what migrates, once before the first worker"
            ));
            self.missing.push(
                "what migrates the databases; [prepare] commands run once, before the first worker"
                    .into(),
            );
            return;
        }
        let commands: Vec<String> = commands.iter().map(|words| list(words)).collect();
        self.line(&format!("commands = [{}]", commands.join(", ")));
    }

    /// What migrates.
    fn migrating(&self) -> Vec<Vec<String>> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        if let Some(node) = &self.survey.node {
            let script = MIGRATES
                .iter()
                .find(|name| node.scripts.contains_key(**name));
            if let Some(script) = script {
                return vec![owned(&["npm", "run", script])];
            }
            if self.folder.join("prisma/migrations").is_dir() {
                return vec![owned(&["npx", "prisma", "migrate", "deploy"])];
            }
            return Vec::new();
        }
        let by_word = self.survey.words.contains("migrate");
        let command = self.started.and_then(|started| started.command.clone());
        let command = command.or_else(|| self.binary().map(|binary| vec![binary]));
        match command.filter(|_| by_word) {
            Some(mut words) => {
                words.push("migrate".to_owned());
                vec![words]
            }
            None => Vec::new(),
        }
    }

    /// The first of these that the project depends on.
    fn dependency_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        let packages = [&self.survey.node, &self.survey.rust];
        let has = |name: &&str| {
            let mut packages = packages.iter().filter_map(|package| package.as_ref());
            packages.any(|package: &Surveyed| package.has(&[*name]))
        };
        names.iter().copied().find(|name| has(name))
    }

    fn number(&self, variable: &str) -> Option<u64> {
        self.survey.variables.get(variable)?.as_ref()?.parse().ok()
    }
}

/// Words as TOML has them.
fn list(words: &[impl AsRef<str>]) -> String {
    let mut text = String::from("[");
    for (index, word) in words.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // JSON's strings are TOML's. `write!` to a String cannot fail.
        let word = serde_json::Value::from(word.as_ref());
        let _infallible = write!(text, "{separator}{word}");
    }
    text.push(']');
    text
}

/// The words of a command that needs no shell.
fn plain(command: &str) -> Option<Vec<&str>> {
    let needs_a_shell =
        command.contains(['&', '|', ';', '$', '>', '<', '"', '\'', '`', '(', '*', '~']);
    let words: Vec<&str> = command.split_whitespace().collect();
    let sets_a_variable = words.first().is_some_and(|word| word.contains('='));
    (!needs_a_shell && !sets_a_variable && !words.is_empty()).then_some(words)
}
