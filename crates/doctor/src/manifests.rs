//! The manifests of a project, and where in them something stands.

use poolwright_topology::declare::Topology;
use poolwright_topology::hazard::{Hazard, Place, Position};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A manifest, read and valid.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file.
    pub path: PathBuf,
    /// Its text, where it has lines that matter: an ecosystem file is evaluated.
    pub text: Option<String>,
    /// What it declares.
    pub topology: Topology,
}

impl Manifest {
    /// The folder that its paths begin at.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Where a key stands in it, as seen from `root`: the nearest one above, for keys that are not there.
    #[must_use]
    pub fn place(&self, root: &Path, keys: &[&str]) -> Place {
        let file = crate::walk::relative(root, &self.path);
        let file = file.unwrap_or_else(|| self.path.display().to_string());
        let position = self.text.as_deref().and_then(|text| position(text, keys));
        Place::new(file, position)
    }

    /// Why a hazard is accepted, if it is.
    pub(crate) fn allows(&self, root: &Path, hazard: &Hazard) -> Option<(usize, &str)> {
        let allowances = self.topology.doctor.allow.iter().enumerate();
        let mut fitting = allowances.filter(|(_, allowed)| {
            allowed.code == hazard.code
                && match (&allowed.path, &hazard.place) {
                    (None, None) => true,
                    (None, Some(place)) => root.join(&place.file).starts_with(self.folder()),
                    (Some(path), Some(place)) => {
                        root.join(&place.file).starts_with(self.folder().join(path))
                    }
                    (Some(_), None) => false,
                }
        });
        let (at, allowed) = fitting.next()?;
        Some((at, &allowed.reason))
    }
}

/// Where a key stands in a TOML text.
fn position(text: &str, keys: &[&str]) -> Option<Position> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut at = None;
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else {
            break;
        };
        // A table's own header says more than the first word of its name.
        at = Some(match value.get_ref() {
            DeValue::Table(_) => value.span().start,
            _ => name.span().start,
        });
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    at.map(|at| Position::of(text, at))
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn a_key_is_found_where_it_stands_and_a_missing_one_where_it_would() {
        let text = "[apps.web]\ncommand = [\"x\"]\n\n[apps.web.pools.dbos]\nmax = 3\n";
        let line = |keys: &[&str]| position(text, keys).map(|position| position.line);
        assert_eq!(line(&["apps", "web", "command"]), Some(2));
        assert_eq!(line(&["apps", "web", "pools", "dbos"]), Some(4));
        assert_eq!(line(&["apps", "web", "pools", "dbos", "max"]), Some(5));
        assert_eq!(line(&["apps", "web", "pools", "dbos", "url"]), Some(4));
        assert_eq!(line(&["nothing"]), None);
    }
}
