//! Finding and reading the manifest: `poolwright.toml` or, where there is none, PM2's ecosystem file.
//!
//! A `poolwright.toml` in any folder above wins over an ecosystem file beside: who wrote one means it.

use crate::cli::Place;
use crate::ecosystem::{self, Evaluated};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::passwords;
use crate::style::{self, paint};
use poolwright_topology::declare::{Ecosystem, Surroundings, Topology, declare};
use std::path::{Path, PathBuf};

/// The manifest's name.
pub(crate) const NAME: &str = "poolwright.toml";

/// What PM2 looks for, in the order in which it is looked for here. (PM2 reads YAML as well.)
pub(crate) const ECOSYSTEM: [&str; 4] = [
    "ecosystem.config.cjs",
    "ecosystem.config.js",
    "ecosystem.config.mjs",
    "ecosystem.json",
];

/// Where a fleet is declared, and where its state is kept.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// The manifest.
    pub(crate) file: PathBuf,
    /// Which `env_<profile>` of an ecosystem file is meant.
    pub(crate) profile: Option<String>,
    /// Its folder: relative paths in it start here.
    pub(crate) folder: PathBuf,
    /// Control socket and embedded server.
    pub(crate) state_dir: PathBuf,
}

/// A fleet's declaration, read and valid.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) located: Located,
    pub(crate) environment: Environment,
    pub(crate) topology: Topology,
}

/// Finds the manifest: the one that is given, or the nearest from the working directory upwards.
pub(crate) fn locate(place: &Place) -> Result<Located, Failure> {
    let here = std::env::current_dir().map_err(Failure::source("finding the working directory"))?;
    let file = match &place.file {
        Some(given) if given.is_dir() => {
            let folder = here.join(given);
            nearest(&[&folder]).unwrap_or_else(|| folder.join(NAME))
        }
        Some(file) => here.join(file),
        None => nearest(&here.ancestors().collect::<Vec<_>>()).ok_or_else(|| {
            Failure::declaration(format!(
                "no {NAME} in {} or above, and no {}; write one, or name it with --file",
                here.display(),
                ECOSYSTEM.join(", ")
            ))
        })?,
    };
    let file = file.canonicalize().map_err(|source| {
        Failure::declaration(format!("cannot read {}: {source}", file.display()))
    })?;
    let folder = file
        .parent()
        .map_or_else(|| here.clone(), Path::to_path_buf);
    let state_dir = match &place.state_dir {
        Some(given) => here.join(given),
        None => folder.join(".poolwright"),
    };
    Ok(Located {
        file,
        profile: place.profile.clone(),
        folder,
        state_dir,
    })
}

/// The manifest in the first of the folders that has one, else the ecosystem file in the first that has one.
fn nearest(folders: &[&Path]) -> Option<PathBuf> {
    let all = |names: &[&str]| {
        let files = folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        files.into_iter().find(|file| file.is_file())
    };
    all(&[NAME]).or_else(|| all(&ECOSYSTEM))
}

/// Reads and validates the manifest against the environment. An ecosystem file is evaluated: it is a program.
pub(crate) fn read(located: Located, environment: Environment) -> Result<Declared, Failure> {
    let topology = match located.file.extension().and_then(|end| end.to_str()) {
        Some("js" | "cjs" | "mjs" | "json") => read_ecosystem(&located, &environment)?,
        _ => read_toml(&located, &environment)?,
    };
    let mut declared = Declared {
        located,
        environment,
        topology,
    };
    declared.locate_passwords();
    Ok(declared)
}

fn read_toml(located: &Located, environment: &Environment) -> Result<Topology, Failure> {
    let text = std::fs::read_to_string(&located.file).map_err(|source| {
        Failure::declaration(format!("cannot read {}: {source}", located.file.display()))
    })?;
    let file = shown(&located.file);
    if let Some(profile) = &located.profile {
        return Err(Failure::declaration(format!(
            "found --env {profile} and {}, expected it with an ecosystem file, which may have an env_{profile}",
            file.display()
        )));
    }
    declare(&text, &|name| environment.get(name)).map_err(|mistakes| Failure::Declaration {
        file,
        text,
        mistakes,
    })
}

fn read_ecosystem(located: &Located, environment: &Environment) -> Result<Topology, Failure> {
    let Evaluated { exported, cpus } = ecosystem::evaluate(&located.file)?;
    let around = Surroundings {
        cpus,
        profile: located.profile.as_deref(),
        env: &|name| environment.get(name),
        exists: &|path| located.folder.join(path).is_file(),
    };
    let file = shown(&located.file);
    let read = poolwright_topology::declare::ecosystem(&exported, &around);
    let Ecosystem { topology, notes } = read.map_err(|mistakes| Failure::Ecosystem {
        file: file.clone(),
        mistakes,
    })?;
    for note in notes {
        let warning = paint(style::WARN, "warning");
        anstream::eprintln!("{warning}: {}: {note}", file.display());
    }
    Ok(topology)
}

/// Has a topology enforced whose manifest does not ask for it.
pub(crate) fn enforce(declared: &mut Declared) -> Result<(), Failure> {
    if declared.topology.prepare.url.is_none() {
        return Err(Failure::declaration(
            "--enforce without the url of [prepare]; expected url = { env = \"ADMIN_DATABASE_URL\" } there: a role that may create roles",
        ));
    }
    declared.topology.enforce.get_or_insert_default();
    declared.locate_passwords();
    Ok(())
}

impl Declared {
    /// From here on the file of passwords has its whole path: the manifest's, the one that `PGPASSFILE` names, or
    /// one in the state folder.
    fn locate_passwords(&mut self) {
        let Some(enforce) = &mut self.topology.enforce else {
            return;
        };
        let file = match &enforce.password_file {
            Some(file) => self.located.folder.join(file),
            None => match self.environment.get(passwords::VARIABLE) {
                Some(file) => PathBuf::from(file),
                None => self.located.state_dir.join("pgpass"),
            },
        };
        enforce.password_file = Some(file.display().to_string());
    }
}

/// The path as a person at this working directory would type it.
pub(crate) fn shown(file: &Path) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|here| file.strip_prefix(here).ok().map(Path::to_path_buf))
        .unwrap_or_else(|| file.to_path_buf())
}
