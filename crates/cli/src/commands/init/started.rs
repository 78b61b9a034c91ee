//! How PM2 starts a project: what its ecosystem file says of the first app.

use serde_json::{Map, Value};
use std::path::{Component, Path, PathBuf};

/// An app of an ecosystem file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) name: Option<String>,
    /// Programme and arguments, paths relative to the project.
    pub(super) command: Option<Vec<String>>,
    pub(super) instances: Option<u64>,
    pub(super) port: Option<String>,
    pub(super) drain_ms: Option<u64>,
    pub(super) waits_for_ready: bool,
    /// Whether it shares its port by Node's cluster.
    pub(super) is_cluster: bool,
    /// Whether the file has a topology in it.
    pub(super) is_declared: bool,
}

impl Started {
    /// The first app with a script. `None` when there is none.
    pub(super) fn of(exported: &Value, folder: &Path) -> Option<Self> {
        let apps = match exported {
            Value::Object(keys) => keys.get("apps").or_else(|| keys.get("pm2")),
            _ => None,
        };
        let apps = match apps.unwrap_or(exported) {
            Value::Array(apps) => apps.as_slice(),
            one => std::slice::from_ref(one),
        };
        let is_declared = apps.iter().any(|app| app.get("poolwright").is_some());
        let mut apps = apps.iter().filter_map(Value::as_object);
        let app = apps.find(|app| app.contains_key("script"))?;
        let text = |key: &str| app.get(key).and_then(Value::as_str);
        let instances = match app.get("instances") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
            None => None,
        };
        let env = app.get("env").and_then(Value::as_object);
        let port = env
            .and_then(|env| env.get("PORT"))
            .or_else(|| app.get("port"));
        let is_node = text("interpreter").is_none_or(|name| name.ends_with("node"));
        Some(Self {
            name: text("name").map(str::to_owned),
            command: command(app, folder),
            instances: instances.filter(|count| *count > 0),
            port: port.map(|port| {
                port.as_str()
                    .map_or_else(|| port.to_string(), str::to_owned)
            }),
            drain_ms: app.get("kill_timeout").and_then(Value::as_u64),
            waits_for_ready: app.get("wait_ready") == Some(&Value::Bool(true)),
            is_cluster: is_node
                && match text("exec_mode") {
                    Some(mode) => mode.starts_with("cluster"),
                    None => app.contains_key("instances"),
                },
            is_declared,
        })
    }
}

fn command(app: &Map<String, Value>, folder: &Path) -> Option<Vec<String>> {
    let text = |key: &str| app.get(key).and_then(Value::as_str);
    let script = text("script")?;
    let interpreter = match text("interpreter") {
        Some("none") => None,
        Some(named) => Some(relative(folder, named)),
        None => [".js", ".cjs", ".mjs", ".ts"]
            .iter()
            .any(|end| script.ends_with(end))
            .then(|| "node".to_owned()),
    };
    let mut words: Vec<String> = interpreter.into_iter().collect();
    let script = relative(folder, script);
    // A programme beside the manifest is not looked for in PATH.
    let is_programme = words.is_empty() && !script.contains('/');
    words.push(match is_programme && folder.join(&script).is_file() {
        true => format!("./{script}"),
        false => script,
    });
    match app.get("args") {
        Some(Value::String(line)) => words.extend(line.split_whitespace().map(str::to_owned)),
        Some(Value::Array(args)) => {
            words.extend(args.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        _ => {}
    }
    Some(words)
}

/// A path that begins at the project's folder, where it was absolute; as it is, where it was not.
pub(super) fn relative(folder: &Path, path: &str) -> String {
    let path = Path::new(path);
    if !path.is_absolute() {
        return path.display().to_string();
    }
    let mut from = folder.components().peekable();
    let mut to = path.components().peekable();
    while let (Some(a), Some(b)) = (from.peek(), to.peek())
        && a == b
    {
        from.next();
        to.next();
    }
    let up = from.filter(|part| matches!(part, Component::Normal(_)));
    let way: PathBuf = up.map(|_| Component::ParentDir).chain(to).collect();
    way.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_absolute_path_is_made_relative_to_the_project() {
        let folder = Path::new("/srv/apps/web");
        let table = [
            ("/srv/apps/web/server.js", "server.js"),
            ("/srv/target/release/web", "../../target/release/web"),
            ("server.js", "server.js"),
            ("/usr/bin/web", "../../../usr/bin/web"),
        ];
        for (path, expected) in table {
            assert_eq!(relative(folder, path), expected);
        }
    }

    #[test]
    fn the_first_app_with_a_script_says_how_it_is_started() {
        let exported = json!({ "apps": [
            { "name": "docs" },
            {
                "name": "web", "script": "/p/server.js", "interpreter": "/p/node_modules/.bin/node", "args": "--fast 1",
                "instances": "4", "env": { "PORT": 8080 }, "kill_timeout": 5000, "wait_ready": true
            }
        ] });
        let started = Started::of(&exported, Path::new("/p")).unwrap();
        let expected = Started {
            name: Some("web".into()),
            command: Some(
                ["node_modules/.bin/node", "server.js", "--fast", "1"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            instances: Some(4),
            port: Some("8080".into()),
            drain_ms: Some(5000),
            waits_for_ready: true,
            is_cluster: true,
            is_declared: false,
        };
        assert_eq!(started, expected);
        assert_eq!(Started::of(&json!([]), Path::new("/p")), None);
    }
}
