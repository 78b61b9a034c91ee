//! A PM2 ecosystem file, evaluated → the same [`Topology`] as from `poolwright.toml`.
//!
//! PM2's words are translated into the manifest's, and one reader validates both: what is a valid pool, count or URL is
//! written down once. The translation is a manifest in text, because that is what the reader knows
//! places in; the places are kept beside it, so that a mistake is reported under the key of the ecosystem file. Reading
//! PM2's keys by a second walk would have needed every check twice.
//!
//! | PM2's key | becomes |
//! | --- | --- |
//! | `script`, `args`, `interpreter`, `node_args` | the command |
//! | `instances` | the number of workers, `"max"`, 0 and negative numbers with the machine's CPUs |
//! | `env`, `env_<profile>`, `port` | the workers' environment, and where `{ env: … }` looks first |
//! | `wait_ready`, `exec_mode` | how a worker is seen to serve, and who binds |
//! | `kill_timeout`, `listen_timeout` | `drain_timeout`, `ready_timeout` |
//! | `cwd`, `instance_var` | the same |
//! | `poolwright` | whatever stands in `[apps.NAME]`; it wins over the others |
//!
//! Everything else is told to the caller as a note, unless it makes no difference here.

mod command;
mod draft;
mod keys;

use super::{Mistake, Topology, blotted, read};
use draft::{Draft, Entry, Node};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Where an ecosystem file is read.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What PM2 takes for the number of CPUs: `os.cpus().length`.
    pub cpus: u32,
    /// Which `env_<profile>` counts.
    pub profile: Option<&'a str>,
    /// The environment: `.env` and the real one, already merged.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether there is such a file; a relative path begins at the ecosystem file.
    pub exists: &'a dyn Fn(&str) -> bool,
}

/// What an ecosystem file declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Ecosystem {
    /// The apps with a `poolwright` key.
    pub topology: Topology,
    /// What stands in the file and is not honoured, in words, each with its place.
    pub notes: Vec<String>,
}

/// A mistake and where it is: the app and the key. JSON that a program made has no lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As in `web: poolwright.pools.dbos.max`.
    pub place: String,
    /// What is wrong there; its span means nothing.
    pub mistake: Mistake,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.mistake)
    }
}

/// Reads what an ecosystem file exports.
///
/// # Errors
/// Every mistake there is, in the order of the file; never an empty list.
pub fn ecosystem(exported: &Value, around: &Surroundings<'_>) -> Result<Ecosystem, Vec<Placed>> {
    let mut reading = Reading {
        around,
        draft: Draft::default(),
        mistakes: Vec::new(),
        notes: Vec::new(),
        names: BTreeSet::new(),
    };
    reading.root(exported);
    let Reading {
        draft,
        mut mistakes,
        notes,
        ..
    } = reading;
    match read::topology(draft.text(), around.env) {
        Ok(topology) if mistakes.is_empty() => Ok(Ecosystem {
            topology,
            notes: notes.iter().map(|note| blotted(note)).collect(),
        }),
        Ok(_) => Err(in_order(mistakes)),
        Err(found) => {
            mistakes.extend(found.into_iter().map(|mistake| {
                let at = mistake.span.start;
                (at, draft.place(at, mistake))
            }));
            Err(in_order(mistakes))
        }
    }
}

fn in_order(mut mistakes: Vec<(usize, Placed)>) -> Vec<Placed> {
    mistakes.sort_by_key(|(at, _)| *at);
    let placed = mistakes.into_iter().map(|(_, placed)| Placed {
        place: blotted(&placed.place),
        mistake: Mistake {
            found: blotted(&placed.mistake.found),
            variable: placed.mistake.variable.as_deref().map(blotted),
            ..placed.mistake
        },
    });
    placed.collect()
}

struct Reading<'a> {
    around: &'a Surroundings<'a>,
    draft: Draft,
    /// With how far the draft was when they were found.
    mistakes: Vec<(usize, Placed)>,
    notes: Vec<String>,
    names: BTreeSet<String>,
}

/// An app of the file, while it is read.
struct App<'v> {
    name: String,
    keys: &'v Map<String, Value>,
    /// Its `poolwright` key.
    own: &'v Map<String, Value>,
}

/// Where an app without a valid part is to be read on, so that its other mistakes are found too.
const STAND_IN: &str = "unknown";

impl Reading<'_> {
    fn mistake(&mut self, place: String, found: impl Into<String>, expected: impl Into<String>) {
        let mistake = Mistake {
            span: 0..0,
            variable: None,
            found: found.into(),
            expected: expected.into(),
        };
        let at = self.draft.text().len();
        self.mistakes.push((at, Placed { place, mistake }));
    }

    fn root(&mut self, exported: &Value) {
        let apps = match exported {
            Value::Object(keys) => keys.get("apps").or_else(|| keys.get("pm2")),
            _ => None,
        };
        let apps = match apps.unwrap_or(exported) {
            Value::Array(apps) => apps.iter().collect(),
            one => vec![one],
        };
        let before = self.names.len();
        for (index, app) in apps.iter().enumerate() {
            self.app(index, app);
        }
        if self.names.len() == before && self.mistakes.is_empty() {
            self.mistake(
                "apps".into(),
                "no app with a `poolwright` key",
                "at least one, as in poolwright: { pools: { orm: { max: 3, url: { env: 'DATABASE_URL' } } } }",
            );
        }
        if let Some(Value::Object(own)) = exported.get("poolwright") {
            for (key, value) in own.iter().filter(|(key, _)| *key != "apps") {
                let place = format!("poolwright.{key}");
                self.draft
                    .root(Entry::new(key, place, Node::Json(value.clone())));
            }
        }
    }

    fn app(&mut self, index: usize, app: &Value) {
        let Value::Object(keys) = app else {
            let place = format!("apps[{index}]");
            return self.mistake(
                place,
                shown(app),
                "an object, as in { name: 'web', script: 'server.js' }",
            );
        };
        let name = self.name(index, keys);
        let own = match keys.get("poolwright") {
            Some(Value::Object(own)) => own,
            None | Some(Value::Null) => {
                self.notes
                    .push(format!("{name}: has no `poolwright` key and is not run"));
                return;
            }
            Some(other) => {
                let found = shown(other);
                return self.mistake(format!("{name}: poolwright"), found, "an object with pools");
            }
        };
        if !self.names.insert(name.clone()) {
            let found = format!("a second app called {name:?}");
            return self.mistake(
                format!("{name}: name"),
                found,
                "a name of its own for every app",
            );
        }
        let app = App { name, keys, own };
        self.note_keys(&app);
        let entries = self.entries(&app);
        let place = format!("{}: name", app.name);
        self.draft
            .app(Entry::new(&app.name, place, Node::Table(entries)));
    }

    fn name(&mut self, index: usize, keys: &Map<String, Value>) -> String {
        let own = keys.get("poolwright").and_then(|own| own.get("name"));
        let given = own.or_else(|| keys.get("name")).and_then(Value::as_str);
        let stem = || {
            // A URL is no file, and may end in a password.
            let script = command::script(keys).filter(|script| !script.contains("://"))?;
            let file = script.rsplit('/').next().unwrap_or(script);
            Some(file.rsplit_once('.').map_or(file, |(stem, _)| stem))
        };
        let name = given.or_else(stem);
        name.map_or_else(|| format!("apps[{index}]"), str::to_owned)
    }

    /// The app's part of the manifest.
    fn entries(&mut self, app: &App<'_>) -> Vec<Entry> {
        let env = self.environment(app);
        let cluster = self.cluster(app);
        let port = env
            .iter()
            .find(|entry| entry.key == "PORT")
            .and_then(|entry| entry.as_text())
            .map(str::to_owned)
            .or_else(|| (self.around.env)("PORT"));
        let waits = self.flag(app, "wait_ready");
        let mut entries = vec![
            self.command(app),
            self.instances(app),
            Entry::new("env", app.place("env"), Node::Table(env)),
            Entry::text("stop_signal", app.place("stop_signal"), "SIGINT"),
        ];
        entries.extend(self.milliseconds(app, "kill_timeout", "drain_timeout"));
        entries.extend(self.milliseconds(app, "listen_timeout", "ready_timeout"));
        for key in ["cwd", "instance_var"] {
            if let Some(value) = given(app.keys, key) {
                entries.push(Entry::new(key, app.place(key), Node::Json(value.clone())));
            }
        }
        self.listens(app, cluster, waits, port, &mut entries);
        if given(app.own, "pools").is_none() {
            self.mistake(
                app.place("poolwright"),
                "no pools",
                "at least one, as in pools: { orm: { max: 3, url: { env: 'DATABASE_URL' } } }",
            );
            let max = Entry::new("max", app.place("poolwright"), Node::Json(1.into()));
            let pool = Entry::new(STAND_IN, app.place("poolwright"), Node::Table(vec![max]));
            entries.push(Entry::new(
                "pools",
                app.place("poolwright"),
                Node::Table(vec![pool]),
            ));
        }
        entries.retain(|entry| given(app.own, &entry.key).is_none());
        entries.extend(
            app.own
                .iter()
                .filter(|(key, _)| *key != "name")
                .map(|(key, value)| {
                    let place = app.place(&format!("poolwright.{key}"));
                    Entry::new(key, place, Node::Json(value.clone()))
                }),
        );
        entries
    }

    /// Who binds, and how a worker is seen to serve.
    ///
    /// Under PM2's cluster all workers share what they listen on; here that is the held socket. A forked program binds by
    /// itself, also here, unless `poolwright.listen` says that it takes a socket that is handed down.
    fn listens(
        &mut self,
        app: &App<'_>,
        cluster: bool,
        waits: bool,
        port: Option<String>,
        entries: &mut Vec<Entry>,
    ) {
        let own = |key| given(app.own, key).is_some();
        let port = port.map(|port| {
            let address = format!("0.0.0.0:{port}");
            Entry::text("listen", app.place("env.PORT"), &address)
        });
        let ready = if waits { "pm2" } else { "listening" };
        entries.push(Entry::text("ready", app.place("wait_ready"), ready));
        if cluster {
            let value = Node::Json(Value::Bool(true));
            entries.push(Entry::new("cluster", app.place("exec_mode"), value));
            if port.is_none() && !own("listen") {
                let expected = "env: { PORT: … }, or poolwright: { listen: '0.0.0.0:3000' }: the address that the workers share";
                self.mistake(
                    app.place("exec_mode"),
                    "cluster mode without a port",
                    expected,
                );
                entries.push(Entry::text("listen", app.place("exec_mode"), "0.0.0.0:0"));
            }
        } else if !waits && port.is_none() && !own("listen") && !own("ready") {
            self.mistake(
                app.place("wait_ready"),
                "no way to see that a worker serves",
                "wait_ready: true and process.send('ready') in the program, or env: { PORT: … } to see it listen on",
            );
            entries.push(Entry::text("listen", app.place("wait_ready"), "0.0.0.0:0"));
        }
        // Held, it would stand in the way of a program that binds by itself and says so.
        if cluster || !waits {
            entries.extend(port);
        }
    }

    fn environment(&mut self, app: &App<'_>) -> Vec<Entry> {
        let mut merged: Vec<(String, String, &Value)> = Vec::new();
        let profile = self.around.profile.map(|profile| format!("env_{profile}"));
        if let Some(profile) = profile.as_ref().filter(|p| given(app.keys, p).is_none()) {
            let name = &app.name;
            self.notes.push(format!(
                "{name}: has no `{profile}`, so --env changes nothing for it"
            ));
        }
        let port = given(app.keys, "port").map(|port| ("PORT".to_owned(), app.place("port"), port));
        for key in std::iter::once("env").chain(profile.as_deref()) {
            match given(app.keys, key) {
                None => {}
                Some(Value::Object(variables)) => {
                    for (name, value) in variables {
                        merged.retain(|(known, _, _)| known != name);
                        merged.push((name.clone(), app.place(&format!("{key}.{name}")), value));
                    }
                }
                Some(_) => {
                    self.mistake(
                        app.place(key),
                        "no variables",
                        "an object, as in { NODE_ENV: 'production' }",
                    );
                }
            }
            if let Some(port) = port.as_ref().filter(|_| key == "env") {
                merged.retain(|(known, _, _)| *known != port.0);
                merged.push(port.clone());
            }
        }
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            // As PM2 does: numbers and flags as they are written, objects as JSON.
            other => Some(other.to_string()),
        };
        merged
            .into_iter()
            .filter_map(|(name, place, value)| Some(Entry::text(&name, place, &text(value)?)))
            .collect()
    }

    fn instances(&mut self, app: &App<'_>) -> Entry {
        let cpus = i64::from(self.around.cpus.max(1));
        let number = match given(app.keys, "instances") {
            None => Some(1),
            Some(Value::String(text)) if text == "max" => Some(0),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        let count = match number {
            Some(0) => cpus,
            // All but so many.
            Some(less @ ..0) => cpus.saturating_add(less).max(1),
            Some(count) => count,
            None => {
                let found = given(app.keys, "instances").map_or_else(String::new, shown);
                self.mistake(
                    app.place("instances"),
                    found,
                    "a whole number, or \"max\" for one per CPU",
                );
                1
            }
        };
        Entry::new(
            "instances",
            app.place("instances"),
            Node::Json(count.into()),
        )
    }

    fn milliseconds(&mut self, app: &App<'_>, key: &str, becomes: &str) -> Option<Entry> {
        let value = given(app.keys, key)?;
        let number: Option<u64> = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        if number.is_none() && given(app.own, becomes).is_none() {
            self.mistake(
                app.place(key),
                shown(value),
                "a whole number of milliseconds",
            );
        }
        Some(Entry::text(
            becomes,
            app.place(key),
            &format!("{}ms", number?),
        ))
    }

    fn flag(&mut self, app: &App<'_>, key: &str) -> bool {
        match given(app.keys, key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.mistake(app.place(key), shown(other), "true or false");
                false
            }
        }
    }
}

impl App<'_> {
    fn place(&self, key: &str) -> String {
        format!("{}: {key}", self.name)
    }
}

/// A key that is there and not null.
fn given<'v>(keys: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    keys.get(key).filter(|value| !value.is_null())
}

/// A value as a person would name it. Text may be a URL with a password.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains("://") => "a URL".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::Null => "nothing".into(),
        plain => plain.to_string(),
    }
}
