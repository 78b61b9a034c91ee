//! Finding `postgres` and `initdb`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// An installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// Where `postgres` and `initdb` stand.
    pub(crate) bin_dir: PathBuf,
    /// Its major version, as data directories name it (`15`).
    pub(crate) major: String,
}

/// The installation to use: the one that is given, else the first of `pg_config`'s, Debian's
/// (highest version first) and `PATH`'s; for existing data, the first of its major version.
///
/// Blocks on short child processes.
pub(crate) fn find(
    given: Option<&Path>,
    data: &Path,
    data_major: Option<&str>,
) -> Result<Installation, Error> {
    let candidates = match given {
        Some(directory) => vec![directory.to_owned()],
        None => candidates(),
    };
    let mut found: Vec<Installation> = candidates
        .iter()
        .filter_map(|directory| probe(directory))
        .collect();
    if found.is_empty() {
        let looked_at: Vec<_> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(Error::NotInstalled {
            looked_at: format!("pg_config --bindir, {}", looked_at.join(", ")),
        });
    }
    let Some(wanted) = data_major else {
        return Ok(found.swap_remove(0));
    };
    match found
        .iter()
        .position(|installation| installation.major == wanted)
    {
        Some(index) => Ok(found.swap_remove(index)),
        None => {
            let installed: Vec<_> = found.into_iter().map(|one| one.major).collect();
            Err(Error::WrongVersion {
                data: data.to_owned(),
                found: wanted.to_owned(),
                installed: installed.join(", "),
            })
        }
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(output) = output_of("pg_config", "--bindir") {
        places.push(PathBuf::from(output));
    }
    places.extend(debian());
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    places
}

/// `/usr/lib/postgresql/*/bin`, highest version first.
fn debian() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else {
        return vec![PathBuf::from("/usr/lib/postgresql/*/bin")];
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn probe(bin_dir: &Path) -> Option<Installation> {
    let postgres = bin_dir.join("postgres");
    if !postgres.is_file() || !bin_dir.join("initdb").is_file() {
        return None;
    }
    let version = output_of(&postgres, "--version")?;
    Some(Installation {
        bin_dir: bin_dir.to_owned(),
        major: major_of(&version)?,
    })
}

/// `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)` → `15`; betas say `18beta1`.
fn major_of(version: &str) -> Option<String> {
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(char::is_numeric))?;
    Some(number.chars().take_while(char::is_ascii_digit).collect())
}

fn output_of(program: impl AsRef<std::ffi::OsStr>, argument: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(argument)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_every_kind_of_release() {
        for (printed, major) in [
            (
                "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)",
                Some("15"),
            ),
            ("postgres (PostgreSQL) 18beta1", Some("18")),
            ("postgres (PostgreSQL) 17devel", Some("17")),
            ("nonsense", None),
        ] {
            assert_eq!(major_of(printed).as_deref(), major, "{printed}");
        }
    }

    #[test]
    fn a_directory_without_a_server_is_named_in_the_error() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(Some(empty.path()), Path::new("/data"), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&empty.path().display().to_string()),
            "{error}"
        );
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }

    #[test]
    fn data_of_another_version_is_refused_with_both_versions() {
        let error = find(None, Path::new("/data"), Some("9"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("data of PostgreSQL 9"), "{error}");
    }
}
