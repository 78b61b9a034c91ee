//! PM2's ecosystem file: what it leaves out, and where it says something else than the manifest.

use crate::environment::INSTANCE_VARIABLES;
use crate::manifests::Manifest;
use crate::script::{WrittenApp, written_apps};
use poolwright_topology::declare::App;
use poolwright_topology::hazard::{Code, Hazard, Place};
use serde_json::{Map, Value};

/// What PM2 waits before it kills, where `kill_timeout` is not set.
const PM2_KILL_MS: u64 = 1600;

/// An ecosystem file, evaluated.
pub(crate) struct Ecosystem<'e> {
    /// Relative to the root.
    pub(crate) file: &'e str,
    pub(crate) text: &'e str,
    pub(crate) exported: &'e Value,
    /// What PM2 takes for the number of CPUs.
    pub(crate) cpus: u32,
    /// The manifest beside it.
    pub(crate) manifest: Option<&'e Manifest>,
    /// How the package's sources number their process.
    pub(crate) numbering: Numbering,
}

/// What a program makes its executor id of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Numbering {
    /// It has an executor, or reads `PM2_INSTANCE_ID`.
    pub(crate) matters: bool,
    /// It reads PM2's own default, and not the other one.
    pub(crate) by_default_name: bool,
}

/// What is wrong with it.
pub(crate) fn judge(ecosystem: &Ecosystem<'_>) -> Vec<Hazard> {
    let apps = match ecosystem.exported {
        Value::Object(keys) => keys.get("apps").or_else(|| keys.get("pm2")),
        _ => None,
    };
    let apps = match apps.unwrap_or(ecosystem.exported) {
        Value::Array(apps) => apps.as_slice(),
        one => std::slice::from_ref(one),
    };
    let written = written_apps(ecosystem.file, ecosystem.text);
    let mut found = Vec::new();
    for (index, app) in apps.iter().enumerate() {
        let Value::Object(keys) = app else { continue };
        let name = text_of(keys, "name");
        let named = written
            .iter()
            .find(|app| app.name.is_some() && app.name.as_deref() == name);
        let in_order = written.get(index).filter(|_| written.len() == apps.len());
        let judged = Judged {
            ecosystem,
            keys,
            name: name.unwrap_or("the app"),
            written: named.or(in_order),
        };
        judged.instance_variable(&mut found);
        judged.instance_id(&mut found);
        if let Some(declared) = ecosystem
            .manifest
            .and_then(|manifest| manifest.topology.app(judged.name))
        {
            judged.disagreements(declared, &mut found);
        }
        judged.kill_timeout(&mut found);
    }
    found
}

/// An app of the file, while it is judged.
struct Judged<'e> {
    ecosystem: &'e Ecosystem<'e>,
    keys: &'e Map<String, Value>,
    name: &'e str,
    written: Option<&'e WrittenApp>,
}

impl Judged<'_> {
    /// Where a key stands; the app, where it has no such key.
    fn place(&self, key: &str) -> Place {
        let position = self
            .written
            .and_then(|app| app.keys.get(key).copied().or(app.position));
        Place::new(self.ecosystem.file, position)
    }

    fn instance_variable(&self, found: &mut Vec<Hazard>) {
        let Numbering {
            matters,
            by_default_name,
        } = self.ecosystem.numbering;
        let several = given(self.keys, "instances").is_some() && self.instances() != Some(1);
        if matters && several && !by_default_name && given(self.keys, "instance_var").is_none() {
            let message = format!("{}: several instances without instance_var", self.name);
            found.push(Hazard::at(
                Code::InstanceVarMissing,
                self.place("instances"),
                message,
            ));
        }
    }

    fn instance_id(&self, found: &mut Vec<Hazard>) {
        let environments = self
            .keys
            .iter()
            .filter(|(key, _)| *key == "env" || key.starts_with("env_"));
        for (key, variables) in environments {
            for variable in INSTANCE_VARIABLES {
                if variables.get(variable).is_some() {
                    let message =
                        format!("{}: {key} sets {variable} for every instance", self.name);
                    found.push(Hazard::at(Code::InstanceIdSet, self.place(key), message));
                }
            }
        }
    }

    fn disagreements(&self, declared: &App, found: &mut Vec<Hazard>) {
        let mut disagree = |key: &str, what: &str, theirs: String, ours: String| {
            let message = format!(
                "{}: {what} {theirs} here and {ours} in {}",
                self.name,
                crate::walk::MANIFEST
            );
            found.push(Hazard::at(Code::Disagreement, self.place(key), message));
        };
        let ours = declared.instances.value.0;
        if let Some(theirs) = self.instances()
            && theirs != u64::from(ours)
        {
            disagree(
                "instances",
                "the instances are",
                theirs.to_string(),
                ours.to_string(),
            );
        }
        for pool in &declared.pools {
            let ours = pool.max.value.0;
            let own = self.keys.get("poolwright").and_then(|own| own.get("pools"));
            let own = own.and_then(|pools| pools.get(pool.name.as_str()));
            if let Some(theirs) = own.and_then(|pool| pool.get("max")).and_then(Value::as_u64)
                && theirs != u64::from(ours)
            {
                let what = format!("the pool {} has at most", pool.name);
                disagree("poolwright", &what, theirs.to_string(), ours.to_string());
            }
            let Some(variable) = &pool.max.variable else {
                continue;
            };
            for (key, variables) in self
                .keys
                .iter()
                .filter(|(key, _)| *key == "env" || key.starts_with("env_"))
            {
                let theirs = variables.get(variable).map(shown);
                if let Some(theirs) = theirs.filter(|theirs| *theirs != ours.to_string()) {
                    let what = format!("{variable} is");
                    disagree(key, &what, theirs, ours.to_string());
                }
            }
        }
    }

    fn kill_timeout(&self, found: &mut Vec<Hazard>) {
        let declared = self.ecosystem.manifest;
        let declared = declared.and_then(|manifest| manifest.topology.app(self.name));
        let drain = declared.map(|app| app.drain_timeout);
        let own = self
            .keys
            .get("poolwright")
            .and_then(|own| text_of(own.as_object()?, "drain_timeout"));
        let own = own.and_then(|text| humantime::parse_duration(text).ok());
        let Some(drain) = own.or(drain) else { return };
        let kill = given(self.keys, "kill_timeout").map_or(Some(PM2_KILL_MS), number);
        if let Some(kill) = kill
            && u128::from(kill) < drain.as_millis()
        {
            let message = format!(
                "{}: killed {kill} ms after it was asked to leave, the drain may take {} ms",
                self.name,
                drain.as_millis()
            );
            found.push(Hazard::at(
                Code::KillBeforeDrained,
                self.place("kill_timeout"),
                message,
            ));
        }
    }

    /// How many PM2 starts.
    fn instances(&self) -> Option<u64> {
        let cpus = u64::from(self.ecosystem.cpus.max(1));
        let number = match given(self.keys, "instances") {
            None => return Some(1),
            Some(Value::String(text)) if text == "max" => return Some(cpus),
            Some(Value::String(text)) => text.parse::<i64>().ok()?,
            Some(value) => value.as_i64()?,
        };
        Some(match number {
            0 => cpus,
            less @ ..0 => cpus.saturating_sub(less.unsigned_abs()).max(1),
            count => count.unsigned_abs(),
        })
    }
}

/// A key that is there and not null.
fn given<'v>(keys: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    keys.get(key).filter(|value| !value.is_null())
}

fn text_of<'v>(keys: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    keys.get(key).and_then(Value::as_str)
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// A value as a variable has it.
fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
