//! `script`, `args`, `interpreter` and `node_args` → a command.

use super::draft::{Entry, Node};
use super::{App, Reading, STAND_IN, given, shown};
use crate::declare::arguments;
use serde_json::{Map, Value};

/// What runs files of a kind. PM2's table, but for two: text of any other kind is Node's there and runs by itself here,
/// which a `#!` line makes right; and TypeScript is Node's (from 22.18), where PM2 looks for bun first.
const INTERPRETERS: [(&str, &str); 11] = [
    (".js", "node"),
    (".cjs", "node"),
    (".mjs", "node"),
    (".ts", "node"),
    (".tsx", "bun"),
    (".sh", "bash"),
    (".py", "python3"),
    (".rb", "ruby"),
    (".php", "php"),
    (".pl", "perl"),
    (".coffee", "coffee"),
];

/// The script, under any of its names.
pub(super) fn script(keys: &Map<String, Value>) -> Option<&str> {
    let named = ["script", "exec", "cmd", "command"];
    named.iter().find_map(|key| given(keys, key)?.as_str())
}

/// The interpreter that is named, or the one for files of this kind; none for a program.
fn interpreter(keys: &Map<String, Value>) -> Option<&str> {
    let named = ["interpreter", "exec_interpreter"];
    match named.iter().find_map(|key| given(keys, key)?.as_str()) {
        Some("none") => None,
        Some(named) => Some(named),
        None => {
            let script = script(keys)?;
            let of_kind = INTERPRETERS.iter().find(|(end, _)| script.ends_with(end));
            of_kind.map(|(_, interpreter)| *interpreter)
        }
    }
}

impl Reading<'_> {
    pub(super) fn command(&mut self, app: &App<'_>) -> Entry {
        let place = app.place("script");
        let entry = |words: Vec<String>| {
            let words = words.into_iter().map(Value::String).collect();
            Entry::new("command", place.clone(), Node::Json(Value::Array(words)))
        };
        let Some(script) = script(app.keys) else {
            if given(app.own, "command").is_none() {
                self.mistake(
                    place.clone(),
                    "no script",
                    "the program, as in script: 'server.js'",
                );
            }
            return entry(vec![STAND_IN.to_owned()]);
        };
        // A whole line, as in "python app.py --fast".
        if script.contains(' ') {
            return entry(vec!["bash".into(), "-c".into(), script.into()]);
        }
        let interpreter_args = ["node_args", "interpreter_args", "interpreterArgs"];
        let before = interpreter_args
            .map(|key| self.arguments(app, key))
            .concat();
        let args = self.arguments(app, "args");
        let there = (self.around.exists)(&within(app.keys, script));
        let mut words = Vec::new();
        match interpreter(app.keys) {
            Some(interpreter) if there || script.contains('/') => {
                words.push(interpreter.to_owned());
                words.extend(before);
                words.push(script.to_owned());
            }
            // A file beside the others, which is not looked for in PATH.
            None if there && !script.contains('/') => words.push(format!("./{script}")),
            Some(_) | None => words.push(script.to_owned()),
        }
        words.extend(args);
        entry(words)
    }

    /// Whether the program expects Node's cluster around it: PM2's rule.
    pub(super) fn cluster(&mut self, app: &App<'_>) -> bool {
        let node = interpreter(app.keys).is_some_and(|found| {
            let name = found.rsplit('/').next().unwrap_or(found);
            name.ends_with("node")
        });
        let mode = given(app.keys, "exec_mode");
        match mode.and_then(Value::as_str) {
            Some("fork" | "fork_mode") => false,
            Some("cluster" | "cluster_mode") => {
                if !node {
                    let expected = "exec_mode: 'fork': a cluster is Node's own";
                    self.mistake(
                        app.place("exec_mode"),
                        "cluster mode for what is not run by node",
                        expected,
                    );
                }
                node
            }
            Some(_) => {
                let found = mode.map_or_else(String::new, shown);
                self.mistake(app.place("exec_mode"), found, "\"fork\" or \"cluster\"");
                false
            }
            None => node && given(app.keys, "instances").is_some(),
        }
    }

    fn arguments(&mut self, app: &App<'_>, key: &str) -> Vec<String> {
        match given(app.keys, key) {
            None => Vec::new(),
            Some(Value::String(line)) => arguments::split(line),
            Some(Value::Array(words)) => words
                .iter()
                .map(|word| {
                    word.as_str()
                        .map_or_else(|| word.to_string(), str::to_owned)
                })
                .collect(),
            Some(other) => {
                self.mistake(
                    app.place(key),
                    shown(other),
                    "a list of arguments, or a line of them",
                );
                Vec::new()
            }
        }
    }
}

/// A script's path from the ecosystem file on.
fn within(keys: &Map<String, Value>, script: &str) -> String {
    match given(keys, "cwd").and_then(Value::as_str) {
        Some(cwd) if !script.starts_with('/') => format!("{}/{script}", cwd.trim_end_matches('/')),
        _ => script.to_owned(),
    }
}
