//! The packages of a project: how they name their modules, and which copies of what they have installed.

use crate::json::Json;
use poolwright_topology::hazard::{Code, Hazard, Place, Position};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// What hot-reloads the modules of a server.
const HOT: [&str; 8] = [
    "vite",
    "next",
    "nuxt",
    "astro",
    "@sveltejs/kit",
    "@remix-run/dev",
    "@react-router/dev",
    "vinxi",
];

/// Packages of which one process wants one copy.
const ONCE: [(&str, Code); 2] = [
    ("pg", Code::TwoCopiesOfPg),
    ("@dbos-inc/dbos-sdk", Code::TwoCopiesOfDbos),
];

/// A package of the project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Package {
    /// Relative to the root, without a slash at its end; empty for the root itself.
    pub(crate) folder: String,
    pub(crate) name: Option<String>,
    pub(crate) language: Language,
    /// Whether its modules are evaluated again while it runs, in development.
    pub(crate) hot_reloads: bool,
    /// What it depends on, to build and to run.
    pub(crate) dependencies: Vec<String>,
    /// Its scripts (npm).
    pub(crate) scripts: BTreeMap<String, String>,
    /// Names that stand for paths in it: a name, or its beginning where it ends with `*`.
    aliases: Vec<(String, String)>,
}

/// Which kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    #[default]
    Node,
    Rust,
}

impl Package {
    /// Reads a `package.json`. `None` for a text that is none.
    pub(crate) fn node(folder: &str, text: &str) -> Option<Self> {
        let json = Json::parse(text)?;
        let dependencies: Vec<String> = ["dependencies", "devDependencies"]
            .iter()
            .filter_map(|kind| json.get(kind))
            .flat_map(|named| named.entries().iter().map(|entry| entry.key.clone()))
            .collect();
        let mut aliases: Vec<(String, String)> = json
            .get("imports")
            .map_or(&[][..], Json::entries)
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), condition(&entry.value)?.to_owned())))
            .collect();
        if dependencies.iter().any(|name| name == "@sveltejs/kit") {
            aliases.push(("$lib/*".into(), "src/lib/*".into()));
            aliases.push(("$lib".into(), "src/lib/index".into()));
        }
        let scripts = json.get("scripts").map_or(&[][..], Json::entries).iter();
        let scripts = scripts.filter_map(|entry| {
            let command = entry.value.text()?;
            Some((entry.key.clone(), command.to_owned()))
        });
        Some(Self {
            folder: folder.to_owned(),
            name: json.get("name").and_then(Json::text).map(str::to_owned),
            language: Language::Node,
            hot_reloads: dependencies.iter().any(|name| HOT.contains(&name.as_str())),
            scripts: scripts.collect(),
            dependencies,
            aliases,
        })
    }

    /// Reads a `Cargo.toml`. `None` for a text that is none, or that has no package.
    pub(crate) fn rust(folder: &str, text: &str) -> Option<Self> {
        let root = DeTable::parse(text).ok()?;
        let package = root.get_ref().get("package")?.get_ref().as_table()?;
        let name = package.get("name").and_then(|name| name.get_ref().as_str());
        let dependencies = root.get_ref().get("dependencies");
        let dependencies = dependencies.and_then(|table| table.get_ref().as_table());
        let names = dependencies.into_iter().flat_map(DeTable::keys);
        Some(Self {
            folder: folder.to_owned(),
            name: name.map(str::to_owned),
            language: Language::Rust,
            dependencies: names.map(|name| name.get_ref().to_string()).collect(),
            ..Self::default()
        })
    }

    /// Adds the paths of a `tsconfig.json` in the same folder.
    pub(crate) fn add_paths(&mut self, tsconfig: &str) {
        let Some(json) = Json::parse(tsconfig) else {
            return;
        };
        let paths = json
            .get("compilerOptions")
            .and_then(|options| options.get("paths"));
        for entry in paths.map_or(&[][..], Json::entries) {
            if let Json::Array(paths) = &entry.value
                && let Some(first) = paths.first().and_then(Json::text)
            {
                self.aliases.push((entry.key.clone(), first.to_owned()));
            }
        }
    }

    /// The path that a module's name stands for, from the package's folder on.
    pub(crate) fn aliased(&self, module: &str) -> Option<String> {
        self.aliases
            .iter()
            .find_map(|(name, path)| match name.strip_suffix('*') {
                Some(beginning) => {
                    let rest = module.strip_prefix(beginning)?;
                    Some(path.replacen('*', rest, 1))
                }
                None => (name == module).then(|| path.clone()),
            })
    }

    pub(crate) fn depends_on(&self, name: &str) -> bool {
        self.dependencies.iter().any(|known| known == name)
    }
}

/// The path of an entry of `imports`, whatever conditions it has.
fn condition(value: &Json) -> Option<&str> {
    match value {
        Json::Text(path) => Some(path),
        Json::Object(entries) => entries.iter().find_map(|entry| condition(&entry.value)),
        _ => None,
    }
}

/// What a `package-lock.json` installs twice.
pub(crate) fn npm_lock(file: &str, text: &str) -> Option<Vec<Hazard>> {
    let json = Json::parse(text)?;
    let packages = json.get("packages")?.entries();
    let mut found = Vec::new();
    for (name, code) in ONCE {
        let end = format!("node_modules/{name}");
        let copies: Vec<_> = packages
            .iter()
            .filter(|entry| {
                let rest = entry.key.strip_suffix(&end);
                let is_it = rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
                // What only the tools of development have never meets the worker's.
                is_it && entry.value.get("dev") != Some(&Json::Bool(true))
            })
            .collect();
        let Some((first, others)) = copies.split_first() else {
            continue;
        };
        let version = |value: &Json| {
            let version = value.get("version").and_then(Json::text);
            version.unwrap_or("of no version").to_owned()
        };
        for other in others {
            let place = Place::new(file, Some(Position::of(text, other.at)));
            let message = format!(
                "{name} {} is installed in {} beside {} in {}",
                version(&other.value),
                other.key,
                version(&first.value),
                first.key
            );
            found.push(Hazard::at(code, place, message));
        }
    }
    Some(found)
}

/// What `node_modules` has twice, for projects whose lock file is not npm's.
pub(crate) fn installed(folder: &Path, package_json: &str) -> Vec<Hazard> {
    let modules = folder.join("node_modules");
    let mut found = Vec::new();
    for (name, code) in ONCE {
        let copies = copies(&modules, name);
        if let Some((first, others)) = copies.split_first() {
            for other in others {
                let message = format!("{name} is installed in {other} and in {first}");
                found.push(Hazard::at(code, Place::new(package_json, None), message));
            }
        }
    }
    found
}

/// Where a package is installed below `node_modules`, as pnpm lays it out, else as npm and yarn do.
fn copies(modules: &Path, name: &str) -> Vec<String> {
    let shown = |path: &Path| {
        let beside = modules.parent().unwrap_or(modules);
        path.strip_prefix(beside)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let store = modules.join(".pnpm");
    if store.is_dir() {
        let begins = format!("{}@", name.replace('/', "+"));
        let copies = entries(&store).into_iter().filter(|path| {
            let own = path.file_name().and_then(|name| name.to_str());
            own.is_some_and(|own| own.starts_with(&begins))
        });
        return copies.map(|path| shown(&path)).collect();
    }
    let mut copies = Vec::new();
    let mut open = vec![modules.to_path_buf()];
    while let Some(modules) = open.pop() {
        let copy = modules.join(name);
        // A link is somebody else's copy.
        if copy.join("package.json").is_file() && !copy.is_symlink() {
            copies.push(shown(&copy));
        }
        for package in entries(&modules) {
            let scoped = package
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with('@'));
            let packages = if scoped {
                entries(&package)
            } else {
                vec![package]
            };
            let nested = packages
                .into_iter()
                .map(|package| package.join("node_modules"));
            open.extend(nested.filter(|nested| nested.is_dir()));
        }
    }
    copies.sort_by_key(|copy| (copy.len(), copy.clone()));
    copies
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What a `Cargo.lock` builds in twice.
pub(crate) fn cargo_lock(file: &str, text: &str) -> Option<Vec<Hazard>> {
    const CRATES: [(&str, &str, Code); 2] = [
        ("dbos", "dbos", Code::TwoCopiesOfDbos),
        // The one that has the pool; `sqlx` itself only passes it on.
        ("sqlx-core", "sqlx", Code::TwoCopiesOfSqlx),
    ];
    let root = DeTable::parse(text).ok()?;
    let packages = root.get_ref().get("package")?.get_ref().as_array()?;
    let mut found = Vec::new();
    for (crate_name, shown, code) in CRATES {
        let copies: Vec<_> = packages
            .iter()
            .filter_map(|package| {
                let text_of = |key| {
                    package
                        .get_ref()
                        .get(key)
                        .and_then(|v| v.get_ref().as_str())
                };
                let is_it = text_of("name") == Some(crate_name);
                let version = package.get_ref().get("version")?;
                is_it.then_some((version.span().start, version.get_ref()))
            })
            .collect();
        let Some(((_, first), others)) = copies.split_first() else {
            continue;
        };
        let version = |value: &DeValue<'_>| value.as_str().unwrap_or_default().to_owned();
        for (at, other) in others {
            let place = Place::new(file, Some(Position::of(text, *at)));
            let message = format!(
                "{shown} {} is built in beside {}",
                version(other),
                version(first)
            );
            found.push(Hazard::at(code, place, message));
        }
    }
    Some(found)
}
