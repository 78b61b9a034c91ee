//! Finding and reading the manifest.

use crate::cli::Place;
use crate::environment::Environment;
use crate::failure::Failure;
use poolwright_topology::declare::{Topology, declare};
use std::path::{Path, PathBuf};

/// The manifest's name.
const NAME: &str = "poolwright.toml";

/// Where a fleet is declared, and where its state is kept.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// The manifest.
    pub(crate) file: PathBuf,
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
        Some(file) if file.is_dir() => here.join(file).join(NAME),
        Some(file) => here.join(file),
        None => here
            .ancestors()
            .map(|folder| folder.join(NAME))
            .find(|file| file.is_file())
            .ok_or_else(|| {
                Failure::declaration(format!(
                    "no {NAME} in {} or above; write one, or name it with --file",
                    here.display()
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
        folder,
        state_dir,
    })
}

/// Reads and validates the manifest against the environment.
pub(crate) fn read(located: Located, environment: Environment) -> Result<Declared, Failure> {
    let text = std::fs::read_to_string(&located.file).map_err(|source| {
        Failure::declaration(format!("cannot read {}: {source}", located.file.display()))
    })?;
    match declare(&text, &|name| environment.get(name)) {
        Ok(topology) => Ok(Declared {
            located,
            environment,
            topology,
        }),
        Err(mistakes) => Err(Failure::Declaration {
            file: shown(&located.file),
            text,
            mistakes,
        }),
    }
}

/// The path as a person at this working directory would type it.
pub(crate) fn shown(file: &Path) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|here| file.strip_prefix(here).ok().map(Path::to_path_buf))
        .unwrap_or_else(|| file.to_path_buf())
}
