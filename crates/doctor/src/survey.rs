//! What a project is: how it is started, what it listens on, which variables it reads and what pools it has.
//!
//! Read from the same sketches as the hazards are. Nothing is guessed here; whoever writes a manifest of it says what was
//! not found.

use crate::environment;
use crate::packages::{Language, Package};
use crate::parallel;
use crate::reading::{Read, read};
use crate::sketch::{Sketch, Variable};
use crate::walk::{self, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Files of variables that are kept beside the sources for people.
const EXAMPLES: [&str; 3] = [".env.example", ".env.sample", ".env.template"];

/// A project, as far as a manifest needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its package in Node.
    pub node: Option<Surveyed>,
    /// Its package in Rust.
    pub rust: Option<Surveyed>,
    /// The variables that its sources read, and those that `.env` files set, with a default or a value.
    pub variables: BTreeMap<String, Option<String>>,
    /// The maxima of pools that are written down.
    pub pools: Vec<u32>,
    /// The maxima of executors' pools that are written down.
    pub executor_pools: Vec<u32>,
    /// Addresses with a port that are written down.
    pub addresses: Vec<String>,
    /// Whether it tells its parent that it is ready.
    pub says_ready: bool,
    /// Words that its command line is matched against.
    pub words: BTreeSet<String>,
}

/// A package, as far as a manifest needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Its name.
    pub name: Option<String>,
    /// What it depends on.
    pub dependencies: BTreeSet<String>,
    /// Its scripts (npm).
    pub scripts: BTreeMap<String, String>,
}

/// Looks at the project in a folder, whose `package.json` or `Cargo.toml` lies directly in it.
///
/// # Errors
/// When the system gives no threads.
pub fn survey(root: &Path) -> io::Result<Survey> {
    let found = walk::files(root);
    let read = parallel::map(&found, read)?;
    let mut survey = Survey::default();
    for (found, read) in found.iter().zip(read) {
        match read {
            Ok(Read::Source(sketch)) => survey.source(sketch),
            Ok(Read::Package(package)) if package.folder.is_empty() => survey.package(package),
            _ if found.kind == Kind::Dotenv && !found.file.contains('/') => {
                survey.variables_of(&found.path);
            }
            _ => {}
        }
    }
    for name in EXAMPLES {
        survey.variables_of(&root.join(name));
    }
    survey.pools.sort_unstable();
    Ok(survey)
}

impl Survey {
    fn source(&mut self, sketch: Sketch) {
        for Variable { name, default } in sketch.variables {
            let known = self.variables.entry(name).or_default();
            // The smallest default that is read first is as good as another; what matters is that there is one.
            if known.is_none() {
                *known = default;
            }
        }
        self.pools.extend(sketch.pools);
        self.executor_pools.extend(sketch.executor_pools);
        self.addresses.extend(sketch.addresses);
        self.says_ready |= sketch.says_ready;
        self.words.extend(sketch.words);
    }

    fn package(&mut self, package: Package) {
        let surveyed = Surveyed {
            name: package.name,
            dependencies: package.dependencies.into_iter().collect(),
            scripts: package.scripts,
        };
        match package.language {
            Language::Node => self.node = Some(surveyed),
            Language::Rust => self.rust = Some(surveyed),
        }
    }

    /// What a file sets. The value counts more than a default in the sources: it is what runs.
    fn variables_of(&mut self, file: &Path) {
        let Ok(text) = std::fs::read_to_string(file) else {
            return;
        };
        for set in environment::read(&text) {
            // A URL has a password, and is no default of anything.
            let value = Some(set.value).filter(|value| !value.contains("://"));
            self.variables.insert(set.name, value);
        }
    }
}

impl Surveyed {
    /// Whether it depends on one of these.
    #[must_use]
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.dependencies.contains(*name))
    }
}
